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
	user  *auth.Identity
	role  string
	shard *shard

	// owned by the shard
	touched bool

	contest *contest // guarded by ns.mu; nil: it has not changed hands

	// guarded by mu
	mu     sync.Mutex
	hold   *hold  // nil: no connection
	gen    uint64 // changes whenever hold does
	expiry time.Duration
	timer  *time.Timer // ends the session; runs while hold is nil
	regs   map[msg.Filter]*registration
	in     inbound           // what waits to be delivered
	exact  map[uint16]*exact // publishes at QoS 2 that are not released
	shared []*group          // groups the session is a member of
}

// hold is one connection's hold on a session (subproto.Session). Another
// connection may take the session over; then the hold can do nothing any more.
type hold struct {
	// fixed after Attach
	s      *Session // nil if Attach failed
	peer   subproto.Peer
	params msg.SessionParams

	// publishing
	submitted    atomic.Int32 // ops in the committer's queue
	parked       parked
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
	sub    atomic.Pointer[msg.Subscription] // replaced by a repeated Subscribe
	from   uint64                           // transient entries with a seq up to this are not for it
	start  msg.Offset                       // stored messages up to this are not for it
	gone   atomic.Bool
	replay *replay // its way through the past; nil: none, or over. Guarded by the session's mu
	group  *group  // the shared group: of a member's registration, or of the group's own, whose s is nil
	pos    int     // in its bucket; guarded by the index
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
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.params.Expiry = d
	if c.state == holdLive {
		c.s.expiry = d
	}
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
