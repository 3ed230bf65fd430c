package subproto

import (
	"time"

	"parley/auth"
	"parley/msg"
)

// Peer is the connection's side of a session.
type Peer interface {
	// Wake says that the session has something: deliveries, notices, or
	// callbacks that have run. Any goroutine; requests coalesce; never blocks.
	Wake()
}

// Attach opens a session for a connection; implemented by hub, handed to the
// engines by the wiring. The session may be used at once, but the peer must be
// told of success only after done, which is called exactly once, possibly
// before Attach returns, with nil or one of the peer errors (then the session is
// closed already). If another connection has the ClientID, that one is given
// NoticeTakenOver and its session calls fail with msg.ErrTakenOver.
type Attach func(p Peer, id *auth.Identity, params msg.SessionParams, done func(msg.AttachResult, error)) Session

// Session is what an engine may ask of the message plane, implemented by hub.
// It is called from the Handler's goroutine only. Every request is decided by
// the policy inside.
//
// Callbacks: done runs exactly once for every call that takes one, possibly
// before the call returns, else on the committer; never two at a time for one
// session; those of Assign, Received and Release each in the order of their
// calls. It must not block and must not call the session: it notes the outcome
// (Mailbox); hub wakes the peer afterwards, once per commit, unless done ran
// before the call returned.
type Session interface {
	// ID is the WAMP session id: 1 to 2^53, random, unique in the broker.
	ID() uint64

	// Publish submits m, which then belongs to the message plane. The session
	// fills Origin.Session, Origin.User, Origin.Role. A message is stored if its QoS
	// is above 0 or it is retained (a topic rule may change that); done(offset,
	// nil) runs after it is on disk, with offset 0 if it was not stored. Dones
	// run in the order of the Publish calls, refusals included. done may be nil.
	Publish(m *msg.Message, done func(msg.Offset, error))
	// PublishOnce is Publish at QoS 2: a second call with the same packet id
	// before its Release publishes nothing and is answered like the first one,
	// also on a later connection of the session.
	PublishOnce(packetID uint16, m *msg.Message, done func(msg.Offset, error))
	// Release ends what PublishOnce began, before PUBCOMP: the packet id may be
	// used anew. msg.ErrNoPacketID if it was not held.
	Release(packetID uint16, done func(error))
	// Congested tells that too much of what was published here waits for the
	// disk or for fan-out: stop reading. A Wake follows when below half.
	Congested() bool

	// Subscribe adds the filters, or replaces those the session already holds
	// with the same Filter, all from one position. results has one entry each.
	// The slice is copied. Retained values, or what Subscription.From asks for,
	// follow through Next, before anything newer. A session that outlives its
	// connection yields nothing between the call and done, which runs once the
	// filters are durable.
	Subscribe(subs []msg.Subscription, done func(results []msg.SubscribeResult))
	// Unsubscribe removes filters; each result is nil or msg.ErrNoSubscription.
	// After it returned Next yields nothing for them.
	Unsubscribe(filters []msg.Filter, done func(results []error))

	// Next fills d with the next delivery or notice and returns true, or false
	// if there is none now (a Wake will follow when there is), the window is
	// full, or the log has to be read first.
	Next(d *msg.Delivery) bool
	// NextNotice fills n with the next notice and returns true, or false if there
	// is none now. Deliveries stay where they are: for an engine that cannot take
	// any more of them for the time being.
	NextNotice(n *msg.Notice) bool
	// Ack acknowledges a delivery with QoS > 0, in any order. Lazy, no callback
	// and no Wake: when the window was full, call Next again afterwards.
	Ack(ref uint64)

	// History reads stored messages that the identity may subscribe to, newest or
	// oldest first. done runs once, on any goroutine, and must not block; a Wake
	// follows unless it ran before History returned. Errors: ErrFilterInvalid,
	// ErrNotAuthorized, ErrNotSupported, ErrQuota (too many at a time), ErrUnavailable.
	History(q msg.HistoryQuery, done func(msg.HistoryResult, error))

	// Assign notes the packet id under which a delivery is sent, so that it comes
	// again under the same one. At QoS 2 the PUBLISH is sent only after done; at
	// QoS 1 done may be nil.
	Assign(ref uint64, packetID uint16, done func(error))
	// Received notes that the peer has received a delivery at QoS 2: PUBREL is
	// sent after done, and only PUBREL comes again. Ack follows at PUBCOMP.
	Received(ref uint64, done func(error))

	// SetExpiry changes how long the session outlives its connection.
	SetExpiry(d time.Duration)

	// SetWill replaces (nil: removes) the will; done after that is durable.
	SetWill(w *msg.Will, done func(error))

	// Close ends the connection's hold on the session. No callback runs after
	// it returned for anything but publishes and reads of the log (History, From)
	// already submitted, whose outcome nobody needs to hear of. Further calls do nothing.
	Close(how msg.CloseHow)
}
