package hub

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"parley/msg"
	"parley/persist"
)

// Retention lets go of whole segments, the oldest first, once a class is over one
// of its limits. A segment that a durable session may still want stays until the
// namespace is over its quota; then it is cut, and whoever reads over the place
// is told what it missed (gap.go).

// Retention bounds one class of messages. A zero field does not bound.
type Retention struct {
	Age   time.Duration // since the commit
	Bytes int64         // of encoded messages
	Count int64         // messages
}

// RetentionRule gives the topics of a filter a class of their own.
type RetentionRule struct {
	Filter msg.Filter
	Retention
}

// maxRules is one class less than a store has: class 0 is everything else.
const maxRules = 7

const (
	// retentionEvery is how often the limits are looked at.
	retentionEvery = 10 * time.Second
	// A namespace that holds more than this part of its quota is warned about.
	warnNumerator, warnDenominator = 4, 5
)

// retention is the part of a namespace that knows what may be cut.
type retention struct {
	cut    atomic.Uint64 // newest offset that was ever dropped with its segment
	cuts   atomic.Uint64 // moves before and after each segment is dropped
	warned bool          // guarded by Hub.retaining
	// kept for a retained value that there is no more; guarded by namespace.mu
	stale []msg.Offset
}

// loadCut finds out up to where something was cut.
func (ns *namespace) loadCut() error {
	m, err := ns.hub.store.Missed(ns.name, nil, 1, 0)
	if err != nil {
		return fmt.Errorf("what was cut: %w", err)
	}
	ns.retention.cut.Store(uint64(m.Last))
	return nil
}

// forgetKept notes that the retained value at an offset has been replaced. ns.mu
// is held.
func (ns *namespace) forgetKept(at msg.Offset) {
	if at != 0 && at <= msg.Offset(ns.retention.cut.Load()) {
		ns.retention.stale = append(ns.retention.stale, at)
	}
}

// classOf is the retention class of a topic.
func (h *Hub) classOf(topic string) uint8 {
	for i := range h.keep {
		if h.keep[i].Filter.Matches(topic) {
			return uint8(i + 1)
		}
	}
	return 0
}

// limitsOf are the bounds of a class; those of one that is no longer ruled are
// the default's.
func (h *Hub) limitsOf(class uint8) Retention {
	if class == 0 || int(class) > len(h.keep) {
		return h.keepDefault
	}
	return h.keep[class-1].Retention
}

// retain looks at the limits from time to time until ctx ends.
func (h *Hub) retain(ctx context.Context) {
	tick := time.NewTicker(retentionEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.Retain()
		}
	}
}

// Retain drops what is over the limits now, while the hub runs.
func (h *Hub) Retain() {
	h.retaining.Lock()
	defer h.retaining.Unlock()
	for _, ns := range h.spaces {
		if err := ns.retainNow(); err != nil {
			h.log.Error("the log cannot be cut", "namespace", ns.name, "error", err)
		}
	}
}

func (ns *namespace) retainNow() error {
	segments, err := ns.hub.store.Segments(ns.name)
	if err != nil {
		return err
	}
	ns.mu.Lock()
	stale := ns.retention.stale
	ns.retention.stale = nil
	ns.mu.Unlock()
	if len(stale) > 0 {
		slices.Sort(stale)
		if err := ns.hub.store.Forget(ns.name, stale); err != nil {
			ns.mu.Lock()
			ns.retention.stale = append(ns.retention.stale, stale...) // for the next turn
			ns.mu.Unlock()
			return err
		}
	}
	var total int64
	for i := range segments {
		total += segments[i].Bytes
	}
	var wanted []want
	saved := false
	var held [persist.Classes]bool // by a segment that is wanted: a class is cut from its oldest one on
	for _, s := range ns.excess(segments) {
		if held[s.Class] {
			continue
		}
		if wanted == nil {
			wanted = ns.wants()
		}
		may, err := ns.mayWant(s, wanted)
		if err != nil {
			return err
		}
		if may && (ns.hub.quota <= 0 || total <= ns.hub.quota) {
			held[s.Class] = true
			continue
		}
		if may && !saved { // what was acknowledged since the last checkpoint is no gap after a crash
			saved = true
			ns.hub.com.saveNow()
			wanted = ns.wants()
			if may, err = ns.mayWant(s, wanted); err != nil {
				return err
			}
		}
		if err := ns.drop(s, may, total); err != nil {
			return err
		}
		total -= s.Bytes
	}
	ns.warn(slices.Contains(held[:], true), total)
	return nil
}

// excess lists the segments over the limits of their class, those with the
// oldest messages first.
func (ns *namespace) excess(segments []persist.Segment) []persist.Segment {
	bytes, count := map[uint8]int64{}, map[uint8]int64{}
	for i := range segments {
		bytes[segments[i].Class] += segments[i].Bytes
		count[segments[i].Class] += int64(segments[i].Messages)
	}
	var out []persist.Segment
	for _, s := range segments {
		l := ns.hub.limitsOf(s.Class)
		switch {
		case l.Age > 0 && s.Newest < now()-l.Age.Milliseconds():
		case s.Open:
			continue
		case l.Bytes > 0 && bytes[s.Class]-s.Bytes >= l.Bytes: // what is within the bounds stays
		case l.Count > 0 && count[s.Class]-int64(s.Messages) >= l.Count:
		default:
			continue
		}
		bytes[s.Class] -= s.Bytes
		count[s.Class] -= int64(s.Messages)
		out = append(out, s)
	}
	slices.SortStableFunc(out, func(a, b persist.Segment) int { return int(a.First) - int(b.First) })
	return out
}

// want is what one session or group has not been given yet, as of its last
// checkpoint: after a crash it goes on there.
type want struct {
	floor   msg.Offset
	filters []msg.Filter
}

// wants lists what durable sessions and groups want.
func (ns *namespace) wants() []want {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	var list []want
	groups := map[*group]bool{}
	for _, s := range ns.clients {
		s.mu.Lock()
		if s.durable && s.expiry > 0 {
			for _, g := range s.shared {
				groups[g] = true
			}
			w := want{floor: s.floor}
			for f := range s.regs {
				w.filters = append(w.filters, f)
			}
			if len(w.filters) > 0 {
				list = append(list, w)
			}
		}
		s.mu.Unlock()
	}
	for g := range groups {
		g.mu.Lock()
		list = append(list, want{floor: g.floor, filters: []msg.Filter{g.reg.filter}})
		g.mu.Unlock()
	}
	return list
}

// mayWant tells whether one of wants may want a message of s.
func (ns *namespace) mayWant(s persist.Segment, wants []want) (bool, error) {
	var filters []msg.Filter
	for i := range wants {
		if wants[i].floor <= s.Last {
			filters = append(filters, wants[i].filters...)
		}
	}
	if len(filters) == 0 {
		return false, nil
	}
	return ns.hub.store.MayHold(ns.name, s, filters)
}

// drop cuts one segment, but for the retained values in it.
func (ns *namespace) drop(s persist.Segment, wanted bool, total int64) error {
	if wanted {
		ns.hub.log.Warn("the log is cut although sessions still want it: the namespace is over its quota",
			"namespace", ns.name, "first", s.First, "last", s.Last, "bytes", total, "quota", ns.hub.quota)
		ns.hub.met.Cut.Add(float64(s.Messages))
		ns.hub.Announce(ns.name, "$SYS/broker/retention/cut", fmt.Sprintf(`{"first":%d,"last":%d,"messages":%d}`, s.First, s.Last, s.Messages))
	}
	// Readers ask what they missed where they find nothing, so this moves first.
	for old := ns.retention.cut.Load(); old < uint64(s.Last) && !ns.retention.cut.CompareAndSwap(old, uint64(s.Last)); {
		old = ns.retention.cut.Load()
	}
	ns.retention.cuts.Add(1)
	ns.mu.Lock()
	keep := ns.retained.between(s.First, s.Last)
	ns.mu.Unlock()
	defer ns.retention.cuts.Add(1) // a replay that began meanwhile found it there
	return ns.hub.store.Drop(ns.name, s, keep)
}

// warn says once that what sessions want fills most of the quota.
func (ns *namespace) warn(held bool, total int64) {
	over := held && ns.hub.quota > 0 && total > ns.hub.quota/warnDenominator*warnNumerator
	if over && !ns.retention.warned {
		ns.hub.log.Warn("what offline sessions have not read fills most of the quota; the oldest of it will be cut",
			"namespace", ns.name, "bytes", total, "quota", ns.hub.quota)
		ns.hub.Announce(ns.name, "$SYS/broker/retention/warning", fmt.Sprintf(`{"bytes":%d,"quota":%d}`, total, ns.hub.quota))
	}
	ns.retention.warned = over
}
