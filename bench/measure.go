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
	"parley/bench/proc"
)

// sample is one broker in one scenario and round.
type sample struct {
	Scenario string  `json:"scenario"`
	Broker   string  `json:"broker"`
	Round    int     `json:"round"`
	Error    string  `json:"error,omitempty"`
	Unit     string  `json:"unit"`
	Value    float64 `json:"value"` // in Unit: the figure that ratios are of

	Seconds   float64 `json:"seconds"`  // from the first message to the last arrival
	Messages  float64 `json:"messages"` // that Value is per: publishes, deliveries, connections or takeovers
	Sent      float64 `json:"sent_per_s"`
	Acked     float64 `json:"acked_per_s"`
	Delivered float64 `json:"delivered_per_s"`

	RSSBefore int64 `json:"rss_before_bytes"` // clients connected, before the first message; idle: none connected
	RSSAfter  int64 `json:"rss_after_bytes"`
	Anon      int64 `json:"anon_after_bytes,omitempty"` // of it, the process' own

	Allocs float64 `json:"allocs"` // per message, where the broker says so
	Bytes  float64 `json:"alloc_bytes"`
	Reads  float64 `json:"reads"` // system calls per message
	Writes float64 `json:"writes"`

	PerCommit float64 `json:"messages_per_commit"` // Parley
	Fsyncs    float64 `json:"fsyncs_per_s"`        // Parley: two per commit
	Dropped   float64 `json:"dropped"`             // Parley: says it has dropped
	CommitMS  float64 `json:"commit_ms,omitempty"` // Parley: mean

	BrokerCores float64 `json:"broker_cores"` // CPU seconds a second
	LoadCores   float64 `json:"load_cores"`   // of the load generator
	OtherCores  float64 `json:"other_cores"`  // of everything else: the noise
	LoadCPU     float64 `json:"load_us"`      // per message

	Checks load.Report `json:"checks"`
}

// point is what is read at both ends of a measurement.
type point struct {
	at     time.Time
	broker proc.Usage
	load   proc.Usage
	busy   time.Duration
	inner  inner
	counts load.Counts
}

// takePoint reads the outer figures at the moment it returns, or at the moment
// it is called if this is the end: what a broker does to say something of itself
// stays outside.
func takePoint(ctx context.Context, r *running, counts load.Counts, end bool) (p point, err error) {
	p.counts = counts
	if !end {
		if p.inner, err = r.inner(ctx); err != nil {
			return p, err
		}
	}
	if p.broker, err = proc.Read(r.pid); err != nil {
		return p, fmt.Errorf("the broker has ended: %w", err)
	}
	if p.load, err = proc.Read(os.Getpid()); err != nil {
		return p, err
	}
	if p.busy, err = proc.Busy(); err != nil {
		return p, err
	}
	p.at = time.Now()
	if end {
		p.inner, err = r.inner(ctx)
	}
	return p, err
}

// between is what happened from a to b, per message for n messages, of which the
// first was sent and the last arrived within took.
func between(a, b point, n float64, took time.Duration) sample {
	seconds := took.Seconds()
	cores := func(d time.Duration) float64 { return d.Seconds() / b.at.Sub(a.at).Seconds() }
	micros := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / n }
	broker, load := b.broker.CPU-a.broker.CPU, b.load.CPU-a.load.CPU
	s := sample{
		Value: micros(broker), Seconds: seconds, Messages: n,
		Sent:        float64(b.counts.Sent-a.counts.Sent) / seconds,
		Acked:       float64(b.counts.Acked-a.counts.Acked) / seconds,
		Delivered:   float64(b.counts.Delivered-a.counts.Delivered) / seconds,
		RSSBefore:   a.broker.RSS,
		RSSAfter:    b.broker.RSS,
		Anon:        b.broker.Anon,
		Allocs:      (b.inner.mallocs - a.inner.mallocs) / n,
		Bytes:       (b.inner.bytes - a.inner.bytes) / n,
		Reads:       float64(b.broker.Reads-a.broker.Reads) / n,
		Writes:      float64(b.broker.Writes-a.broker.Writes) / n,
		Fsyncs:      2 * (b.inner.commits - a.inner.commits) / seconds,
		Dropped:     b.inner.dropped - a.inner.dropped,
		BrokerCores: cores(broker),
		LoadCores:   cores(load),
		OtherCores:  max(0, cores(b.busy-a.busy-broker-load)),
		LoadCPU:     micros(load),
	}
	if n := b.inner.timed - a.inner.timed; n > 0 {
		s.CommitMS = 1000 * (b.inner.commitTime - a.inner.commitTime) / n
	}
	if commits := b.inner.commits - a.inner.commits; commits > 0 {
		s.PerCommit = (b.inner.stored - a.inner.stored) / commits
	}
	return s
}

// measure starts a broker, puts it through a scenario and ends it. Idle gives
// a second sample, of what connecting costs.
func (b *bench) measure(ctx context.Context, sc scenario, name string, round int) (samples []sample) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute+4*b.duration)
	defer cancel()
	var err error
	if why := b.bin.missing[name]; why != "" {
		err = fmt.Errorf("%s", why)
	} else {
		samples, err = b.try(ctx, sc, name, round)
	}
	if len(samples) == 0 {
		samples = []sample{{Scenario: sc.name, Unit: sc.unit}}
	}
	for i := range samples {
		samples[i].Broker, samples[i].Round = name, round
		if err != nil {
			samples[i].Error, samples[i].Value = err.Error(), 0
		}
	}
	return samples
}

func (b *bench) try(ctx context.Context, sc scenario, name string, round int) ([]sample, error) {
	if sc.durable != nil {
		return sc.durable(b, ctx, sc, name, round)
	}
	r, err := b.bin.start(ctx, name, b.dir)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(filepath.Dir(r.log))
	defer r.stop()
	if sc.special != nil {
		return sc.special(b, ctx, sc, r, round)
	}
	plan := sc.plan(b.settings)
	plan.Addr = r.addr
	g, err := load.Open(ctx, plan)
	if err != nil {
		return nil, err
	}
	s, err := b.traffic(ctx, sc, r, g, round)
	s.Checks = g.Close()
	s.Scenario, s.Unit = sc.name, sc.unit
	return []sample{s}, err
}

// traffic warms the broker up and measures between two moments at which nothing
// is under way.
func (b *bench) traffic(ctx context.Context, sc scenario, r *running, g *load.Group, round int) (sample, error) {
	if _, err := g.Run(ctx, b.warmup, false); err != nil {
		return sample{}, fmt.Errorf("warm-up: %w", err)
	}
	profiles := b.profile(ctx, sc, r, round)
	before, err := takePoint(ctx, r, g.Counts(), false)
	if err != nil {
		return sample{}, err
	}
	took, err := g.Run(ctx, b.duration, true)
	if err != nil {
		return sample{}, err
	}
	pause(ctx, 50*time.Millisecond) // what the broker does after the last delivery counts too
	after, err := takePoint(ctx, r, g.Counts(), true)
	if err != nil {
		return sample{}, err
	}
	n := float64(after.counts.Sent - before.counts.Sent)
	if sc.perDelivery {
		n = float64(after.counts.Delivered - before.counts.Delivered)
	}
	if n == 0 {
		return sample{}, fmt.Errorf("nothing was sent in %v", took)
	}
	return between(before, after, n, took), profiles()
}

// idle connects clients that then say nothing. Memory is read a while after the
// last has connected: runtimes give back slowly what connecting has used.
func (b *bench) idle(ctx context.Context, sc scenario, r *running, round int) ([]sample, error) {
	pause(ctx, min(b.settle, time.Second)) // what starting has left to do
	before, err := takePoint(ctx, r, load.Counts{}, false)
	if err != nil {
		return nil, err
	}
	parked, err := load.Park(ctx, r.addr, b.idleConns, func() {})
	if err != nil {
		return nil, err
	}
	defer parked.Close()
	connected, err := takePoint(ctx, r, load.Counts{}, true)
	if err != nil {
		return nil, err
	}
	pause(ctx, b.settle)
	after, err := takePoint(ctx, r, load.Counts{}, true)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(b.save(ctx, sc, r, round, "heap", "heap"), b.save(ctx, sc, r, round, "goroutine", "goroutine")); err != nil {
		return nil, err
	}
	n := float64(b.idleConns)
	connect := between(before, connected, n, connected.at.Sub(before.at))
	connect.Scenario, connect.Unit, connect.Sent = "connect", "µs/connect", n/connect.Seconds
	idle := between(connected, after, n, after.at.Sub(connected.at))
	idle.Scenario, idle.Unit = sc.name, sc.unit
	idle.RSSBefore = before.broker.RSS
	idle.Value = float64(after.broker.RSS-before.broker.RSS) / 1024 / n
	return []sample{idle, connect}, nil
}

// takeover lets clients take over their own sessions. What a broker does wrong
// ends the measurement with an error.
func (b *bench) takeover(ctx context.Context, sc scenario, r *running, round int) ([]sample, error) {
	clients, err := load.OpenTakeovers(ctx, r.addr, takeovers)
	if err != nil {
		return nil, err
	}
	defer clients.Close()
	if _, _, err := clients.Run(ctx, b.warmup); err != nil {
		return nil, fmt.Errorf("warm-up: %w", err)
	}
	profiles := b.profile(ctx, sc, r, round)
	before, err := takePoint(ctx, r, load.Counts{}, false)
	if err != nil {
		return nil, err
	}
	n, took, err := clients.Run(ctx, b.duration)
	if err != nil {
		return nil, err
	}
	pause(ctx, 50*time.Millisecond) // as in traffic
	after, err := takePoint(ctx, r, load.Counts{Sent: n}, true)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("no takeover in %v", took)
	}
	s := between(before, after, float64(n), took)
	s.Scenario, s.Unit = sc.name, sc.unit
	return []sample{s}, profiles()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// profile takes profiles of CPU and allocations over the measurement; the function that it
// returns waits for them and writes them to files.
func (b *bench) profile(ctx context.Context, sc scenario, r *running, round int) func() error {
	if b.profiles == "" || r.admin == "" {
		return func() error { return nil }
	}
	var taken sync.WaitGroup
	var failed [2]error
	for i, page := range []string{"profile", "allocs"} {
		taken.Go(func() {
			query := fmt.Sprintf("%s?seconds=%d", page, max(1, int(b.duration.Seconds())))
			failed[i] = b.save(ctx, sc, r, round, page, query)
		})
	}
	return func() error {
		taken.Wait()
		return errors.Join(failed[:]...)
	}
}

// save writes a page of /debug/pprof/ to a file.
func (b *bench) save(ctx context.Context, sc scenario, r *running, round int, kind, page string) error {
	if b.profiles == "" || r.admin == "" {
		return nil
	}
	data, err := r.get(ctx, "/debug/pprof/"+page)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	name := fmt.Sprintf("%s-%s-%d.%s.pprof", sc.name, r.name, round, kind)
	return os.WriteFile(filepath.Join(b.profiles, name), data, 0o644)
}
