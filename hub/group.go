package hub

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"parley/msg"
)

// group is a shared subscription: each message goes to one member ([MQTT 5,
// 4.8.2]). It belongs to the shard its name hashes to, so that one goroutine
// dispatches it. What no member can take now stays in the log: the group lags,
// like a session, and a reader dispatches when a member has room again.
//
// Lock order: Session.mu, then group.mu; never the other way round.
type group struct {
	hub   *Hub
	ns    *namespace
	reg   *registration // in the shard's index
	waits atomic.Bool   // mirrors mu's fields: something waits for a member

	mu      sync.Mutex
	members []*registration // replaced, never changed
	next    int
	lag     lag          // matched while no member had room
	back    []msg.Offset // returned by members, in order
	reading bool
	asked   bool                // a member may have got room since the reading began
	floor   msg.Offset          // of what is on disk: nothing below it is wanted any more
	moved   map[msg.Offset]bool // while a snapshot is taken: what members return meanwhile

	dirty atomic.Bool // has changed since the last checkpoint
	// of a group restored at the start; fixed: what its members have as their own,
	// and up to where what is given out may have been given out before
	done  map[msg.Offset]bool
	doubt msg.Offset
}

type groupKey struct {
	ns     *namespace
	filter msg.Filter
}

// groups holds the groups of a hub.
type groups struct {
	mu   sync.Mutex
	byID map[groupKey]*group
	seed maphash.Seed
}

// groupQueue is how many messages a member holds at most before others, or the
// log, hold them.
const groupQueue = 256

func newGroups() *groups {
	return &groups{byID: map[groupKey]*group{}, seed: maphash.MakeSeed()}
}

func (h *Hub) groupShard(f msg.Filter) *shard {
	return h.shards[maphash.Comparable(h.groups.seed, f)%uint64(len(h.shards))]
}

// joinGroup adds a member, making the group if it is the first.
func (h *Hub) joinGroup(ns *namespace, r *registration) *group {
	h.groups.mu.Lock()
	defer h.groups.mu.Unlock()
	key := groupKey{ns, r.filter}
	g := h.groups.byID[key]
	if g == nil {
		g = &group{hub: h, ns: ns, reg: &registration{filter: r.filter, from: r.from, start: r.start}, floor: r.start + 1}
		g.reg.group = g
		h.groups.byID[key] = g
		h.groupShard(r.filter).index(ns).add(g.reg)
	}
	r.group = g
	g.mu.Lock()
	g.members = append(slices.Clip(g.members), r)
	g.mu.Unlock()
	g.ask()
	return g
}

// dropMember removes a member; the last one takes the group with it.
func (h *Hub) dropMember(r *registration) {
	h.groups.mu.Lock()
	defer h.groups.mu.Unlock()
	g := r.group
	g.mu.Lock()
	if i := slices.Index(g.members, r); i >= 0 {
		g.members = slices.Concat(g.members[:i], g.members[i+1:])
	}
	empty := len(g.members) == 0
	g.mu.Unlock()
	key := groupKey{g.ns, r.filter}
	if empty && h.groups.byID[key] == g {
		delete(h.groups.byID, key)
		h.groupShard(r.filter).index(g.ns).remove(g.reg)
	}
}

// push gives a fanned-out message to the next member in turn that has room. A
// stored one that nobody can take waits in the log, in order.
func (g *group) push(e *entry, m *msg.Message) {
	if e.before(g.reg) {
		return
	}
	stored := e.offset != 0 && m.QoS > 0
	g.mu.Lock()
	if stored && (g.lag.on || len(g.back) > 0 || g.reading) {
		g.extend(e.offset)
		g.mu.Unlock()
		g.ask()
		return
	}
	g.mu.Unlock()
	if g.offer(item{e: e}, m) != noRoom {
		return
	}
	if !stored {
		g.hub.drops.queueFull.Inc()
		return
	}
	g.mu.Lock()
	g.extend(e.offset)
	g.mu.Unlock()
	g.ask()
}

// extend notes one more message that waits. g.mu is held.
func (g *group) extend(o msg.Offset) {
	if !g.lag.on {
		g.lag = lag{on: true, from: o}
	}
	g.lag.to = o
	g.waits.Store(true)
}

// outcome of offering a message.
type outcome uint8

const (
	given outcome = iota
	noRoom
	unwanted // by rule, by every member
)

// offer gives a message to a member that has room.
func (g *group) offer(it item, m *msg.Message) outcome {
	g.mu.Lock()
	members, start := g.members, g.next
	g.next++
	g.mu.Unlock()
	refused := 0
	for i := range members {
		r := members[(start+i)%len(members)]
		it.regs = []*registration{r}
		switch o, wake := r.s.offer(it, m); o {
		case given:
			if wake {
				r.s.wake()
			}
			return given
		case unwanted:
			refused++
		}
	}
	if refused > 0 && refused == len(members) {
		return unwanted
	}
	return noRoom
}

// offer takes a message of a shared group if the session is there and has room.
func (s *Session) offer(it item, m *msg.Message) (o outcome, wake bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := it.regs[0]
	sub := r.sub.Load()
	switch {
	case sub.NoLocal && m.Origin.Session == s.id || !s.mayReceive(m):
		return unwanted, false
	case s.hold == nil || r.gone.Load() || // gone: who came meanwhile may have it
		!s.roomForShared(min(m.QoS, sub.QoS)):
		return noRoom, false
	}
	s.in.queue.push(it)
	if s.durable {
		r.group.touch()
	}
	return given, s.in.queue.n == 1
}

// roomForShared tells whether a connected session should be given a message of
// a shared group: at QoS 1 and 2 only what its window lets it send soon, so that
// nothing is stuck behind one slow member.
func (s *Session) roomForShared(q msg.QoS) bool {
	in := &s.in
	if q == 0 {
		return !in.lag.on && in.queue.n < s.hub.lim.QueueMessages
	}
	return !in.lag.on && in.queue.n < groupQueue && s.inFlight()+in.queue.n < s.hold.params.Window
}

// ask has a reader dispatch what waits, if there is something.
func (g *group) ask() {
	if !g.waits.Load() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = true
	g.read()
}

// read has a reader dispatch, if somebody has asked for it and none does. g.mu is held.
func (g *group) read() {
	if g.asked && !g.reading && (g.lag.on || len(g.back) > 0) {
		g.reading, g.asked = true, false
		g.hub.reader.submit(g)
	}
}

// askGroups is called when the session may have got room. s.mu is held.
func (s *Session) askGroups() {
	for _, g := range s.shared {
		g.ask()
	}
}

// othersThan tells whether the group has a member besides s.
func (g *group) othersThan(s *Session) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.members {
		if r.s != s {
			return true
		}
	}
	return false
}

// leaveGroup returns everything of one group that the session holds. s.mu is held.
func (s *Session) leaveGroup(r *registration) {
	s.returnShared(r.group, true)
	if i := slices.Index(s.shared, r.group); i >= 0 {
		s.shared = slices.Delete(s.shared, i, i+1)
	}
}

// returnShared gives back to a group what the session was not sent yet and, if
// flights is set, what it was sent at QoS 1 and has not acknowledged. A delivery
// at QoS 2 stays with its session [MQTT-4.8.2-4], [MQTT-4.8.2-5]. s.mu is held.
func (s *Session) returnShared(g *group, flights bool) {
	in := &s.in
	var back []msg.Offset
	kept := queue{}
	for ; in.queue.n > 0; in.queue.pop() {
		it := *in.queue.front()
		if it.regs[0].group != g {
			kept.push(it)
			continue
		}
		if o := it.offset(); o != 0 {
			back = append(back, o)
		}
	}
	in.queue = kept
	for ref, f := range in.unacked {
		if flights && f.group() == g && f.qos == 1 {
			delete(in.unacked, ref)
			back = append(back, f.offset)
		}
	}
	in.redo = slices.DeleteFunc(in.redo, func(f flight) bool { _, ok := in.unacked[f.ref]; return !ok })
	in.fetched = slices.DeleteFunc(in.fetched, func(it item) bool {
		_, ok := in.unacked[it.ref]
		return it.ref != 0 && !ok
	})
	if len(back) == 0 {
		return
	}
	if s.durable {
		g.touch()
	}
	g.mu.Lock()
	g.back = append(g.back, back...)
	if g.moved != nil {
		for _, o := range back {
			g.moved[o] = true
		}
	}
	slices.SortFunc(g.back, func(a, b msg.Offset) int { return cmp.Compare(a, b) })
	g.waits.Store(true)
	g.mu.Unlock()
	g.ask()
}
