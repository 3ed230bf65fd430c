package hub

import (
	"cmp"

	"parley/msg"
)

// inbound is what waits to be delivered to one session. Guarded by Session.mu.
//
// Order: notices; then what was sent on an earlier connection and is not
// acknowledged (redo); then retained values (side) and what replays read from the
// log: both are older than anything their subscription is sent afterwards, so the
// rest waits; then what was read back from the log (backlog), and in its place
// there what was sent at QoS 2 before a crash (later); then the queue; and when
// that is empty and the session lags, the next chunk of the log is asked for.
type inbound struct {
	redo      []flight   // to be fetched and sent again
	later     []flight   // the same, at their places in the log; by offset
	side      []sideItem // to be fetched
	sideRefs  int        // of side: regs of all items
	fetched   []item     // of redo, side and replays, read
	replays   []*replay  // to be read
	backlog   []item     // read from the log: older than anything in queue
	queue     queue
	lag       lag
	away      []span     // absences while lagging: nothing was collected at QoS 0
	back      mark       // where the last absence ended
	reading   bool       // a reader works, or is about to
	taken     bool       // a reader has a task of this generation
	gaps      []gap      // to be told of
	postponed int        // of unacked: come with the log, and have not come yet
	gate      int        // filters on their way to disk: nothing is delivered until they are
	pushed    msg.Offset // newest stored message that came by; the shard hands them out in order
	parked    bool       // without a connection, and not in the index: the lag is up to the head
	covered   msg.Offset // what is stored up to it comes from the log, if at all
	restored  restored

	unacked  map[uint64]flight // by ref
	waiting  int               // of them: for a peer that speaks QoS 2, which this one does not
	ref      uint64
	receipts uint64              // PUBRECs so far
	matches  []*msg.Subscription // lent to the engine until the next Next
}

// item is one message for the session with the filters that want it: from the
// tail (e) or from the log (m).
type item struct {
	e        *entry
	m        *msg.Message
	regs     []*registration
	retained bool
	replayed bool
	again    bool   // may have been sent before the broker was started
	ref      uint64 // of the flight it sends again; 0 = sent for the first time
}

func (it *item) message() *msg.Message {
	if it.m != nil {
		return it.m
	}
	return it.e.m.Load()
}

// offset is the message's position; 0 for a transient one.
func (it *item) offset() msg.Offset {
	if it.m != nil {
		return it.m.Offset
	}
	return it.e.offset
}

// sideItem is a retained value still to be read.
type sideItem struct {
	offset msg.Offset
	again  bool // may have been sent before the broker was started
	regs   []*registration
}

// lag is the part of the log that matched and did not fit into the queue.
type lag struct {
	on       bool
	from, to msg.Offset // to grows while more matches
}

// dropInbound forgets everything but notices. s.mu is held.
func (s *Session) dropInbound() {
	if s.in.lag.on {
		s.endLag()
	}
	s.in = inbound{}
}

// push takes a fanned-out entry for delivery, now or by reading the log, and
// reports whether it did and whether the session has to be woken for it. The
// shard calls it, and groups.
func (s *Session) push(e *entry, m *msg.Message, regs []*registration) (taken, wake bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in.pushed = max(s.in.pushed, e.offset)
	if s.in.parked || e.offset != 0 && e.offset <= s.in.covered {
		return false, false
	}
	regs = s.wanting(e, m, regs)
	if len(regs) == 0 || !s.mayReceive(m) {
		return false, false
	}
	if s.hold == nil {
		s.collect(e, m)
		return false, false
	}
	if s.in.back.after(e) && (m.QoS == 0 || granted(regs) == 0) { // from the absence, and only now fanned out
		return false, false
	}
	in := &s.in
	switch {
	case in.lag.on && e.offset != 0:
		in.lag.to = e.offset
		return true, false
	case in.lag.on:
		s.hub.drops.lagging.Inc()
		return false, false
	case !in.queue.room(s.hub.lim.QueueMessages, len(regs)) && e.offset != 0:
		s.startLag(e.offset, e.offset)
		return true, false
	case !in.queue.room(s.hub.lim.QueueMessages, len(regs)):
		s.hub.drops.queueFull.Inc()
		return false, false
	}
	in.queue.push(item{e: e, regs: regs})
	return true, in.queue.n == 1 // else an earlier wake, Room or Ack comes first
}

// wanting drops the registrations that do not want the message: newer than it,
// or no-local ones of its own publisher.
func (s *Session) wanting(e *entry, m *msg.Message, regs []*registration) []*registration {
	own := m.Origin.Session == s.id
	all := true
	for _, r := range regs {
		if e.before(r) || own && r.sub.Load().NoLocal {
			all = false
			break
		}
	}
	if all {
		return regs
	}
	var some []*registration
	for _, r := range regs {
		switch {
		case e.before(r):
		case own && r.sub.Load().NoLocal:
			s.hub.drops.own.Inc()
		default:
			some = append(some, r)
		}
	}
	return some
}

// before tells whether the entry is older than the registration.
func (e *entry) before(r *registration) bool {
	if e.offset != 0 {
		return e.offset <= r.start
	}
	return e.seq <= r.from
}

// mayReceive applies the publisher's restrictions.
func (s *Session) mayReceive(m *msg.Message) bool {
	if m.NoEcho && m.Origin.Session == s.id {
		s.hub.drops.own.Inc()
		return false
	}
	if w := s.who.Load(); m.Restrict != nil && !m.Restrict.Allows(cmp.Or(w.session, s.id), w.id.User, w.role) {
		s.hub.drops.restricted.Inc()
		return false
	}
	return true
}

func (s *Session) startLag(from, to msg.Offset) {
	s.in.lag = lag{on: true, from: from, to: to}
	s.hub.met.Lagging.Inc()
}

func (s *Session) endLag() {
	s.in.lag = lag{}
	s.in.away = nil
	s.hub.met.Lagging.Dec()
}

// Ack: see subproto.Session.
func (c *hold) Ack(ref uint64) {
	s := c.s
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state == holdLive {
		if f := s.in.unacked[ref]; s.durable && f.group() != nil {
			f.group().touch()
		}
		s.in.forget(ref)
		s.touch()
		s.askGroups()
	}
}
