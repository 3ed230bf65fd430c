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
//	connect       {token} or {data: {user, password}}; else the HTTP identity, else
//	              anonymous; data may ask for a session, see below
//	subscribe     {channel: filter, recover, offset, epoch, data: {group, from}};
//	              retained values or the past follow the reply as pushes
//	unsubscribe   {channel}; succeeds also if there is no such subscription
//	publish       {channel: topic, data}; the reply follows the commit: {offset}
//	history       {channel: filter, limit, since: {offset, epoch}, reverse}
//	rpc           {method, data}; parley.publish, parley.ack, parley.replay,
//	              parley.session.end, else the procedure with that URI
//	ping          {}
//
// presence, presence_stats, refresh and sub_refresh get error 108. send
// has no reply in this protocol, so it ends the connection with 3508, as
// Centrifugo does without a message handler. Unknown fields are ignored; a
// subscription that asks for what would change its content (tf, type) gets 108.
//
// parley.publish takes {channel or topic, data, encoding, retain, key, tags}:
// encoding "text" stores the string data as text, "base64" the bytes it decodes
// to; without data the payload is empty (with retain: clears the retained
// value); a publish that repeats the key of an earlier one is answered with that
// one's offset, or with error 1009 if its content is another; tags may hold
// content_type, response_topic, correlation (base64) and user properties as
// h.<name>. It answers {offset}.
//
// The data of any other rpc is the procedure's one argument, or its arguments
// if it is an object with exactly the members args (array) and kwargs (object).
// The result is the one positional value, else {args, kwargs}; bytes come in
// base64 with "encoding":"base64" beside data.
//
// # Positions
//
// A subscription has a position, offset and epoch, that the client keeps (an SDK
// does). With recover and that position it is sent what it has missed, then what
// is new. The reply's offset is where that begins, never the head, so a client
// that loses the connection before the pushes have come has lost nothing. If
// something of it is not there any more, or the epoch is another log's, the reply
// says recovered false, with data {gap: {first, last, count, reason}} if that is
// known, and the subscription is a new one, with retained values (with flag 2:
// error 112 and no subscription). A recovery that retention overtakes afterwards
// is ended by unsubscribe push 2500, with which an SDK recovers anew.
//
// data.from of subscribe, the channel $replay/<from>/<filter>, or parley.replay
// {channel, from} gives the past to a subscription: from an offset, "earliest", or "@" and a UTC time of RFC 3339 that
// ends with Z. parley.replay moves an existing subscription there; a new one is
// announced by a subscribe push. It answers {epoch, from, gap}.
//
// history answers with stored publications and the newest offset of the log;
// without limit with the latter only, below 0 with as many as there may be: 1,000,
// or 1 MiB. since is exclusive in both directions.
//
// # Sessions
//
// connect.data {session, expiry, window} opens a durable session or goes on with
// it. It belongs to its user, whatever protocol it comes in (the name is MQTT's
// client identifier), and outlives its connection for expiry seconds (default
// 3600, 0: not at all, "never" ends; Options.MaxSessionExpiry bounds it). The reply
// has data {session: {present, expiry}} and in subs the filters that the session
// holds. They are live: no subscribe is needed, though it succeeds once for each
// of them and is answered with recovered true, or false if the session is known to
// have lost something of it (what it finds later it tells in a message push). Nothing is delivered before the client has answered a first
// ping, so an SDK that subscribes at the latest when it hears "connected" has its
// publications in its own subscriptions, else at the client. By hand they come at
// once. Filters that this protocol cannot write are named $prefix/… and
// $wildcard/…. unsubscribe removes a filter from the session, parley.session.end
// removes all, ends the session, and closes with 4503.
//
// Deliveries of a durable session, and of a shared group (data.group of subscribe,
// or channel $share/group/filter) in any session, are acknowledged by parley.ack
// {channel, offset}, which covers what was pushed to the channel up to the offset,
// or by the answer to a ping, which covers everything pushed before it; a ping is
// sent early when half of the window is unacknowledged. A WebSocket pong
// acknowledges nothing, so a client by hand has to use parley.ack. When window
// deliveries (Options.Window at most) are unacknowledged, nothing more comes. What
// was not acknowledged comes again on the next connection, and goes to another
// member of the group at once.
//
// A session that has lost something to retention, or anybody else who did, is sent
// a message push with data {type: "gap", filter, first, last, count, reason}.
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
// older than. replayed and redelivered are "true" on what comes from the past
// because the client asked, and on what was, or may have been, sent on an earlier
// connection of the session. info names the publisher if it is disclosed; client is the decimal
// session id, as in the connect reply.
//
// # Errors
//
// Codes 100 to 112 and closes 3000 to 3999 mean what they mean in Centrifugo.
// Our own errors: 400 a procedure's error (the message begins with its URI), 1000
// storage is full (temporary; reads go on), 1001 storage failed (temporary), 1002
// authentication unavailable (temporary), 1004 topic is not stored, 1006 timeout
// (temporary), 1005 no such subscription (parley.ack), 1009 key reused. Our own
// closes: 4000 authentication unavailable, 4001 storage failed and 4002 the session
// changes hands too often, after which clients reconnect; 4500 session taken over,
// 4501 no such namespace, 4502 client identifier not valid and 4503 session ended,
// after which they do not. A
// message that is too large closes with 1009 wherever that is found. Malformed
// input closes with 3501, wrong credentials with 3500, missing ones with 3507.
//
// # Guarantees
//
// A reply to a publish comes after the message is on disk. Publications of one
// subscription come after its reply, stored ones in the order of the log. What is
// remembered for acknowledgements is bounded by the window: so many deliveries,
// and four times as many (delivery, subscription).
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
