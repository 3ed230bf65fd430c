package auth

import "parley/msg"

// Policy decides what an identity may do, from memory: it never blocks, does
// no I/O, and is safe for concurrent use. A nil error allows; a refusal is
// msg.ErrNotAuthorized, possibly wrapped with the rule that refused (for the
// log; peers see the sentinel's text).
type Policy interface {
	// Topic decides Publish, Call and Register of one topic.
	Topic(id *Identity, namespace string, a Action, topic string) error
	// Filter decides Subscribe: everything the filter can match must be allowed.
	Filter(id *Identity, namespace string, f msg.Filter) error
}
