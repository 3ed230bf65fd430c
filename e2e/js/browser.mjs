// A headless Chromium that looks at the playground, and what goes wrong in it.

import { chromium } from "playwright-core";

export async function launch(executablePath, address) {
  const browser = await chromium.launch({
    executablePath,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
  const complaints = []; // of the browser, about the page
  const foreign = []; // requests to anywhere but the broker

  return {
    browser,
    complaints,
    foreign,
    /** Opens the page in a context of its own. */
    async open(options) {
      const context = await browser.newContext(options);
      const page = await context.newPage();
      page.setDefaultTimeout(15000);
      page.on("console", (m) => {
        const chatty = m.type() === "warning" && m.location().url.includes("/vendor/autobahn-"); // it warns of every close
        if (["error", "warning"].includes(m.type()) && !chatty) complaints.push(m.text());
      });
      page.on("pageerror", (err) => complaints.push(String(err)));
      page.on("request", (r) => { if (!r.url().startsWith(address)) foreign.push(r.url()); });
      await page.goto(address);
      return page;
    },
    /** Runs one step and reports it as a line of JSON. */
    async step(name, action) {
      try {
        await action();
        console.log(JSON.stringify({ step: name, error: "" }));
      } catch (err) {
        console.log(JSON.stringify({ step: name, error: err.stack ?? String(err) }));
      }
    },
  };
}
