package hub

import (
	"hash/maphash"
	"slices"
	"sync"

	"parley/msg"
)

// group is a shared subscription: each message goes to one member. It belongs
// to the shard its name hashes to, so that one goroutine dispatches it. It keeps
// nothing for members that lag or have gone: no engine grants shared
// subscriptions yet.
type group struct {
	reg *registration // in that shard's index

	mu      sync.Mutex
	members []*registration
	next    int
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

func newGroups() *groups {
	return &groups{byID: map[groupKey]*group{}, seed: maphash.MakeSeed()}
}

func (h *Hub) groupShard(f msg.Filter) *shard {
	return h.shards[maphash.Comparable(h.groups.seed, f)%uint64(len(h.shards))]
}

// joinGroup adds a member, making the group if it is the first.
func (h *Hub) joinGroup(ns *namespace, r *registration) {
	h.groups.mu.Lock()
	defer h.groups.mu.Unlock()
	key := groupKey{ns, r.filter}
	g := h.groups.byID[key]
	if g == nil {
		g = &group{reg: &registration{filter: r.filter}}
		g.reg.group = g
		h.groups.byID[key] = g
		h.groupShard(r.filter).index(ns).add(g.reg)
	}
	g.mu.Lock()
	g.members = append(slices.Clip(g.members), r) // push reads older slices
	g.mu.Unlock()
}

// leaveGroup removes a member; the last one takes the group with it.
func (h *Hub) leaveGroup(ns *namespace, r *registration) {
	h.groups.mu.Lock()
	defer h.groups.mu.Unlock()
	key := groupKey{ns, r.filter}
	g := h.groups.byID[key]
	if g == nil {
		return
	}
	g.mu.Lock()
	for i, m := range g.members {
		if m == r {
			g.members = slices.Concat(g.members[:i], g.members[i+1:])
			break
		}
	}
	empty := len(g.members) == 0
	g.mu.Unlock()
	if empty {
		delete(h.groups.byID, key)
		h.groupShard(r.filter).index(ns).remove(g.reg)
	}
}

// push gives the message to the next member in turn that may have it.
func (g *group) push(e *entry, m *msg.Message) {
	g.mu.Lock()
	members := g.members
	start := g.next
	g.next++
	g.mu.Unlock()
	for i := range members {
		r := members[(start+i)%len(members)]
		taken, wake := r.s.push(e, m, []*registration{r})
		if wake {
			r.s.wake()
		}
		if taken {
			return
		}
	}
}
