package hub

import (
	"sync"
	"sync/atomic"
)

// flow counts what was published but is not yet committed and fanned out, per
// session and in total, and wakes publishers when they may go on.
type flow struct {
	limit int64 // bytes of all sessions
	bytes atomic.Int64

	mu      sync.Mutex
	waiting map[*Session]struct{} // congested only because of the total
}

// parked is a session's part of it.
type parked struct {
	bytes     atomic.Int64
	messages  atomic.Int64
	congested atomic.Bool
}

// park counts one message of s.
func (h *Hub) park(s *Session, size int) {
	total := h.flow.bytes.Add(int64(size))
	b, n := s.parked.bytes.Add(int64(size)), s.parked.messages.Add(1)
	if b > int64(h.lim.ParkedBytes) || n > int64(h.lim.ParkedMessages) {
		s.parked.congested.Store(true)
	}
	if total > h.flow.limit {
		h.flow.mu.Lock()
		if h.flow.waiting == nil {
			h.flow.waiting = map[*Session]struct{}{}
		}
		h.flow.waiting[s] = struct{}{}
		h.flow.mu.Unlock()
		s.parked.congested.Store(true)
	}
}

// release takes one message of s off again. A congested session is woken when
// both it and the total are below half.
func (h *Hub) release(s *Session, size int) {
	total := h.flow.bytes.Add(int64(-size))
	b, n := s.parked.bytes.Add(int64(-size)), s.parked.messages.Add(-1)
	if total <= h.flow.limit/2 && total+int64(size) > h.flow.limit/2 {
		h.wakeWaiting()
	}
	if s.parked.congested.Load() && h.relaxed(b, n) && total <= h.flow.limit && s.parked.congested.CompareAndSwap(true, false) {
		s.peer.Wake()
	}
}

// relaxed tells whether a session is below half of its limits.
func (h *Hub) relaxed(bytes, messages int64) bool {
	return bytes <= int64(h.lim.ParkedBytes/2) && messages <= int64(h.lim.ParkedMessages/2)
}

// wakeWaiting frees those who waited for the total alone.
func (h *Hub) wakeWaiting() {
	h.flow.mu.Lock()
	waiting := h.flow.waiting
	h.flow.waiting = nil
	h.flow.mu.Unlock()
	for s := range waiting {
		if h.relaxed(s.parked.bytes.Load(), s.parked.messages.Load()) && s.parked.congested.CompareAndSwap(true, false) {
			s.peer.Wake()
		}
	}
}
