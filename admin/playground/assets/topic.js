// One topic space in two notations: the topic a/b/c is the WAMP URI a.b.c. What
// a URI component cannot hold is escaped as %XX of its UTF-8 bytes; an empty
// level is %00. The broker's package msg does the same (topic.go, uri.go).

const escaped = /[.%\p{White_Space}\p{Cc}]/gu;
const utf8 = new TextEncoder();

function escape(character) {
  return Array.from(utf8.encode(character), (b) => "%" + b.toString(16).toUpperCase().padStart(2, "0")).join("");
}

/** The WAMP URI of a topic, or of a topic's beginning. */
export function uriOf(topic) {
  return topic.split("/").map((level) => (level === "" ? "%00" : level.replace(escaped, escape))).join(".");
}

/** The topic of a WAMP URI. Throws an Error that says why it is none. */
export function topicOf(uri) {
  const topic = uri.split(".").map((component) => {
    if (component === "") throw new Error("A WAMP URI has no empty components.");
    if (component === "%00") return "";
    try {
      return decodeURIComponent(component);
    } catch {
      throw new Error("This URI has an escape that stands for nothing.");
    }
  }).join("/");
  const problem = topicProblem(topic);
  if (problem) throw new Error(problem);
  if (uriOf(topic) !== uri) throw new Error(`This is no URI of a topic; did you mean ${uriOf(topic)}?`);
  return topic;
}

/** Why nobody can publish to the topic, or "". */
export function topicProblem(topic) {
  if (topic === "") return "A topic has at least one character.";
  if (/[+#]/.test(topic)) return "A topic to publish to has no wildcards (+ and #).";
  if (/\p{Cc}/u.test(topic)) return "A topic has no control characters.";
  const first = topic.split("/", 1)[0];
  if (first.startsWith("$") || first === "wamp" || first === "parley") return "The broker keeps topics below $, wamp and parley to itself.";
  return "";
}
