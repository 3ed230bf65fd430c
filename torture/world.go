package torture

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"parley/msg"
	"parley/torture/history"
)

// endName is who publishes the last message on every topic before everything is
// quiet.
const endName = "end"

// retainedTopics is where observers look.
const (
	retainedFilter = "r/#"
	retainedEnd    = "r/end" // not retained itself
)

// topicsPerPublisher is how many topics t/<publisher>/<n> each has.
const topicsPerPublisher = 3

// world is everything that one run shares.
type world struct {
	opt     Options
	rec     *history.Recorder
	address atomic.Pointer[string]
	quiet   atomic.Bool // no new traffic, nobody misbehaves
	down    atomic.Bool // the broker is being killed or started

	lives atomic.Int64 // how often it was killed

	observed int // observers so far; owned by Run

	readers sync.WaitGroup // of connections
	actors  sync.WaitGroup

	mu          sync.Mutex
	round       int            // of quiet moments
	calm        map[string]int // by actor: the last round in which it saw that it is quiet
	subscribers []*peer        // that are to drain
	publishers  []*peer
}

func (w *world) url() string { return *w.address.Load() }

// random returns the source of one client: what it does depends on the seed and
// its name only.
func (w *world) random(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return rand.New(rand.NewPCG(w.opt.Seed, h.Sum64()))
}

func (w *world) enter(list *[]*peer, p *peer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*list = append(*list, p)
}

func (w *world) exit(p *peer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subscribers = slices.DeleteFunc(w.subscribers, func(o *peer) bool { return o == p })
}

func (w *world) everybody(list *[]*peer) []*peer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(*list)
}

// isQuiet says whether an actor is to behave, and notes that it has been told.
func (w *world) isQuiet(actor string) bool {
	if !w.quiet.Load() {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calm[actor] = w.round
	return true
}

// restless names the actors that may still be doing something else.
func (w *world) restless() (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, round := range w.calm {
		if round < w.round {
			names = append(names, name)
		}
	}
	return names
}

// act runs an actor.
func (w *world) act(name string, run func()) {
	w.mu.Lock()
	w.calm[name] = 0
	w.mu.Unlock()
	w.actors.Go(run)
}

// idle waits, but not on when it is to be quiet; false if ctx ended.
func (w *world) idle(ctx context.Context, d time.Duration) bool {
	deadline := time.Now().Add(d)
	for left := d; left > 0 && !w.quiet.Load(); left = time.Until(deadline) {
		if !pause(ctx, min(left, 20*time.Millisecond)) {
			return false
		}
	}
	return ctx.Err() == nil
}

// pause waits; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// between returns a duration in [low, high).
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// await polls until ok or the deadline; false if it came to that, or ctx ended.
func await(ctx context.Context, limit time.Duration, ok func() bool) bool {
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) || !pause(ctx, 10*time.Millisecond) {
			return false
		}
	}
	return true
}

// quiesce stops the traffic, lets everybody drain, and notes that it is quiet.
// What did not come in time then shows as a loss.
func (w *world) quiesce(ctx context.Context) error {
	w.mu.Lock()
	w.round++
	w.mu.Unlock()
	w.quiet.Store(true)
	defer w.quiet.Store(false)
	w.await(ctx, "clients do not come to rest", w.restless)
	w.await(ctx, "publishers have no answer", w.publishersDone)
	subscribers := w.everybody(&w.subscribers)
	w.await(ctx, "subscribers are not back", func() []string { return undrained(subscribers, nil) })
	w.awaitWills(ctx)
	observers, err := w.observe(ctx)
	defer func() {
		for _, o := range observers {
			if c := o.current(); c != nil {
				o.leave(c)
			}
		}
	}()
	if err != nil {
		return err
	}
	ends, err := w.publishEnds(ctx)
	if err != nil {
		return err
	}
	subscribers = append(subscribers, observers...)
	w.await(ctx, "subscribers have not drained", func() []string { return undrained(subscribers, ends) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.rec.Add(history.Event{Kind: history.Quiesced})
	return nil
}

// await waits until nobody is named any more, and says who is if that takes too
// long; the history then tells why.
func (w *world) await(ctx context.Context, what string, names func() []string) {
	limit := w.opt.Patience
	if !await(ctx, limit, func() bool { return len(names()) == 0 }) && ctx.Err() == nil {
		w.opt.progress("after %v %s: %v", limit, what, names())
	}
}

func (w *world) publishersDone() (waiting []string) {
	for _, p := range w.everybody(&w.publishers) {
		p.mu.Lock()
		if len(p.unacked) > 0 {
			waiting = append(waiting, p.name)
		}
		p.mu.Unlock()
	}
	return waiting
}

func (w *world) awaitWills(ctx context.Context) {
	limits := w.opt.limits()
	await(ctx, w.opt.Grace+2*limits.Tolerance, func() bool {
		return history.Pending(w.rec.Events(), limits, w.rec.Now(), w.opt.Grace+limits.Tolerance) == 0
	})
}

// observe connects a new client of each protocol and asks for the retained values.
func (w *world) observe(ctx context.Context) (observers []*peer, err error) {
	for _, protocol := range w.opt.Protocols {
		w.observed++
		p := newPeer(w, fmt.Sprintf("observer-%d-%s", w.observed, protocol), protocol, false)
		p.want = []wanted{{filter: retainedFilter, qos: 1, retained: true}}
		if err := p.connect(ctx, true, nil); err != nil {
			return observers, fmt.Errorf("observer over %s: %w", protocol, err)
		}
		observers = append(observers, p)
	}
	return observers, nil
}

// publishEnds publishes a last message on every topic and returns the sequence of
// each.
func (w *world) publishEnds(ctx context.Context) (map[string]uint64, error) {
	var end *peer
	for _, p := range w.everybody(&w.publishers) {
		if p.name == endName {
			end = p
		}
	}
	ends := map[string]uint64{}
	if end.current() == nil {
		if err := end.connect(ctx, false, nil); err != nil {
			return nil, fmt.Errorf("connect to publish the last messages: %w", err)
		}
	}
	for _, topic := range w.topics() {
		seq, err := end.publish(topic, 1, "", false)
		if err != nil {
			return nil, fmt.Errorf("publish the last messages: %w", err)
		}
		ends[topic] = seq
	}
	w.await(ctx, "the last messages have no answer", w.publishersDone)
	if c := end.current(); c != nil {
		end.leave(c)
	}
	return ends, nil
}

// topics lists what is published on, wills aside.
func (w *world) topics() []string {
	out := []string{retainedEnd}
	for i := range w.opt.Publishers {
		for k := range topicsPerPublisher {
			out = append(out, fmt.Sprintf("t/%s/%d", publisherName(i), k))
		}
	}
	return out
}

func publisherName(i int) string { return fmt.Sprintf("p%d", i) }

// undrained names those that have not drained.
func undrained(subscribers []*peer, ends map[string]uint64) (names []string) {
	for _, p := range subscribers {
		if !p.drained(ends) {
			names = append(names, p.name)
		}
	}
	return names
}

// drained: all filters are confirmed and the last message of each topic has come
// on each that matches it.
func (p *peer) drained(ends map[string]uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		return !p.durable // then its subscriptions are over
	}
	for _, f := range p.want {
		if !f.confirmed {
			return false
		}
		filter, err := msg.ParseFilter(f.filter)
		if err != nil {
			return false
		}
		stream := f.filter
		if family(p.protocol) == "mqtt" {
			stream = ""
		}
		for topic, seq := range ends {
			if filter.Matches(topic) && p.ends[endKey{stream, topic}] < seq {
				return false
			}
		}
	}
	return true
}

// finish ends what the actors do not own.
func (w *world) finish() {
	for _, p := range w.everybody(&w.publishers) {
		p.stop()
	}
}

// failed notes that p could not connect. While the broker is down that is as it
// must be.
func (w *world) failed(p *peer, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	switch {
	case w.down.Load() || p.failing.IsZero():
		p.failing = now
	case now.Sub(p.failing) > answerTime:
		p.failing = now
		p.record(nil, history.Event{Kind: history.Complaint, Note: fmt.Sprintf("no connection for %v: %v", answerTime, err)})
	}
}
