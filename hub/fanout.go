package hub

import (
	"context"
	"sync"
)

// A shard remembers the matches of so many topics, with so many registrations in
// all (8 bytes each).
const (
	cachedMatches = 4096
	cachedRefs    = 1 << 20
)

// shard is one fan-out goroutine with the sessions that belong to it.
type shard struct {
	hub *Hub
	id  int

	mu     sync.Mutex
	inbox  []*entry
	spare  []*entry
	signal chan struct{}

	idx sync.Mutex // guards spaces; each index has its own lock
	ix  map[*namespace]*index

	// owned by whoever holds running: the goroutine in run, or a publisher that
	// fans out its own message
	running sync.Mutex
	cache   map[cacheKey]*hits
	refs    int   // registrations in cache
	nobody  *hits // of the last topic that nobody wanted
	scratch []*registration
	touched []*Session
}

type cacheKey struct {
	ns    *namespace
	topic string
}

// hits is who wants a topic, valid for one version of the index.
type hits struct {
	version  uint64
	refs     int // registrations in sessions and groups
	sessions []hit
	groups   []*group
}

// hit is one session with those of its filters that match. Immutable.
type hit struct {
	s    *Session
	regs []*registration
}

func newShard(h *Hub, id int) *shard {
	return &shard{
		hub: h, id: id, signal: make(chan struct{}, 1), ix: map[*namespace]*index{}, cache: map[cacheKey]*hits{},
	}
}

// index returns the shard's index of a namespace.
func (s *shard) index(ns *namespace) *index {
	s.idx.Lock()
	defer s.idx.Unlock()
	x := s.ix[ns]
	if x == nil {
		x = &index{}
		s.ix[ns] = x
	}
	return x
}

// put queues an entry; ns.mu of its namespace is held, so entries of one
// namespace are queued in order. call or help has to follow.
func (s *shard) put(e *entry) {
	s.mu.Lock()
	s.inbox = append(s.inbox, e)
	s.mu.Unlock()
}

// call has the shard's goroutine look at the inbox.
func (s *shard) call() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// help handles what is in the inbox now, if nobody else does; false if the
// shard's goroutine has to be called.
func (s *shard) help() bool {
	if !s.running.TryLock() {
		return false
	}
	defer s.running.Unlock()
	s.round()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.inbox) == 0
}

func (s *shard) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			s.work() // what was committed before the end still reaches the queues
			return
		case <-s.signal:
			s.work()
		}
	}
}

// work handles everything in the inbox.
func (s *shard) work() {
	s.running.Lock()
	defer s.running.Unlock()
	for s.round() {
	}
}

// round handles what is in the inbox and wakes each touched session once. It
// reports whether there was anything. running is held.
func (s *shard) round() bool {
	s.mu.Lock()
	entries := s.inbox
	s.inbox = s.spare[:0]
	s.spare = nil
	s.mu.Unlock()
	for _, e := range entries {
		s.deliver(e)
	}
	for i, sess := range s.touched {
		sess.touched = false
		sess.wake()
		s.touched[i] = nil
	}
	s.touched = s.touched[:0]
	clear(entries)
	s.mu.Lock()
	if cap(entries) <= 1<<16 {
		s.spare = entries
	}
	s.mu.Unlock()
	return len(entries) > 0
}

// deliver queues one entry for every session of this shard that wants it.
func (s *shard) deliver(e *entry) {
	m := e.m.Load() // not evicted before all shards have handled it
	x := s.index(e.ns)
	h := s.match(x, e.ns, m.Topic)
	for i := range h.sessions {
		hit := &h.sessions[i]
		if _, wake := hit.s.push(e, m, hit.regs); wake && !hit.s.touched {
			hit.s.touched = true
			s.touched = append(s.touched, hit.s)
		}
	}
	for _, g := range h.groups {
		g.push(e, m)
	}
	if e.offset != 0 {
		x.handled.Store(uint64(e.offset))
	}
	if e.waiting.Add(-1) == 0 && e.from != nil {
		s.hub.release(e.from, e.size)
	}
}

// match finds who wants a topic, once per topic and version of the index.
func (s *shard) match(x *index, ns *namespace, topic string) *hits {
	key := cacheKey{ns, topic}
	x.mu.Lock()
	version := x.version
	if h := s.cache[key]; h != nil && h.version == version {
		x.mu.Unlock()
		return h
	}
	s.scratch = x.match(topic, s.scratch[:0])
	x.mu.Unlock()
	h := s.hitsOf(s.scratch, version)
	if old := s.cache[key]; old != nil {
		s.refs -= old.refs
	}
	if len(s.cache) >= cachedMatches || s.refs+h.refs > cachedRefs {
		clear(s.cache)
		s.refs = 0
	}
	s.cache[key] = h
	s.refs += h.refs
	return h
}

// hitsOf is groupHits for a version of the index; nobody is one value for all
// topics.
func (s *shard) hitsOf(regs []*registration, version uint64) *hits {
	if len(regs) == 0 && s.nobody != nil && s.nobody.version == version {
		return s.nobody
	}
	h := groupHits(regs)
	h.version, h.refs = version, len(regs)
	if len(regs) == 0 {
		s.nobody = h
	}
	return h
}

// groupHits sorts registrations by session: one hit per session.
func groupHits(regs []*registration) *hits {
	h := &hits{}
	if len(regs) == 0 {
		return h
	}
	all := make([]*registration, 0, len(regs))
	where := map[*Session]int{}
	for _, r := range regs {
		switch {
		case r.group != nil:
			h.groups = append(h.groups, r.group)
		case len(regs) == 1:
			one := &struct {
				hits
				session [1]hit
				reg     [1]*registration
			}{reg: [1]*registration{r}}
			one.session[0] = hit{r.s, one.reg[:]}
			one.sessions = one.session[:]
			return &one.hits
		default:
			if i, ok := where[r.s]; ok {
				h.sessions[i].regs = append(h.sessions[i].regs, r)
				continue
			}
			where[r.s] = len(h.sessions)
			all = append(all, r)
			h.sessions = append(h.sessions, hit{r.s, all[len(all)-1 : len(all) : len(all)]})
		}
	}
	return h
}
