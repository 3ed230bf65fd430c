// MQTT 5 with MQTT.js. The CONNECT user property parley-offset asks the broker
// to name a message's offset and origin in user properties of each PUBLISH.

/* global mqtt */

const hex = (code) => "0x" + code.toString(16).toUpperCase().padStart(2, "0");

export function openMQTT({ url, user, secret }, events) {
  const client = mqtt.connect(url, {
    protocolVersion: 5,
    clientId: "playground-" + crypto.getRandomValues(new Uint32Array(2)).join("-"),
    clean: true,
    reconnectPeriod: 0,
    connectTimeout: 8000,
    keepalive: 30,
    timerVariant: "native", // the other variants start a worker from a blob: address
    username: user || undefined,
    password: secret || undefined,
    properties: { userProperties: { "parley-offset": "1" } },
  });
  let why = "";
  client.on("connect", () => events.open());
  client.on("error", (err) => { why = err.message; });
  client.on("disconnect", (packet) => { why = `DISCONNECT ${hex(packet.reasonCode ?? 0)} ${packet.properties?.reasonString ?? ""}`.trim(); });
  client.on("close", () => events.closed(why));
  client.on("message", (topic, payload, packet) => {
    const user = packet.properties?.userProperties ?? {};
    events.message({ topic, payload: show(payload), offset: user["parley-offset"], via: user["parley-via"], retained: packet.retain });
  });

  return {
    async subscribe(filter, { qos }) {
      const [granted] = await client.subscribeAsync(filter, { qos });
      if (granted && granted.qos >= 0x80) throw new Error("SUBACK " + hex(granted.qos));
    },
    unsubscribe: (filter) => client.unsubscribeAsync(filter),
    async publish(topic, payload, { qos, retain }) {
      await client.publishAsync(topic, payload, { qos, retain });
      if (qos > 0) return "PUBACK: the message is on disk.";
      return retain ? "Sent with QoS 0. A retained message is stored all the same." : "Sent with QoS 0: transient, nobody acknowledges it.";
    },
    close: () => client.end(),
  };
}

function show(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return `${bytes.length} bytes: ` + Array.from(bytes.subarray(0, 64), (b) => b.toString(16).padStart(2, "0")).join(" ");
  }
}
