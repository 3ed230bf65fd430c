// The JSON protocol, twice: by hand over the browser's WebSocket object, and
// with the centrifuge SDK. Both speak the same commands; by hand it is one JSON
// object per line, {"id": 1, "subscribe": {"channel": "demo/#"}}, answered by
// {"id": 1, "subscribe": {…}} or {"id": 1, "error": {…}}.

/* global Centrifuge */

/** What connect carries: a token, or a user with a password, or nothing. */
function proof({ user, secret }) {
  if (user) return { data: { user, password: secret } };
  return secret ? { token: secret } : {};
}

export function openBare({ url, user, secret }, events) {
  const socket = new WebSocket(url, "json");
  const waiting = new Map(); // id -> [resolve, reject]
  let lastId = 0;

  const send = (command) => new Promise((resolve, reject) => {
    if (socket.readyState !== WebSocket.OPEN) {
      reject(new Error("not connected"));
      return;
    }
    const id = ++lastId;
    waiting.set(id, [resolve, reject]);
    socket.send(JSON.stringify({ id, ...command }));
  });

  let answerPings = false;
  const handle = (reply) => {
    if (Object.keys(reply).length === 0) { // a ping of the protocol
      if (answerPings) socket.send("{}");
    } else if (reply.push?.pub) {
      events.message(shown(reply.push.channel, reply.push.pub));
    } else if (waiting.has(reply.id)) {
      const [resolve, reject] = waiting.get(reply.id);
      waiting.delete(reply.id);
      if (reply.error) reject(new Error(`${reply.error.code} ${reply.error.message}`));
      else resolve(reply);
    }
  };
  socket.onmessage = (event) => {
    for (const line of event.data.split("\n")) if (line) handle(JSON.parse(line));
  };
  let why = "";
  socket.onopen = async () => {
    try {
      const reply = await send({ connect: proof({ user, secret }) });
      answerPings = Boolean(reply.connect.pong);
      events.open();
    } catch (err) {
      why = err.message;
      socket.close();
    }
  };
  socket.onclose = (event) => {
    for (const [, reject] of waiting.values()) reject(new Error("connection closed"));
    waiting.clear();
    events.closed(why || (event.code === 1000 || event.code === 1005 ? "" : `${event.code} ${event.reason}`.trim()));
  };

  return {
    subscribe: (channel) => send({ subscribe: { channel } }),
    unsubscribe: (channel) => send({ unsubscribe: { channel } }),
    async publish(channel, data, { retain }) {
      const reply = await send(retain ? { rpc: retained(channel, data) } : { publish: { channel, data } });
      return `Replied: on disk at offset ${(retain ? reply.rpc.data : reply.publish).offset}.`;
    },
    call: async (method, data) => (await send({ rpc: { method, data } })).rpc.data,
    close: () => socket.close(1000),
  };
}

export function openSDK({ url, user, secret }, events) {
  const client = new Centrifuge(url, { name: "playground", ...proof({ user, secret }) });
  client.on("connected", () => events.open());
  client.on("connecting", ({ code, reason }) => { if (code > 0) events.closed(`${reason}, trying again`); });
  client.on("disconnected", ({ code, reason }) => events.closed(code === 0 ? "" : `${code} ${reason}`));
  client.connect();

  return {
    subscribe: (channel) => new Promise((resolve, reject) => {
      const subscription = client.newSubscription(channel);
      subscription.on("publication", (publication) => events.message(shown(channel, publication)));
      subscription.on("subscribed", resolve);
      subscription.on("error", ({ error }) => reject(new Error(`${error.code} ${error.message}`)));
      subscription.on("unsubscribed", ({ code, reason }) => {
        client.removeSubscription(subscription);
        reject(new Error(`${code} ${reason}`));
      });
      subscription.subscribe();
    }),
    async unsubscribe(channel) {
      client.getSubscription(channel)?.unsubscribe();
    },
    async publish(channel, data, { retain }) {
      const { method, data: request } = retained(channel, data);
      await (retain ? client.rpc(method, request) : client.publish(channel, data)).catch(rethrow);
      return "Replied: the message is on disk.";
    },
    call: async (method, data) => (await client.rpc(method, data).catch(rethrow)).data,
    close: () => client.disconnect(),
  };
}

// Without data (an empty field) this clears the retained value.
const retained = (channel, data) => ({ method: "parley.publish", data: { channel, data: data === "" ? undefined : data, retain: true } });

function rethrow(err) {
  throw err instanceof Error ? err : new Error(`${err.code} ${err.message}`);
}

// A retained value is older than the subscription's position: the broker names
// its offset in the tags, so that no SDK goes back to it.
function shown(channel, { data, offset, tags = {} }) {
  const payload = typeof data === "string" ? data : JSON.stringify(data);
  return {
    topic: tags.topic ?? channel,
    payload: tags.encoding === "base64" ? `base64 ${payload}` : payload,
    offset: offset ?? tags.offset,
    via: tags.via,
    retained: tags.retained === "true",
  };
}
