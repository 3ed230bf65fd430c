package hub

import (
	"fmt"
	"maps"
	"slices"

	"parley/msg"
)

// A shared group with a durable member is durable: what it has not given out yet
// is known by a position, what members hold without having acknowledged it by
// offsets. All of it is written by checkpoints; after a crash what members had
// acknowledged since the last one is given out again. A delivery at QoS 2 that
// has its packet id is its member's own [MQTT-4.8.2-5].

const groupPrefix = "g/"

// groupState is a group's value in the checkpoint table. Its filter is the key.
type groupState struct {
	next msg.Offset
	back []msg.Offset
	done []msg.Offset // from next on: completed by members, or theirs
}

func groupStateKey(f msg.Filter) string {
	var e encoder
	e.filter(f)
	return string(e.buf)
}

func (st *groupState) encode() []byte {
	var e encoder
	e.byte(stateVersion)
	e.number(uint64(st.next))
	e.count(len(st.back))
	for _, o := range st.back {
		e.number(uint64(o))
	}
	e.count(len(st.done))
	for _, o := range st.done {
		e.number(uint64(o))
	}
	return e.buf
}

func (ns *namespace) loadGroup(key string, value []byte) error {
	d, err := newStateDecoder(value)
	if err != nil {
		return fmt.Errorf("group %q: %w", key, err)
	}
	st := &groupState{next: d.offset()}
	for range d.count(1) {
		st.back = append(st.back, d.offset())
	}
	for range d.count(1) {
		st.done = append(st.done, d.offset())
	}
	ns.loadingGroups[key] = st
	return d.end()
}

// touch has the next checkpoint write the group.
func (g *group) touch() {
	if !g.dirty.Swap(true) {
		g.ns.touchedGroups.add(groupStateKey(g.reg.filter))
	}
}

// floor is the oldest offset that is still wanted.
func (st *groupState) floor() msg.Offset {
	if len(st.back) > 0 {
		return min(st.back[0], st.next)
	}
	return st.next
}

// setFloor notes that nothing below floor is wanted any more.
func (g *group) setFloor(floor msg.Offset) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.floor = floor
}

// savedGroup returns a group's value for the checkpoint table, nil if it is not
// to be there, and what it wants nothing below of once that is on disk.
func (ns *namespace) savedGroup(key string) ([]byte, floorOf) {
	d := stateDecoder{rest: []byte(key)}
	g := ns.hub.findGroup(ns, d.filter())
	if g == nil {
		return nil, floorOf{}
	}
	g.dirty.Store(false)
	st := g.snapshot()
	if st == nil {
		return nil, floorOf{}
	}
	return st.encode(), floorOf{g, st.floor()}
}

func (h *Hub) findGroup(ns *namespace, f msg.Filter) *group {
	h.groups.mu.Lock()
	defer h.groups.mu.Unlock()
	return h.groups.byID[groupKey{ns, f}]
}

// snapshot collects what is not acknowledged. Messages move between the group and
// its members meanwhile, so what members return is noted until all of them have
// been looked at: what is found twice counts once. One at a time.
func (g *group) snapshot() *groupState {
	handled := msg.Offset(g.hub.groupShard(g.reg.filter).index(g.ns).handled.Load())
	waiting := map[msg.Offset]bool{}
	g.mu.Lock()
	members, next := g.members, handled+1
	if g.lag.on {
		next = g.lag.from
	}
	for _, o := range g.back {
		waiting[o] = true
	}
	g.moved = map[msg.Offset]bool{}
	g.mu.Unlock()
	durable := false
	for _, r := range members {
		s := r.s
		s.mu.Lock()
		durable = durable || s.durable && s.expiry > 0
		s.collectShared(g, waiting)
		s.mu.Unlock()
	}
	g.mu.Lock()
	maps.Copy(waiting, g.moved)
	g.moved = nil
	g.mu.Unlock()
	if !durable {
		return nil
	}
	st := &groupState{next: next}
	for o := range waiting {
		if o < next {
			st.back = append(st.back, o)
		}
	}
	slices.Sort(st.back)
	for o := range g.done {
		if o >= next {
			st.done = append(st.done, o)
		}
	}
	slices.Sort(st.done)
	return st
}

// own tells whether a delivery of a shared group is its member's for good: if the
// member is durable, only what is on disk says so after a crash.
func (f *flight) own() bool { return f.qos == 2 && f.packetID != 0 && f.stored }

// collectShared notes what the session holds for g. s.mu is held.
func (s *Session) collectShared(g *group, waiting map[msg.Offset]bool) {
	in := &s.in
	for i := range in.queue.n {
		it := &in.queue.ring[(in.queue.first+i)%len(in.queue.ring)]
		if o := it.offset(); o != 0 && it.regs[0].group == g {
			waiting[o] = true
		}
	}
	for _, f := range in.unacked {
		if f.group() == g && !f.own() {
			waiting[f.offset] = true
		}
	}
}

// restoreGroups gives the groups of the restored sessions what was waiting.
func (ns *namespace) restoreGroups() {
	h := ns.hub
	h.groups.mu.Lock()
	var all []*group
	for key, g := range h.groups.byID {
		if key.ns == ns {
			all = append(all, g)
		}
	}
	h.groups.mu.Unlock()
	for _, g := range all {
		key := groupStateKey(g.reg.filter)
		g.restore(ns.loadingGroups[key])
		delete(ns.loadingGroups, key)
	}
	for key := range maps.Keys(ns.loadingGroups) { // without members
		ns.touchedGroups.add(key)
	}
	ns.loadingGroups = nil
}

// restore is called before anything runs.
func (g *group) restore(st *groupState) {
	g.done = map[msg.Offset]bool{}
	if st != nil {
		for _, o := range st.done {
			g.done[o] = true
		}
	}
	start := g.members[0].start
	for _, r := range g.members {
		start = min(start, r.start)
		if r.s.in.restored.doubt == g.ns.head {
			g.doubt = g.ns.head
		}
		for d := range r.s.in.restored.done {
			if d.group == g.reg.filter {
				g.done[d.offset] = true
			}
		}
	}
	g.reg.start = start
	g.touch()      // what its members have completed is in their entries no more
	if st == nil { // it had not been saved yet
		st = &groupState{next: start + 1}
	}
	g.floor = st.floor()
	for _, o := range st.back {
		if !g.done[o] {
			g.back = append(g.back, o)
		}
	}
	if st.next <= g.ns.head {
		g.lag = lag{on: true, from: max(st.next, start+1, 1), to: g.ns.head}
	}
	g.waits.Store(g.lag.on || len(g.back) > 0)
}
