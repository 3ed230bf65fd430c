// The JSON protocol with the centrifuge SDK, which offers no subprotocol of its
// own; with a WebSocket class that offers one it does.

import { Centrifuge } from "centrifuge";
import WebSocket from "ws";
import { burst } from "./bytes.mjs";

export async function openCentrifuge(subprotocol, { url, token = "", user, secret }, events) {
  let socket = null;
  class Offering extends WebSocket {
    constructor(address) {
      super(address, subprotocol ? [subprotocol] : []);
      socket = this;
    }
  }
  const client = new Centrifuge(url, { websocket: Offering, token, data: user && { user, password: secret }, minReconnectDelay: 60000 });
  const failed = ({ code, message }) => { throw Object.assign(new Error(message), { code }); };
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

  return {
    opened: { protocol: socket.protocol, client: connected.client },
    subscribe: ({ filter }) => new Promise((resolve, reject) => {
      const subscription = client.newSubscription(filter);
      subscription.on("publication", ({ data, offset, tags }) => events("message", {
        topic: tags?.topic ?? filter, payload: data, encoding: tags?.encoding, offset: offset ?? (tags?.offset && Number(tags.offset)), via: tags?.via, retained: tags?.retained === "true", tags,
      }));
      subscription.on("subscribed", () => resolve({}));
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
    close: async () => client.disconnect(),
  };
}
