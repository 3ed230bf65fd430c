package hub

import (
	"fmt"
	"slices"

	"parley/msg"
	"parley/persist"
)

// A replay gives one registration what the log held when it was made, at S: it
// reads (from, S], the stream goes on behind S, so nothing is missed and nothing
// comes twice. All replays of a session are one pass over the log, in order of
// offsets. What they read goes out before anything newer: meanwhile the queue
// fills up and the session lags, like behind retained values.

// replay is positions only, so that a session without a connection holds no
// message. Guarded by Session.mu.
type replay struct {
	reg      *registration
	resolved bool       // next is known
	next, to msg.Offset // still to be read; next > to: read to the end
	cuts     uint64     // retention.cuts when it began: what was cut before is no gap, or is told already
	// done, of a replay that was begun before a start of the broker: what is
	// complete; of the rest some may have been sent. Immutable.
	done map[delivery]bool
}

func (p *replay) over() bool { return p.resolved && p.next > p.to || p.reg.gone.Load() }

// replayTurns is how many chunks without a match one turn of a reader passes.
const replayTurns = 2

// replayFilters is how many filters the store is asked to select by; with more
// it reads everything.
const replayFilters = 64

// mayReplay checks what a subscription asks for from the past.
func mayReplay(sub *msg.Subscription) error {
	switch {
	case sub.From.Kind > msg.ReplayTime:
		return fmt.Errorf("%w: replay kind %d", msg.ErrNotSupported, sub.From.Kind)
	case sub.From.Kind != msg.ReplayNone && sub.Filter.Group != "":
		return fmt.Errorf("%w: replay for a shared group", msg.ErrNotSupported)
	}
	return nil
}

// replayFrom has r begin with the past, up to start. Nothing newer is yielded
// until its beginning is found, and then not before its end. s.mu is held.
func (s *Session) replayFrom(r *registration, start msg.Offset) {
	r.replay = &replay{reg: r, to: start}
	s.in.replays = append(s.in.replays, r.replay)
}

// replace gives up a filter's registration for one that begins elsewhere: what
// waits for the old one, from wherever, is not sent. s.mu is held, and ns.mu, so
// that what is emitted from now on finds the new one.
func (s *Session) replace(r *registration) {
	delete(s.regs, r.filter)
	s.unindex(r)
}

// replaying tells whether replays hold back what is newer, and has them read on.
// Everything read before has been sent. s.mu is held.
func (s *Session) replaying() bool {
	in := &s.in
	if len(in.replays) == 0 {
		return false
	}
	in.replays = slices.DeleteFunc(in.replays, func(p *replay) bool {
		if p.over() {
			p.reg.replay = nil
			return true
		}
		return false
	})
	if slices.ContainsFunc(in.replays, func(p *replay) bool { return p.resolved }) {
		s.askReader()
	}
	return len(in.replays) > 0
}

// cursor is what one turn of a reader knows of a replay.
type cursor struct {
	p        *replay
	next, to msg.Offset
}

// cursors lists what is to be read. s.mu is held.
func (in *inbound) cursors() []cursor {
	var cs []cursor
	for _, p := range in.replays {
		if p.resolved && !p.over() {
			cs = append(cs, cursor{p, p.next, p.to})
		}
	}
	return cs
}

// needed is the part of the log that the cursors still need; from > to: none.
func needed(cs []cursor) (from, to msg.Offset) {
	from = 1
	for _, c := range cs {
		if c.next <= c.to && (to == 0 || c.next < from) {
			from = c.next
		}
		if c.next <= c.to {
			to = max(to, c.to)
		}
	}
	return from, to
}

// readReplays reads on until something matches, for a turn's worth of chunks,
// and moves the cursors.
func (s *Session) readReplays(t *task) ([]item, error) {
	cs := t.past
	for range replayTurns {
		from, to := needed(cs)
		if from > to {
			return nil, nil
		}
		var items []item
		var next msg.Offset
		gaps, err := settled(func() ([]gap, error) {
			ms, end, err := s.hub.store.Read(s.ns.name, from, to, persist.Limits{Filters: filters(cs)})
			if err != nil {
				return nil, err
			}
			items, next = s.replayed(ms, end, cs)
			return s.overtaken(cs, from, next-1), nil
		})
		if err != nil {
			return nil, err
		}
		t.gaps = append(t.gaps, gaps...)
		for i := range cs {
			cs[i].next = max(cs[i].next, next)
		}
		if len(items) > 0 || len(t.gaps) > 0 {
			return items, nil
		}
	}
	return nil, nil
}

// overtaken lists what retention has cut of [from, to] since the replays began.
func (s *Session) overtaken(cs []cursor, from, to msg.Offset) (gaps []gap) {
	ns := s.ns
	to = min(to, msg.Offset(ns.retention.cut.Load()))
	for i := range cs {
		c := &cs[i]
		first, last := max(from, c.next), min(to, c.to)
		if first > last || c.p.cuts == ns.retention.cuts.Load() {
			continue
		}
		if g := ns.missedBy(c.p.reg.filter, first, last); g != nil {
			gaps = append(gaps, *g)
		}
	}
	return gaps
}

// filters lists those of the cursors that are not at their end; none: too many.
func filters(cs []cursor) (fs []msg.Filter) {
	for i := range cs {
		if cs[i].next > cs[i].to {
			continue
		}
		if len(fs) == replayFilters {
			return nil
		}
		fs = append(fs, cs[i].p.reg.filter)
	}
	return fs
}

// replayed keeps what the cursors' filters match, as for a live receiver; next is
// where to go on.
func (s *Session) replayed(ms []*msg.Message, next msg.Offset, cs []cursor) ([]item, msg.Offset) {
	var items []item
	refs := 0
	byTopic := map[string][]int{}
	for _, m := range ms {
		found, ok := byTopic[m.Topic]
		if !ok {
			for i := range cs {
				if cs[i].p.reg.filter.Matches(m.Topic) {
					found = append(found, i)
				}
			}
			byTopic[m.Topic] = found
		}
		regs := s.covering(m, found, cs)
		if len(regs) == 0 || !s.mayReplayed(m) {
			continue
		}
		items = append(items, item{m: m, regs: regs, replayed: true, again: cs[found[0]].p.done != nil})
		if refs += len(regs) - 1; refs > queueRefs {
			return items, m.Offset + 1
		}
	}
	return items, next
}

// covering lists the registrations whose cursors the message lies in.
func (s *Session) covering(m *msg.Message, found []int, cs []cursor) (regs []*registration) {
	own := m.Origin.Session == s.id
	for _, i := range found {
		c := &cs[i]
		switch {
		case m.Offset < c.next || m.Offset > c.to || c.p.done[delivery{offset: m.Offset, flags: flightReplayed}]:
		case own && c.p.reg.sub.Load().NoLocal:
			s.hub.drops.own.Inc()
		default:
			regs = append(regs, c.p.reg)
		}
	}
	return regs
}

// mayReplayed applies the publisher's restrictions to a message of the past:
// lists of session ids reach only sessions that lived at the commit.
func (s *Session) mayReplayed(m *msg.Message) bool {
	if m.Restrict != nil && m.Restrict.BySession() {
		s.hub.drops.restricted.Inc()
		return false
	}
	return s.mayReceive(m)
}

// moveReplays takes over what a reader's turn has read. s.mu is held.
func (s *Session) moveReplays(cs []cursor, items []item, err error) {
	if err != nil {
		s.failReplays(cs, err)
		return
	}
	for _, c := range cs {
		c.p.next = max(c.p.next, c.next)
	}
	s.in.fetched = append(s.in.fetched, items...)
}

// failReplays ends replays that cannot be read, and says so.
func (s *Session) failReplays(cs []cursor, err error) {
	for _, c := range cs {
		s.hub.log.Error("the log cannot be read for a replay", "namespace", s.ns.name, "offset", c.next, "error", err)
		s.hold.notices = append(s.hold.notices, msg.Notice{
			Kind: msg.NoticeGap, Subscription: &c.p.reg.sub.Load().Subscription, First: c.next, Last: c.to, Reason: "storage cannot be read",
		})
		c.p.next = c.to + 1
	}
}

// rewind puts the replays back to an item that was read and not sent. s.mu is
// held.
func (it *item) rewind() {
	for _, r := range it.regs {
		if r.replay != nil {
			r.replay.next = min(r.replay.next, it.m.Offset)
		}
	}
}
