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
	waiting map[*hold]struct{} // congested only because of the total
}

// parked is a session's part of it.
type parked struct {
	bytes     atomic.Int64
	messages  atomic.Int64
	congested atomic.Bool
}

// park counts one message of c.
func (h *Hub) park(c *hold, size int) {
	total := h.flow.bytes.Add(int64(size))
	b, n := c.parked.bytes.Add(int64(size)), c.parked.messages.Add(1)
	if b > int64(h.lim.ParkedBytes) || n > int64(h.lim.ParkedMessages) {
		c.parked.congested.Store(true)
	}
	if total > h.flow.limit {
		h.flow.mu.Lock()
		if h.flow.waiting == nil {
			h.flow.waiting = map[*hold]struct{}{}
		}
		h.flow.waiting[c] = struct{}{}
		h.flow.mu.Unlock()
		c.parked.congested.Store(true)
	}
}

// release takes one message of c off again. A congested session is woken when
// both it and the total are below half.
func (h *Hub) release(c *hold, size int) {
	total := h.flow.bytes.Add(int64(-size))
	b, n := c.parked.bytes.Add(int64(-size)), c.parked.messages.Add(-1)
	if total <= h.flow.limit/2 && total+int64(size) > h.flow.limit/2 {
		h.wakeWaiting()
	}
	if c.parked.congested.Load() && h.relaxed(b, n) && total <= h.flow.limit && c.parked.congested.CompareAndSwap(true, false) {
		c.peer.Wake()
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
	for c := range waiting {
		if h.relaxed(c.parked.bytes.Load(), c.parked.messages.Load()) && c.parked.congested.CompareAndSwap(true, false) {
			c.peer.Wake()
		}
	}
}
