package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"parley/torture/history"
)

// Result is what a run found.
type Result struct {
	Seed    uint64
	Cycles  int // completed
	Kills   int
	Elapsed time.Duration
	Counts  Counts
	Faults  []history.Fault // of the first judgement that found any; empty: every promise was kept
	History string          // the file with the history that shows them; "" without a fault
	Data    string          // folder that was left; "" = none
}

// Counts is how much happened.
type Counts struct {
	Published, Acknowledged, Delivered, Redelivered, Connections, Wills int
}

// Run tortures a broker until all cycles are over, a fault is found, or ctx ends.
// The error is about the run itself (the broker cannot be started, or ended by
// itself); what the histories show is in the result, which is valid in any case.
func Run(ctx context.Context, opt Options) (res Result, err error) {
	if err := opt.complete(); err != nil {
		return res, err
	}
	began := time.Now()
	w := &world{opt: opt, rec: history.NewRecorder(), calm: map[string]int{}}
	r := &runner{world: w, res: &res}
	res.Seed = opt.Seed
	defer func() { res.Elapsed = time.Since(began) }()
	if err := r.begin(ctx); err != nil {
		return res, err
	}
	err = r.cycles(ctx)
	return res, errors.Join(err, r.end(err))
}

// runner is the driver of one run; one goroutine uses it.
type runner struct {
	*world
	res       *Result
	broker    *broker // nil: somebody else's
	folder    string
	temporary bool
	stop      context.CancelFunc // of the actors
	counted   int                // events that are in res.Counts
}

// begin starts the broker and the actors.
func (r *runner) begin(ctx context.Context) error {
	r.folder = r.opt.Data
	if r.folder == "" {
		dir, err := os.MkdirTemp("", "parley-torture-")
		if err != nil {
			return err
		}
		r.folder, r.temporary = dir, true
	}
	address := r.opt.URL
	if r.opt.Binary != "" {
		var err error
		if r.broker, err = newBroker(r.opt.Binary, r.folder, r.opt.Grace); err != nil {
			return err
		}
		if err := r.broker.start(ctx); err != nil {
			return errors.Join(err, r.broker.stop())
		}
		address = r.broker.url + "/"
	}
	r.address.Store(&address)
	r.rec.Add(history.Event{Kind: history.Start})
	actors, stop := context.WithCancel(ctx)
	r.stop = stop
	r.startActors(actors)
	return nil
}

// startActors starts everybody; protocols take turns.
func (r *runner) startActors(ctx context.Context) {
	w := r.world
	turn := func(i int) string { return w.opt.Protocols[i%len(w.opt.Protocols)] }
	for i := range w.opt.Subscribers {
		p := newPeer(w, fmt.Sprintf("s%d-%s", i, turn(i)), turn(i), true)
		p.want = w.filtersOf(p.rng)
		if p.rng.IntN(2) == 0 {
			p.inFlight = uint16(8 + p.rng.IntN(64))
		}
		w.enter(&w.subscribers, p)
		w.act(p.name, func() { w.runSubscriber(ctx, p) })
	}
	for i := range w.opt.Publishers {
		p := newPeer(w, publisherName(i), turn(i), family(turn(i)) == "mqtt")
		var topics []string
		for k := range topicsPerPublisher {
			topics = append(topics, fmt.Sprintf("t/%s/%d", p.name, k))
		}
		w.enter(&w.publishers, p)
		w.act(p.name, func() { w.runPublisher(ctx, p, topics) })
	}
	for i := range w.opt.Passing {
		name := fmt.Sprintf("v%d", i)
		w.act(name, func() { w.runPassing(ctx, name, turn(i)) })
	}
	for i := range w.opt.Wills {
		protocol := []string{"mqtt5", "mqtt3"}[i%2]
		name := fmt.Sprintf("w%d", i)
		w.act(name, func() { w.runWill(ctx, name, protocol) })
	}
	end := newPeer(w, endName, turn(0), family(turn(0)) == "mqtt")
	w.enter(&w.publishers, end)
}

func (r *runner) cycles(ctx context.Context) error {
	random := r.random("cycles")
	for cycle := 1; cycle <= r.opt.Cycles; cycle++ {
		load := r.opt.Duration
		switch {
		case load == 0 && r.opt.Kill:
			load = between(random, 50*time.Millisecond, time.Second)
		case load == 0:
			load = 10 * time.Second
		}
		if err := r.load(ctx, load); err != nil {
			return err
		}
		if r.opt.Kill {
			if err := r.killAndStart(ctx, between(random, 0, 200*time.Millisecond)); err != nil {
				return err
			}
		}
		quiet := cycle%r.opt.CheckEvery == 0 || cycle == r.opt.Cycles
		if quiet {
			if err := r.quiesce(ctx); err != nil {
				return err
			}
		}
		r.res.Cycles = cycle
		if r.judge(quiet); len(r.res.Faults) > 0 {
			return nil
		}
		r.report(cycle)
	}
	return nil
}

// load lets the actors work, and watches the broker.
func (r *runner) load(ctx context.Context, d time.Duration) error {
	deadline := time.Now().Add(d)
	for left := d; left > 0; left = time.Until(deadline) {
		if !pause(ctx, min(left, 50*time.Millisecond)) {
			return ctx.Err()
		}
		if r.broker != nil {
			if err := r.broker.died(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *runner) killAndStart(ctx context.Context, away time.Duration) error {
	r.down.Store(true)
	r.lives.Add(1)
	r.rec.Add(history.Event{Kind: history.Kill})
	r.broker.kill()
	r.lives.Add(1) // whoever connected in between met the old one
	r.res.Kills++
	if !pause(ctx, away) {
		return ctx.Err()
	}
	if err := r.broker.start(ctx); err != nil {
		return err
	}
	address := r.broker.url + "/"
	r.address.Store(&address)
	r.rec.Add(history.Event{Kind: history.Start})
	r.down.Store(false)
	return r.broker.died()
}

// judge checks the history so far, and after a quiet moment makes it shorter.
func (r *runner) judge(quiet bool) {
	events := r.rec.Events()
	r.count(events)
	if r.res.Faults = history.Check(events, r.opt.limits()); len(r.res.Faults) > 0 || !quiet {
		return
	}
	if r.opt.Keep {
		return
	}
	n := len(events)
	for events[n-1].Kind != history.Quiesced {
		n--
	}
	r.counted = r.rec.Compact(n) + len(events) - n
}

func (r *runner) count(events []history.Event) {
	for i := r.counted; i < len(events); i++ {
		switch e := &events[i]; e.Kind {
		case history.Publish:
			r.res.Counts.Published++
		case history.Published:
			r.res.Counts.Acknowledged++
		case history.Connect:
			r.res.Counts.Connections++
		case history.Deliver:
			r.res.Counts.Delivered++
			if e.Marked {
				r.res.Counts.Redelivered++
			}
			if len(e.Topic) > 2 && e.Topic[:2] == "w/" {
				r.res.Counts.Wills++
			}
		}
	}
	r.counted = max(r.counted, len(events))
}

func (r *runner) report(cycle int) {
	c := &r.res.Counts
	r.opt.progress("cycle %d of %d: %d published, %d acknowledged, %d delivered (%d again), %d connections",
		cycle, r.opt.Cycles, c.Published, c.Acknowledged, c.Delivered, c.Redelivered, c.Connections)
}

// end stops everything and saves what shows a fault.
func (r *runner) end(failed error) error {
	r.down.Store(true)
	r.lives.Add(1)
	r.stop()
	r.actors.Wait()
	r.world.finish()
	r.readers.Wait()
	var err error
	if r.broker != nil {
		err = r.broker.stop()
	}
	faulty := len(r.res.Faults) > 0
	if faulty || r.opt.Keep || failed != nil && !errors.Is(failed, context.Canceled) {
		r.res.History = filepath.Join(r.folder, "history.jsonl")
		err = errors.Join(err, r.save(r.res.History))
	}
	if r.temporary && r.res.History == "" {
		return errors.Join(err, os.RemoveAll(r.folder))
	}
	if r.broker != nil || r.res.History != "" {
		r.res.Data = r.folder
	}
	return err
}

func (r *runner) save(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(history.Write(f, r.rec.Events()), f.Close())
}
