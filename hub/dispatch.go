package hub

import (
	"slices"

	"parley/msg"
	"parley/persist"
)

// readMore dispatches what waits until nothing is left or no member has room;
// then the next member that gets room asks again.
func (g *group) readMore() {
	more := true
	for more {
		g.mu.Lock()
		back, l := slices.Clone(g.back[:min(len(g.back), sideChunk)]), g.lag
		g.mu.Unlock()
		switch {
		case len(back) > 0:
			more = g.dispatchBack(back)
		case l.on:
			more = g.dispatchLog(l)
		default:
			more = false
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reading = false
	g.waits.Store(g.lag.on || len(g.back) > 0)
	g.read() // a member got room while reading was still set
}

// dispatchBack gives out what members returned.
func (g *group) dispatchBack(back []msg.Offset) bool {
	done := 0
	for _, o := range back {
		m := g.ns.readOne(o)
		if m == nil {
			g.tellGap(gap{filter: g.reg.filter, first: o, last: o, count: 1, reason: reasonRetention})
		}
		if m != nil && !m.Expired(now()) && g.offer(item{m: m, again: o <= g.doubt}, m) == noRoom {
			break
		}
		done++
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range back[:done] {
		if i := slices.Index(g.back, o); i >= 0 { // more may have been returned meanwhile
			g.back = slices.Delete(g.back, i, i+1)
		}
	}
	return done == len(back)
}

// dispatchLog gives out one chunk of the log.
func (g *group) dispatchLog(l lag) bool {
	var ms []*msg.Message
	var next msg.Offset
	gaps, err := settled(func() (gaps []gap, err error) {
		limits := persist.Limits{Messages: 64, Filters: []msg.Filter{g.reg.filter}}
		if ms, next, err = g.hub.store.Read(g.ns.name, l.from, l.to, limits); err != nil {
			return nil, err
		}
		if cut := msg.Offset(g.ns.retention.cut.Load()); l.from <= cut {
			if missed := g.ns.missedBy(g.reg.filter, l.from, min(cut, next-1)); missed != nil {
				gaps = []gap{*missed}
			}
		}
		return gaps, nil
	})
	if err != nil {
		g.hub.log.Error("the log cannot be read for a shared group", "namespace", g.ns.name, "offset", l.from, "error", err)
		return false
	}
	for _, gp := range gaps {
		g.tellGap(gp)
	}
	from := next
	for _, m := range ms {
		if m.QoS > 0 && g.reg.filter.Matches(m.Topic) && !m.Expired(now()) && !g.done[m.Offset] &&
			g.offer(item{m: m, again: m.Offset <= g.doubt}, m) == noRoom {
			from = m.Offset
			break
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case from <= l.to:
		g.lag.from = from
	case g.lag.to > l.to:
		g.lag.from = l.to + 1
	default:
		g.lag = lag{}
	}
	return from == next
}

// tellGap tells all members what the group has missed.
func (g *group) tellGap(gp gap) {
	g.mu.Lock()
	members := g.members
	g.mu.Unlock()
	for _, r := range members {
		r.s.mu.Lock()
		r.s.tellGap(gp)
		r.s.touch()
		r.s.mu.Unlock()
		r.s.wake()
	}
}
