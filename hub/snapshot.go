package hub

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"parley/auth"
	"parley/msg"
)

// restored is what a session brought along from before a start of the broker.
type restored struct {
	done  map[delivery]bool // complete, or in unacked, though the log is read again where they lie
	doubt msg.Offset        // up to it, what comes may have been sent already
}

// nameSet is a set of names that any goroutine may add to, whatever it holds.
type nameSet struct {
	mu    sync.Mutex
	names map[string]struct{}
}

func (n *nameSet) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.names == nil {
		n.names = map[string]struct{}{}
	}
	n.names[name] = struct{}{}
}

// take empties the set.
func (n *nameSet) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]string, 0, len(n.names))
	for name := range n.names {
		list = append(list, name)
	}
	n.names = nil
	slices.Sort(list)
	return list
}

// saved returns a session's value for the checkpoint table, nil if it is not to
// be there, and what it wants nothing below of once that is on disk.
// Everything up to the control record named has been applied to it.
func (ns *namespace) saved(name string, control uint64) ([]byte, floorOf) {
	ns.mu.Lock()
	s := ns.clients[name]
	ns.mu.Unlock()
	if s == nil {
		return nil, floorOf{}
	}
	st := s.snapshot()
	if st == nil {
		return nil, floorOf{}
	}
	st.control = control
	return st.encode(), floorOf{s, st.floor()}
}

// floorOf is what a session or a group wants nothing below of.
type floorOf struct {
	of    interface{ setFloor(msg.Offset) }
	floor msg.Offset
}

func (s *Session) setFloor(floor msg.Offset) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.floor = floor
}

// snapshot is the session's state as of now; nil if it is not durable.
func (s *Session) snapshot() *sessionState {
	// Read first: everything up to it has been pushed to the session already.
	handled := msg.Offset(s.shard.index(s.ns).handled.Load())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty = false
	if !s.durable || s.expiry <= 0 {
		return nil
	}
	w := s.who.Load()
	st := &sessionState{
		id: s.id, user: s.owner, role: w.role, expiry: s.expiry, deadline: s.ends,
		next: s.next(handled), doubt: s.in.restored.doubt, away: slices.Clone(s.in.away), receipts: s.in.receipts,
	}
	s.saved = st.next
	st.gaps = slices.Clone(s.in.gaps)
	regs := make([]*registration, 0, len(s.regs))
	for _, r := range s.regs {
		regs = append(regs, r)
	}
	st.filters = s.filterStates(regs, s.in.pendingSide())
	pastPending := len(s.in.side) > 0 || len(s.in.fetched) > 0 || len(s.in.replays) > 0
	for d := range s.in.restored.done {
		if d.group == (msg.Filter{}) && (d.offset >= st.next || pastPending) { // else the group has it
			st.done = append(st.done, d)
		}
	}
	if len(st.done) == 0 {
		s.in.restored.done = nil
	}
	slices.SortFunc(st.done, func(a, b delivery) int { return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.flags, b.flags)) })
	for _, f := range s.in.unacked {
		if f.qos == 2 && f.packetID != 0 || f.group() == nil { // else the group has it
			st.flights = append(st.flights, f.state())
		}
	}
	slices.SortFunc(st.flights, func(a, b flightState) int { return cmp.Compare(a.rank, b.rank) })
	for id, x := range s.exact {
		if x.ended {
			st.exact = append(st.exact, exactState{id, x.offset})
		}
	}
	slices.SortFunc(st.exact, func(a, b exactState) int { return cmp.Compare(a.packetID, b.packetID) })
	return st
}

// next is the position below which the session has been sent all that it is to be
// sent, given that everything up to handled has been pushed to it. s.mu is held.
func (s *Session) next(handled msg.Offset) msg.Offset {
	in := &s.in
	if len(in.backlog) > 0 {
		return in.backlog[0].offset()
	}
	for i := range in.queue.n {
		it := &in.queue.ring[(in.queue.first+i)%len(in.queue.ring)]
		if o := it.offset(); o != 0 && it.regs[0].group == nil {
			return o
		}
	}
	if in.lag.on {
		return in.lag.from
	}
	return max(handled, in.pushed) + 1
}

// pendingSide lists the retained values that are still to be sent.
func (in *inbound) pendingSide() []sideItem {
	list := slices.Clone(in.side)
	for i := range in.fetched {
		if it := &in.fetched[i]; it.ref == 0 && it.retained {
			list = append(list, sideItem{offset: it.offset(), regs: it.regs})
		}
	}
	return list
}

// filterStates describes regs, with the retained values in side that are still
// to be sent for them. s.mu is held.
func (s *Session) filterStates(regs []*registration, side []sideItem) []filterState {
	list := make([]filterState, 0, len(regs))
	at := make(map[*registration]int, len(regs))
	for _, r := range regs {
		sub := r.sub.Load()
		at[r] = len(list)
		f := filterState{sub: sub.Subscription, via: sub.via, start: r.start}
		if r.replay != nil && r.replay.resolved && r.replay.next <= r.replay.to {
			f.replay, f.replayTo = r.replay.next, r.replay.to
		}
		list = append(list, f)
	}
	for i := range s.in.fetched { // read for a replay and not sent
		it := &s.in.fetched[i]
		for _, r := range it.regs {
			j, ok := at[r]
			if ok && it.replayed && it.ref == 0 && r.replay != nil && (list[j].replay == 0 || it.offset() < list[j].replay) {
				list[j].replay, list[j].replayTo = it.offset(), r.replay.to
			}
		}
	}
	for _, it := range side {
		for _, r := range it.regs {
			i, ok := at[r]
			if !ok {
				continue
			}
			f := &list[i]
			if f.side == 0 || it.offset < f.side {
				f.side = it.offset
			}
			f.sideTo = max(f.sideTo, it.offset)
		}
	}
	slices.SortFunc(list, func(a, b filterState) int { return compareFilters(a.sub.Filter, b.sub.Filter) })
	return list
}

func compareFilters(a, b msg.Filter) int {
	return cmp.Or(cmp.Compare(a.Pattern, b.Pattern), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind))
}

// group is the shared group that a delivery was made for; nil if none.
func (f *flight) group() *group {
	if len(f.regs) == 0 {
		return nil
	}
	return f.regs[0].group
}

// filter is one of those that the delivery was made for, as far as is known.
func (f *flight) filter() msg.Filter {
	if len(f.regs) == 0 {
		return msg.Filter{Pattern: "#"}
	}
	return f.regs[0].filter
}

func (f *flight) state() flightState {
	st := flightState{delivery: delivery{offset: f.offset}, packetID: f.packetID, qos: f.qos, received: f.received, rank: f.ref}
	if f.retained {
		st.flags |= flightRetained
	}
	if f.replayed {
		st.flags |= flightReplayed
	}
	if g := f.group(); g != nil {
		st.group = g.reg.filter
	}
	return st
}

// restoreSessions makes the sessions that were loaded, without a connection. The
// retained values and head have been loaded before.
func (ns *namespace) restoreSessions() error {
	names := make([]string, 0, len(ns.loading))
	for name, st := range ns.loading {
		if st.expiry > 0 {
			names = append(names, name)
		} else { // ended with the connection that the broker took down
			ns.touched.add(name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if err := ns.restore(name, ns.loading[name]); err != nil {
			return fmt.Errorf("session %q: %w", name, err)
		}
	}
	ns.loading = nil
	return nil
}

func (ns *namespace) restore(name string, st *sessionState) error {
	h := ns.hub
	s := &Session{hub: h, ns: ns, id: st.id, name: name, owner: st.user, expiry: st.expiry, durable: true, saved: st.next, floor: st.floor()}
	identity := &auth.Identity{User: st.user}
	if st.role != "" {
		identity.Roles = []string{st.role}
	}
	s.who.Store(&person{id: identity, role: identity.Role()})
	if s.id == 0 || h.sessions[s.id] != nil {
		return fmt.Errorf("id %d is in use", s.id)
	}
	s.shard = h.shards[s.id%uint64(len(h.shards))]
	s.in.receipts = st.receipts
	s.in.away = st.away
	s.in.restored.doubt = st.doubt
	s.in.gaps = st.gaps
	if st.deadline == 0 { // it had a connection, to the end
		s.in.restored.doubt = ns.head
		s.in.away = append(s.in.away, span{from: ns.head + 1})
	} else {
		s.ends = st.deadline
	}
	for _, f := range st.filters {
		s.restoreFilter(f)
	}
	s.restoreFlights(st)
	for _, f := range st.filters {
		s.restorePast(f)
	}
	s.startLag(max(st.next, 1), ns.head)
	s.in.parked = true
	for _, x := range st.exact {
		if s.exact == nil {
			s.exact = map[uint16]*exact{}
		}
		s.exact[x.packetID] = &exact{ended: true, offset: x.offset}
	}
	h.sessions[s.id] = s
	ns.clients[name] = s
	return nil
}

func (s *Session) restoreFilter(f filterState) {
	r := &registration{s: s, filter: f.sub.Filter, start: f.start, stored: true, pos: notIndexed}
	r.sub.Store(newSubscription(&f.sub, f.via))
	if s.regs == nil {
		s.regs = map[msg.Filter]*registration{}
	}
	s.regs[r.filter] = r
	if r.filter.Group != "" {
		s.shared = append(s.shared, s.hub.joinGroup(s.ns, r))
	} // the others are indexed when somebody has the session again
	s.hub.met.Subscriptions.Inc()
}

// restorePast takes up what a filter was still to be sent of the past: retained
// values and its replay.
func (s *Session) restorePast(f filterState) {
	r := s.regs[f.sub.Filter]
	if f.replay != 0 {
		r.replay = &replay{
			reg: r, resolved: true, next: f.replay, to: f.replayTo, done: s.in.restored.done,
			cuts: math.MaxUint64, // what was cut since it began may not have been told
		}
		s.in.replays = append(s.in.replays, r.replay)
	}
	if f.side == 0 {
		return
	}
	find := search{filter: r.filter, steps: 1 << 30, limit: 1 << 30}
	s.ns.retained.find(&find)
	for _, v := range find.found {
		if v.offset >= f.side && v.offset <= f.sideTo {
			s.in.side = append(s.in.side, sideItem{offset: v.offset, again: true, regs: []*registration{r}})
		}
	}
	s.in.side = mergeSide(s.in.side)
	s.in.sideRefs = sideRefs(s.in.side)
}

// restoreFlights takes what was sent and not acknowledged, and what is not to be
// sent again where the log is read from.
func (s *Session) restoreFlights(st *sessionState) {
	in := &s.in
	in.restored.done = map[delivery]bool{}
	for _, d := range st.done {
		in.restored.done[d] = true
	}
	for _, f := range st.flights {
		in.ref++
		fl := flight{
			ref: in.ref, offset: f.offset, qos: f.qos, packetID: f.packetID, received: f.received, stored: true,
			retained: f.flags&flightRetained != 0, replayed: f.flags&flightReplayed != 0,
		}
		if f.group != (msg.Filter{}) {
			if r := s.regs[f.group]; r != nil {
				fl.regs = []*registration{r}
			}
		}
		fl.later = fl.isLater(st.next)
		if in.unacked == nil {
			in.unacked = map[uint64]flight{}
		}
		in.unacked[in.ref] = fl
		in.restored.done[f.delivery] = true
	}
}

// startSessions begins to wait for the connections of restored sessions. Those
// that had one to the end of the last run are given their whole expiry.
func (h *Hub) startSessions() {
	for _, ns := range h.spaces {
		ns.mu.Lock()
		for _, s := range ns.clients {
			s.mu.Lock()
			if s.hold == nil && s.timer == nil {
				wait := s.expiry
				if s.ends != 0 {
					wait = time.Duration(max(0, s.ends-now())) * time.Millisecond
				}
				s.startExpiry(min(wait, s.expiry))
			}
			s.mu.Unlock()
		}
		ns.mu.Unlock()
	}
}
