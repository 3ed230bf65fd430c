// Drives the playground in headless Chromium and reports each step as a line of
// JSON, {"step", "error"}. Arguments: the page's address, a folder for
// screenshots, the browser.

import assert from "node:assert/strict";
import { launch } from "./browser.mjs";

const [address, shots, executablePath] = process.argv.slice(2);

const { browser, open, step, complaints, foreign } = await launch(executablePath, address);

const page = await open({ colorScheme: "light", viewport: { width: 1440, height: 1000 } });
const panels = ["mqtt", "wamp", "json"];
const state = (panel) => page.locator(`#${panel}-state`);
const newest = (panel) => page.locator(`#${panel}-log li`).first();

async function connectAll() {
  await page.getByRole("button", { name: "Connect all three" }).click();
  for (const panel of panels) {
    await page.locator(`#${panel}-state[data-state="open"]`).waitFor();
    await page.locator(`#${panel}-subs li`).waitFor();
  }
}

/** Publishes payload in one panel and returns what each panel then shows. */
async function cross(from, payload) {
  await page.locator(`#${from}-payload`).fill(payload);
  await page.locator(`#${from}-publish button[type=submit]`).click();
  const shown = {};
  for (const panel of panels) {
    const item = newest(panel).filter({ hasText: payload });
    await item.waitFor();
    shown[panel] = {
      offset: await item.locator(".offset").innerText(),
      via: await item.locator(".via").innerText(),
      topic: await item.locator(".topic").innerText(),
      retained: await item.locator(".flag").count(),
    };
  }
  return shown;
}

function expectCrossing(shown, from, offset) {
  for (const panel of panels) {
    assert.match(shown[panel].offset, offset, `${panel}: offset`);
    assert.equal(shown[panel].offset, shown.mqtt.offset, `${panel}: the offset is the same everywhere`);
    assert.equal(shown[panel].via, `via ${from}`, `${panel}: via`);
    assert.equal(shown[panel].topic, panel === "wamp" ? "demo.hello" : "demo/hello", `${panel}: topic`);
  }
}

const stored = /^#\d+$/;
const transient = /^transient$/;

await step("the title and the headings are there", async () => {
  assert.equal(await page.title(), "Parley playground");
  for (const name of ["MQTT", "WAMP", "JSON"]) await page.getByRole("region", { name: new RegExp(`^${name}`) }).waitFor();
});

await step("the skip link is the first stop of the keyboard", async () => {
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the three clients");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "mqtt-connect");
});

await step("one topic in two notations", async () => {
  const topic = page.getByLabel("MQTT topic, JSON channel");
  const uri = page.getByLabel("WAMP URI");
  for (const [a, b] of [["a/b.c/d e", "a.b%2Ec.d%20e"], ["/a//b", "%00.a.%00.b"], ["ü/€", "ü.€"], ["demo/hello", "demo.hello"]]) {
    await topic.fill(a);
    assert.equal(await uri.inputValue(), b);
    await topic.fill("other");
    await uri.fill(b);
    assert.equal(await topic.inputValue(), a);
  }
  for (const bad of ["a..b", "a.%2f", "a b", "wamp.x"]) {
    await uri.fill(bad);
    assert.notEqual(await page.locator("#topic-error").innerText(), "", bad);
    assert.equal(await uri.getAttribute("aria-invalid"), "true", bad);
  }
  await topic.fill("demo/hello");
  assert.equal(await page.locator("#topic-error").innerText(), "");
});

await step("all three connect and subscribe", connectAll);

for (const from of panels) {
  await step(`published by ${from}: arrives in all panels with offset and via`, async () => {
    expectCrossing(await cross(from, `{"stored":"${from}"}`), from, stored);
  });
}

await step("what nobody acknowledges says so: MQTT QoS 0", async () => {
  await page.locator("#mqtt-qos").selectOption("0");
  expectCrossing(await cross("mqtt", "transient from mqtt"), "mqtt", transient);
  await page.locator("#mqtt-qos").selectOption("1");
});

await step("what nobody acknowledges says so: WAMP without acknowledge", async () => {
  await page.getByLabel("acknowledge").uncheck();
  expectCrossing(await cross("wamp", "transient from wamp"), "wamp", transient);
  await page.getByLabel("acknowledge").check();
});

await step("text that is no JSON arrives as text", async () => {
  expectCrossing(await cross("mqtt", "just text: ü"), "mqtt", stored);
});

await step("a procedure of the WAMP panel, called from the JSON panel", async () => {
  await page.getByRole("button", { name: "Register", exact: true }).click();
  await page.getByRole("button", { name: "Unregister" }).waitFor();
  await page.getByRole("button", { name: "Call", exact: true }).click();
  await page.locator("#json-result", { hasText: "= 5" }).waitFor();
  await page.locator("#wamp-outcome", { hasText: "Called with 2, 3." }).waitFor();
  await page.locator("#json-args").fill("20, 22");
  await page.locator("#json-args").press("Enter");
  await page.locator("#json-result", { hasText: "= 42" }).waitFor();
});

await step("a procedure that nobody has", async () => {
  await page.getByRole("button", { name: "Unregister" }).click();
  await page.getByRole("button", { name: "Register", exact: true }).waitFor();
  await page.getByRole("button", { name: "Call", exact: true }).click();
  await page.locator("#json-outcome.failed", { hasText: "104" }).waitFor();
});

for (const from of panels) {
  await step(`retained by ${from}: a new subscription gets it, marked`, async () => {
    await page.locator(`#${from}-retain`).check();
    await cross(from, `{"kept":"${from}"}`);
    await page.locator(`#${from}-retain`).uncheck();
    for (const panel of panels) {
      await page.locator(`#${panel}-clear`).click();
      await page.locator(`#${panel}-subs button`).click();
      await page.locator(`#${panel}-subs li`).waitFor({ state: "detached" });
      await page.locator(`#${panel}-subscribe button[type=submit]`).click();
      const item = newest(panel).filter({ hasText: `{"kept":"${from}"}` });
      await item.waitFor();
      assert.match(await item.innerText(), /retained/, panel);
      assert.match(await item.locator(".offset").innerText(), stored, panel);
    }
  });
}

await step("with the centrifuge SDK in place of the bare WebSocket", async () => {
  await page.locator("#json-client").selectOption("sdk");
  await page.locator("#json-connect").click();
  await page.locator('#json-state[data-state="open"]').waitFor();
  await page.locator("#json-subscribe button[type=submit]").click();
  await page.locator("#json-subs li").waitFor();
  for (const from of panels) expectCrossing(await cross(from, `{"sdk":"${from}"}`), from, stored);
});

await step("a polite live region tells what happened", async () => {
  const region = page.locator("#announcer");
  assert.equal(await region.getAttribute("aria-live"), "polite");
  assert.match(await region.textContent(), /MQTT|WAMP|JSON/);
});

await step("keyboard alone: connect, subscribe, publish", async () => {
  const other = await open({ viewport: { width: 1440, height: 1000 } });
  await other.locator("#mqtt-connect").focus();
  await other.keyboard.press("Enter");
  await other.locator('#mqtt-state[data-state="open"]').waitFor();
  await other.keyboard.press("Tab");
  assert.equal(await other.evaluate(() => document.activeElement.id), "mqtt-filter");
  await other.keyboard.press("Enter");
  await other.locator("#mqtt-subs li").waitFor();
  await other.locator("#mqtt-publish button").focus();
  await other.keyboard.press("Space");
  await other.locator("#mqtt-log li", { hasText: '"from": "mqtt"' }).first().waitFor();
  await other.context().close();
});

await step("disconnecting ends all three", async () => {
  for (const panel of panels) {
    await page.locator(`#${panel}-connect`).click();
    await page.locator(`#${panel}-state[data-state="closed"]`).waitFor();
    assert.equal(await page.locator(`#${panel}-subs li`).count(), 0);
  }
});

await step("light, dark and narrow", async () => {
  await page.locator("#json-client").selectOption("bare");
  for (const panel of panels) await page.locator(`#${panel}-clear`).click();
  await connectAll();
  for (const from of panels) await cross(from, { mqtt: '{"from": "mqtt"}', wamp: '{"from":"wamp"}', json: '{"from":"json"}' }[from].replaceAll(" ", ""));
  const colours = {};
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    colours[scheme] = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.screenshot({ path: `${shots}/playground-${scheme}.png`, fullPage: true });
  }
  assert.notEqual(colours.light, colours.dark);
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 390, height: 844 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth), "scrolls sideways");
  await page.screenshot({ path: `${shots}/playground-narrow.png`, fullPage: true });
});

await step("nothing comes from elsewhere, and the browser has nothing to complain about", async () => {
  assert.deepEqual(foreign.filter((url) => !url.startsWith(address.replace(/^http/, "ws"))), []);
  assert.deepEqual(complaints, []);
});

await browser.close();
