package hub

import (
	"cmp"

	"parley/msg"
)

// inbound is what waits to be delivered to one session. Guarded by Session.mu.
//
// Order: notices; then what was sent on an earlier connection and is not
// acknowledged; then the side reader's items (retained values: they are older
// than anything their subscription is sent afterwards, so the rest waits); then
// what replays read from the log, for the same reason; then what was read back from the log; then the queue; and when that is empty and the
// session lags, the next chunk of the log is asked for.
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

// queue is a ring of items.
type queue struct {
	ring  []item
	first int
	n     int
	refs  int // filters of all items beyond the first of each
}

// queueRefs bounds queue.refs, and what one read of the log keeps: overlapping
// filters make a delivery large (8 bytes each).
const queueRefs = 1 << 16

// room tells whether an item with so many filters fits.
func (q *queue) room(limit, filters int) bool {
	return q.n < limit && (q.n == 0 || q.refs+filters-1 <= queueRefs)
}

func (q *queue) push(it item) {
	if q.n == len(q.ring) {
		grown := make([]item, max(8, 2*len(q.ring)))
		for i := range q.n {
			grown[i] = q.ring[(q.first+i)%len(q.ring)]
		}
		q.ring, q.first = grown, 0
	}
	q.ring[(q.first+q.n)%len(q.ring)] = it
	q.n++
	q.refs += len(it.regs) - 1
}

func (q *queue) front() *item { return &q.ring[q.first] }

// pop drops the front; an empty big ring is given back, so that an idle session
// holds little.
func (q *queue) pop() {
	q.refs -= len(q.ring[q.first].regs) - 1
	q.ring[q.first] = item{}
	q.first = (q.first + 1) % len(q.ring)
	q.n--
	if q.n == 0 && len(q.ring) > 64 {
		*q = queue{}
	}
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

// Next: see subproto.Session.
func (c *hold) Next(d *msg.Delivery) bool {
	s := c.s
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(c.notices) > 0 {
		n := c.notices[0]
		c.notices = c.notices[1:]
		*d = msg.Delivery{Notice: &n}
		return true
	}
	if c.state == holdLive && s.in.gate == 0 {
		if n := s.nextGap(); n != nil {
			*d = msg.Delivery{Notice: n}
			return true
		}
	}
	for c.state == holdLive && s.in.gate == 0 {
		it, src := s.peek()
		if it == nil {
			s.askGroups()
			return false
		}
		m := it.message()
		if m == nil {
			s.fallBack()
			continue
		}
		q, ok := s.fit(it, m)
		if !ok {
			s.in.forget(it.ref)
			s.pop(src)
			s.touch()
			continue
		}
		if q > 0 && it.ref == 0 && s.inFlight() >= c.params.Window {
			return false
		}
		*d = msg.Delivery{
			Message: m, Matches: s.in.matches, QoS: q,
			Retained: it.retained, Replayed: it.replayed, Redelivered: it.again && q > 0,
		}
		if q > 0 {
			s.in.takeOff(d, it, m)
		}
		s.pop(src)
		s.touch()
		return true
	}
	return false
}

// takeOff notes a delivery as unacknowledged, or finds the note of one that is
// sent again.
func (in *inbound) takeOff(d *msg.Delivery, it *item, m *msg.Message) {
	if it.ref != 0 {
		f := in.unacked[it.ref]
		if f.later {
			f = in.renumber(f)
		}
		f.resend = false
		in.unacked[f.ref] = f
		d.Ref, d.PacketID, d.Redelivered = f.ref, f.packetID, true
		return
	}
	in.ref++
	d.Ref = in.ref
	if in.unacked == nil {
		in.unacked = map[uint64]flight{}
	}
	in.unacked[d.Ref] = flight{ref: d.Ref, offset: m.Offset, regs: it.regs, qos: d.QoS, retained: it.retained, replayed: it.replayed}
}

// source is where an item waits.
type source uint8

const (
	fromSide source = iota
	fromLog
	fromQueue
)

// peek finds the next item and where it waits; nil if there is none now.
func (s *Session) peek() (*item, source) {
	in := &s.in
	switch {
	case len(in.fetched) > 0:
		return &in.fetched[0], fromSide
	case len(in.redo) > 0 || len(in.side) > 0:
		s.askReader()
	case s.replaying():
	case len(in.backlog) > 0:
		return &in.backlog[0], fromLog
	case in.queue.n > 0:
		return in.queue.front(), fromQueue
	case in.lag.on:
		s.askReader()
	}
	return nil, 0
}

func (s *Session) pop(src source) {
	switch src {
	case fromSide:
		popSlice(&s.in.fetched)
	case fromLog:
		popSlice(&s.in.backlog)
	default:
		s.in.queue.pop()
	}
}

func popSlice(items *[]item) {
	(*items)[0] = item{}
	*items = (*items)[1:]
	if len(*items) == 0 {
		*items = nil
	}
}

// fit fills in.matches with the filters that are still there, and reports the
// delivery's QoS; false if the message is not to be delivered any more. What was
// sent once is completed whatever became of its filters [MQTT-3.10.4-3].
func (s *Session) fit(it *item, m *msg.Message) (msg.QoS, bool) {
	in := &s.in
	in.matches = in.matches[:0]
	protocol := s.hold.params.Protocol
	var granted msg.QoS
	for _, r := range it.regs {
		if it.ref == 0 && r.gone.Load() {
			continue
		}
		sub := r.sub.Load()
		granted = max(granted, sub.QoS)
		in.matches = append(in.matches, sub.seenBy(protocol))
	}
	if len(in.matches) == 0 {
		return 0, false
	}
	if it.ref != 0 { // what was sent does not expire any more [MQTT-4.3.3-7]
		f, waits := in.unacked[it.ref]
		return f.qos, waits && f.resend
	}
	if m.Expires != 0 && m.Expired(now()) {
		s.hub.drops.expired.Inc()
		return 0, false
	}
	return s.hold.degrade(min(granted, m.QoS)), true
}

// fallBack turns the queue, whose front the tail has evicted, into a lag: what
// is stored is read from the log, what is transient is lost and counted.
func (s *Session) fallBack() {
	for _, g := range s.shared {
		s.returnShared(g, false) // the log is read for own filters only
	}
	q := &s.in.queue
	var from, to msg.Offset
	for ; q.n > 0; q.pop() {
		switch o := q.front().offset(); {
		case o == 0:
			s.hub.drops.evicted.Inc()
		case from == 0:
			from, to = o, o
		default:
			to = o
		}
	}
	switch {
	case from == 0:
	case s.in.lag.on:
		s.in.lag.from = from
	default:
		s.startLag(from, to)
	}
}
