package hub

import (
	"cmp"
	"slices"

	"parley/msg"
)

// A session without a connection keeps positions only: the queue becomes a lag,
// fetched retained values become offsets again, and what was sent but not
// acknowledged is known by its offset. It collects what it would be sent at QoS
// 1 or 2.

// flight is a delivery with QoS > 0 that is not acknowledged.
type flight struct {
	ref      uint64
	offset   msg.Offset
	regs     []*registration
	qos      msg.QoS
	packetID uint16
	retained bool
	replayed bool
	received uint64 // at QoS 2: the peer has it, PUBREL comes next; in the order of the PUBRECs
	resend   bool   // was sent on an earlier connection and not yet on this one
	stored   bool   // at QoS 2: its packet id is on disk
	later    bool   // is sent again when the log is read where it lies, see inorder.go
}

// span is a part of the log, [from, to]; to = 0 while it lasts.
type span struct{ from, to msg.Offset }

// mark is a position in the stream of stored and transient entries.
type mark struct {
	offset msg.Offset
	seq    uint64
}

// after tells whether an entry lies before the mark.
func (k mark) after(e *entry) bool {
	if e.offset != 0 {
		return e.offset <= k.offset
	}
	return e.seq <= k.seq
}

// maxSpans bounds the absences a lagging session remembers; more are merged.
const maxSpans = 32

// goOffline turns what waits in memory into positions. s.mu is held.
func (s *Session) goOffline(head msg.Offset) {
	in := &s.in
	for _, g := range s.shared {
		s.returnShared(g, g.othersThan(s))
	}
	var side []sideItem
	for _, it := range in.fetched {
		switch {
		case it.replayed && it.ref == 0:
			it.rewind()
		case it.ref == 0:
			side = append(side, sideItem{offset: it.m.Offset, regs: it.regs})
		}
	}
	in.side = append(side, in.side...)
	in.sideRefs += sideRefs(side)
	in.fetched, in.redo, in.later, in.reading, in.taken = nil, nil, nil, false, false
	var from, to msg.Offset
	note := func(o msg.Offset) {
		if o != 0 && from == 0 {
			from = o
		}
		to = max(to, o)
	}
	for _, it := range in.backlog {
		note(it.m.Offset)
	}
	for ; in.queue.n > 0; in.queue.pop() {
		note(in.queue.front().offset())
	}
	in.backlog, in.queue = nil, queue{}
	switch {
	case from != 0 && in.lag.on:
		in.lag.from = from
	case from != 0:
		s.startLag(from, to)
	}
	if n := len(in.away); n > 0 && in.away[n-1].to == 0 {
		return // taken over while nobody was there: the absence goes on
	}
	if len(in.away) >= maxSpans {
		in.away[0].to = in.away[1].to
		in.away = slices.Delete(in.away, 1, 2)
	}
	in.away = append(in.away, span{from: head + 1})
}

// comeBack ends the absence and puts what was sent but not acknowledged first.
func (in *inbound) comeBack(head msg.Offset, seq uint64, exact bool) {
	in.back = mark{head, seq}
	if n := len(in.away); n > 0 && in.away[n-1].to == 0 {
		if in.away[n-1].to = head; head < in.away[n-1].from {
			in.away = in.away[:n-1]
		}
	}
	if !in.lag.on {
		in.away = nil
	}
	in.waiting = 0
	for ref, f := range in.unacked {
		switch {
		case !exact && f.waitsForExact():
			f.resend, f.later = false, false
			in.waiting++
		case f.received == 0:
			f.resend = true
			if !exact {
				f.qos = min(f.qos, 1)
			}
			if !in.postpone(&f) {
				in.redo = append(in.redo, f)
			}
		}
		in.unacked[ref] = f
	}
	slices.SortFunc(in.redo, byRef)
	in.sortLater()
}

func byRef(a, b flight) int { return cmp.Compare(a.ref, b.ref) }

// received lists the deliveries that only need PUBREL, in the order of their
// PUBRECs [MQTT-4.6.0-4].
func (in *inbound) received() []msg.InFlight {
	var fs []flight
	for _, f := range in.unacked {
		if f.received != 0 {
			fs = append(fs, f)
		}
	}
	slices.SortFunc(fs, func(a, b flight) int { return cmp.Compare(a.received, b.received) })
	var list []msg.InFlight
	for _, f := range fs {
		list = append(list, msg.InFlight{Ref: f.ref, PacketID: f.packetID})
	}
	return list
}

// assigned lists the packet ids of what is sent again under them.
func (in *inbound) assigned() (ids []uint16) {
	for _, f := range in.unacked {
		if f.packetID != 0 && f.received == 0 {
			ids = append(ids, f.packetID)
		}
	}
	return ids
}

// absent tells whether the session was without a connection when the message
// was stored.
func absent(away []span, o msg.Offset) bool {
	for _, a := range away {
		if o >= a.from && (a.to == 0 || o <= a.to) {
			return true
		}
	}
	return false
}

// collect notes the first message for a session without a connection, and takes
// it out of the index: whatever comes is read from the log when somebody is back,
// and until then the session costs no publisher anything. s.mu is held.
func (s *Session) collect(e *entry, m *msg.Message) {
	if !s.in.lag.on {
		at := e.offset
		if at == 0 {
			at = m.After + 1 // everything stored up to After came by before it
		}
		s.startLag(at, at)
	}
	s.in.parked = true
	x := s.shard.index(s.ns)
	for _, r := range s.regs {
		if r.group == nil {
			x.remove(r)
		}
	}
}

// unpark puts a session that somebody has again back into the index, with a lag
// up to head. ns.mu is held, so that what is emitted from now on finds it, and
// s.mu.
func (s *Session) unpark(head msg.Offset) {
	if !s.in.parked {
		return
	}
	s.in.parked, s.in.covered = false, head
	if s.in.lag.to = head; s.in.lag.from > head { // only transient messages came by
		s.endLag()
	}
	x := s.shard.index(s.ns)
	for _, r := range s.regs {
		if r.group == nil {
			x.add(r)
		}
	}
}

// granted is the highest QoS of the filters.
func granted(regs []*registration) msg.QoS {
	var q msg.QoS
	for _, r := range regs {
		q = max(q, r.sub.Load().QoS)
	}
	return q
}
