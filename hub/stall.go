package hub

import (
	"errors"
	"time"

	"parley/msg"
)

// While the store is full, what may not be refused waits: a session's publishes if it
// asked for that (SessionParams.ParkWhenFull), its own steps of QoS 2, and whatever
// comes behind them. The session is not read further.

// retryFull is how long publishes that wait for a full store stay parked before
// the next try.
const retryFull = time.Second

// holdBack moves the ops of stalled sessions behind those already waiting, and
// those that are to be answered like one of them.
func (c *committer) holdBack(ops []op) []op {
	if len(c.stalled) == 0 {
		return ops
	}
	kept := ops[:0]
	for _, o := range ops {
		switch {
		case o.c != nil && o.c.stalled:
			c.stalled = append(c.stalled, o)
		case o.again != nil && o.again.parked():
			c.stall(o)
		default:
			kept = append(kept, o)
		}
	}
	return kept
}

// mustWait tells whether an op stays parked: it needs the store, which is full,
// and its session waits rather than being refused; or it comes behind such a one,
// or repeats it.
func (c *committer) mustWait(o *op, failure error) bool {
	if o.c == nil || !errors.Is(failure, msg.ErrStoreFull) {
		return false
	}
	return o.c.stalled || o.wait || o.c.params.ParkWhenFull && o.stored && o.depends() && o.err == nil || o.again != nil && o.again.parked()
}

// stall parks an op until the store has room; its session is not read further.
func (c *committer) stall(o op) {
	o.c.stalled = true
	if o.wait {
		o.c.s.stalled++
	}
	if !o.c.waitsForRoom.Swap(true) {
		o.c.peer.Wake() // so that it stops reading
	}
	c.stalled = append(c.stalled, o)
	if c.retry == nil {
		c.retry = time.After(retryFull)
	}
}

// retryStalled tries the parked ops again, in order.
func (c *committer) retryStalled() {
	ops := c.stalled
	c.stalled, c.retry = nil, nil
	for i := range ops {
		ops[i].c.stalled = false
		if s := ops[i].c.s; s != nil {
			s.stalled = 0
		}
	}
	c.commitAll(ops)
	for i := range ops {
		if h := ops[i].c; h != nil && !h.stalled && h.waitsForRoom.CompareAndSwap(true, false) {
			h.peer.Wake()
		}
	}
}
