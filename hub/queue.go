package hub

// queue is a ring of items.
type queue struct {
	ring  []item
	first int
	n     int
	refs  int // filters of all items beyond the first of each
}

// queueRefs bounds queue.refs, and what one read of the log keeps: overlapping
// filters make a delivery large (8 bytes each).
const queueRefs = 1 << 16

// room tells whether an item with so many filters fits.
func (q *queue) room(limit, filters int) bool {
	return q.n < limit && (q.n == 0 || q.refs+filters-1 <= queueRefs)
}

func (q *queue) push(it item) {
	if q.n == len(q.ring) {
		grown := make([]item, max(8, 2*len(q.ring)))
		for i := range q.n {
			grown[i] = q.ring[(q.first+i)%len(q.ring)]
		}
		q.ring, q.first = grown, 0
	}
	q.ring[(q.first+q.n)%len(q.ring)] = it
	q.n++
	q.refs += len(it.regs) - 1
}

func (q *queue) front() *item { return &q.ring[q.first] }

// pop drops the front; an empty big ring is given back, so that an idle session
// holds little.
func (q *queue) pop() {
	q.refs -= len(q.ring[q.first].regs) - 1
	q.ring[q.first] = item{}
	q.first = (q.first + 1) % len(q.ring)
	q.n--
	if q.n == 0 && len(q.ring) > 64 {
		*q = queue{}
	}
}
