// Package msg holds the nouns that every other package speaks of: a message, the
// topic it is published to, the filters that select it, its offset in the log,
// what a subscriber is given, and the errors a peer may see.
//
// A topic is always in canonical form: an MQTT topic name, levels joined by "/"
// (docs/adr/0003-topic-mapping.md). WAMP URIs are translated at the edge by URI
// and TopicOfURI. A payload is stored once and looked at through views
// (docs/adr/0004-payload-views.md).
//
// Ownership: a *Message is immutable once it was given to a session's Publish;
// everybody who later receives it shares it, its slices included. The one field
// group that changes afterwards (Offset, Time, After, Serial) is written by hub
// and the store before anybody else sees the message.
package msg
