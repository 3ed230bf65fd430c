package hub

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"parley/msg"
	"parley/persist"
)

// A batch holds at most so much; whoever waits longer comes into the next one.
// 4,096 messages of 256 bytes commit in about 8 ms.
const (
	batchOps   = 4096
	batchBytes = 8 << 20
)

// checkpointEvery bounds how much log a start has to replay.
const checkpointEvery = time.Second

// op is one thing that goes through the committer, in its session's order.
type op struct {
	c       *hold      // nil: the broker itself (wills)
	ns      *namespace // set with m or control
	m       *msg.Message
	stored  bool
	size    int
	control *persist.Control
	wait    bool     // the control waits for a full store to have room
	key     *keyed   // nil: published without a key
	after   *Session // answered when no step of its QoS 2 waits for a full store
	again   *exact   // answered like this one, and not before it
	err     error    // refused before it came here
	done    func(msg.Offset, error)
}

// committer gathers what waits from all publishers into one commit after the
// other; it waits for more only while that makes them fewer, see gather. One
// goroutine.
type committer struct {
	hub *Hub

	mu       sync.Mutex
	queue    []op
	spare    []op
	want     int // length of the queue that ends await; 0: nobody waits
	signal   chan struct{}
	gathered chan struct{}      // the queue has that length; sent to with mu held
	save     chan chan struct{} // a checkpoint is wanted now; closed when it is written
	ended    chan struct{}      // run has ended

	// owned by the goroutine in run
	gather   gather
	bound    *time.Timer // of await
	stalled  []op        // of sessions that wait for a full store, in order
	retry    <-chan time.Time
	batch    persist.Batch
	emitting []op // committed ops; from emitted on their messages are not emitted yet
	emitted  int
	woken    []*hold

	checkpoints int              // so far
	every       time.Duration    // a checkpoint
	keyed       map[batchKey]*op // of the batch: fresh ones
}

func newCommitter(h *Hub) *committer {
	c := &committer{
		hub:      h,
		signal:   make(chan struct{}, 1),
		gathered: make(chan struct{}, 1),
		save:     make(chan chan struct{}),
		ended:    make(chan struct{}),
		bound:    time.NewTimer(time.Hour),
		keyed:    map[batchKey]*op{},
	}
	c.bound.Stop()
	return c
}

// submit queues an op; it never blocks.
func (c *committer) submit(o op) {
	c.mu.Lock()
	c.queue = append(c.queue, o)
	first := len(c.queue) == 1
	if len(c.queue) == c.want {
		notify(c.gathered)
	}
	c.mu.Unlock()
	if first {
		notify(c.signal)
	}
}

func (c *committer) run(ctx context.Context) {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	defer close(c.ended)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.signal:
			// Publishers that are about to submit come into this commit: with
			// one yield 66 to 85 % of those waiting share an fsync.
			runtime.Gosched()
			// Not for ever: there is a checkpoint to write too, however much comes.
			for begin := time.Now(); c.round() && time.Since(begin) < c.every; {
			}
		case saved := <-c.save:
			c.checkpoint(false)
			close(saved)
		case <-c.retry:
			c.retryStalled()
		case <-tick.C:
			c.checkpoint(false)
		}
	}
}

// drain commits what is left and writes the last checkpoint. Nothing is
// submitted any more by then, but for what ended sessions leave.
func (c *committer) drain() {
	c.work()
	c.retryStalled()
	c.checkpoint(true)
}

// work commits until nothing waits.
func (c *committer) work() {
	for c.round() {
	}
}

// round commits what waits; false if that is nothing. Whatever comes meanwhile has
// signalled.
func (c *committer) round() bool {
	c.await()
	c.mu.Lock()
	ops := c.queue
	c.queue = c.spare[:0]
	c.spare = nil
	c.mu.Unlock()
	if len(ops) == 0 {
		return false
	}
	begin := time.Now()
	c.commitAll(ops)
	end, answered := time.Now(), len(ops)
	clear(ops)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gather.committed(answered, len(c.queue), end.Sub(begin), end)
	if cap(ops) <= 4*batchOps {
		c.spare = ops
	}
	return true
}

// saveNow has a checkpoint written and waits for it, or for the end of the run. Any
// goroutine but the committer's may call it while the hub runs.
func (c *committer) saveNow() {
	saved := make(chan struct{})
	select {
	case c.save <- saved:
		<-saved
	case <-c.ended:
	}
}

// commitAll commits ops in batches, keeping back those of stalled sessions.
func (c *committer) commitAll(ops []op) {
	for len(ops) > 0 {
		n, bytes := 0, 0
		for n < len(ops) && n < batchOps && bytes < batchBytes {
			bytes += ops[n].size
			n++
		}
		c.commit(c.holdBack(ops[:n]))
		ops = ops[n:]
	}
}

// commit makes ops durable and answers them. If the store refuses the batch
// because of what one of the messages is, each is tried alone, so that one
// publisher's fault is nobody else's.
func (c *committer) commit(ops []op) {
	err := c.try(ops, len(ops) == 1)
	if err == nil {
		return
	}
	for i := range ops {
		if one := c.holdBack(ops[i : i+1]); len(one) > 0 { // one before it may have met a full store
			c.try(one, true)
		}
	}
}

// refusesBatch tells an error about the content of a batch from one about the
// store.
func refusesBatch(err error) bool {
	return err != nil && !errors.Is(err, persist.ErrFull) && !errors.Is(err, persist.ErrFailed) && !errors.Is(err, persist.ErrClosed)
}

// try commits ops. It returns an error, without having answered anything, if
// the batch cannot be stored because of its content and final is false.
func (c *committer) try(ops []op, final bool) error {
	c.batch.Appends, c.batch.Controls = c.batch.Appends[:0], c.batch.Controls[:0]
	clear(c.keyed)
	for i := range ops {
		o := &ops[i]
		if o.err != nil {
			continue
		}
		if o.key != nil {
			c.resolve(o)
		}
		if o.appends() {
			c.batch.Appends = append(c.batch.Appends, persist.Append{Namespace: o.ns.name, Message: o.m, Class: c.hub.classOf(o.m.Topic)})
		}
		if o.control != nil && (o.key == nil || o.key.verdict != keyReused) {
			c.batch.Controls = append(c.batch.Controls, c.tied(o))
		}
	}
	if len(c.batch.Appends) == 0 && len(c.batch.Controls) == 0 {
		c.finish(ops, nil)
		c.emitTransients()
		return nil
	}
	var refused error
	begin := time.Now()
	c.hub.store.Commit(&c.batch, func(err error) {
		if err == nil {
			c.hub.met.CommitSeconds.Observe(time.Since(begin).Seconds())
			c.hub.met.Commits.Inc()
			c.hub.met.Stored.Add(float64(len(c.batch.Appends)))
			c.noteControls()
			c.noteAppends()
			c.noteKeys(ops)
		}
		if refusesBatch(err) && !final {
			refused = err
			return
		}
		c.finish(ops, err)
	})
	c.emitTransients()
	clear(c.batch.Appends)
	clear(c.batch.Controls)
	return refused
}

// tied is the op's control record; that of a publish at QoS 2 has the offset of
// its message, or of the one that it repeats.
func (c *committer) tied(o *op) persist.Control {
	ctl := *o.control
	if ctl.Kind != controlExact {
		return ctl
	}
	switch {
	case o.appends():
		ctl.Of = len(c.batch.Appends)
	case o.key.first != nil:
		ctl.Of = 1 + slices.IndexFunc(c.batch.Appends, func(a persist.Append) bool { return a.Message == o.key.first })
	default:
		ctl.Value = append(encodeOffset(o.key.offset), ctl.Value...)
	}
	return ctl
}

// finish runs the callbacks of a batch in order and wakes each session once.
func (c *committer) finish(ops []op, err error) {
	failure := c.classify(err)
	for i := range ops {
		o := &ops[i]
		if failure != nil && c.mustWait(o, failure) || o.after != nil && o.after.stalled > 0 {
			c.stall(*o)
			continue
		}
		switch {
		case o.err != nil:
		case failure != nil && o.depends():
			o.err = failure
		case o.key != nil && o.key.verdict == keyReused:
			o.err = msg.ErrKeyReused
		}
		if o.done != nil {
			c.call(o)
		}
		if o.err != nil || o.m == nil || o.stored && !o.appends() {
			c.settle(o)
			continue
		}
		c.emitting = append(c.emitting, *o)
	}
	for i, h := range c.woken {
		h.marked = false
		h.peer.Wake()
		c.woken[i] = nil
	}
	c.woken = c.woken[:0]
}

// call runs an op's callback and notes its session for one wake-up.
func (c *committer) call(o *op) {
	o.done(o.answer(), o.err)
	if o.c != nil && !o.c.marked {
		o.c.marked = true
		c.woken = append(c.woken, o.c)
	}
}

// settle ends an op that emits nothing.
func (c *committer) settle(o *op) {
	if o.c == nil {
		return
	}
	if o.m != nil {
		c.hub.release(o.c, o.size)
	}
	o.c.submitted.Add(-1)
}

// classify maps the store's errors to what peers see.
func (c *committer) classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, persist.ErrFull):
		c.hub.met.CommitFailed.WithLabelValues("full").Inc()
		c.hub.log.Warn("the store is full; publishes are refused or wait", "error", err)
		return msg.ErrStoreFull
	case errors.Is(err, msg.ErrTooLarge):
		return msg.ErrTooLarge
	case refusesBatch(err):
		c.hub.log.Error("a message cannot be stored", "error", err)
		return msg.ErrNotSupported
	default:
		c.hub.met.CommitFailed.WithLabelValues("failed").Inc()
		c.hub.fail(err)
		return msg.ErrUnavailable
	}
}

// follow emits what was committed, in log order; the transient messages of our
// own publishers go out right behind the stored one they follow.
func (c *committer) follow(appends []persist.Append) {
	for _, a := range appends {
		c.emitTransients()
		if c.emitted < len(c.emitting) && c.emitting[c.emitted].m == a.Message {
			c.emitNext()
		} else if ns := c.hub.spaces[a.Namespace]; ns != nil { // committed by another node
			ns.applied(a.Message)
			ns.emit(a.Message, nil, a.Message.Size(), false)
		}
	}
}

// noteAppends brings head and retained values up to date before the
// acknowledgements.
func (c *committer) noteAppends() {
	for i := range c.batch.Appends {
		a := &c.batch.Appends[i]
		c.hub.spaces[a.Namespace].applied(a.Message)
	}
}

// emitTransients emits the transient ops up to the next stored one.
func (c *committer) emitTransients() {
	for c.emitted < len(c.emitting) && !c.emitting[c.emitted].stored {
		c.emitNext()
	}
	if c.emitted == len(c.emitting) {
		clear(c.emitting)
		c.emitting, c.emitted = c.emitting[:0], 0
	}
}

func (c *committer) emitNext() {
	o := &c.emitting[c.emitted]
	c.emitted++
	o.ns.emit(o.m, o.c, o.size, false)
	if o.c != nil {
		o.c.submitted.Add(-1)
	}
}
