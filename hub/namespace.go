package hub

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"parley/msg"
	"parley/persist"
)

// namespace is one log with its subscribers.
type namespace struct {
	hub   *Hub
	name  string
	epoch string

	mu        sync.Mutex
	head      msg.Offset // last committed message; retained is as of it
	emitted   msg.Offset // last stored message that was emitted
	seq       uint64     // of the last entry emitted, stored or transient
	serial    uint16     // of the last transient message
	tail      tail
	retained  retained
	clients   map[string]*Session // by ClientID
	ending    map[string]int      // sessions of a name whose end is on its way to disk
	wills     map[string]*will    // by session key
	at        msg.Offset          // position of the last checkpoint written
	atControl uint64              // and its last control record
	control   uint64              // last control known to be reflected in wills
	dirty     map[string][]byte   // checkpoint puts since then

	keys *keys // owned by the committer

	retention retention

	// to be written by the next checkpoint
	touched       nameSet // sessions
	touchedGroups nameSet // shared groups, by key
	// while the store is loaded
	loading       map[string]*sessionState
	loadingGroups map[string]*groupState
}

// entry is one message on its way to the subscribers. The message goes when the
// tail evicts it; queues then fall back to the log.
type entry struct {
	m       atomic.Pointer[msg.Message]
	offset  msg.Offset // 0: transient
	seq     uint64
	size    int
	ns      *namespace
	from    *hold        // whose parked budget it counts against; nil = nobody's
	waiting atomic.Int32 // shards that have not handled it yet
}

func newNamespace(h *Hub, name string) *namespace {
	ns := &namespace{
		hub: h, name: name, clients: map[string]*Session{}, ending: map[string]int{}, loading: map[string]*sessionState{}, loadingGroups: map[string]*groupState{},
		wills: map[string]*will{}, dirty: map[string][]byte{},
	}
	ns.tail.limit = h.lim.TailBytes
	return ns
}

func (ns *namespace) position() msg.Offset {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.head
}

// applied notes a committed message: from now on it is what a subscriber that
// comes finds as retained, and not what it is sent as new. It runs before the
// acknowledgement, so that whoever subscribes after it finds the value.
func (ns *namespace) applied(m *msg.Message) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.head = m.Offset
	if m.Retain {
		ns.retain(m)
	}
}

// burstGap is how close to each other messages of one publisher are a burst: in
// one read of its socket they are a microsecond apart.
const burstGap = 50 * time.Microsecond

// emit appends a message to the tail and hands it to all shards. Stored
// messages come in log order, from the follower only. here: the caller has the
// time to fan out itself if nobody else does: waking another goroutine for one
// message costs more than the message.
func (ns *namespace) emit(m *msg.Message, from *hold, size int, here bool) {
	e := &entry{offset: m.Offset, size: size, ns: ns, from: from}
	at := time.Now()
	if here { // in a burst the shard's own goroutine does many at once, cheaper
		here = at.Sub(from.emitted) > burstGap
		from.emitted = at
	}
	ns.mu.Lock()
	if m.Stored() {
		ns.emitted = m.Offset
	} else {
		ns.serial++
		m.After, m.Serial, m.Time = ns.emitted, ns.serial, at.UnixMilli()
	}
	ns.seq++
	e.seq = ns.seq
	e.m.Store(m)
	e.waiting.Store(int32(len(ns.hub.shards)))
	ns.tail.push(e)
	for _, s := range ns.hub.shards {
		s.put(e)
	}
	ns.mu.Unlock()
	for _, s := range ns.hub.shards {
		if !here || !s.help() {
			s.call()
		}
	}
}

// retain updates the retained value of m's topic. ns.mu is held.
func (ns *namespace) retain(m *msg.Message) {
	key := retainedKey(m.Topic)
	ns.forgetKept(ns.retained.get(m.Topic))
	if len(m.BytesView()) == 0 { // as in MQTT [MQTT-3.3.1-6]; over WAMP one empty binary argument
		if ns.retained.remove(m.Topic) {
			ns.hub.met.Retained.Dec()
			ns.dirty[key] = nil
		}
		return
	}
	if ns.retained.set(m.Topic, m.Offset) {
		ns.hub.met.Retained.Inc()
	}
	ns.dirty[key] = encodeOffset(m.Offset)
}

// forgetRetained drops an expired retained value, unless a newer one came.
func (ns *namespace) forgetRetained(topic string, at msg.Offset) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.retained.get(topic) == at {
		ns.forgetKept(at)
		ns.retained.remove(topic)
		ns.hub.met.Retained.Dec()
		ns.dirty[retainedKey(topic)] = nil
	}
}

// load applies the checkpoint and then everything newer in the log.
func (ns *namespace) load() error {
	info, err := ns.hub.store.State(ns.name, persist.Visitor{Put: ns.loadPut, Control: ns.loadControl})
	if err != nil {
		return err
	}
	ns.epoch, ns.at, ns.atControl, ns.head, ns.emitted = info.Epoch, info.At, info.AtControl, info.Head, info.Head
	ns.control = max(ns.control, info.AtControl)
	from := max(info.At+1, info.First)
	for from <= info.Head && info.Head > 0 {
		ms, next, err := ns.hub.store.Read(ns.name, from, info.Head, persist.Limits{Messages: 1024, Bytes: 4 << 20})
		if err != nil {
			return fmt.Errorf("replay from offset %d: %w", from, err)
		}
		for _, m := range ms {
			if m.Retain {
				ns.retain(m)
			}
			ns.keys.note(m)
		}
		from = next
	}
	for _, s := range ns.hub.shards {
		s.index(ns).handled.Store(uint64(ns.head))
	}
	if err := ns.loadCut(); err != nil {
		return err
	}
	if err := ns.restoreSessions(); err != nil {
		return err
	}
	ns.restoreGroups()
	return nil
}

// tail is the newest messages of a namespace in memory, bounded in bytes.
type tail struct {
	limit int
	bytes int
	ring  []*entry
	first int // index of the oldest
	n     int
}

// push adds the newest entry and evicts the oldest ones over the limit. An entry
// that a shard still has to handle is kept: publishers' parked budgets bound
// those.
func (t *tail) push(e *entry) {
	if t.n == len(t.ring) {
		grown := make([]*entry, max(64, 2*len(t.ring)))
		for i := range t.n {
			grown[i] = t.ring[(t.first+i)%len(t.ring)]
		}
		t.ring, t.first = grown, 0
	}
	t.ring[(t.first+t.n)%len(t.ring)] = e
	t.n++
	t.bytes += e.size
	for t.bytes > t.limit && t.n > 1 {
		old := t.ring[t.first]
		if old.waiting.Load() > 0 {
			return
		}
		old.m.Store(nil)
		t.ring[t.first] = nil
		t.first = (t.first + 1) % len(t.ring)
		t.n--
		t.bytes -= old.size
	}
}
