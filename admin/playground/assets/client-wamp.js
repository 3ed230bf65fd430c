// WAMP with autobahn-js. Its handlers see only part of an EVENT's details, so
// the serializer is wrapped: it notes the position of each EVENT that it reads.

/* global autobahn */

const EVENT = 36; // [EVENT, subscription, publication, details, args, kwargs]

export function openWAMP({ url, user, secret, realm }, events) {
  let position = {}; // of the EVENT that is being handled: handlers run before the next one is read
  const json = new autobahn.serializer.JSONSerializer();
  const read = json.unserialize.bind(json);
  json.unserialize = (data) => {
    const message = read(data);
    if (message[0] === EVENT) position = message[3];
    return message;
  };

  const connection = new autobahn.Connection({
    realm,
    transports: [{ type: "websocket", url, serializers: [json], protocols: ["wamp.2.json"] }],
    max_retries: 0,
    retry_if_unreachable: false,
    authid: user || undefined,
    authmethods: secret ? ["ticket"] : undefined,
    onchallenge: () => secret,
    on_user_error: (err) => console.error(err),
  });
  let session = null;
  const held = new Map();
  connection.onopen = (opened) => {
    session = opened;
    events.open();
  };
  let ended = false;
  connection.onclose = (reason, details) => {
    ended = true;
    session = null;
    events.closed([details.reason, details.message].filter(Boolean).join(": ") || (reason === "unreachable" ? "unreachable" : ""));
    return true; // no reconnecting
  };
  connection.open();

  const live = () => {
    if (!session) throw new Error("not connected");
    return session;
  };
  return {
    async subscribe(uri, { match, getRetained }) {
      const handler = (args, kwargs, event) => events.message({
        topic: event.topic,
        payload: showArguments(args, kwargs),
        offset: position._parley_offset,
        via: position._parley_via,
        retained: event.retained,
      });
      held.set(uri, await wamp(live().subscribe(uri, handler, { match, get_retained: getRetained })));
    },
    async unsubscribe(uri) {
      await wamp(live().unsubscribe(held.get(uri)));
      held.delete(uri);
    },
    async publish(uri, value, { acknowledge, retain }) {
      const published = live().publish(uri, [value], {}, { acknowledge, retain, exclude_me: false });
      if (!acknowledge) return retain ? "Sent without acknowledge. A retained message is stored all the same." : "Sent without acknowledge: transient.";
      return `PUBLISHED, publication ${(await wamp(published)).id}: the message is on disk.`;
    },
    async register(uri, procedure) {
      const registration = await wamp(live().register(uri, procedure));
      return () => wamp(live().unregister(registration));
    },
    close: () => ended || connection.close(), // closing twice is an error to autobahn-js
  };
}

// autobahn-js rejects with its own kind of object.
async function wamp(promise) {
  try {
    return await promise;
  } catch (err) {
    throw new Error([err.error, ...(err.args ?? [])].filter(Boolean).join(": ") || String(err));
  }
}

function showArguments(args, kwargs) {
  const named = Object.keys(kwargs).length > 0;
  if (!named && args.length === 1) return typeof args[0] === "string" ? args[0] : JSON.stringify(args[0]);
  return JSON.stringify(named ? { args, kwargs } : { args });
}
