package hub

import (
	"context"
	"slices"
	"sync"

	"parley/msg"
	"parley/persist"
)

// readerWorkers read the log for sessions; reads are short and mostly from the
// page cache, so few are enough.
const readerWorkers = 2

// sideChunk is how many retained values are read before the session is woken.
const sideChunk = 128

// job is what reads the log: a session or a shared group.
type job interface{ readMore() }

// abandoner is a job that somebody waits for: abandon is called instead of
// readMore when the readers have stopped.
type abandoner interface{ abandon() }

// readers fetch from the store what sessions and groups ask for, because a
// session's handler must not wait for the disk. A job is in the queue at most
// once.
type readers struct {
	hub *Hub

	mu    sync.Mutex
	cond  *sync.Cond
	queue []job
	stop  bool
}

func newReaders(h *Hub) *readers {
	r := &readers{hub: h}
	r.cond = sync.NewCond(&r.mu)
	return r
}

func (r *readers) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range readerWorkers {
		wg.Go(r.work)
	}
	<-ctx.Done()
	r.mu.Lock()
	r.stop = true
	r.cond.Broadcast()
	left := r.queue
	r.queue = nil
	r.mu.Unlock()
	wg.Wait()
	for _, j := range left {
		abandon(j)
	}
}

func (r *readers) submit(j job) {
	r.mu.Lock()
	stopped := r.stop
	if !stopped {
		r.queue = append(r.queue, j)
		r.cond.Signal()
	}
	r.mu.Unlock()
	if stopped {
		abandon(j)
	}
}

func abandon(j job) {
	if a, ok := j.(abandoner); ok {
		a.abandon()
	}
}

func (r *readers) work() {
	for {
		r.mu.Lock()
		for len(r.queue) == 0 && !r.stop {
			r.cond.Wait()
		}
		if r.stop {
			r.mu.Unlock()
			return
		}
		j := r.queue[0]
		r.queue[0] = nil
		r.queue = r.queue[1:]
		r.mu.Unlock()
		j.readMore()
	}
}

// askReader asks for the next chunk once. s.mu is held.
func (s *Session) askReader() {
	if !s.in.reading {
		s.in.reading = true
		s.hub.reader.submit(s)
	}
}

// sideRead adds retained values to be sent before anything newer.
func (c *hold) sideRead(items []sideItem) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.state == holdLive {
		s.in.side = append(s.in.side, items...)
		s.in.sideRefs += sideRefs(items)
		s.askReader()
	}
}

// task is what one turn of a reader does for a session.
type task struct {
	gen   uint64
	redo  []flight
	later []flight
	side  []sideItem
	past  []cursor
	lag   lag
	away  []span
	regs  []*registration
	done  map[delivery]bool
	doubt msg.Offset
	gaps  []gap // found on the way
}

// readMore reads one chunk: of what is sent again, else of the retained values,
// else of replays, else of the log. If the session has changed hands meanwhile, what was read is
// for nobody.
func (s *Session) readMore() {
	t, ok := s.nextTask()
	if !ok {
		return
	}
	var items []item
	var next msg.Offset
	var err error
	switch {
	case len(t.redo) > 0:
		items = s.readRedo(&t)
	case len(t.side) > 0:
		items = s.readSide(&t)
	case len(t.past) > 0:
		items, err = s.readReplays(&t)
	case t.lag.on:
		items, next, err = s.readLag(&t)
		items = s.merge(&t, items, next)
	}
	s.mu.Lock()
	defer s.wakeAfterUnlock()
	defer s.mu.Unlock()
	if s.gen != t.gen {
		return
	}
	s.in.reading, s.in.taken = false, false
	s.tellGaps(t.gaps)
	switch {
	case len(t.redo) > 0:
		last := t.redo[len(t.redo)-1].ref
		s.in.redo = slices.DeleteFunc(s.in.redo, func(f flight) bool { return f.ref <= last })
		s.in.fetched = append(s.in.fetched, items...)
	case len(t.side) > 0:
		s.in.side = s.in.side[len(t.side):]
		s.in.sideRefs -= sideRefs(t.side)
		s.in.fetched = append(s.in.fetched, items...)
	case len(t.past) > 0:
		s.moveReplays(t.past, items, err)
	case t.lag.on:
		s.caughtUp(t.lag, items, next, err)
	}
}

func (s *Session) wakeAfterUnlock() { s.wake() }

// nextTask takes the session's state as of now; false if it has no connection.
func (s *Session) nextTask() (task, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A session that has changed hands may have been asked for twice.
	if s.hold == nil || s.in.taken {
		return task{}, false
	}
	s.in.taken = true
	t := task{
		gen: s.gen, redo: slices.Clone(s.in.redo[:min(sideChunk, len(s.in.redo))]), side: s.in.side[:min(sideChunk, len(s.in.side))],
		later: slices.Clone(s.in.later), past: s.in.cursors(), lag: s.in.lag, away: slices.Clone(s.in.away), done: s.in.restored.done, doubt: s.in.restored.doubt,
	}
	if t.lag.on || len(t.redo) > 0 {
		t.regs = make([]*registration, 0, len(s.regs))
		for _, r := range s.regs {
			t.regs = append(t.regs, r)
		}
	}
	return t, true
}

// matching lists those of the session's own filters that match a topic.
func (t *task) matching(topic string) (found []*registration) {
	for _, r := range t.regs {
		if r.filter.Group == "" && r.filter.Matches(topic) {
			found = append(found, r)
		}
	}
	return found
}

// readRedo reads what is to be sent again. What is not in the log any more, or
// has expired, is given up.
func (s *Session) readRedo(t *task) []item {
	items := make([]item, 0, len(t.redo))
	for _, f := range t.redo {
		if m := s.ns.readOne(f.offset); m != nil {
			if len(f.regs) == 0 { // it was sent before a start of the broker
				if f.regs = t.matching(m.Topic); len(f.regs) == 0 {
					f.regs = []*registration{unheld(m.Topic, f.qos)}
				}
			}
			items = append(items, item{m: m, regs: f.regs, retained: f.retained, replayed: f.replayed, ref: f.ref})
			continue
		}
		s.mu.Lock()
		if _, waits := s.in.unacked[f.ref]; waits { // told as it is forgotten, whoever has the session by now
			s.in.forget(f.ref)
			s.tellGap(gap{filter: f.filter(), first: f.offset, last: f.offset, count: 1, reason: reasonRetention})
			s.touch()
		}
		s.mu.Unlock()
	}
	return items
}

// unheld stands for the filters, since removed, for which a delivery was sent.
func unheld(topic string, q msg.QoS) *registration {
	f := msg.Filter{Pattern: topic}
	r := &registration{filter: f}
	r.sub.Store(newSubscription(&msg.Subscription{Filter: f, QoS: q}, ""))
	return r
}

// readOne reads one message; nil if it is not there.
func (ns *namespace) readOne(at msg.Offset) *msg.Message {
	ms, _, err := ns.hub.store.Read(ns.name, at, at, persist.Limits{Messages: 1})
	if err != nil {
		ns.hub.log.Error("a message cannot be read for a subscriber", "namespace", ns.name, "offset", at, "error", err)
		return nil
	}
	if len(ms) == 0 {
		return nil // cut by retention
	}
	return ms[0]
}

// readSide reads retained values.
func (s *Session) readSide(t *task) []item {
	items := make([]item, 0, len(t.side))
	for _, it := range t.side {
		if t.done[delivery{offset: it.offset, flags: flightRetained}] {
			continue
		}
		m := s.ns.readOne(it.offset)
		if m == nil {
			continue
		}
		if m.Expired(now()) {
			s.ns.forgetRetained(m.Topic, m.Offset)
			continue
		}
		if w := s.who.Load(); m.Restrict != nil && (m.Restrict.BySession() || !m.Restrict.Allows(s.id, w.id.User, w.role)) {
			continue // restrictions by session id reach only sessions live at the commit
		}
		items = append(items, item{m: m, regs: it.regs, retained: true, again: it.again})
	}
	return items
}

// lagTurns is how many chunks without a match one turn of a reader passes.
const lagTurns = 8

// readLag reads the log until something matches, for a turn's worth of chunks,
// and keeps what the session's filters match.
func (s *Session) readLag(t *task) (items []item, next msg.Offset, err error) {
	next = t.lag.from
	filters := t.filters()
	for turn := 0; turn < lagTurns && len(items) == 0 && next <= t.lag.to; turn++ {
		from := next
		gaps, err := settled(func() ([]gap, error) {
			ms, end, err := s.hub.store.Read(s.ns.name, from, t.lag.to, persist.Limits{Filters: filters})
			if err != nil {
				return nil, err
			}
			items, next = s.wantedOf(t, ms, end)
			return s.missed(t.regs, from, next-1), nil
		})
		if err != nil {
			return nil, 0, err
		}
		t.gaps = append(t.gaps, gaps...)
	}
	return items, next, nil
}

// selective is how many filters a store is asked to select by; more cost more
// than they spare.
const selective = 32

// filters are what the store may select by; nil: everything.
func (t *task) filters() (list []msg.Filter) {
	for _, r := range t.regs {
		if r.filter.Group == "" {
			list = append(list, r.filter)
		}
	}
	if len(list) > selective {
		return nil
	}
	return list
}

// wantedOf keeps what the filters match; next is where to go on.
func (s *Session) wantedOf(t *task, ms []*msg.Message, next msg.Offset) ([]item, msg.Offset) {
	var items []item
	refs := 0
	byTopic := map[string][]*registration{}
	for _, m := range ms {
		found, ok := byTopic[m.Topic]
		if !ok {
			found = t.matching(m.Topic)
			byTopic[m.Topic] = found
		}
		found = s.since(m, found)
		if len(found) == 0 || absent(t.away, m.Offset) && (m.QoS == 0 || granted(found) == 0) {
			continue
		}
		if t.done[delivery{offset: m.Offset}] || !s.mayReceive(m) {
			continue
		}
		items = append(items, item{m: m, regs: found, again: m.Offset <= t.doubt})
		if refs += len(found) - 1; refs > queueRefs {
			return items, m.Offset + 1
		}
	}
	return items, next
}

// since drops the filters that are newer than the message, and no-local ones of
// its own publisher.
func (s *Session) since(m *msg.Message, regs []*registration) []*registration {
	own := m.Origin.Session == s.id
	not := func(r *registration) bool { return m.Offset <= r.start || own && r.sub.Load().NoLocal }
	if !slices.ContainsFunc(regs, not) {
		return regs
	}
	var some []*registration
	for _, r := range regs {
		if !not(r) {
			some = append(some, r)
		}
	}
	return some
}

// caughtUp takes what was read of l and ends the lag if nothing matched beyond
// it meanwhile: then the queue goes on exactly where the log was read to. s.mu
// is held.
func (s *Session) caughtUp(l lag, items []item, next msg.Offset, err error) {
	if !s.in.lag.on {
		return
	}
	if err != nil {
		s.hub.log.Error("the log cannot be read for a subscriber", "namespace", s.ns.name, "offset", l.from, "error", err)
		s.hold.notices = append(s.hold.notices, msg.Notice{
			Kind: msg.NoticeGap, First: l.from, Last: s.in.lag.to, Reason: "storage cannot be read",
		})
		s.endLag()
		return
	}
	s.in.backlog = append(s.in.backlog, items...)
	s.in.reached(next)
	switch {
	case next <= l.to:
		s.in.lag.from = next
	case s.in.lag.to > l.to:
		s.in.lag.from = l.to + 1
	default:
		s.endLag()
	}
}
