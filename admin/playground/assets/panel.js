// One client's panel: its connection, its subscriptions, its messages. What is
// particular to a protocol comes in by the constructor.

const keepMessages = 200;

const find = (id) => document.getElementById(id);

function element(name, className, text) {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

export class Panel {
  /**
   * name: "mqtt" and so on, the prefix of the panel's ids;
   * open(events): starts a client;
   * subscribeOptions(), publishOptions(): what the panel's switches say;
   * announce(text): tells a screen reader, politely.
   */
  constructor(name, { open, subscribeOptions, publishOptions, target, payload, announce }) {
    Object.assign(this, { name, open, subscribeOptions, publishOptions, target, payload, announce });
    this.client = null;
    this.subscribed = new Set();
    this.part("connect").addEventListener("click", () => (this.client ? this.disconnect() : this.connect()));
    this.onSubmit("subscribe", () => this.subscribe(this.part("filter").value));
    this.onSubmit("publish", () => this.publish());
    this.part("clear").addEventListener("click", () => this.part("log").replaceChildren());
    this.setState("closed", "not connected");
  }

  get label() { return this.name.toUpperCase(); }

  part(suffix) { return find(`${this.name}-${suffix}`); }

  /** Runs action when the form is sent, and shows how it failed. */
  onSubmit(form, action) {
    this.part(form).addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        await action();
      } catch (err) {
        this.outcome(err.message, true);
      }
    });
  }

  setState(state, text) {
    const shown = this.part("state");
    shown.dataset.state = state;
    shown.textContent = text;
    const button = this.part("connect");
    button.textContent = this.client ? "Disconnect" : "Connect";
    button.append(element("span", "visually-hidden", ` ${this.label}`));
  }

  outcome(text, failed = false) {
    const shown = this.part("outcome");
    shown.textContent = text;
    shown.classList.toggle("failed", failed);
    this.announce(`${this.label}: ${text}`);
  }

  /** Opens a client; resolves when it is connected, or has failed to. */
  connect() {
    return new Promise((resolve) => {
      let current = true; // false once this connection was given up
      const client = this.open({
        open: () => {
          if (!current) return;
          this.setState("open", "connected");
          this.announce(`${this.label} connected.`);
          resolve(true);
        },
        closed: (why) => {
          if (!current) return;
          current = false;
          this.ended(why);
          client.close?.();
          resolve(false);
        },
        message: (m) => current && this.show(m),
      });
      this.client = client;
      this.giveUp = () => { current = false; resolve(false); };
      this.setState("opening", "connecting");
    });
  }

  disconnect() {
    const client = this.client;
    this.giveUp();
    this.ended("");
    client.close();
  }

  ended(why) {
    this.client = null;
    this.subscribed.clear();
    this.part("subs").replaceChildren();
    this.setState(why ? "failed" : "closed", why || "not connected");
    this.announce(`${this.label} ${why ? "failed: " + why : "disconnected"}.`);
    this.onEnded?.();
  }

  requireClient() {
    if (!this.client) throw new Error("Connect first.");
    return this.client;
  }

  async subscribe(filter) {
    const client = this.requireClient();
    if (this.subscribed.has(filter)) throw new Error(`Already subscribed to ${filter}.`);
    await client.subscribe(filter, this.subscribeOptions());
    this.subscribed.add(filter);
    const item = element("li", "", filter);
    const remove = element("button", "", "×");
    remove.type = "button";
    remove.setAttribute("aria-label", `Unsubscribe ${filter}`);
    remove.addEventListener("click", async () => {
      try {
        await client.unsubscribe(filter);
      } catch (err) {
        this.outcome(err.message, true);
        return;
      }
      this.subscribed.delete(filter);
      item.remove();
      this.part("filter").focus();
      this.outcome(`Unsubscribed from ${filter}.`);
    });
    item.append(remove);
    this.part("subs").append(item);
    this.outcome(`Subscribed to ${filter}.`);
  }

  async publish() {
    this.outcome(await this.requireClient().publish(this.target(), this.payload(this.part("payload").value), this.publishOptions()));
  }

  /** Adds a received message on top of the panel's list. */
  show({ topic, payload, offset, via, retained }) {
    const stored = offset !== undefined && offset !== null;
    const item = element("li", "new");
    item.append(element("span", stored ? "offset" : "offset transient", stored ? `#${offset}` : "transient"));
    if (via) {
      const badge = element("span", "via", `via ${via}`);
      badge.dataset.via = via;
      item.append(badge);
    }
    if (retained) item.append(element("span", "flag", "retained"));
    item.append(element("code", "topic", topic), element("pre", "", payload));
    const log = this.part("log");
    log.prepend(item);
    while (log.childElementCount > keepMessages) log.lastElementChild.remove();
    this.announce(`${this.label} received ${topic}, ${stored ? `offset ${offset}` : "transient"}${via ? `, via ${via}` : ""}.`);
  }
}
