// MQTT 3.1.1 and 5 with MQTT.js.

import mqtt from "mqtt";
import WebSocket from "ws";
import { burst, shown } from "./bytes.mjs";

// session is the client id of a session that is resumed and outlives the
// connection by expiry seconds.
export async function openMQTT(version, { url, user, secret, session, expiry = 600, clientId = session, will, position = true, keepalive = 30 }, events) {
  let socket = null;
  // What waits for an answer when the connection ends: MQTT.js would wait on.
  const unanswered = new Set();
  const options = {
    protocolVersion: version,
    clientId: clientId ?? "e2e-" + Math.random().toString(36).slice(2),
    clean: !session,
    reconnectPeriod: 0,
    connectTimeout: 10000,
    keepalive,
    username: user,
    password: secret,
    will: will && { ...will, payload: Buffer.from(will.payload) },
    createWebsocket(address, protocols) {
      socket = new WebSocket(address, protocols);
      socket.on("close", (code, reason) => {
        events("closed", { code, reason: reason.toString(), disconnect });
        for (const reject of unanswered) setImmediate(reject, new Error("connection closed"));
      });
      return socket;
    },
  };
  if (version === 5) {
    options.properties = { ...(position && { userProperties: { "parley-offset": "1" } }), ...(session && { sessionExpiryInterval: expiry }) };
  }

  let disconnect;
  const client = mqtt.connect(url, options);
  client.on("disconnect", (packet) => { disconnect = packet.reasonCode; });
  client.on("message", (topic, payload, packet) => {
    const user = packet.properties?.userProperties ?? {};
    events("message", {
      topic, payload: shown(payload), offset: user["parley-offset"] && Number(user["parley-offset"]), via: user["parley-via"],
      retained: packet.retain, qos: packet.qos, redelivered: packet.dup, contentType: packet.properties?.contentType,
    });
  });
  const connack = await new Promise((resolve, reject) => {
    client.once("connect", resolve);
    client.on("error", reject);
    client.once("close", () => reject(new Error("closed before CONNACK")));
  });

  const answered = (promise) => new Promise((resolve, reject) => {
    unanswered.add(reject);
    if (socket.readyState !== WebSocket.OPEN) reject(new Error("connection closed"));
    promise.then(resolve, reject).finally(() => unanswered.delete(reject));
  });
  const bytes = (payload) => (payload?.$hex !== undefined ? Buffer.from(payload.$hex, "hex") : Buffer.from(payload));
  return {
    opened: { protocol: socket.protocol, sessionPresent: connack.sessionPresent, properties: connack.properties },
    subscribe: async ({ filter, qos = 1 }) => {
      const granted = await answered(client.subscribeAsync(filter, { qos })).catch((err) => {
        throw Object.assign(err, { code: err.packet?.granted?.[0] ?? err.code });
      });
      return granted.map((g) => ({ filter: g.topic, qos: g.qos }));
    },
    unsubscribe: ({ filter }) => client.unsubscribeAsync(filter).then(() => ({})),
    publish: async ({ topic, payload, qos = 1, retain = false, contentType, properties }) => {
      const all = version === 5 ? { ...properties, ...(contentType && { contentType }) } : undefined;
      const answer = await answered(client.publishAsync(topic, bytes(payload), { qos, retain, properties: all }));
      return { reason: answer?.reasonCode ?? 0 };
    },
    burst: ({ topic, prefix, count, window = 20, qos = 1 }) =>
      burst(count, window, (i) => client.publishAsync(topic, prefix + i, { qos })),
    sever: async () => socket.terminate(),
    stop: async () => socket.pause(),
    close: () => client.endAsync().then(() => ({})),
  };
}
