// Signs in on the playground of a broker that lets nobody in anonymously.
// Arguments: the page's address, the browser, user, password.

import assert from "node:assert/strict";
import { launch } from "./browser.mjs";

const [address, executablePath, user, password] = process.argv.slice(2);
const { browser, open, step } = await launch(executablePath, address);
const page = await open({ viewport: { width: 1440, height: 1000 } });
const panels = ["mqtt", "wamp", "json"];

await step("without credentials nobody connects, and each panel says why", async () => {
  await page.getByRole("button", { name: "Connect all three" }).click();
  for (const panel of panels) {
    const state = page.locator(`#${panel}-state[data-state="failed"]`);
    await state.waitFor();
    assert.match(await state.innerText(), /authori[sz]|authentication|permission/i, panel);
  }
});

for (const client of ["bare", "sdk"]) {
  await step(`with user and password all connect; JSON with ${client}`, async () => {
    if (client === "bare") await page.getByText("Sign in", { exact: true }).click();
    await page.getByLabel("User").fill(user);
    await page.getByLabel("Password or token").fill(password);
    await page.locator("#json-client").selectOption(client);
    await page.getByRole("button", { name: "Connect all three" }).click();
    for (const panel of panels) {
      await page.locator(`#${panel}-state[data-state="open"]`).waitFor();
      await page.locator(`#${panel}-subs li`).waitFor();
    }
  });
}

await step("a refused publish says so", async () => {
  await page.getByLabel("MQTT topic, JSON channel").fill("secret/x");
  for (const panel of panels) {
    await page.locator(`#${panel}-publish button[type=submit]`).click();
    await page.locator(`#${panel}-outcome.failed`, { hasText: /authori[sz]|permission/i }).waitFor();
  }
});

await browser.close();
