package msg

import "sync/atomic"

// sharedCache keeps what was computed once from an immutable message for all of
// its receivers: views and encoded frames. It is a lock-free list because a
// message has only a handful of them and most have none.
type sharedCache struct{ head atomic.Pointer[sharedItem] }

type sharedItem struct {
	key  uint32
	data []byte
	next *sharedItem
}

// Shared returns what build returned for key, building it at most a few times
// (concurrent first callers may both build; all later callers see one result).
// The bytes must not be changed. Keys are chosen by the caller: the upper 16
// bits name the package (see SharedKey…), the lower are its own.
func (m *Message) Shared(key uint32, build func() []byte) []byte {
	for i := m.shared.head.Load(); i != nil; i = i.next {
		if i.key == key {
			return i.data
		}
	}
	it := &sharedItem{key: key, data: build()}
	for {
		it.next = m.shared.head.Load()
		if m.shared.head.CompareAndSwap(it.next, it) {
			return it.data
		}
	}
}

// Key spaces of Shared.
const (
	SharedViews uint32 = (iota + 1) << 16
	SharedMQTT
	SharedWAMP
	SharedJSON
)
