package hub

import (
	"sync"
	"sync/atomic"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/subproto"
)

// defaultWindow bounds unacknowledged deliveries where the peer named no bound.
const defaultWindow = 1024

// maxSessionID is the largest WAMP id (2^53).
const maxSessionID = 1 << 53

// Session is a subscriber: filters, a position in the log, a window. It outlives
// its connection for as long as its expiry says; without a connection it keeps
// positions only, never messages.
type Session struct {
	// fixed after construction
	hub   *Hub
	ns    *namespace
	id    uint64
	name  string // ClientID; "" = ends with its connection
	owner string // the user whose it is
	shard *shard
	who   atomic.Pointer[person] // of the connection that has it, or had it last

	// owned by the shard
	touched bool

	// owned by the committer
	stalled int // its steps of QoS 2 that wait for a full store

	contest *contest // guarded by ns.mu; nil: it has not changed hands

	// guarded by mu
	mu     sync.Mutex
	hold   *hold  // nil: no connection
	gen    uint64 // changes whenever hold does
	expiry time.Duration
	timer  *time.Timer // ends the session; runs while hold is nil
	ends   int64       // Unix milliseconds when it does; 0: not set
	// durable: it is on disk, or will be with the commit that its first connection
	// waits for. dirty: it has changed since the last checkpoint, which saved next.
	durable, dirty bool
	saved          msg.Offset
	floor          msg.Offset // of what is on disk: nothing below it is wanted any more
	regs           map[msg.Filter]*registration
	in             inbound           // what waits to be delivered
	exact          map[uint16]*exact // publishes at QoS 2 that are not released
	shared         []*group          // groups the session is a member of
}

// person is an identity as the hub looks at it for every message.
type person struct {
	id   *auth.Identity
	role string
	// session is the id by which others know the connection if it came with one
	// of its own (WAMP) and the session has another; 0 = the session's.
	session uint64
}

// hold is one connection's hold on a session (subproto.Session). Another
// connection may take the session over; then the hold can do nothing any more.
type hold struct {
	// fixed after Attach
	s      *Session // nil if Attach failed
	peer   subproto.Peer
	params msg.SessionParams
	who    *person

	succeeds   bool  // the end of a session of its name is still on its way to disk; set by admit
	unrecorded error // why the session could not be stored; the committer's until Attach is done

	// publishing
	submitted    atomic.Int32 // ops in the committer's queue
	parked       parked
	emitted      time.Time   // when it last emitted a message itself
	waitsForRoom atomic.Bool // has publishes parked for a full store

	histories atomic.Int32 // being read

	// owned by the committer
	marked  bool
	stalled bool

	// guarded by s.mu
	state   holdState
	notices []msg.Notice
}

type holdState uint8

const (
	holdLive holdState = iota
	holdTaken
	holdClosed
)

// registration is one filter of a session in the index.
type registration struct {
	s      *Session
	filter msg.Filter
	sub    atomic.Pointer[subscription] // replaced by a repeated Subscribe
	from   uint64                       // transient entries with a seq up to this are not for it
	start  msg.Offset                   // stored messages up to this are not for it
	gone   atomic.Bool
	stored bool    // is on disk with its session; guarded by s.mu
	replay *replay // its way through the past; nil: none, or over. Guarded by the session's mu
	group  *group  // the shared group: of a member's registration, or of the group's own, whose s is nil
	pos    int     // in its bucket, or notIndexed; guarded by the index
}

// subscription is what was asked for, and by which protocol: a Handle means
// something to that one only.
type subscription struct {
	msg.Subscription
	via  string
	bare *msg.Subscription // without Handle, for the others
}

func newSubscription(sub *msg.Subscription, via string) *subscription {
	own := &subscription{Subscription: *sub, via: via}
	own.bare = &own.Subscription
	if sub.Handle != 0 {
		bare := *sub
		bare.Handle = 0
		own.bare = &bare
	}
	return own
}

// seenBy returns it as a protocol may see it.
func (o *subscription) seenBy(protocol string) *msg.Subscription {
	if o.via == protocol {
		return &o.Subscription
	}
	return o.bare
}

// ID implements subproto.Session, like the other exported methods of hold.
func (c *hold) ID() uint64 {
	if c.s == nil {
		return 0
	}
	return c.s.id
}

// Congested: see subproto.Session.
func (c *hold) Congested() bool {
	return c.parked.congested.Load() || c.waitsForRoom.Load()
}

// SetExpiry: see subproto.Session.
func (c *hold) SetExpiry(d time.Duration) {
	if c.s == nil {
		return
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.params.Expiry = d
	if c.state == holdLive {
		c.s.setExpiry(d)
	}
}

// setExpiry changes how long s outlives its connections. A session that begins
// to do so is written by the next checkpoint. s.mu is held.
func (s *Session) setExpiry(d time.Duration) {
	s.expiry = d
	if s.name != "" && d > 0 {
		s.durable = true
	}
	s.touch()
}

// err tells why the hold can do nothing any more. s.mu is held.
func (c *hold) err() error {
	switch c.state {
	case holdTaken:
		return msg.ErrTakenOver
	case holdClosed:
		return msg.ErrSessionClosed
	}
	return nil
}

// alive is err for callers that do not hold s.mu.
func (c *hold) alive() error {
	if c.s == nil {
		return msg.ErrSessionClosed
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.err()
}

// notify queues a notice and wakes the peer.
func (c *hold) notify(n msg.Notice) {
	c.s.mu.Lock()
	live := c.state == holdLive
	if live {
		c.notices = append(c.notices, n)
	}
	c.s.mu.Unlock()
	if live {
		c.peer.Wake()
	}
}

// wake wakes the connection, if there is one.
func (s *Session) wake() {
	s.mu.Lock()
	c := s.hold
	s.mu.Unlock()
	if c != nil {
		c.peer.Wake()
	}
}
