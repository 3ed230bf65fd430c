// The JSON protocol by hand, over the WebSocket object of Node itself.

import { burst } from "./bytes.mjs";

const { WebSocket } = globalThis;
// autobahn-js would take this program for a browser.
delete globalThis.WebSocket;

export async function openBare({ url, protocol = "json", token, user, secret, data }, events) {
  const socket = protocol ? new WebSocket(url, protocol) : new WebSocket(url);
  const waiting = new Map();
  let lastId = 0;
  let pong = false;

  const send = (command) => new Promise((resolve, reject) => {
    const id = ++lastId;
    waiting.set(id, { resolve, reject });
    socket.send(JSON.stringify({ id, ...command }));
  });
  const handle = (line) => {
    const reply = JSON.parse(line);
    if (Object.keys(reply).length === 0) {
      if (pong) socket.send("{}");
    } else if (reply.push?.pub) {
      const { channel, pub } = reply.push;
      events("message", {
        topic: pub.tags?.topic ?? channel, payload: pub.data, encoding: pub.tags?.encoding, offset: pub.offset ?? (pub.tags?.offset && Number(pub.tags.offset)), via: pub.tags?.via,
        retained: pub.tags?.retained === "true", tags: pub.tags, line,
      });
    } else if (reply.push) {
      events("push", reply.push);
    } else {
      const { resolve, reject } = waiting.get(reply.id) ?? { resolve() {}, reject() {} }; // of a frame sent as given
      waiting.delete(reply.id);
      if (reply.error) reject(Object.assign(new Error(reply.error.message), { code: reply.error.code }));
      else resolve(reply);
    }
  };
  socket.onmessage = (event) => event.data.split("\n").filter(Boolean).forEach(handle);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onclose = (event) => {
      events("closed", { code: event.code, reason: event.reason });
      const err = Object.assign(new Error(`closed: ${event.code} ${event.reason}`), { code: event.code });
      for (const { reject } of waiting.values()) reject(err);
      reject(err);
    };
  });
  const { connect } = await send({ connect: { token, data: data ?? (user && { user, password: secret }) } });
  pong = connect.pong === true;

  return {
    opened: { protocol: socket.protocol, connect, data: connect.data },
    subscribe: async ({ filter, options }) => (await send({ subscribe: { channel: filter, ...options } })).subscribe,
    unsubscribe: ({ filter }) => send({ unsubscribe: { channel: filter } }).then(() => ({})),
    publish: ({ topic, payload, retain = false }) => send(retain
      ? { rpc: { method: "parley.publish", data: { channel: topic, data: payload, retain: true } } }
      : { publish: { channel: topic, data: payload } }).then((reply) => reply.rpc?.data ?? reply.publish ?? {}),
    burst: ({ topic, prefix, count, window = 20 }) =>
      burst(count, window, (i) => send({ publish: { channel: topic, data: prefix + i } })),
    call: async ({ procedure, data }) => ({ value: (await send({ rpc: { method: procedure, data } })).rpc.data }),
    rpc: async ({ method, data }) => (await send({ rpc: { method, data } })).rpc.data,
    // One frame exactly as given, for payloads that JavaScript cannot hold.
    async frame({ text }) {
      socket.send(text);
    },
    close: async () => socket.close(1000),
  };
}
