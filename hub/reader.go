package hub

import (
	"context"
	"sync"

	"parley/msg"
	"parley/persist"
)

// readerWorkers read the log for sessions; reads are short and mostly from the
// page cache, so few are enough.
const readerWorkers = 2

// sideChunk is how many retained values are read before the session is woken.
const sideChunk = 128

// readers fetch from the store what sessions ask for, because a session's
// handler must not wait for the disk. A session is in the queue at most once.
type readers struct {
	hub *Hub

	mu    sync.Mutex
	cond  *sync.Cond
	queue []*Session
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
	r.mu.Unlock()
	wg.Wait()
}

func (r *readers) submit(s *Session) {
	r.mu.Lock()
	r.queue = append(r.queue, s)
	r.cond.Signal()
	r.mu.Unlock()
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
		s := r.queue[0]
		r.queue[0] = nil
		r.queue = r.queue[1:]
		r.mu.Unlock()
		s.readMore()
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
func (s *Session) sideRead(items []sideItem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == sessionLive {
		s.in.side = append(s.in.side, items...)
		s.askReader()
	}
}

// readMore reads one chunk: of the retained values, else of the log.
func (s *Session) readMore() {
	s.mu.Lock()
	live := s.state == sessionLive
	side := s.in.side[:min(sideChunk, len(s.in.side))]
	lag := s.in.lag
	regs := make([]*registration, 0, len(s.regs))
	for _, r := range s.regs {
		regs = append(regs, r)
	}
	s.mu.Unlock()
	switch {
	case !live:
		return
	case len(side) > 0:
		items := s.readSide(side)
		s.mu.Lock()
		s.in.side = s.in.side[min(len(side), len(s.in.side)):]
		if len(s.in.side) == 0 {
			s.in.side = nil
		}
		s.in.fetched = append(s.in.fetched, items...)
	case lag.on:
		items, next, err := s.readLag(lag, regs)
		s.mu.Lock()
		s.caughtUp(lag, items, next, err)
	default:
		s.mu.Lock()
	}
	s.in.reading = false
	if s.state != sessionLive {
		s.dropInbound()
	}
	s.mu.Unlock()
	s.peer.Wake()
}

// readSide reads retained values.
func (s *Session) readSide(side []sideItem) []item {
	items := make([]item, 0, len(side))
	for _, it := range side {
		ms, _, err := s.hub.store.Read(s.ns.name, it.offset, it.offset, persist.Limits{Messages: 1})
		if err != nil {
			s.hub.log.Error("a retained value cannot be read", "namespace", s.ns.name, "offset", it.offset, "error", err)
			continue
		}
		if len(ms) == 0 {
			continue // cut by retention
		}
		m := ms[0]
		if m.Expired(now()) {
			s.ns.forgetRetained(m.Topic, m.Offset)
			continue
		}
		if m.Restrict != nil && (m.Restrict.BySession() || !m.Restrict.Allows(s.id, s.user.User, s.role)) {
			continue // restrictions by session id reach only sessions live at the commit
		}
		items = append(items, item{m: m, regs: it.regs, retained: true})
	}
	return items
}

// readLag reads one chunk of the log and keeps what the session's filters match.
func (s *Session) readLag(l lag, regs []*registration) ([]item, msg.Offset, error) {
	ms, next, err := s.hub.store.Read(s.ns.name, l.from, l.to, persist.Limits{})
	if err != nil {
		return nil, 0, err
	}
	var items []item
	byTopic := map[string][]*registration{}
	for _, m := range ms {
		found, ok := byTopic[m.Topic]
		if !ok {
			for _, r := range regs {
				if r.filter.Group == "" && r.filter.Matches(m.Topic) {
					found = append(found, r)
				}
			}
			byTopic[m.Topic] = found
		}
		if found = s.since(m, found); len(found) > 0 && s.mayReceive(m) {
			items = append(items, item{m: m, regs: found})
		}
	}
	return items, next, nil
}

// since drops the filters that are newer than the message, and no-local ones of
// its own publisher.
func (s *Session) since(m *msg.Message, regs []*registration) []*registration {
	own := m.Origin.Session == s.id
	var some []*registration
	for _, r := range regs {
		if m.Offset > r.start && !(own && r.sub.Load().NoLocal) {
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
		s.in.notices = append(s.in.notices, msg.Notice{
			Kind: msg.NoticeGap, First: l.from, Last: s.in.lag.to, Reason: "storage cannot be read",
		})
		s.endLag()
		return
	}
	s.in.backlog = append(s.in.backlog, items...)
	switch {
	case next <= l.to:
		s.in.lag.from = next
	case s.in.lag.to > l.to:
		s.in.lag.from = l.to + 1
	default:
		s.endLag()
	}
}
