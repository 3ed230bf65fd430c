// Package load is the load generator: MQTT 3.1.1 clients over WebSocket in one
// process, made to cost little. It sends numbered, patterned messages and checks
// that each arrives once, in order and whole.
//
// # Flow
//
// Each publisher has a window: it sends message n only when message n - window is
// with all its subscribers and acknowledged, at QoS 2 with the last packet of both
// handshakes that the broker sends. Brokers that drop for slow readers
// (most of them, at QoS 0) thus have no cause to, and a loss is a loss.
package load

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Plan is who sends what to whom.
type Plan struct {
	Addr        string // the broker's WebSocket listener
	Publishers  int
	Subscribers int
	Topic       func(publisher int) string
	Filter      func(subscriber int) string
	Hears       func(subscriber, publisher int) bool // whether Filter matches Topic
	QoS         byte                                 // of publishes and subscriptions, 0 to 2
	Size        int                                  // bytes of payload, at least 24
	Window      int                                  // messages of one publisher under way
	Burst       int                                  // messages of one write, when not paced
	Rate        float64                              // messages a second of all publishers, each its own write; 0: as fast as the windows let

	// Stall is how long nothing may arrive, though something should, before a run
	// is given up; 0: ten seconds.
	Stall time.Duration
}

// ErrStalled is returned, wrapped, when nothing has arrived for Plan.Stall though
// something should.
var ErrStalled = errors.New("stalled")

// Group is a plan with its clients connected. Run, Snapshot and Close must not
// be called at the same time.
type Group struct {
	// Fixed after construction.
	plan        Plan
	run         uint32
	start       time.Time
	publishers  []*publisher
	subscribers []*subscriber

	// Shared.
	since   atomic.Int64 // what was sent before is not timed
	changed atomic.Bool  // something arrived since the watcher looked
	closing atomic.Bool
	readers sync.WaitGroup
	failed  chan error // the first failure of a reader; holds one

	overruns uint64        // paced messages that found no room in their window
	late     time.Duration // the latest that a paced message left
}

// Open connects subscribers, subscribes them and connects publishers.
func Open(ctx context.Context, plan Plan) (*Group, error) {
	if plan.Size < stampSize || plan.Window < max(plan.Burst, 1) || plan.Window > 65535 {
		return nil, fmt.Errorf("size %d, window %d, burst %d: out of range", plan.Size, plan.Window, plan.Burst)
	}
	if plan.Stall == 0 {
		plan.Stall = 10 * time.Second
	}
	g := &Group{plan: plan, start: time.Now(), failed: make(chan error, 1)}
	g.since.Store(never)
	var run [4]byte
	if _, err := rand.Read(run[:]); err != nil {
		return nil, err
	}
	g.run = binary.BigEndian.Uint32(run[:])
	if err := g.connect(ctx); err != nil {
		g.abort()
		return nil, err
	}
	for _, s := range g.subscribers {
		g.readers.Go(func() { g.reader("subscriber", s.read) })
	}
	for _, p := range g.publishers {
		g.readers.Go(func() { g.reader("publisher", p.read) })
	}
	return g, nil
}

func (g *Group) clock() int64 { return int64(time.Since(g.start)) }

func (g *Group) progress() {
	if !g.changed.Load() {
		g.changed.Store(true)
	}
}

func (g *Group) connect(ctx context.Context) error {
	g.subscribers = make([]*subscriber, g.plan.Subscribers)
	g.publishers = make([]*publisher, g.plan.Publishers)
	if err := parallel(g.plan.Subscribers, func(i int) (err error) {
		g.subscribers[i], err = g.subscriber(ctx, i)
		return err
	}); err != nil {
		return err
	}
	return parallel(g.plan.Publishers, func(i int) (err error) {
		g.publishers[i], err = g.publisher(ctx, i)
		return err
	})
}

func (g *Group) subscriber(ctx context.Context, i int) (*subscriber, error) {
	c, err := dial(ctx, g.plan.Addr, local(i), fmt.Sprintf("sub-%d", i), true, 32<<10)
	if err != nil {
		return nil, err
	}
	s := &subscriber{c: c, g: g, onProgress: g.progress, streams: make([]*Stream, g.plan.Publishers), held: make(map[uint16]delivery)}
	for p := range s.streams {
		if g.plan.Hears(i, p) {
			s.streams[p] = &Stream{}
		}
	}
	return s, c.subscribe(g.plan.Filter(i), g.plan.QoS)
}

func (g *Group) publisher(ctx context.Context, i int) (*publisher, error) {
	c, err := dial(ctx, g.plan.Addr, local(i), fmt.Sprintf("pub-%d", i), true, 4<<10)
	if err != nil {
		return nil, err
	}
	p := &publisher{
		c: c, index: uint32(i), qos: g.plan.QoS, burst: g.plan.Burst, need: int32(min(g.plan.QoS, 1)),
		clock: g.clock, acksSince: &g.since, onProgress: g.progress,
	}
	for s := range g.plan.Subscribers {
		if g.plan.Hears(s, i) {
			p.need++
		}
	}
	p.prepare(g.plan.Topic(i), g.run, g.plan.Size, g.plan.Window)
	return p, nil
}

// local spreads clients over loopback addresses, as if from several machines.
func local(i int) string { return fmt.Sprintf("127.0.0.%d", 2+i%8) }

func (g *Group) reader(who string, read func() error) {
	if err := read(); !g.closing.Load() {
		g.fail(fmt.Errorf("%s: %w", who, err))
	}
}

func (g *Group) fail(err error) {
	select {
	case g.failed <- err:
	default:
	}
}

// Run sends for d, then waits until everything sent has arrived. What is sent
// from now on is timed if timed is set. It returns how long that took.
func (g *Group) Run(ctx context.Context, d time.Duration, timed bool) (time.Duration, error) {
	g.since.Store(never)
	if timed {
		g.since.Store(g.clock())
		g.overruns, g.late = 0, 0
	}
	begin := time.Now()
	stop := make(chan struct{})
	var senders sync.WaitGroup
	if g.plan.Rate > 0 {
		senders.Go(func() { g.pace(stop) })
	} else {
		for _, p := range g.publishers {
			senders.Go(func() {
				if err := p.flood(stop); err != nil {
					g.fail(err)
				}
			})
		}
	}
	err := g.watch(ctx, begin.Add(d), false)
	close(stop)
	if err != nil {
		g.abort() // frees a sender that hangs in a write
	}
	senders.Wait()
	if err == nil {
		err = g.watch(ctx, time.Time{}, true)
	}
	return time.Since(begin), err
}

// watch returns at until, or when all is done if drain is set; with an error when
// a client failed, when nothing arrives any more or when ctx ends.
func (g *Group) watch(ctx context.Context, until time.Time, drain bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-g.failed:
			return err
		case now := <-tick.C:
			left := g.underWay()
			if g.changed.Swap(false) || left == 0 {
				last = now
			}
			switch {
			case drain && left == 0, !drain && now.After(until):
				return nil
			case now.Sub(last) > g.plan.Stall:
				return fmt.Errorf("%d messages under way and nothing arrives for %v: %w", left, g.plan.Stall, ErrStalled)
			}
		}
	}
}

func (g *Group) underWay() (n int64) {
	for _, p := range g.publishers {
		n += p.underWay.Load()
	}
	return n
}

// pace sends one message after another, evenly over time and in turn over the
// publishers. It sleeps in a thread of its own: the runtime's timers are
// coarser than the distance between two messages.
func (g *Group) pace(stop <-chan struct{}) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := time.Now()
	step := time.Duration(float64(time.Second) / g.plan.Rate)
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		ahead := time.Duration(i)*step - time.Since(begin)
		if ahead > 0 {
			pause := unix.NsecToTimespec(int64(ahead))
			_ = unix.Nanosleep(&pause, nil) // interrupted early: the message leaves early
		}
		g.late = max(g.late, -ahead)
		p := g.publishers[i%len(g.publishers)]
		if p.busy(1) >= 0 {
			g.overruns++
			continue
		}
		if err := p.send(1); err != nil {
			g.fail(err)
			return
		}
	}
}

func (g *Group) abort() {
	g.closing.Store(true)
	for _, s := range g.subscribers {
		if s != nil { // nil: connecting failed before
			s.c.abort()
		}
	}
	for _, p := range g.publishers {
		if p != nil {
			p.c.abort()
		}
	}
}
