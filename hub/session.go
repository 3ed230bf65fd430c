package hub

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"parley/auth"
	"parley/msg"
	"parley/subproto"
)

// defaultWindow bounds unacknowledged deliveries where the peer named no bound.
const defaultWindow = 1024

// maxSessionID is the largest WAMP id (2^53).
const maxSessionID = 1 << 53

// Session is one connection's hold on the message plane (subproto.Session).
type Session struct {
	// fixed after Attach
	hub    *Hub
	ns     *namespace
	peer   subproto.Peer
	id     uint64
	user   *auth.Identity
	role   string
	params msg.SessionParams
	shard  *shard

	// publishing
	submitted    atomic.Int32 // ops in the committer's queue
	parked       parked
	waitsForRoom atomic.Bool // has publishes parked for a full store

	// owned by the committer
	marked  bool
	stalled bool

	// owned by the shard
	touched bool

	// guarded by mu
	mu    sync.Mutex
	state sessionState
	regs  map[msg.Filter]*registration
	in    inbound // what waits to be delivered
}

type sessionState uint8

const (
	sessionLive sessionState = iota
	sessionTaken
	sessionClosed
)

// registration is one filter of a session in the index.
type registration struct {
	s      *Session
	filter msg.Filter
	sub    atomic.Pointer[msg.Subscription] // replaced by a repeated Subscribe
	from   uint64                           // entries with a seq up to this are not for it
	start  msg.Offset                       // stored messages up to this are not for it
	gone   atomic.Bool
	group  *group // set on the group's own registration; s is nil then
	pos    int    // in its bucket; guarded by the index
}

var _ subproto.Attach = (*Hub)(nil).Attach

// Attach opens a session, see subproto.Attach.
func (h *Hub) Attach(p subproto.Peer, id *auth.Identity, params msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
	if id == nil {
		id = &auth.Identity{}
	}
	if params.Window <= 0 {
		params.Window = defaultWindow
	}
	s := &Session{hub: h, peer: p, user: id, role: id.Role(), params: params}
	w, err := h.admit(s)
	if err == nil && w != nil {
		s.ns.storeWill(w, s, func(e error) { done(s.attached(), e) })
		return s
	}
	if err != nil {
		s.state = sessionClosed
		done(msg.AttachResult{}, err)
		return s
	}
	done(s.attached(), nil)
	return s
}

func (s *Session) attached() msg.AttachResult {
	return msg.AttachResult{Epoch: s.ns.epoch, Head: s.ns.position()}
}

// admit registers s, taking over the session of its ClientID.
func (h *Hub) admit(s *Session) (*will, error) {
	ns := h.spaces[s.params.Namespace]
	if ns == nil {
		return nil, fmt.Errorf("%w: %q", msg.ErrNoNamespace, s.params.Namespace)
	}
	s.ns = ns
	var w *will
	if s.params.Will != nil {
		if err := h.checkPublish(ns, s.user, s.params.Will.Message); err != nil {
			return nil, fmt.Errorf("will: %w", err)
		}
		w = newWill(s)
	}
	if err := h.register(s); err != nil {
		return nil, err
	}
	if old, err := ns.claim(s); err != nil {
		h.unregister(s)
		return nil, err
	} else if old != nil {
		old.takeOver()
	}
	ns.cancelWill(s)
	h.met.Sessions.Inc()
	return w, nil
}

// register gives s its id and shard.
func (h *Hub) register(s *Session) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return msg.ErrDraining
	}
	s.id = s.params.ID
	for s.id == 0 || h.sessions[s.id] != nil {
		if s.params.ID != 0 && h.sessions[s.id] != nil {
			return fmt.Errorf("%w: session id %d is in use", msg.ErrBadClientID, s.id)
		}
		s.id = 1 + rand.Uint64N(maxSessionID)
	}
	s.shard = h.shards[s.id%uint64(len(h.shards))]
	h.sessions[s.id] = s
	return nil
}

func (h *Hub) unregister(s *Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, s.id)
}

// claim makes s the owner of its ClientID and returns the owner before it.
func (ns *namespace) claim(s *Session) (*Session, error) {
	if s.params.ClientID == "" {
		return nil, nil
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	old := ns.clients[s.params.ClientID]
	if old != nil && old.user.User != s.user.User {
		return nil, fmt.Errorf("%w: %q belongs to another user", msg.ErrBadClientID, s.params.ClientID)
	}
	ns.clients[s.params.ClientID] = s
	return old, nil
}

// ID implements subproto.Session, like the methods below.
func (s *Session) ID() uint64 { return s.id }

// Congested: see subproto.Session.
func (s *Session) Congested() bool {
	return s.parked.congested.Load() || s.waitsForRoom.Load()
}

// takeOver ends the session for another connection's sake; its will is due as
// if the connection were lost.
func (s *Session) takeOver() {
	if s.leave(sessionTaken, msg.Notice{Kind: msg.NoticeTakenOver}) {
		s.finishWill(msg.CloseLost)
		s.peer.Wake()
	}
}

// Close: see subproto.Session.
func (s *Session) Close(how msg.CloseHow) {
	if s.leave(sessionClosed, msg.Notice{}) {
		s.finishWill(how)
	}
	s.mu.Lock()
	s.state = sessionClosed
	s.dropInbound()
	s.mu.Unlock()
}

// leave takes a live session out of everything it is in; it reports whether it
// was live.
func (s *Session) leave(to sessionState, n msg.Notice) bool {
	s.mu.Lock()
	if s.state != sessionLive {
		s.mu.Unlock()
		return false
	}
	s.state = to
	regs := s.regs
	s.regs = nil
	s.dropInbound()
	if n.Kind != 0 {
		s.in.notices = append(s.in.notices, n)
	}
	s.mu.Unlock()
	for _, r := range regs {
		s.unindex(r)
	}
	s.ns.disown(s)
	s.hub.unregister(s)
	s.hub.met.Sessions.Dec()
	return true
}

// disown gives up the ClientID unless somebody else has it already.
func (ns *namespace) disown(s *Session) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.clients[s.params.ClientID] == s {
		delete(ns.clients, s.params.ClientID)
	}
}

// err tells why the session can do nothing any more. s.mu is held.
func (s *Session) err() error {
	switch s.state {
	case sessionTaken:
		return msg.ErrTakenOver
	case sessionClosed:
		return msg.ErrSessionClosed
	}
	return nil
}

// notify queues a notice and wakes the peer.
func (s *Session) notify(n msg.Notice) {
	s.mu.Lock()
	live := s.state == sessionLive
	if live {
		s.in.notices = append(s.in.notices, n)
	}
	s.mu.Unlock()
	if live {
		s.peer.Wake()
	}
}
