package hub

import (
	"slices"

	"parley/msg"
	"parley/persist"
)

// resolving is a Subscribe whose replays begin at positions that have to be
// looked up, which a session's handler does not wait for.
type resolving struct {
	c       *hold
	subs    []msg.Subscription
	results []msg.SubscribeResult
	regs    []*registration // by index of subs; nil: no replay
	done    func()          // stores the filters and answers results
	abort   func([]msg.SubscribeResult)
	begins  []msg.Offset
	cuts    uint64 // retention.cuts before the look-up
}

// resolve has the beginnings of the replays among subs looked up, and then
// finish called; false if there are none.
func (c *hold) resolve(subs []msg.Subscription, results []msg.SubscribeResult, finish func(), abort func([]msg.SubscribeResult)) bool {
	s := c.s
	var regs []*registration
	s.mu.Lock()
	for i := range subs {
		if results[i].Err != nil || subs[i].From.Kind == msg.ReplayNone {
			continue
		}
		if regs == nil {
			regs = make([]*registration, len(subs))
		}
		regs[i] = s.regs[subs[i].Filter]
	}
	s.mu.Unlock()
	if regs == nil {
		return false
	}
	s.hub.reader.submit(&resolving{c: c, subs: slices.Clone(subs), results: results, regs: regs, done: finish, abort: abort})
	return true
}

// readMore implements job.
func (r *resolving) readMore() {
	r.begins = make([]msg.Offset, len(r.subs))
	r.cuts = r.c.s.ns.retention.cuts.Load()
	for i := range r.subs {
		if r.regs[i] == nil {
			continue
		}
		var err error
		if r.begins[i], err = r.begin(i); err != nil {
			r.c.s.hub.log.Error("the beginning of a replay cannot be read", "namespace", r.c.s.ns.name, "error", err)
			r.results[i] = msg.SubscribeResult{Err: msg.ErrUnavailable}
		}
	}
	// Callbacks of one session never run two at a time: the committer's turn.
	r.c.s.hub.com.submit(op{ns: r.c.s.ns, done: func(msg.Offset, error) { r.finish() }})
}

// begin finds the first offset of one replay and notes what is cut before it.
func (r *resolving) begin(i int) (msg.Offset, error) {
	from, res, ns := r.subs[i].From, &r.results[i], r.c.s.ns
	ms, _, err := ns.hub.store.Read(ns.name, 0, res.Start, persist.Limits{Messages: 1})
	if err != nil {
		return 0, err
	}
	first := res.Start + 1 // nothing is left
	if len(ms) > 0 {
		first = ms[0].Offset
	}
	begin := first
	switch from.Kind {
	case msg.ReplayOffset:
		wanted := max(from.Offset, 1)
		begin = max(first, min(wanted, res.Start+1))
		res.Gap = ns.gapBefore(r.subs[i].Filter, wanted, res.Start)
	case msg.ReplayTime:
		if begin, err = ns.firstAt(from.Time, first, res.Start); err != nil {
			return 0, err
		}
	}
	res.From = begin
	return begin, nil
}

// firstAt finds the first offset in [from, to] whose message is not older than
// time, or to + 1. Times never go backwards along the log.
func (ns *namespace) firstAt(time int64, from, to msg.Offset) (msg.Offset, error) {
	end := to + 1
	for from < end {
		middle := from + (end-from)/2
		ms, _, err := ns.hub.store.Read(ns.name, middle, to, persist.Limits{Messages: 1})
		switch {
		case err != nil:
			return 0, err
		case len(ms) > 0 && ms[0].Time < time:
			from = ms[0].Offset + 1
		default:
			end = middle
		}
	}
	return from, nil
}

// finish answers the Subscribe and lets the replays begin.
func (r *resolving) finish() {
	s := r.c.s
	for i, reg := range r.regs {
		if reg == nil {
			continue
		}
		if r.results[i].Err != nil {
			s.giveUp(reg)
			continue
		}
		s.mu.Lock()
		if reg.replay != nil {
			reg.replay.next, reg.replay.cuts, reg.replay.resolved = r.begins[i], r.cuts, true
		}
		s.mu.Unlock()
	}
	r.done()
	s.wake()
	r.c.peer.Wake() // also if another connection has the session meanwhile
}

// giveUp takes back a registration whose Subscribe failed.
func (s *Session) giveUp(r *registration) {
	s.mu.Lock()
	mine := s.regs[r.filter] == r
	if mine {
		delete(s.regs, r.filter)
		r.gone.Store(true)
		s.touch() // it may have stood for one that is on disk
	}
	s.mu.Unlock()
	if mine {
		s.unindex(r)
	}
}

// abandon implements abandoner: the hub has stopped.
func (r *resolving) abandon() {
	for i := range r.results {
		if r.regs[i] != nil {
			r.results[i] = msg.SubscribeResult{Err: msg.ErrDraining}
		}
	}
	r.abort(r.results)
}
