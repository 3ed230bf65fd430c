// Package mqtt is the engine for MQTT 3.1, 3.1.1 and 5.0, over WebSocket (section
// 6 of the later two specifications) and over plain streams. Clauses in brackets,
// such as [MQTT-3.3.2-2], are those of MQTT 5.0 unless said otherwise;
// conformance.txt says for every one which test shows it.
//
// # Guarantees
//
// Whatever depends on state leaves after the session has it. Inbound: PUBACK and
// PUBREC leave after the message is on disk, in the order the publishes came
// ([MQTT-4.6.0-2], [MQTT-4.6.0-3]), PUBCOMP after the packet id is released.
// Outbound at QoS 2: PUBLISH leaves after the session has its packet id, PUBREL
// after it knows that the client has received the message. CONNACK leaves after
// the will is durable; SUBACK leaves before anything the subscription brings.
//
// Deliveries leave in the order in which the session yields them, whatever their
// QoS. What was not completed comes again on the next connection of the session,
// first, in order and under its packet id; the client's Receive Maximum holds for
// that too. The packet ids of both directions have nothing to do with each other
// ([MQTT-2.2.1-5]).
//
// # Limits of this version
//
// Enhanced authentication is not offered: an Authentication Method is refused
// with 0x8C, AUTH is a protocol error. The reason code 0x10, no matching
// subscribers, is never sent: an acknowledgement does not wait for the matching.
//
// # Liberties
//
// What the specifications leave to the server: client ids may be as long as
// Options.MaxClientID in every version. Shared subscriptions and topics below "$"
// that no client may publish to are the same in every version. 3.1.1 and 3.1
// clients are told of a refused subscription by 0x80, and are disconnected for a
// refused publish. 3.1 gives several flags no meaning, which are then ignored.
// Topic aliases are used towards clients that allow them for the topics that come
// first. A malformed CONNECT of 5.0 is answered with CONNACK before the close, but for one
// that is shorter by its Remaining Length than by its fields while more bytes
// have come: where the next packet begins is not known then.
//
// # Extensions
//
// A v5 client whose CONNECT carries the user property "parley-offset" with the
// value "1" is sent two more user properties with every PUBLISH, after those of
// the publisher: "parley-offset", the decimal offset of the message in its
// namespace's log (only if the message is stored), and "parley-via", the
// protocol it was published through (mqtt, wamp, json, http, parley). What a
// subscription to the past brings has "parley-replayed" with the value "1" besides.
// PUBACK and PUBREC carry "parley-offset" too, if Request Problem Information is
// not 0.
//
// The user property "parley-key" of a PUBLISH is its idempotency key: 1 to 256
// bytes, once, else 0x83. It is taken out; a will takes none.
//
// $replay/<position>/<filter> subscribes to a filter from a position of the log
// (msg.ParseSubscription). $gap/<filter> subscribes to notices of what retention
// has cut of the session's own; they are made here, at QoS 0, and never pass
// through the topic space. The session holds the subscription, so that it comes
// back with it. v5 clients are told of gaps in CONNACK (of a resumed session) and
// SUBACK (of a replay) by the user property "parley-gap" too.
//
// # Ownership
//
// A handler's state is touched only by the goroutine that calls it. Callbacks of
// the session and of the authenticator put their outcome into a mailbox, the
// handler takes it out in Frame or Wake. Bytes given to Frame are copied as far
// as they are kept.
//
// # When slow
//
// Deliveries behind one whose packet id is not yet assigned are kept back, at most
// 256 KiB of them. A peer that reads slowly is not pulled for (Conn.Room); one
// that does not acknowledge meets its own Receive Maximum, which is the session's
// window. A peer that writes too fast is not read (Session.Congested), and its
// keep-alive stands still meanwhile; a v5 client that exceeds our Receive Maximum
// gets 0x93.
package mqtt
