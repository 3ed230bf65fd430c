package hub

import (
	"parley/msg"
	"parley/persist"
)

// exact is one publish at QoS 2 between its PUBLISH and its PUBREL. Guarded by
// Session.mu. There are at most 65,535 per session: no more packet ids exist.
type exact struct {
	by     *hold // the connection that submitted it
	ended  bool  // committed or refused
	offset msg.Offset
	err    error
}

// PublishOnce: see subproto.Session.
func (c *hold) PublishOnce(packetID uint16, m *msg.Message, done func(msg.Offset, error)) {
	s := c.s
	if err := c.alive(); err != nil {
		done(0, err)
		return
	}
	s.mu.Lock()
	x := s.exact[packetID]
	if x != nil {
		s.mu.Unlock()
		c.answerAgain(x, done)
		return
	}
	x = &exact{by: c}
	if s.exact == nil {
		s.exact = map[uint16]*exact{}
	}
	s.exact[packetID] = x
	var ctl *persist.Control
	if s.durable {
		ctl = s.packetControl(controlExact, packetID)
	}
	s.mu.Unlock()
	c.publish(m, ctl, func(o msg.Offset, err error) {
		s.mu.Lock()
		x.ended, x.offset, x.err = true, o, err
		if err != nil && s.exact[packetID] == x {
			delete(s.exact, packetID) // refused: the id is free again [MQTT-4.3.3]
		}
		s.mu.Unlock()
		done(o, err)
	})
}

// answerAgain answers a repeated PUBLISH in its turn: behind what was submitted
// before it, the first one included.
func (c *hold) answerAgain(x *exact, done func(msg.Offset, error)) {
	answer := func(msg.Offset, error) {
		c.s.mu.Lock()
		o, err := x.offset, x.err
		c.s.mu.Unlock()
		done(o, err)
	}
	c.submitted.Add(1)
	c.s.hub.com.submit(op{c: c, ns: c.s.ns, again: x, done: answer})
}

// parked tells whether the publish waits for a full store, on a connection that
// may be gone. The committer calls it.
func (x *exact) parked() bool {
	if x.by == nil || !x.by.stalled {
		return false
	}
	x.by.s.mu.Lock()
	defer x.by.s.mu.Unlock()
	return !x.ended
}

// Release: see subproto.Session.
func (c *hold) Release(packetID uint16, done func(error)) {
	s := c.s
	if s == nil {
		done(msg.ErrSessionClosed)
		return
	}
	s.mu.Lock()
	err := c.err()
	if err == nil {
		if s.exact[packetID] == nil {
			err = msg.ErrNoPacketID
		}
		delete(s.exact, packetID)
	}
	durable := s.durable
	s.mu.Unlock()
	switch {
	case !durable:
		done(err)
	case err != nil: // that it was released may be on its way to disk, by a connection since gone
		c.afterAll(func() { done(err) })
	default:
		c.submitControl(s.packetControl(controlRelease, packetID), true, done)
	}
}

// Assign: see subproto.Session.
func (c *hold) Assign(ref uint64, packetID uint16, done func(error)) {
	s := c.s
	if s == nil {
		if done != nil {
			done(msg.ErrSessionClosed)
		}
		return
	}
	s.mu.Lock()
	f, err := c.flight(ref)
	if f.ref != 0 {
		f.packetID, f.stored = packetID, !s.durable
		s.in.unacked[ref] = f
	}
	durable := s.durable && f.qos == 2
	s.touch()
	s.mu.Unlock()
	switch {
	case done == nil:
	case err != nil || !durable:
		done(err)
	default:
		st := f.state()
		c.submitControl(s.control(controlAssign, func(e *encoder) { e.flight(&st) }), true, func(err error) {
			s.assigned(ref, err)
			done(err)
		})
	}
}

// assigned notes that a delivery's packet id is on disk, so that it is the
// session's own from here on.
func (s *Session) assigned(ref uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.in.unacked[ref]
	if !ok || err != nil {
		return
	}
	f.stored = true
	s.in.unacked[ref] = f
	if g := f.group(); g != nil {
		g.touch()
	}
}

// Received: see subproto.Session.
func (c *hold) Received(ref uint64, done func(error)) {
	s := c.s
	if s == nil {
		done(msg.ErrSessionClosed)
		return
	}
	s.mu.Lock()
	f, err := c.flight(ref)
	if f.ref != 0 && f.received == 0 {
		s.in.receipts++
		f.received = s.in.receipts
		s.in.unacked[ref] = f
	}
	durable := s.durable
	s.touch()
	s.mu.Unlock()
	switch {
	case err != nil || !durable:
		done(err)
	case f.ref == 0: // not there any more
		c.afterAll(func() { done(nil) })
	default:
		c.submitControl(s.packetControl(controlReceived, f.packetID), true, done)
	}
}

// flight finds an unacknowledged delivery; ref 0 if it is not there, which is no
// error. s.mu is held.
func (c *hold) flight(ref uint64) (flight, error) {
	if err := c.err(); err != nil {
		return flight{}, err
	}
	return c.s.in.unacked[ref], nil
}

// packetControl is a control record about a packet id.
func (s *Session) packetControl(kind uint8, packetID uint16) *persist.Control {
	return s.control(kind, func(e *encoder) { e.number(uint64(packetID)) })
}
