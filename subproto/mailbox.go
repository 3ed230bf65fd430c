package subproto

import "sync"

// Mailbox carries outcomes from callbacks to the handler: callbacks Put, the
// handler Takes. The zero value is ready.
type Mailbox[T any] struct {
	mu    sync.Mutex
	items []T
}

// Put appends one outcome. Any goroutine.
func (b *Mailbox[T]) Put(v T) {
	b.mu.Lock()
	b.items = append(b.items, v)
	b.mu.Unlock()
}

// Take returns everything that was Put, in order, and takes over spare (its
// content is dropped) for later Puts. To do without allocations, spare is what
// the last Take returned, nil included: anything else may be in use already.
func (b *Mailbox[T]) Take(spare []T) []T {
	clear(spare)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.items) == 0 {
		if b.items == nil {
			b.items = spare[:0]
		}
		return nil
	}
	got := b.items
	b.items = spare[:0]
	return got
}
