package load

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// AckedPlan is publishers at QoS 1 over TCP, each with a window of publishes that
// are not acknowledged: as soon as an acknowledgement comes, the next leaves.
type AckedPlan struct {
	Addr       string // of a listener for MQTT without WebSocket
	Publishers int
	Window     int     // publishes of one publisher without PUBACK, at most 65535
	Size       int     // of a payload in bytes
	Topics     int     // that each publisher goes through; 0: one
	Prefix     string  // first level of the topics; "": durable
	Rate       float64 // messages a second of all together; 0: as fast as acknowledgements come
}

// Acked are such publishers. Its methods must not be called at the same time.
type Acked struct {
	plan AckedPlan
	pubs []*acker
}

// acker is one publisher, used by one goroutine at a time.
type acker struct {
	c       *raw
	plan    *AckedPlan
	number  uint32
	sent    uint64
	acked   uint64
	counts  [2]atomic.Uint64 // sent and acknowledged, for others to read
	pending map[uint16]time.Time
	id      uint16
	bad     uint64 // PUBACKs of nothing
	acks    *Histogram
	payload []byte
	topics  []string
}

// OpenAcked connects the publishers with clean sessions.
func OpenAcked(ctx context.Context, p AckedPlan) (*Acked, error) {
	g := &Acked{plan: p, pubs: make([]*acker, p.Publishers)}
	err := parallel(p.Publishers, func(i int) error {
		c, err := dialRaw(ctx, p.Addr, fmt.Sprintf("%s-pub-%d", cmp.Or(p.Prefix, "durable"), i), true, 8<<10)
		if err != nil {
			return err
		}
		a := &acker{c: c, plan: &g.plan, number: uint32(i), pending: make(map[uint16]time.Time, p.Window), acks: &Histogram{}, payload: make([]byte, p.Size)}
		fill(a.payload, a.number)
		for t := range max(1, p.Topics) {
			a.topics = append(a.topics, fmt.Sprintf("%s/%d/%d", cmp.Or(p.Prefix, "durable"), i, t))
		}
		g.pubs[i] = a
		return nil
	})
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Run publishes for d, or each publisher most messages if that is above 0, and
// waits for every acknowledgement. It returns how long that took. timed: count
// how long acknowledgements take.
func (g *Acked) Run(ctx context.Context, d time.Duration, most int, timed bool) (time.Duration, error) {
	begin := time.Now()
	errs := make([]error, len(g.pubs))
	var running sync.WaitGroup
	for i, a := range g.pubs {
		running.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = a.c.nc.SetDeadline(time.Now()) })
			defer stop()
			errs[i] = a.run(begin, d, most, timed)
		})
	}
	running.Wait()
	took := time.Since(begin)
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) > 0 {
		return took, fmt.Errorf("%d of %d publishers failed, one of them: %w", len(errs), len(g.pubs), errs[0])
	}
	return took, nil
}

// ackPatience bounds the wait for an acknowledgement.
const ackPatience = 30 * time.Second

func (a *acker) run(begin time.Time, d time.Duration, most int, timed bool) error {
	end, last := begin.Add(d), a.sent+uint64(most)
	more := func(now time.Time) bool {
		if most > 0 {
			return a.sent < last
		}
		return now.Before(end)
	}
	// Paced publishers start spread over the interval.
	var interval time.Duration
	next := begin
	if a.plan.Rate > 0 {
		interval = time.Duration(float64(a.plan.Publishers) / a.plan.Rate * float64(time.Second))
		next = begin.Add(interval * time.Duration(a.number) / time.Duration(a.plan.Publishers))
	}
	for {
		now := time.Now()
		if err := a.send(now, more, interval, &next); err != nil {
			return fmt.Errorf("publisher %d: %w", a.number, err)
		}
		going := more(now)
		if !going && len(a.pending) == 0 {
			return nil
		}
		wait := now.Add(ackPatience)
		if interval > 0 && going && len(a.pending) < a.plan.Window {
			wait = next
		}
		if err := a.hear(wait, timed); err != nil && !(isTimeout(err) && interval > 0 && going && wait.Equal(next)) {
			return fmt.Errorf("publisher %d, %d publishes not acknowledged: %w", a.number, len(a.pending), err)
		}
	}
}

// send writes what the window, and the pace, allow, in one write.
func (a *acker) send(now time.Time, more func(time.Time) bool, interval time.Duration, next *time.Time) error {
	out := a.c.out[:0]
	for len(a.pending) < a.plan.Window && more(now) {
		at := now
		if interval > 0 {
			if next.After(now) {
				break
			}
			at = *next // what leaves late has waited, too
			*next = next.Add(interval)
		}
		for a.id++; a.id == 0 || !a.pending[a.id].IsZero(); a.id++ {
		}
		a.pending[a.id] = at
		out = appendPublish(out, a.topic(), a.id, len(a.payload))
		stamp{publisher: a.number, number: a.sent}.put(a.payload)
		out = append(out, a.payload...)
		a.sent++
	}
	a.c.out = out[:0]
	a.counts[0].Store(a.sent)
	if len(out) == 0 {
		return nil
	}
	_, err := a.c.nc.Write(out)
	return err
}

func (a *acker) topic() string { return a.topics[a.sent%uint64(len(a.topics))] }

// hear takes acknowledgements until at least one has come.
func (a *acker) hear(until time.Time, timed bool) error {
	if err := a.c.nc.SetReadDeadline(until); err != nil {
		return err
	}
	err := a.c.receive(func(first byte, body []byte) error {
		if first>>4 != typePuback || len(body) < 2 {
			return fmt.Errorf("type %d instead of PUBACK: %w", first>>4, ErrPacket)
		}
		id := binary.BigEndian.Uint16(body)
		at, ok := a.pending[id]
		if !ok {
			a.bad++
			return nil
		}
		delete(a.pending, id)
		a.acked++
		if timed {
			a.acks.Add(time.Since(at))
		}
		return nil
	})
	a.counts[1].Store(a.acked)
	return err
}

// Counts may be called while they run.
func (g *Acked) Counts() (c Counts) {
	for _, a := range g.pubs {
		c.Sent += a.counts[0].Load()
		c.Acked += a.counts[1].Load()
	}
	return c
}

// Sent is how many messages each publisher has sent, and all acknowledged unless
// Run failed.
func (g *Acked) Sent() []uint64 {
	sent := make([]uint64, len(g.pubs))
	for i, a := range g.pubs {
		sent[i] = a.sent
	}
	return sent
}

// Report says what the publishers saw; deliveries are the Drain's.
func (g *Acked) Report() (r Report) {
	var acks Histogram
	for _, a := range g.pubs {
		acks.Merge(a.acks)
		r.BadAcks += a.bad
		r.Unacked += a.sent - a.acked
	}
	r.AckP50, r.AckP90, r.AckP99 = acks.Quantile(0.5), acks.Quantile(0.9), acks.Quantile(0.99)
	return r
}

// Pace sets another rate for the next Run.
func (g *Acked) Pace(rate float64) { g.plan.Rate = rate }

// Close ends the connections.
func (g *Acked) Close() {
	for _, a := range g.pubs {
		if a != nil {
			a.c.hangUp()
		}
	}
}
