// paho-mqtt in headless Chromium, as 3.1 (subprotocol mqttv3.1) and as 3.1.1;
// each step is reported as a line of JSON. Arguments: the broker's HTTP address,
// the browser.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { launch } from "./browser.mjs";

const [address, executablePath] = process.argv.slice(2);
const script = createRequire(import.meta.url).resolve("paho-mqtt");
const { browser, step, complaints } = await launch(executablePath, address);
const context = await browser.newContext();
await context.addInitScript({ path: script });
const page = await context.newPage();
await page.goto(address + "healthz");

/** Runs in the page: little helpers around Paho.Client. */
await page.evaluate(() => {
  const promised = (f) => new Promise((onSuccess, reject) => f({ onSuccess, onFailure: (e) => reject(new Error(e.errorMessage ?? JSON.stringify(e))) }));
  window.connect = async (mqttVersion, clientId, options = {}) => {
    const client = new window.Paho.Client(location.hostname, Number(location.port), "/mqtt", clientId);
    client.inbox = [];
    client.onMessageArrived = (m) => client.inbox.push({ topic: m.destinationName, payload: m.payloadString, qos: m.qos, retained: m.retained });
    client.lost = new Promise((resolve) => { client.onConnectionLost = (e) => resolve(e.errorCode); });
    await promised((done) => client.connect({ mqttVersion, mqttVersionExplicit: true, timeout: 10, ...options, ...done }));
    client.sub = (filter, qos) => promised((done) => client.subscribe(filter, { qos, ...done }));
    client.pub = (topic, payload, qos, retained = false) => new Promise((resolve) => {
      const m = new window.Paho.Message(payload);
      Object.assign(m, { destinationName: topic, qos, retained });
      client.onMessageDelivered = resolve;
      client.send(m);
    });
    client.take = async (n) => {
      for (let i = 0; client.inbox.length < n && i < 1000; i++) await new Promise((r) => setTimeout(r, 10));
      return client.inbox.splice(0, n);
    };
    return client;
  };
});

for (const [version, name] of [[3, "3.1"], [4, "3.1.1"]]) {
  await step(`${name}: all pairs of QoS`, async () => {
    const got = await page.evaluate(async (version) => {
      const client = await window.connect(version, "c" + version, { cleanSession: true });
      const got = [];
      for (const granted of [0, 1, 2]) {
        await client.sub("t", granted);
        for (const qos of [0, 1, 2]) {
          await client.pub("t", `${qos}/${granted}`, qos);
          got.push(...await client.take(1));
        }
      }
      client.disconnect();
      return got;
    }, version);
    assert.deepEqual(got.map((m) => `${m.payload} ${m.qos}`), [0, 1, 2].flatMap((g) => [0, 1, 2].map((q) => `${q}/${g} ${Math.min(q, g)}`)));
  });

  await step(`${name}: session, will and retained`, async () => {
    const got = await page.evaluate(async (version) => {
      const witness = await window.connect(version, "w" + version);
      await witness.sub("will", 1);
      const will = new window.Paho.Message("gone");
      Object.assign(will, { destinationName: "will", qos: 1, retained: true });
      const first = await window.connect(version, "device" + version, { cleanSession: false, willMessage: will });
      await first.sub("t", 2);
      const second = await window.connect(version, "device" + version, { cleanSession: false }); // takes over
      await first.lost;
      second.disconnect();
      for (const i of [1, 2, 3]) await witness.pub("t", String(i), 2);
      const third = await window.connect(version, "device" + version, { cleanSession: false });
      const missed = await third.take(3);
      const late = await window.connect(version, "late" + version);
      await late.sub("will", 1);
      const result = { missed, will: await witness.take(1), retained: await late.take(1) };
      await witness.pub("will", "", 1, true);
      for (const c of [witness, third, late]) c.disconnect();
      return result;
    }, version);
    assert.deepEqual(got.missed.map((m) => m.payload + m.qos), ["12", "22", "32"]);
    assert.deepEqual(got.will, [{ topic: "will", payload: "gone", qos: 1, retained: false }]);
    assert.deepEqual(got.retained, [{ topic: "will", payload: "gone", qos: 1, retained: true }]);
  });
}

await step("nothing in the browser's log", () => assert.deepEqual(complaints, []));
await browser.close();
