// The page: three panels around one topic.

import { announcer } from "./announce.js";
import { openBare, openSDK } from "./client-json.js";
import { openMQTT } from "./client-mqtt.js";
import { openWAMP } from "./client-wamp.js";
import { Panel } from "./panel.js";
import { topicOf, topicProblem, uriOf } from "./topic.js";

const find = (id) => document.getElementById(id);
const checked = (id) => find(id).checked;
const announce = announcer(find("announcer"));

// The broker is where the page came from.
const base = new URL(".", location.href);
base.protocol = base.protocol === "https:" ? "wss:" : "ws:";
const endpoint = (path) => new URL(path, base).href;
find("broker-url").textContent = base.href;

const signIn = (path) => ({
  url: endpoint(path),
  user: find("auth-user").value,
  secret: find("auth-secret").value,
  realm: find("auth-realm").value,
});

find("sign-in").addEventListener("submit", (event) => event.preventDefault());

// ---- one topic, two notations ------------------------------------------------

const topicField = find("topic-mqtt");
const uriField = find("topic-wamp");

function topicSays(problem, field) {
  find("topic-error").textContent = problem;
  for (const f of [topicField, uriField]) f.setAttribute("aria-invalid", String(Boolean(problem) && f === field));
}

topicField.addEventListener("input", () => {
  topicSays(topicProblem(topicField.value), topicField);
  uriField.value = topicField.value === "" ? "" : uriOf(topicField.value);
});

uriField.addEventListener("input", () => {
  try {
    topicField.value = topicOf(uriField.value);
    topicSays("", uriField);
  } catch (err) {
    topicSays(err.message, uriField);
  }
});

// ---- the panels --------------------------------------------------------------

// JSON where it is JSON; anything else is text.
function value(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const mqtt = new Panel("mqtt", {
  announce,
  open: (events) => openMQTT(signIn("mqtt"), events),
  target: () => topicField.value,
  payload: (text) => text,
  subscribeOptions: () => ({ qos: Number(find("mqtt-sub-qos").value) }),
  publishOptions: () => ({ qos: Number(find("mqtt-qos").value), retain: checked("mqtt-retain") }),
});

const wamp = new Panel("wamp", {
  announce,
  open: (events) => openWAMP(signIn("wamp"), events),
  target: () => uriField.value,
  payload: value,
  subscribeOptions: () => ({ match: find("wamp-match").value, getRetained: checked("wamp-get-retained") }),
  publishOptions: () => ({ acknowledge: checked("wamp-ack"), retain: checked("wamp-retain") }),
});

const json = new Panel("json", {
  announce,
  open: (events) => (find("json-client").value === "sdk" ? openSDK : openBare)(signIn("json"), events),
  target: () => topicField.value,
  payload: value,
  subscribeOptions: () => ({}),
  publishOptions: () => ({ retain: checked("json-retain") }),
});

find("json-client").addEventListener("change", () => {
  const sdk = find("json-client").value === "sdk";
  find("json-client-name").textContent = sdk ? "the centrifuge SDK" : "the WebSocket object";
  if (json.client) json.disconnect();
});

find("connect-all").addEventListener("click", async () => {
  for (const panel of [mqtt, wamp, json]) {
    if (panel.client || !(await panel.connect())) continue;
    try {
      await panel.subscribe(panel.part("filter").value);
    } catch (err) {
      panel.outcome(err.message, true);
    }
  }
});

// ---- a procedure of one panel, called from another ---------------------------

let unregister = null;

function registered(undo) {
  unregister = undo;
  find("wamp-register-button").textContent = undo ? "Unregister" : "Register";
  find("wamp-procedure").readOnly = Boolean(undo);
}
wamp.onEnded = () => registered(null);

wamp.onSubmit("register", async () => {
  const client = wamp.requireClient();
  if (unregister) {
    await unregister();
    registered(null);
    wamp.outcome("Unregistered.");
    return;
  }
  const procedure = find("wamp-procedure").value;
  const undo = await client.register(procedure, (args) => {
    wamp.outcome(`Called with ${args.join(", ")}.`);
    return args.reduce((sum, x) => sum + Number(x), 0);
  });
  registered(undo);
  wamp.outcome(`Registered ${procedure}: call it from the JSON panel.`);
});

json.onSubmit("call", async () => {
  const result = find("json-result");
  result.textContent = "";
  const args = value(`[${find("json-args").value}]`);
  if (!Array.isArray(args)) throw new Error("Arguments are JSON values with commas between them.");
  const answer = await json.requireClient().call(find("json-procedure").value, { args, kwargs: {} });
  result.textContent = `= ${JSON.stringify(answer)}`;
  announce(`JSON: the result is ${JSON.stringify(answer)}.`);
});
