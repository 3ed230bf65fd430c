package hub

import (
	"context"
	"time"

	"parley/msg"
)

// Drain refuses new sessions and tells every session, spread evenly over
// spread, that the broker goes down; the engines tell their peers and close. It
// returns when all have been told or ctx ends.
func (h *Hub) Drain(ctx context.Context, spread time.Duration) error {
	h.mu.Lock()
	h.draining = true
	all := make([]*Session, 0, len(h.sessions))
	for _, s := range h.sessions {
		all = append(all, s)
	}
	h.mu.Unlock()
	var sessions []*hold
	for _, s := range all {
		s.mu.Lock()
		if s.hold != nil {
			sessions = append(sessions, s.hold)
		}
		s.mu.Unlock()
	}
	if len(sessions) == 0 {
		return nil
	}
	begin := time.Now()
	for i, c := range sessions {
		if wait := time.Until(begin.Add(spread * time.Duration(i) / time.Duration(len(sessions)))); wait > time.Millisecond {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(wait):
			}
		}
		c.notify(msg.Notice{Kind: msg.NoticeDraining})
	}
	return nil
}

// Sessions reports how many sessions there are, with and without a connection.
func (h *Hub) Sessions() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sessions)
}
