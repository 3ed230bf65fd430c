// Package history records what clients of a broker saw and judges it.
//
// A history is a list of events in the order in which they were recorded: an
// event of sending is recorded before the first byte leaves, one of receiving
// after the last byte came. So an event that stands before another one happened
// before it as far as the broker can tell. Check is a pure function over such a
// list; what it finds is a fault of the broker (or of the recording client), never
// a matter of timing, but for wills, whose promise is made of time: there a
// tolerance is given.
//
// # What a message is
//
// An ID names a message as its publisher meant it: publisher, sequence, attempt.
// What is sent again under a guarantee against duplicates (QoS 2, an idempotency
// key) keeps its ID. What is sent again without one is another message, for the
// broker cannot know better; it gets the next attempt and its receivers may see both.
//
// # What a subscription is
//
// MQTT merges the overlapping filters of one session, so there the stream that has
// an order is the session (Filter is "" on deliveries); in WAMP and JSON it is each
// filter of a session.
package history
