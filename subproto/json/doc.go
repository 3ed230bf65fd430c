// Package json speaks the Centrifugo client protocol, version 2, in its JSON
// form, as defined by client.proto of github.com/centrifugal/protocol. Channels
// are MQTT topic filters, publications go to topics.
//
// A WebSocket text message carries one or more JSON values: commands in one
// direction, replies and pushes in the other, separated by newlines. There are
// two kinds of connections.
//
// A client of the protocol begins with a connect command that has an id. It is
// sent {} every ping interval and answers {}; several replies and pushes may
// come in one message, separated by newlines.
//
// A client "by hand" begins with anything else, or with a connect command
// without id: it is connected at once (for a connect, with its credentials),
// hears {"connect":{…}} without pong, needs no id in its commands, is kept
// alive by WebSocket pings, and every message it is sent holds one JSON value.
//
// # Commands
//
//	connect       {token} or {data: {user, password}}; else the HTTP identity, else anonymous
//	subscribe     {channel: filter}; retained values follow the reply as pushes
//	unsubscribe   {channel}; succeeds also if there is no such subscription
//	publish       {channel: topic, data}; the reply follows the commit: {offset}
//	rpc           {method, data}; parley.publish, else the procedure with that URI
//	ping          {}
//
// presence, presence_stats, history, refresh and sub_refresh get error 108. send
// has no reply in this protocol, so it ends the connection with 3508, as
// Centrifugo does without a message handler. Unknown fields are ignored; a
// subscription that asks for what would change its content (tf, type) gets 108.
// Positions are not kept across connections yet: recover is answered with
// was_recovering true and recovered false.
//
// parley.publish takes {channel or topic, data, encoding, retain, key, tags}:
// encoding "text" stores the string data as text, "base64" the bytes it decodes
// to; without data the payload is empty (with retain: clears the retained
// value); key is stored, but repeats of it are not recognized yet; tags may hold content_type, response_topic, correlation (base64) and
// user properties as h.<name>. It answers {offset}.
//
// The data of any other rpc is the procedure's one argument, or its arguments
// if it is an object with exactly the members args (array) and kwargs (object).
// The result is the one positional value, else {args, kwargs}; bytes come in
// base64 with "encoding":"base64" beside data.
//
// # Publications
//
// One push per subscription that matches. offset is the position in the log,
// absent from transient messages; time is in Unix milliseconds. tags: topic, via,
// encoding ("text" or "base64": how the string in data is to be read), content_type
// (unless it is application/json and data is that value), response_topic,
// correlation (base64), h.<name> for user properties. A property that occurs
// more than once is a JSON array of its values, and so is one whose only value
// begins with "[", so that arrays are always repeats. Retained values carry
// retained: "true" and their position in tags.offset: an SDK takes a
// publication's offset for the position of its subscription, which they are
// older than. info names the publisher if it is disclosed; client is the decimal
// session id, as in the connect reply.
//
// # Errors
//
// Codes 100 to 112 and closes 3000 to 3999 mean what they mean in Centrifugo.
// Our own errors: 400 a procedure's error (the message begins with its URI), 1000
// storage is full (temporary; reads go on), 1001 storage failed (temporary), 1002
// authentication unavailable (temporary), 1004 topic is not stored, 1006 timeout
// (temporary). Our own closes: 4000 authentication unavailable and 4001 storage
// failed, after which clients reconnect; 4500 session taken over, 4501 no such
// namespace and 4502 client identifier not valid, after which they do not. A
// message that is too large closes with 1009 wherever that is found. Malformed
// input closes with 3501, wrong credentials with 3500, missing ones with 3507.
//
// # Guarantees
//
// A reply to a publish comes after the message is on disk. Publications of one
// subscription come after its reply, stored ones in the order of the log.
//
// # Ownership
//
// A conn is touched only from Handler methods. Callbacks put outcomes into its
// mailbox.
//
// # When slow
//
// While too much of what was published waits, or too many requests are
// outstanding, nothing is read; the pong deadline stands still meanwhile. While
// the outgoing queue is full no delivery is pulled from the session. When the
// broker drains, nothing more is read, what is outstanding is answered, then the
// connection is closed with 3001.
package json
