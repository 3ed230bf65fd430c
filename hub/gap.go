package hub

import (
	"slices"

	"parley/msg"
)

// maxGaps bounds the gaps that a session has not been told of; more are merged.
const maxGaps = 64

// gap is a notice that waits for its session, in memory and on disk.
type gap struct {
	filter      msg.Filter
	first, last msg.Offset
	count       uint64 // 0: not known
	reason      string
}

// reasonRetention is why stored messages are gone that somebody wanted.
const reasonRetention = "retention"

// missed lists what retention has cut of [from, to] that one of the session's
// filters wanted. It costs nothing where nothing was cut.
func (s *Session) missed(regs []*registration, from, to msg.Offset) []gap {
	ns := s.ns
	if cut := msg.Offset(ns.retention.cut.Load()); to > cut {
		to = cut
	}
	var gaps []gap
	for _, r := range regs {
		begin := max(from, r.start+1)
		if r.filter.Group != "" || begin > to || r.sub.Load().QoS == 0 {
			continue
		}
		if g := ns.missedBy(r.filter, begin, to); g != nil {
			gaps = append(gaps, *g)
		}
	}
	return gaps
}

// settled reads a part of the log and what was cut of it until both are of one
// time: what is cut after it was read is not missed.
func settled(read func() ([]gap, error)) ([]gap, error) {
	gaps, err := read()
	for err == nil && len(gaps) > 0 {
		before := gaps
		if gaps, err = read(); slices.Equal(before, gaps) {
			break
		}
	}
	return gaps, err
}

// missedBy asks the store what was cut of [from, to] that f matches; nil if
// nothing.
func (ns *namespace) missedBy(f msg.Filter, from, to msg.Offset) *gap {
	m, err := ns.hub.store.Missed(ns.name, []msg.Filter{f}, from, to)
	if err != nil {
		ns.hub.log.Error("what was cut cannot be told", "namespace", ns.name, "error", err)
		return nil
	}
	if m.First == 0 {
		return nil
	}
	g := &gap{filter: f, first: m.First, last: m.Last, reason: reasonRetention}
	if m.Exact {
		g.count = m.Count
	}
	return g
}

// gapBefore is what a replay from an offset does not find any more; nil if that
// is nothing.
func (ns *namespace) gapBefore(f msg.Filter, from, to msg.Offset) *msg.Gap {
	if from > to {
		return nil
	}
	g := ns.missedBy(f, from, to)
	if g == nil {
		return nil
	}
	return &msg.Gap{Filter: f, First: g.first, Last: g.last, Count: g.count, Reason: g.reason}
}

// tellGaps queues notices. One filter has one: what it missed later is added. s.mu
// is held.
func (s *Session) tellGaps(gaps []gap) {
	for _, g := range gaps {
		s.tellGap(g)
	}
	if len(gaps) > 0 {
		s.touch()
	}
}

func (s *Session) tellGap(g gap) {
	in := &s.in
	for i := range in.gaps {
		old := &in.gaps[i]
		if old.filter != g.filter && len(in.gaps) < maxGaps {
			continue
		}
		if old.filter != g.filter { // too many: the first one stands for all
			old.filter = msg.Filter{Pattern: "#"}
		}
		old.first, old.last = min(old.first, g.first), max(old.last, g.last)
		if old.count == 0 || g.count == 0 {
			old.count = 0
		} else {
			old.count += g.count
		}
		return
	}
	in.gaps = append(in.gaps, g)
}

// nextGap takes the next notice of a gap. s.mu is held.
func (s *Session) nextGap() *msg.Notice {
	in := &s.in
	if len(in.gaps) == 0 {
		return nil
	}
	g := in.gaps[0]
	if in.gaps = in.gaps[1:]; len(in.gaps) == 0 {
		in.gaps = nil
	}
	s.touch()
	sub := &msg.Subscription{Filter: g.filter}
	if r := s.regs[g.filter]; r != nil {
		sub = r.sub.Load().seenBy(s.hold.params.Protocol)
	}
	s.hub.met.Gaps.Inc()
	return &msg.Notice{Kind: msg.NoticeGap, Subscription: sub, First: g.first, Last: g.last, Count: g.count, Reason: g.reason}
}
