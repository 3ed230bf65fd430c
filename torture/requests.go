package torture

import "sync"

// request is what an answer belongs to.
type request struct {
	n      uint16
	kind   inputKind // of the answer
	filter string
}

// requests numbers what is asked on one connection from 1, as JSON commands and
// WAMP requests are.
type requests struct {
	mu   sync.Mutex
	last uint64
	open map[uint64]request
}

func (r *requests) begin(q request) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = map[uint64]request{}
	}
	r.last++
	r.open[r.last] = q
	return r.last
}

// end returns what id belongs to; the zero value if it is nothing.
func (r *requests) end(id uint64) request {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.open[id]
	delete(r.open, id)
	return q
}
