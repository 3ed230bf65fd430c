package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"parley/bench/load"
)

// The durable scenarios ask what it costs to keep what is acknowledged. All
// clients speak MQTT 3.1.1 over TCP, which all of the brokers know.

const (
	durableFilter = "durable/#"
	durableName   = "durable-sub"
	drainQuiet    = 10 * time.Second // without a message: the rest is lost
	killedCount   = 5000
	backlogCount  = 20_000
	backlogSubs   = 10
)

func durablePeers() []string {
	return []string{parley, rabbitmq, natsAlways, nats, mosquitto, mochiBolt}
}

func durableScenarios() []scenario {
	all := []scenario{}
	add := func(name, unit, what string, run durableRun, brokers ...string) {
		if len(brokers) == 0 {
			brokers = durablePeers()
		}
		all = append(all, scenario{name: name, unit: unit, what: what, durable: run, brokers: brokers})
	}
	for _, n := range []int{1, 10, 100} {
		add(fmt.Sprintf("durable-%d", n), "acked/s", fmt.Sprintf("%d publishers at QoS 1, 50 in flight each, 256 bytes, for one offline durable subscriber", n), publishing(n, 50))
	}
	add("durable-20x50", "acked/s", "the same with 20 publishers", publishing(20, 50))
	add("durable-64x100", "acked/s", "the same with 64 publishers, 100 in flight each", publishing(64, 100))
	for _, n := range []int{1, 10, 100, 1000} {
		add(fmt.Sprintf("inflight-%d", n), "acked/s", fmt.Sprintf("one publisher, %d in flight", n), publishing(1, n))
	}
	add("backlog", "deliveries/s", "20,000 messages for 10 offline sessions, which then come back at once and take all", (*bench).backlog)
	add("offline-10000", "% more CPU", "what 10,000 offline sessions that want the stream add to a message of its 20 publishers, against one", (*bench).offline, parley)
	add("narrow", "ms", "an offline session wants 10 messages that were published behind all that 20 publishers of other topics could send in three times the duration; from CONNACK to the tenth", (*bench).narrow, parley, rabbitmq, nats, mosquitto)
	add("acks-1000", "µs/delivery", "one publisher, 1,000 connected subscribers with sessions that each acknowledge", (*bench).listening)
	add("half-load", "ms", "ack p99 of 20 publishers that send half of what they can, evenly", (*bench).halfLoad)
	add("topics-100000", "% more CPU", "what 100,000 topics add to a message of 20 publishers, against 20", (*bench).topics, parley, rabbitmq, natsAlways)
	add("killed", "lost", "of 5,000 acknowledged messages for an offline durable subscriber, after kill -9 and a restart", killed(false))
	add("powercut", "lost", "the same after a power cut: restarted on a copy of the disk taken at the last acknowledgement, what was not synced missing", killed(true))
	return all
}

type durableRun func(*bench, context.Context, scenario, string, int) ([]sample, error)

// trial is a broker with an empty store in a durable scenario.
type trial struct {
	*running
	data string
}

func (b *bench) trial(ctx context.Context, name string) (*trial, error) {
	data, err := os.MkdirTemp(b.dir, name+"-")
	if err != nil {
		return nil, err
	}
	r, err := b.bin.startDurable(ctx, name, filepath.Join(data, "d"))
	if err != nil {
		return nil, err
	}
	return &trial{running: r, data: data}, nil
}

func (t *trial) close() {
	t.stopDurable()
	_ = os.RemoveAll(t.data)
}

// publishing measures publishers for one offline durable subscriber, which comes
// back afterwards to check what was kept.
func publishing(publishers, window int) durableRun {
	return func(b *bench, ctx context.Context, sc scenario, name string, round int) ([]sample, error) {
		s, err := b.published(ctx, name, 1, load.AckedPlan{Publishers: publishers, Window: window})
		if err != nil {
			return nil, err
		}
		return rateAndCost(sc, s), nil
	}
}

// rateAndCost makes two rows of a sample: acknowledged a second, and CPU per message.
func rateAndCost(sc scenario, s sample) []sample {
	cost := s
	cost.Scenario, cost.Unit = sc.name+"-cpu", "µs/msg"
	cost.Checks = load.Report{} // said once
	s.Scenario, s.Unit, s.Value = sc.name, sc.unit, s.Acked
	return []sample{s, cost}
}

func (b *bench) published(ctx context.Context, name string, sessions int, p load.AckedPlan) (sample, error) {
	t, err := b.trial(ctx, name)
	if err != nil {
		return sample{}, err
	}
	defer t.close()
	p.Addr, p.Size = t.addr, payloadSize
	if err := load.OpenSessions(ctx, t.addr, durableName, durableFilter, sessions); err != nil {
		return sample{}, fmt.Errorf("offline sessions: %w", err)
	}
	g, err := load.OpenAcked(ctx, p)
	if err != nil {
		return sample{}, err
	}
	defer g.Close()
	if _, err := g.Run(ctx, b.warmup, 0, false); err != nil {
		return sample{}, fmt.Errorf("warm-up: %w", err)
	}
	s, err := t.timed(ctx, g, b.duration)
	if err != nil {
		return sample{}, err
	}
	checks, err := t.drained(ctx, 0, g.Sent())
	s.Checks.Add(checks)
	return s, err
}

// timed measures publishers for a while.
func (t *trial) timed(ctx context.Context, g *load.Acked, d time.Duration) (sample, error) {
	before, err := takePoint(ctx, t.running, g.Counts(), false)
	if err != nil {
		return sample{}, err
	}
	took, err := g.Run(ctx, d, 0, true)
	if err != nil {
		return sample{}, err
	}
	pause(ctx, 50*time.Millisecond)
	after, err := takePoint(ctx, t.running, g.Counts(), true)
	if err != nil {
		return sample{}, err
	}
	s := between(before, after, float64(max(1, after.counts.Acked-before.counts.Acked)), took)
	s.Checks = g.Report()
	return s, nil
}

// drained comes back to a session and checks what it is sent.
func (t *trial) drained(ctx context.Context, session int, sent []uint64) (load.Report, error) {
	d, err := load.OpenDrain(ctx, t.addr, durableName, session, sent)
	if err != nil {
		var nothing load.Report
		for _, n := range sent {
			nothing.Expected, nothing.Lost = nothing.Expected+n, nothing.Lost+n
		}
		return nothing, fmt.Errorf("come back: %w", err)
	}
	defer d.Close()
	err = d.Run(ctx, drainQuiet)
	return d.Report(), err
}

// backlog lets ten sessions miss 20,000 messages and measures how fast they get
// them afterwards.
func (b *bench) backlog(ctx context.Context, sc scenario, name string, _ int) ([]sample, error) {
	t, err := b.trial(ctx, name)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if err := load.OpenSessions(ctx, t.addr, durableName, durableFilter, backlogSubs); err != nil {
		return nil, err
	}
	g, err := load.OpenAcked(ctx, load.AckedPlan{Addr: t.addr, Publishers: 10, Window: 50, Size: payloadSize})
	if err != nil {
		return nil, err
	}
	defer g.Close()
	took, err := g.Run(ctx, 0, backlogCount/10, true)
	if err != nil {
		return nil, err
	}
	before, err := takePoint(ctx, t.running, load.Counts{}, false)
	if err != nil {
		return nil, err
	}
	drains := make([]*load.Drain, backlogSubs)
	errs := make([]error, backlogSubs)
	var running sync.WaitGroup
	for i := range drains {
		running.Go(func() {
			if drains[i], errs[i] = load.OpenDrain(ctx, t.addr, durableName, i, g.Sent()); errs[i] == nil {
				errs[i] = drains[i].Run(ctx, drainQuiet)
				drains[i].Close()
			}
		})
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	after, err := takePoint(ctx, t.running, load.Counts{}, true)
	if err != nil {
		return nil, err
	}
	checks, first, last := g.Report(), drains[0].Began, drains[0].Last
	for _, d := range drains {
		checks.Add(d.Report())
		if d.Began.Before(first) {
			first = d.Began
		}
		if d.Last.After(last) {
			last = d.Last
		}
	}
	delivered := float64(checks.Expected - checks.Lost)
	s := between(before, after, max(1, delivered), last.Sub(first))
	s.Scenario, s.Unit, s.Checks = sc.name, sc.unit, checks
	s.Value = delivered / last.Sub(first).Seconds()
	s.Delivered, s.Acked, s.Anon, s.RSSBefore = s.Value, backlogCount/took.Seconds(), before.broker.Anon, before.broker.RSS
	return []sample{s}, nil
}

// narrow lets a session come back that wants little of much.
func (b *bench) narrow(ctx context.Context, sc scenario, name string, _ int) ([]sample, error) {
	const wanted = 10
	t, err := b.trial(ctx, name)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if err := load.OpenSessions(ctx, t.addr, durableName, "narrow/#", 1); err != nil {
		return nil, err
	}
	noise, err := load.OpenAcked(ctx, load.AckedPlan{Addr: t.addr, Publishers: 20, Window: 50, Size: payloadSize})
	if err != nil {
		return nil, err
	}
	defer noise.Close()
	took, err := noise.Run(ctx, 3*b.duration, 0, false)
	if err != nil {
		return nil, err
	}
	g, err := load.OpenAcked(ctx, load.AckedPlan{Addr: t.addr, Publishers: 1, Window: wanted, Size: payloadSize, Prefix: "narrow"})
	if err != nil {
		return nil, err
	}
	defer g.Close()
	if _, err := g.Run(ctx, 0, wanted, true); err != nil {
		return nil, err
	}
	before, err := takePoint(ctx, t.running, load.Counts{}, false)
	if err != nil {
		return nil, err
	}
	d, err := load.OpenDrain(ctx, t.addr, durableName, 0, g.Sent())
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if err := d.Run(ctx, drainQuiet); err != nil {
		return nil, err
	}
	after, err := takePoint(ctx, t.running, load.Counts{}, true)
	if err != nil {
		return nil, err
	}
	passed := noise.Counts().Acked
	s := between(before, after, float64(max(1, passed)), d.Last.Sub(d.Began))
	s.Acked = float64(passed) / took.Seconds()
	s.Checks = g.Report()
	s.Checks.Add(d.Report())
	s.Scenario, s.Unit, s.Value = sc.name, sc.unit, float64(d.Last.Sub(d.Began))/float64(time.Millisecond)
	b.log.Printf("  %s: %d messages of other topics, %v of CPU to come back", name, passed, after.broker.CPU-before.broker.CPU)
	return []sample{s}, nil
}

// compared measures the same publishers twice, on two fresh brokers, and returns
// how much more CPU a message takes the second way, in percent: on a machine with
// other work, rates cannot be compared.
func (b *bench) compared(ctx context.Context, sc scenario, name string, sessions [2]int, topics [2]int) ([]sample, error) {
	var s [2]sample
	for i := range s {
		var err error
		if s[i], err = b.published(ctx, name, sessions[i], load.AckedPlan{Publishers: 20, Window: 50, Topics: topics[i]}); err != nil {
			return nil, err
		}
	}
	without, with := rateAndCost(sc, s[0]), rateAndCost(sc, s[1])
	without[1].Scenario = sc.name + "-none-cpu"
	share := with[0]
	share.Value = 100 * (s[1].Value/s[0].Value - 1)
	share.Checks.Add(s[0].Checks)
	return []sample{share, without[1], with[1]}, nil
}

func (b *bench) offline(ctx context.Context, sc scenario, name string, _ int) ([]sample, error) {
	return b.compared(ctx, sc, name, [2]int{1, 10_000}, [2]int{})
}

func (b *bench) topics(ctx context.Context, sc scenario, name string, _ int) ([]sample, error) {
	return b.compared(ctx, sc, name, [2]int{1, 1}, [2]int{1, 5000})
}

// listening measures subscribers that are there and acknowledge.
func (b *bench) listening(ctx context.Context, sc scenario, name string, _ int) ([]sample, error) {
	const subscribers = 1000
	t, err := b.trial(ctx, name)
	if err != nil {
		return nil, err
	}
	defer t.close()
	l, err := load.Listen(ctx, t.addr, durableName, durableFilter, subscribers)
	if err != nil {
		return nil, err
	}
	g, err := load.OpenAcked(ctx, load.AckedPlan{Addr: t.addr, Publishers: 1, Window: 10, Size: payloadSize})
	if err != nil {
		_, _ = l.Close(nil)
		return nil, err
	}
	defer g.Close()
	s, err := t.heard(ctx, g, l, b.duration, subscribers)
	checks, cerr := l.Close(g.Sent())
	if err = errors.Join(err, cerr); err != nil {
		return nil, err
	}
	s.Checks = g.Report()
	s.Checks.Add(checks)
	s.Scenario, s.Unit = sc.name, sc.unit
	return []sample{s}, nil
}

// heard measures until every subscriber has everything.
func (t *trial) heard(ctx context.Context, g *load.Acked, l *load.Listeners, d time.Duration, subscribers uint64) (sample, error) {
	counts := func() load.Counts { c := g.Counts(); c.Delivered = l.Received(); return c }
	before, err := takePoint(ctx, t.running, counts(), false)
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	if _, err := g.Run(ctx, d, 0, true); err != nil {
		return sample{}, err
	}
	if err := l.Await(ctx, g.Counts().Sent*subscribers); err != nil {
		return sample{}, fmt.Errorf("%d of %d deliveries: %w", l.Received(), g.Counts().Sent*subscribers, err)
	}
	after, err := takePoint(ctx, t.running, counts(), true)
	if err != nil {
		return sample{}, err
	}
	return between(before, after, float64(max(1, after.counts.Delivered-before.counts.Delivered)), time.Since(began)), nil
}

// halfLoad finds what 20 publishers can send, and measures acknowledgements at
// half of that.
func (b *bench) halfLoad(ctx context.Context, sc scenario, name string, _ int) ([]sample, error) {
	t, err := b.trial(ctx, name)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if err := load.OpenSessions(ctx, t.addr, durableName, durableFilter, 1); err != nil {
		return nil, err
	}
	g, err := load.OpenAcked(ctx, load.AckedPlan{Addr: t.addr, Publishers: 20, Window: 50, Size: payloadSize})
	if err != nil {
		return nil, err
	}
	defer g.Close()
	if _, err := g.Run(ctx, b.warmup, 0, false); err != nil {
		return nil, err
	}
	before := g.Counts().Acked
	took, err := g.Run(ctx, b.duration/2, 0, false)
	if err != nil {
		return nil, err
	}
	g.Pace(float64(g.Counts().Acked-before) / took.Seconds() / 2)
	s, err := t.timed(ctx, g, b.duration)
	if err != nil {
		return nil, err
	}
	checks, err := t.drained(ctx, 0, g.Sent())
	s.Checks.Add(checks)
	s.Scenario, s.Unit, s.Value = sc.name, sc.unit, float64(s.Checks.AckP99)/float64(time.Millisecond)
	return []sample{s}, err
}
