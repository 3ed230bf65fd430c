// MQTT.js against the broker, step by step; each step is reported as a line of
// JSON, {"step", "error"}. Argument: the WebSocket address.

import assert from "node:assert/strict";
import mqtt from "mqtt";
import WebSocket from "ws";

const [address] = process.argv.slice(2);
const open = new Set();

/** Connects; messages are collected in client.inbox. */
async function connect(version, clientId, options = {}) {
  const sockets = [];
  const client = mqtt.connect(address, {
    protocolVersion: version, protocolId: version === 3 ? "MQIsdp" : "MQTT", clientId, reconnectPeriod: 0, connectTimeout: 10000, ...options,
    createWebsocket(url, protocols) {
      sockets.push(new WebSocket(url, protocols));
      return sockets.at(-1);
    },
  });
  open.add(client);
  client.inbox = [];
  client.waiting = [];
  client.sever = () => sockets.at(-1).terminate();
  client.on("message", (topic, payload, packet) => {
    client.inbox.push({ topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain, packet, properties: packet.properties });
    client.waiting.forEach((look) => look());
  });
  client.connack = await new Promise((resolve, reject) => {
    client.once("connect", resolve);
    client.once("error", reject);
    client.once("close", () => reject(new Error("closed before CONNACK")));
  });
  client.on("error", () => {}); // what is expected to fail is looked at where it happens
  client.protocol = sockets.at(-1).protocol;
  return client;
}

/** Waits for n messages and takes them from the inbox. */
function take(client, n) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`received ${client.inbox.length} of ${n} messages: ${client.inbox.map((m) => m.payload)}`)), 20000);
    const look = () => {
      if (client.inbox.length < n) return;
      clearTimeout(late);
      client.waiting = client.waiting.filter((l) => l !== look);
      resolve(client.inbox.splice(0, n));
    };
    client.waiting.push(look);
    look();
  });
}

const payloads = (messages) => messages.map((m) => m.payload);
const range = (n) => Array.from({ length: n }, (_, i) => String(i).padStart(3, "0"));

async function step(name, action) {
  let error = "";
  try {
    await action();
  } catch (err) {
    error = err.stack ?? String(err);
  }
  console.log(JSON.stringify({ step: name, error }));
  for (const client of open) client.end(true);
  open.clear();
}

const names = { 3: "3.1", 4: "3.1.1", 5: "5" };
const kept = (version) => ({ clean: false, ...(version === 5 && { properties: { sessionExpiryInterval: 300 } }) });

for (const version of [3, 4, 5]) {
  const v = names[version];

  await step(`${v}: all pairs of QoS`, async () => {
    const pub = await connect(version, "pub");
    assert.equal(pub.protocol, version === 3 ? "mqttv3.1" : "mqtt");
    for (const granted of [0, 1, 2]) {
      const sub = await connect(version, "sub" + granted);
      assert.deepEqual((await sub.subscribeAsync("t", { qos: granted })).map((g) => g.qos), [granted]);
      for (const qos of [0, 1, 2]) {
        await pub.publishAsync("t", "x" + qos, { qos });
        const [m] = await take(sub, 1);
        assert.deepEqual([m.payload, m.qos], ["x" + qos, Math.min(qos, granted)]);
      }
    }
  });

  await step(`${v}: QoS 2 in a session that outlives its connections`, async () => {
    const pub = await connect(version, "pub");
    // What a client has received of an exchange is its part of the session.
    const device = { ...kept(version), incomingStore: new mqtt.Store({ clean: false }), outgoingStore: new mqtt.Store({ clean: false }) };
    let sub = await connect(version, "device", device);
    assert.equal(sub.connack.sessionPresent, false);
    await sub.subscribeAsync("t", { qos: 2 });
    const seen = [];
    for (const [i, payload] of range(60).entries()) {
      if (i % 20 === 5) await sub.endAsync();
      await pub.publishAsync("t", payload, { qos: 2 });
      if (i % 20 === 19) {
        seen.push(...payloads(sub.inbox));
        sub = await connect(version, "device", device);
        if (version > 3) assert.equal(sub.connack.sessionPresent, true);
        seen.push(...payloads(await take(sub, i + 1 - seen.length))); // 15, or more if it left before it had all
      }
    }
    assert.deepEqual(seen, range(60));
    await sub.endAsync();
    const clean = await connect(version, "device");
    assert.equal(clean.connack.sessionPresent, false);
  });

  await step(`${v}: will and retained`, async () => {
    const sub = await connect(version, "sub");
    await sub.subscribeAsync("w/#", { qos: 2 });
    const client = await connect(version, "with-will", { will: { topic: "w/1", payload: Buffer.from("gone"), qos: 2, retain: true } });
    client.sever();
    const [m] = await take(sub, 1);
    assert.deepEqual([m.topic, m.payload, m.qos, m.retain], ["w/1", "gone", 2, false]);
    const late = await connect(version, "late");
    await late.subscribeAsync("w/+", { qos: 1 });
    const [r] = await take(late, 1);
    assert.deepEqual([r.payload, r.qos, r.retain], ["gone", 1, true]);
    await sub.publishAsync("w/1", "", { qos: 1, retain: true });
  });

  await step(`${v}: shared subscriptions`, async () => {
    const members = await Promise.all(["a", "b", "c"].map((id) => connect(version, id)));
    for (const m of members) await m.subscribeAsync("$share/g/s/#", { qos: 2 });
    const pub = await connect(version, "pub");
    for (const payload of range(60)) await pub.publishAsync("s/x", payload, { qos: 2 });
    const all = await connect(version, "end");
    for (let i = 0; members.flatMap((m) => m.inbox).length < 60 && i < 200; i++) await all.subscribeAsync("e", { qos: 0 });
    assert.deepEqual(members.flatMap((m) => payloads(m.inbox)).sort(), range(60));
    for (const m of members) assert.ok(m.inbox.length > 0, "a member without messages");
  });
}

await step("5: properties there and back", async () => {
  const client = await connect(5, "c");
  await client.subscribeAsync("p", { qos: 1, properties: { subscriptionIdentifier: 268435455, userProperties: { a: "b" } } });
  const properties = {
    payloadFormatIndicator: true, messageExpiryInterval: 100, contentType: "text/plain", responseTopic: "answer",
    correlationData: Buffer.from([0, 1, 255]), userProperties: { one: "1", many: ["2", "3"] },
  };
  await client.publishAsync("p", "text", { qos: 1, properties });
  const [m] = await take(client, 1);
  const { subscriptionIdentifier, userProperties, ...rest } = m.properties;
  const { userProperties: sent, ...others } = properties;
  assert.ok(rest.messageExpiryInterval <= 100 && rest.messageExpiryInterval > 90, String(rest.messageExpiryInterval));
  assert.deepEqual({ ...rest, messageExpiryInterval: 100 }, others);
  assert.deepEqual({ ...userProperties }, sent);
  assert.equal(subscriptionIdentifier, 268435455);
});

await step("5: topic aliases both ways", async () => {
  const sub = await connect(5, "sub", { properties: { topicAliasMaximum: 2 } });
  const most = sub.connack.properties.topicAliasMaximum;
  assert.ok(most > 0, "no aliases are offered");
  const pub = await connect(5, "pub", { autoAssignTopicAlias: true });
  await sub.subscribeAsync("alias/#", { qos: 1 });
  const aliased = [];
  sub.on("packetreceive", (p) => p.cmd === "publish" && aliased.push(p.properties?.topicAlias ?? 0));
  let short = 0;
  pub.on("packetsend", (p) => { if (p.cmd === "publish" && p.topic === "") short++; });
  for (let i = 0; i < 40; i++) {
    await pub.publishAsync(`alias/of/some/length/${i % 4}`, String(i), { qos: 1 });
    const [m] = await take(sub, 1);
    assert.deepEqual([m.topic, m.payload], [`alias/of/some/length/${i % 4}`, String(i)]);
  }
  assert.ok(short > 20, `the publisher used its aliases ${short} times`);
  assert.ok(aliased.some((a) => a > 0), "the broker used no alias");
  assert.ok(aliased.every((a) => a <= 2), `aliases ${aliased}`);
});

await step("5: receive maximum of the client", async () => {
  const sub = await connect(5, "slow", { properties: { receiveMaximum: 3 } });
  await sub.subscribeAsync("t", { qos: 2 });
  let inFlight = 0, most = 0;
  sub.on("packetreceive", (p) => { if (p.cmd === "publish" && p.qos > 0) most = Math.max(most, ++inFlight); });
  sub.on("packetsend", (p) => { if (p.cmd === "puback" || p.cmd === "pubcomp") inFlight--; });
  const pub = await connect(5, "pub");
  for (const [i, payload] of range(100).entries()) await pub.publishAsync("t", payload, { qos: 1 + (i % 2) });
  assert.deepEqual(payloads(await take(sub, 100)).sort(), range(100));
  assert.ok(most <= 3, `${most} in flight`);
});

await step("5: session expiry, taken back by DISCONNECT", async () => {
  const first = await connect(5, "e", kept(5));
  await first.subscribeAsync("t", { qos: 1 });
  await first.endAsync(false, { reasonCode: 0, properties: { sessionExpiryInterval: 0 } });
  assert.equal((await connect(5, "e", kept(5))).connack.sessionPresent, false);
});

await step("5: options of a subscription", async () => {
  const pub = await connect(5, "pub");
  await pub.publishAsync("o/kept", "old", { qos: 1, retain: true });
  const client = await connect(5, "c");
  await client.subscribeAsync("o/#", { qos: 1, nl: true, rap: true, rh: 2 });
  await client.publishAsync("o/own", "own", { qos: 1 });
  await pub.publishAsync("o/kept", "new", { qos: 1, retain: true });
  const [m] = await take(client, 1);
  assert.deepEqual([m.payload, m.retain], ["new", true]);
  await client.subscribeAsync("o/#", { qos: 1, nl: false, rap: false, rh: 0 });
  assert.deepEqual(payloads(await take(client, 1)), ["new"]);
});

await step("5: takeover and reason codes", async () => {
  const old = await connect(5, "c");
  const told = new Promise((resolve) => { old.once("disconnect", (p) => resolve(p.reasonCode)); });
  const fresh = await connect(5, "c");
  assert.equal(await told, 0x8e);
  await assert.rejects(fresh.publishAsync("$SYS/x", "x", { qos: 1 }));
  await assert.rejects(fresh.publishAsync("$SYS/x", "x", { qos: 2 }));
  await fresh.publishAsync("t", "x", { qos: 2 });
});
process.exit(0);
