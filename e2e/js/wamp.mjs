// WAMP with autobahn-js over each of its serializers. Its handlers see only part
// of an EVENT's details: the serializer is wrapped to note all of them.

import { createRequire } from "node:module";
import { burst, hex, isBytes, replace } from "./bytes.mjs";

const autobahn = createRequire(import.meta.url)("autobahn");

const serializers = {
  json: autobahn.serializer.JSONSerializer,
  msgpack: autobahn.serializer.MsgpackSerializer,
  cbor: autobahn.serializer.CBORSerializer,
};

const EVENT = 36;

// Binary is a type of MessagePack and CBOR; in JSON it is a string that begins
// with U+0000 (WAMP specification, section "Binary conversion of JSON strings").
function outgoing(name, value) {
  return replace(value, (v) => {
    if (v?.$hex === undefined) return undefined;
    const bytes = Buffer.from(v.$hex, "hex");
    return name === "json" ? "\0" + bytes.toString("base64") : bytes;
  });
}

function incoming(value) {
  return replace(value, (v) => {
    if (isBytes(v)) return hex(v);
    if (typeof v === "string" && v.startsWith("\0")) return hex(Buffer.from(v.slice(1), "base64"));
    return undefined;
  });
}

function failure(err) {
  if (err instanceof Error) return err;
  return Object.assign(new Error([err.error, ...(err.args ?? [])].join(": ")), { code: err.error });
}

// session names a durable session: autobahn-js lets nothing else of HELLO be set
// than authextra.
export async function openWAMP(name, { url, user, secret, realm = "realm1", session: durable, expiry }, events) {
  let position = {};
  let gone = false;
  const unanswered = new Set();
  const serializer = new serializers[name]();
  const read = serializer.unserialize.bind(serializer);
  serializer.unserialize = (data) => {
    const message = read(data);
    if (message[0] === EVENT) position = message[3];
    return message;
  };
  const connection = new autobahn.Connection({
    realm,
    transports: [{ type: "websocket", url, serializers: [serializer], protocols: ["wamp.2." + name] }],
    max_retries: 0,
    retry_if_unreachable: false,
    authid: user,
    authmethods: secret ? ["ticket"] : undefined,
    authextra: durable && { _parley_session: durable, _parley_expiry: expiry },
    onchallenge: () => secret,
    on_user_error: (err) => { if (err instanceof Error) events("unhandled", { text: String(err) }); }, // else a procedure's own
  });
  // autobahn-js' own Deferred rejections are handled where they are awaited.
  const session = await new Promise((resolve, reject) => {
    connection.onopen = (opened, details) => resolve(Object.assign(opened, { details }));
    connection.onclose = (reason, details) => {
      events("closed", { reason: details.reason, message: details.message });
      gone = true;
      for (const reject of unanswered) reject(new Error(`connection closed: ${details.reason} ${details.message}`));
      reject(Object.assign(new Error(`${reason}: ${details.reason}`), { code: details.reason }));
      return true;
    };
    connection.open();
  });
  const subscriptions = new Map();
  const registrations = new Map();
  // autobahn-js leaves what is unanswered pending when the connection ends.
  const held = (promise) => new Promise((resolve, reject) => {
    unanswered.add(reject);
    if (gone) reject(new Error("connection closed"));
    Promise.resolve(promise).then(resolve, (err) => reject(failure(err))).finally(() => unanswered.delete(reject));
  });

  return {
    opened: { session: session.id, protocol: session.details.transport.protocol, authid: session.details.authid, authrole: session.details.authrole,
      sessionPresent: session.details._parley_session_present, subscriptions: session.details._parley_subscriptions },
    // options are those of SUBSCRIBE, besides match and get_retained.
    async subscribe({ filter, match, getRetained = false, options = {} }) {
      const handler = (args, kwargs, event) => events("message", {
        topic: event.topic, payload: incoming(Object.keys(kwargs).length > 0 ? { args, kwargs } : { args }),
        offset: position._parley_offset, via: position._parley_via, retained: event.retained, publication: event.publication,
        redelivered: position._parley_redelivered, replayed: position._parley_replayed,
      });
      subscriptions.set(filter, await held(session.subscribe(filter, handler, { ...(match && { match }), get_retained: getRetained, ...options })));
    },
    async unsubscribe({ filter }) {
      await held(session.unsubscribe(subscriptions.get(filter)));
    },
    // Everything of the subscription up to the publication.
    ack: ({ filter, publication }) =>
      held(session.call("parley.ack", [subscriptions.get(filter).id, publication])).then((count) => ({ count })),
    history: ({ filter, bounds }) =>
      held(session.call("wamp.subscription.get_events", [subscriptions.get(filter).id], bounds)).then(({ args, kwargs }) => ({ events: args, ...kwargs })),
    async publish({ topic, payload, acknowledge = true, retain = false, key }) {
      const { args, kwargs } = outgoing(name, payload);
      const sent = session.publish(topic, args, kwargs, { acknowledge, retain, exclude_me: false, ...(key && { _parley_key: key }) });
      return acknowledge ? { publication: (await held(sent)).id } : {};
    },
    burst: ({ topic, prefix, count, window = 20 }) =>
      burst(count, window, (i) => held(session.publish(topic, [prefix + i], {}, { acknowledge: true, exclude_me: false }))),
    // Answers every call with what it got, or fails with the error URI given.
    async register({ procedure, answer, error }) {
      const endpoint = (args = [], kwargs = {}) => {
        if (error) throw new autobahn.Error(error, ["refused"], { asked: incoming(args) });
        if (answer === "sum") return args.reduce((a, b) => a + b, 0);
        if (answer === "pair") return new autobahn.Result(args, kwargs);
        if (answer === "bytes") return outgoing(name, { $hex: "00ff80" });
        return args[0];
      };
      registrations.set(procedure, await held(session.register(procedure, endpoint)));
    },
    unregister: ({ procedure }) => held(session.unregister(registrations.get(procedure))).then(() => ({})),
    async call({ procedure, args = [], kwargs = {} }) {
      const result = await held(session.call(procedure, outgoing(name, args), outgoing(name, kwargs)));
      return { value: incoming(result instanceof autobahn.Result ? { args: result.args, kwargs: result.kwargs } : result) };
    },
    close: async () => connection.close(),
  };
}
