// Runs clients that others wrote for the Go tests: reads commands, one JSON
// object per line, from standard input, and writes replies and events, one per
// line, to standard output.
//
//   {"id": 1, "client": "a", "do": "open", "with": {"kind": "mqtt5", "url": "ws://…"}}
//   {"id": 1, "client": "a", "result": {…}}            or "error": {"text", "code"}
//   {"client": "a", "event": "message", "value": {"topic", "payload", "offset", "via", "retained", …}}
//   {"client": "a", "event": "closed", "value": {"code", "reason"}}
//
// A client is an object with async methods (subscribe, unsubscribe, publish,
// call, register, close …), made by one of the modules below.

import { createInterface } from "node:readline";
import { openCentrifuge } from "./centrifuge.mjs";
import { openBare } from "./bare.mjs";
import { openMQTT } from "./mqtt.mjs";
import { openRaw } from "./raw.mjs";
import { openWAMP } from "./wamp.mjs";

const kinds = {
  mqtt3: (with_, events) => openMQTT(4, with_, events),
  mqtt5: (with_, events) => openMQTT(5, with_, events),
  "wamp.json": (with_, events) => openWAMP("json", with_, events),
  "wamp.msgpack": (with_, events) => openWAMP("msgpack", with_, events),
  "wamp.cbor": (with_, events) => openWAMP("cbor", with_, events),
  centrifuge: (with_, events) => openCentrifuge(undefined, with_, events),
  "centrifuge+json": (with_, events) => openCentrifuge("json", with_, events),
  bare: openBare,
  raw: openRaw,
};

const clients = new Map();

const write = (line) => process.stdout.write(JSON.stringify(line, plain) + "\n");

// What JSON does not have.
function plain(key, value) {
  return typeof value === "bigint" ? { $int: value.toString() } : value;
}

async function run({ client: name, do: action, with: args = {} }) {
  if (action === "open") {
    const events = (event, value) => write({ client: name, event, value });
    const open = kinds[args.kind];
    if (!open) throw new Error(`no client of kind ${args.kind}`);
    clients.set(name, await open(args, events));
    return clients.get(name).opened ?? {};
  }
  const client = clients.get(name);
  if (!client) throw new Error(`no client ${name}`);
  if (!client[action]) throw new Error(`client ${name} cannot ${action}`);
  return client[action](args);
}

function problem(err) {
  return { text: err?.message ?? String(err), code: err?.code ?? 0 };
}

createInterface({ input: process.stdin }).on("line", async (line) => {
  const command = JSON.parse(line);
  const { id, client } = command;
  try {
    write({ id, client, result: (await run(command)) ?? {} });
  } catch (err) {
    write({ id, client, error: problem(err) });
  }
}).on("close", () => process.exit(0));

process.on("unhandledRejection", (err) => write({ event: "unhandled", value: problem(err) }));
process.on("uncaughtException", (err) => write({ event: "unhandled", value: problem(err) }));
