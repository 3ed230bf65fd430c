// Package wamp is the WAMP v2 engine: it serves wamp.2.json, wamp.2.msgpack and
// wamp.2.cbor, and is the home of remote procedures for all protocols.
//
// # Who does what
//
// Publish and subscribe are translated to the message plane (hub) here; the
// nexus router keeps sessions and procedures: its dealer answers CALL, REGISTER,
// UNREGISTER, CANCEL, YIELD and invocation errors and serves the meta procedures
// wamp.session.* and wamp.registration.*. Its broker never sees a message of a
// client. What a client sends to nexus is rebuilt from checked parts, and what
// it carries (arguments) passes through nexus as an opaque value, so a call
// between two peers of one serialization is byte for byte what was sent, large
// integers included, and nexus decodes nothing a client wrote but the arguments
// of meta procedures.
//
// # Files
//
// wire*.go read the three serializations in place, encode.go writes them;
// handler.go is one connection; hello.go, publish.go, subscribe.go, event.go and
// rpc.go are its directions; held.go and ack.go are what durable sessions add;
// own.go are the procedures answered here, history.go and gap.go two of them;
// peer.go and router.go are the two sides of nexus; caller.go lets other engines
// call; pubid.go names publications, filter.go subscriptions.
//
// # Guarantees
//
// A stored message for a durable session or a shared group is acknowledged when
// every subscription it went to has said so on this connection (parley.ack), or
// once written for those that asked for that. What matches a filter that the
// session has and this connection has not attached is held, in order, and never
// acknowledged; no EVENT leaves under an id that the peer was not given.
//
// # When slow
//
// A publisher that is ahead of the store is not read (Session.Congested). A
// peer that does not read its replies is not read either once half of
// Options.MaxQueue waits for it; at the whole of it a callee that calls nothing
// itself is not invoked any more (its callers get
// wamp.error.network_failure), any other session ends with parley.error.too_slow.
// A subscriber that does not acknowledge fills its window (SessionParams.Window),
// one that does not attach its filters fills what is held for it; either is then
// sent nothing more until it does, while everything stored waits in the log.
//
// # Limits of this version
//
// Pattern-based registration, progressive call invocations, testaments,
// subscription meta procedures but for get_events, and payload passthru of events
// are refused and not announced. Request ids have to be 1 to 2^53 and must not
// repeat while a call or registration is open; their order is not checked,
// because clients that send from several goroutines do not keep it. In a resumed
// session the publisher of a disclosed event is named by the id of the session's
// first connection, so that exclude_me holds over connections.
package wamp
