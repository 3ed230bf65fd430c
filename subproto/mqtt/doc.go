// Package mqtt is the engine for MQTT 3.1.1 and 5.0, over WebSocket (section 6
// of both specifications) and over plain streams. Clauses in brackets, such as
// [MQTT-3.3.2-2], are those of MQTT 5.0 unless said otherwise.
//
// # Guarantees
//
// PUBACK leaves after the message is on disk, in the order the publishes came
// ([MQTT-4.6.0-2]); CONNACK leaves after the will is durable; SUBACK leaves
// before anything the subscription brings. The packet ids of both directions
// have nothing to do with each other ([MQTT-2.2.1-5]).
//
// # Limits of this version
//
// QoS 2, shared subscriptions, topic aliases, enhanced authentication, MQTT 3.1
// and sessions that outlive their connection are not offered. CONNACK says so
// where MQTT 5 has a property for it, requests for them get the code that the
// specification names for a server without the feature.
//
// # Extensions
//
// A v5 client whose CONNECT carries the user property "parley-offset" with the
// value "1" is sent two more user properties with every PUBLISH, after those of
// the publisher: "parley-offset", the decimal offset of the message in its
// namespace's log (only if the message is stored), and "parley-via", the
// protocol it was published through (mqtt, wamp, json, http, parley).
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
// A peer that reads slowly is not pulled for (Conn.Room); one that does not
// acknowledge meets its own Receive Maximum, which is the session's window. A
// peer that writes too fast is not read (Session.Congested), and its keep-alive
// stands still meanwhile.
package mqtt
