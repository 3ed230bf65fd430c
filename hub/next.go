package hub

import "parley/msg"

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
