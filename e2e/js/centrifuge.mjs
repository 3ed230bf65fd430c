// The JSON protocol with the centrifuge SDK, which offers no subprotocol of its
// own; with a WebSocket class that offers one it does.

import { Centrifuge } from "centrifuge";
import WebSocket from "ws";
import { burst } from "./bytes.mjs";

// data is sent with connect (a durable session); reconnect is the delay in ms
// before the SDK comes back by itself. Events "push" tell what else there is:
// {subscribed, …} of a subscription, {connected} again, {data} of a message push,
// and with pongs {pong, handled}: how many publications had come before the ping
// that the SDK answers, and how many of them its handlers have returned from.
// late {filter, after} subscribes while that many publications have come.
export async function openCentrifuge(subprotocol, { url, token = "", user, secret, data, reconnect = 60000, pongs = false, late }, events) {
  let socket = null;
  let came = 0, handled = 0, before = 0;
  class Offering extends WebSocket {
    constructor(address) {
      super(address, subprotocol ? [subprotocol] : []);
      socket = this;
      if (pongs) this.on("message", (frame) => frame.toString().split("\n").forEach((line) => {
        if (line === "{}") before = came;
        else if (line.includes('"pub":')) came++;
      }));
    }

    send(frame, ...rest) {
      if (pongs && frame === "{}") events("push", { pong: before, handled });
      super.send(frame, ...rest);
    }
  }
  const credentials = user && { user, password: secret };
  const client = new Centrifuge(url, {
    websocket: Offering, token, data: data || credentials ? { ...credentials, ...data } : undefined,
    minReconnectDelay: reconnect, maxReconnectDelay: Math.max(reconnect, 100),
  });
  const failed = ({ code, message }) => { throw Object.assign(new Error(message), { code }); };
  const received = (channel, server) => ({ data, offset, tags }) => {
    events("message", {
      topic: tags?.topic ?? channel, payload: data, encoding: tags?.encoding, offset: offset ?? (tags?.offset && Number(tags.offset)), via: tags?.via, retained: tags?.retained === "true", tags, server,
    });
    if (++handled === late?.after) methods.subscribe(late);
  };
  client.on("publication", (publication) => received(publication.channel, true)(publication));
  client.on("message", ({ data }) => events("push", { data }));
  const connected = await new Promise((resolve, reject) => {
    client.on("connected", resolve);
    client.on("connecting", ({ code, reason }) => { if (code > 0) events("closed", { code, reason, again: true }); });
    client.on("disconnected", ({ code, reason }) => {
      events("closed", { code, reason });
      reject(Object.assign(new Error(reason), { code }));
    });
    client.on("error", ({ error }) => reject(Object.assign(new Error(error.message), { code: error.code })));
    client.connect();
  });
  client.on("connected", (context) => events("push", { connected: context.data ?? {} }));

  const methods = {
    opened: { protocol: socket.protocol, client: connected.client, data: connected.data },
    subscribe: ({ filter, options }) => new Promise((resolve, reject) => {
      const subscription = client.newSubscription(filter, options);
      subscription.on("publication", received(filter, false));
      subscription.on("subscribed", (context) => {
        events("push", { subscribed: filter, recovered: context.recovered, was: context.wasRecovering, position: context.streamPosition });
        resolve({});
      });
      subscription.on("error", ({ error }) => reject(Object.assign(new Error(error.message), { code: error.code })));
      subscription.on("unsubscribed", ({ code, reason }) => reject(Object.assign(new Error(reason), { code })));
      subscription.subscribe();
    }),
    // The SDK does not wait for the reply: the next request does.
    async unsubscribe({ filter }) {
      const subscription = client.getSubscription(filter);
      subscription.unsubscribe();
      client.removeSubscription(subscription);
    },
    publish: ({ topic, payload, retain = false }) => (retain
      ? client.rpc("parley.publish", { channel: topic, data: payload, retain: true })
      : client.publish(topic, payload)).catch(failed).then(() => ({})),
    burst: ({ topic, prefix, count, window = 20 }) =>
      burst(count, window, (i) => client.publish(topic, prefix + i).catch(failed)),
    call: async ({ procedure, data }) => ({ value: (await client.rpc(procedure, data).catch(failed)).data }),
    rpc: async ({ method, data }) => (await client.rpc(method, data).catch(failed)).data,
    history: async ({ filter, options }) => client.history(filter, options).catch(failed),
    // Cuts the connection without a goodbye; the SDK comes back by itself.
    drop: async () => socket.terminate(),
    close: async () => client.disconnect(),
  };
  return methods;
}
