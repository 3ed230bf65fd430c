package hub

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/subproto"
)

var _ subproto.Attach = (*Hub)(nil).Attach

// Attach opens or resumes a session, see subproto.Attach.
func (h *Hub) Attach(p subproto.Peer, id *auth.Identity, params msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
	if id == nil {
		id = &auth.Identity{}
	}
	if params.Window <= 0 {
		params.Window = defaultWindow
	}
	c := &hold{peer: p, params: params, who: &person{id, id.Role(), params.ID}}
	result, err := h.admit(c)
	if err != nil {
		c.state = holdClosed
		done(msg.AttachResult{}, err)
		return c
	}
	finish := func(err error) {
		if err = cmp.Or(c.unrecorded, err); err != nil {
			c.refuse(!result.Present)
			result = msg.AttachResult{}
		}
		done(result, err)
	}
	switch {
	case params.Will != nil:
		c.s.ns.storeWill(newWill(c), c, finish)
	case c.submitted.Load() > 0, result.Present, c.succeeds:
		// Behind what admit has submitted, and what the connection before has: a
		// packet id that it noted as received, say, is not on disk yet; nor that
		// its session has ended.
		c.afterAll(func() { finish(nil) })
	default:
		finish(nil)
	}
	return c
}

// refuse ends the hold on a session that could not be stored, or whose will
// could not.
func (c *hold) refuse(fresh bool) {
	if fresh {
		c.s.mu.Lock()
		c.s.expiry = 0
		if c.unrecorded != nil { // then there is nothing to take off the disk
			c.s.durable = false
		}
		c.s.mu.Unlock()
	}
	c.Close(msg.CloseDrain)
}

// admit gives c its session: a new one, or the one of its ClientID. What has to
// be on disk before the peer hears of it is submitted, in order.
func (h *Hub) admit(c *hold) (msg.AttachResult, error) {
	id := c.who.id
	var result msg.AttachResult
	ns := h.spaces[c.params.Namespace]
	if ns == nil {
		return result, fmt.Errorf("%w: %q", msg.ErrNoNamespace, c.params.Namespace)
	}
	if w := c.params.Will; w != nil {
		if err := h.checkPublish(ns, id, w.Message); err != nil {
			return result, fmt.Errorf("will: %w", err)
		}
	}
	fresh, err := h.newSession(ns, c)
	if err != nil {
		return result, err
	}
	ns.mu.Lock()
	result = msg.AttachResult{Epoch: ns.epoch, Head: ns.head}
	var taken *hold
	old := ns.clients[c.params.ClientID]
	switch {
	case c.params.ClientID == "":
		c.s = fresh
	case old != nil && old.owner != id.User:
		ns.mu.Unlock()
		h.forget(fresh)
		return result, fmt.Errorf("%w: %q belongs to another user", msg.ErrBadClientID, c.params.ClientID)
	case old != nil && old.keeps(&err):
		ns.mu.Unlock()
		h.forget(fresh)
		return result, err
	case old != nil && !c.params.CleanStart && old.resumable():
		result.Present = true
		taken = old.resume(c, ns.head, &result)
	default:
		c.s = fresh
		if old != nil {
			fresh.contest = old.contest
		}
		ns.replace(old, c)
	}
	c.succeeds = ns.ending[c.params.ClientID] > 0
	due := ns.succeedWill(c, result.Present)
	ns.mu.Unlock()
	switch {
	case result.Present:
		h.forget(fresh)
	case old != nil:
		taken = old.end(msg.NoticeTakenOver)
	}
	if taken != nil {
		taken.peer.Wake()
	}
	if due != nil {
		ns.publishWill(due)
	}
	h.met.Sessions.Inc()
	return result, nil
}

// newSession makes a session for c and registers its id.
func (h *Hub) newSession(ns *namespace, c *hold) (*Session, error) {
	s := &Session{
		hub: h, ns: ns, name: c.params.ClientID, owner: c.who.id.User, hold: c, expiry: c.params.Expiry,
	}
	s.who.Store(c.who)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return nil, msg.ErrDraining
	}
	if len(h.sessions) >= h.lim.Sessions {
		return nil, fmt.Errorf("%w: %d sessions", msg.ErrQuota, len(h.sessions))
	}
	s.id = c.params.ID
	if s.id != 0 && h.sessions[s.id] != nil {
		return nil, fmt.Errorf("%w: session id %d is in use", msg.ErrBadClientID, s.id)
	}
	for s.id == 0 || h.sessions[s.id] != nil {
		s.id = 1 + rand.Uint64N(maxSessionID)
	}
	s.shard = h.shards[s.id%uint64(len(h.shards))]
	h.sessions[s.id] = s
	return s, nil
}

func (h *Hub) forget(s *Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, s.id)
}

// resumable tells whether a connection may go on with s.
func (s *Session) resumable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry > 0
}

// resume gives s to c and returns the hold that had it. ns.mu is held.
func (s *Session) resume(c *hold, head msg.Offset, result *msg.AttachResult) *hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.hold
	if taken != nil {
		taken.state = holdTaken
		taken.notices = append(taken.notices, msg.Notice{Kind: msg.NoticeTakenOver})
		s.hub.met.Sessions.Dec()
		s.goOffline(head)
	}
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	changed := s.ends != 0 || s.expiry != c.params.Expiry
	s.hold, c.s, s.ends = c, s, 0
	s.who.Store(c.who)
	s.setExpiry(c.params.Expiry)
	if s.durable && changed {
		c.recordBack()
	}
	s.gen++
	s.unpark(head)
	s.in.comeBack(head, s.ns.seq, c.params.Exact)
	s.in.matches = nil // lent to the connection before, which may still be reading it
	s.askGroups()
	if c.params.Exact {
		result.Received = s.in.received()
		result.Assigned = s.in.assigned()
	}
	result.Subscriptions = s.subscriptions()
	return taken
}

// Close: see subproto.Session.
func (c *hold) Close(how msg.CloseHow) {
	s := c.s
	if s == nil {
		return
	}
	c.finishWill(how)
	head := s.ns.position()
	s.mu.Lock()
	if c.state != holdLive {
		c.state = holdClosed
		s.mu.Unlock()
		return
	}
	keep := s.name != "" && s.expiry > 0
	if keep {
		c.state = holdClosed
		s.hold = nil
		s.gen++
		s.goOffline(head)
		s.startExpiry(s.expiry)
		s.hub.met.Sessions.Dec()
	}
	s.mu.Unlock()
	if !keep {
		s.end(0)
	}
}

// startExpiry begins to wait for a connection. s.mu is held.
func (s *Session) startExpiry(wait time.Duration) {
	s.touch()
	if s.expiry == msg.Forever {
		s.ends = math.MaxInt64
		return
	}
	s.ends = now() + wait.Milliseconds()
	gen := s.gen
	s.timer = time.AfterFunc(wait, func() { s.expire(gen) })
}

// expire ends a session that nobody has taken up since its connection ended:
// since then its generation is gen.
func (s *Session) expire(gen uint64) {
	s.ns.mu.Lock()
	s.mu.Lock()
	due := s.gen == gen
	s.mu.Unlock()
	if due && s.ns.clients[s.name] == s {
		s.ns.replace(s, nil)
	}
	s.ns.mu.Unlock()
	if due {
		s.end(0)
	}
}

// end takes a session out of everything it is in. It returns the hold that had
// it, which is given a notice.
func (s *Session) end(notice msg.NoticeKind) *hold {
	s.mu.Lock()
	c := s.hold
	if c != nil {
		c.state = holdClosed
		if notice != 0 {
			c.state = holdTaken
			c.notices = append(c.notices, msg.Notice{Kind: notice})
		}
		s.hub.met.Sessions.Dec()
	}
	s.hold, s.expiry = nil, 0
	s.gen++
	if s.timer != nil {
		s.timer.Stop()
	}
	regs := s.regs
	s.regs = nil
	for _, r := range regs {
		r.gone.Store(true)
		if r.group != nil {
			s.leaveGroup(r)
		}
	}
	s.dropInbound()
	s.mu.Unlock()
	for _, r := range regs {
		s.unindex(r)
	}
	s.ns.disown(s)
	s.hub.forget(s)
	return c
}

// disown gives up the ClientID unless somebody else has it already.
func (ns *namespace) disown(s *Session) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.clients[s.name] == s {
		ns.replace(s, nil)
	}
}
