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
// rpc.go are its directions; peer.go and router.go are the two sides of nexus;
// caller.go lets other engines call; pubid.go names publications.
//
// # When slow
//
// A publisher that is ahead of the store is not read (Session.Congested). A
// peer that does not read its replies is not read either once half of
// Options.MaxQueue waits for it; at the whole of it a callee that calls nothing
// itself is not invoked any more (its callers get
// wamp.error.network_failure), any other session ends with parley.error.too_slow.
//
// # Limits of this version
//
// Sessions are not durable; pattern-based registration, progressive call
// invocations, testaments, subscription meta procedures and payload passthru of
// events are refused and not announced. Request ids have to be 1 to 2^53 and
// must not repeat while a call or registration is open; their order is not checked, because clients that send
// from several goroutines do not keep it.
package wamp
