package load

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

func testPlan(addr string, qos byte, subscribers int) Plan {
	topic := func(int) string { return "t/1" }
	return Plan{
		Addr: addr, Publishers: 1, Subscribers: subscribers, Topic: topic, Filter: topic,
		Hears: func(int, int) bool { return true },
		QoS:   qos, Size: 64, Window: 16, Burst: 4, Stall: 300 * time.Millisecond,
	}
}

func TestGroupOverAFaultlessBroker(t *testing.T) {
	for _, qos := range []byte{0, 1, 2} {
		for _, rate := range []float64{0, 500} {
			t.Run(fmt.Sprintf("qos %d, rate %g", qos, rate), func(t *testing.T) {
				plan := testPlan(newFake(t).addr, qos, 3)
				plan.Rate = rate
				g, err := Open(t.Context(), plan)
				if err != nil {
					t.Fatal(err)
				}
				for _, timed := range []bool{false, true} {
					if _, err := g.Run(t.Context(), 50*time.Millisecond, timed); err != nil {
						t.Fatal(err)
					}
				}
				counts := g.Counts()
				r := g.Close()
				if !r.Clean() || r.Expected != 3*counts.Sent || counts.Delivered != r.Expected || counts.Sent == 0 {
					t.Errorf("%+v of %+v", r, counts)
				}
				if counts.Acked != uint64(min(qos, 1))*counts.Sent || (r.AckP50 > 0) != (qos > 0) || r.DelayP50 <= 0 {
					t.Errorf("%+v of %+v", r, counts)
				}
				if rate > 0 && counts.Sent > 100 {
					t.Errorf("%d messages in 0.1 s at 500/s", counts.Sent)
				}
			})
		}
	}
}

// What a broker does wrong must be found and named.
func TestGroupFindsSeededFaults(t *testing.T) {
	var held []byte
	at := func(n int, do func(p []byte) [][]byte) func(int, []byte) [][]byte {
		return func(i int, p []byte) [][]byte {
			if i == n {
				return do(p)
			}
			return [][]byte{p}
		}
	}
	drop := func([]byte) [][]byte { return nil }
	twice := func(p []byte) [][]byte { return [][]byte{p, p} }
	for _, c := range []struct {
		name    string
		deliver func(int, []byte) [][]byte
		ack     func(int, []byte) [][]byte
		want    Report
		stalls  bool
	}{
		{name: "one lost", deliver: at(20, drop), want: Report{Lost: 1}, stalls: true},
		{name: "one twice", deliver: at(20, twice), want: Report{Duplicates: 1}},
		{name: "one with DUP", deliver: at(20, func(p []byte) [][]byte {
			p = bytes.Clone(p)
			p[0] |= 8
			return [][]byte{p}
		}), want: Report{Duplicates: 1}},
		{name: "two swapped", deliver: func(i int, p []byte) [][]byte {
			switch i {
			case 20:
				held = bytes.Clone(p)
				return nil
			case 21:
				return [][]byte{p, held}
			}
			return [][]byte{p}
		}, want: Report{Reordered: 1}},
		{name: "one damaged", deliver: at(20, func(p []byte) [][]byte {
			p = bytes.Clone(p)
			p[len(p)-1] ^= 1
			return [][]byte{p}
		}), want: Report{Foreign: 1, Lost: 1}, stalls: true},
		{name: "one cut", deliver: at(20, func(p []byte) [][]byte {
			p = bytes.Clone(p[:len(p)-1])
			p[1]--
			return [][]byte{p}
		}), want: Report{Foreign: 1, Lost: 1}, stalls: true},
		{name: "one from the future", deliver: at(20, func(p []byte) [][]byte {
			future := bytes.Clone(p)
			future[len(p)-64+8] = 1 // the highest byte of the number
			return [][]byte{future, p}
		}), want: Report{Foreign: 1}},
		{name: "one from another run", deliver: at(20, func(p []byte) [][]byte {
			other := bytes.Clone(p)
			other[len(p)-64] ^= 1
			return [][]byte{other, p}
		}), want: Report{Foreign: 1}},
		{name: "no acknowledgement", ack: at(20, drop), want: Report{Unacked: 1}, stalls: true},
		{name: "acknowledged twice", ack: at(20, twice), want: Report{BadAcks: 1}},
		{name: "acknowledgement of nothing", ack: at(20, func(id []byte) [][]byte { return [][]byte{{0xff, 0xff}, id} }), want: Report{BadAcks: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			if c.deliver != nil {
				f.deliver = c.deliver
			}
			if c.ack != nil {
				f.ack = c.ack
			}
			g, err := Open(t.Context(), testPlan(f.addr, 1, 1))
			if err != nil {
				t.Fatal(err)
			}
			_, err = g.Run(t.Context(), 100*time.Millisecond, true)
			if errors.Is(err, ErrStalled) != c.stalls || err != nil && !c.stalls {
				t.Errorf("Run: %v, stalls %v", err, c.stalls)
			}
			r := g.Close()
			if r.Clean() {
				t.Error("the report is clean")
			}
			// After a lost event the window behind it may hold what was sent and acknowledged or not.
			got := Report{Lost: r.Lost, Duplicates: r.Duplicates, Reordered: r.Reordered, Foreign: r.Foreign, Unacked: r.Unacked, BadAcks: r.BadAcks}
			if c.ack != nil && c.stalls {
				got.BadAcks = 0 // the acknowledgements behind the missing one are out of order
			}
			if got != c.want {
				t.Errorf("found %+v, want %+v", got, c.want)
			}
		})
	}
}

// The same for what only QoS 2 has (section 4.3.3).
func TestGroupFindsSeededFaultsAtQoS2(t *testing.T) {
	type step = func(int, []byte) [][]byte
	at := func(do func(p []byte) [][]byte) step {
		return func(i int, p []byte) [][]byte {
			if i == 20 {
				return do(p)
			}
			return [][]byte{p}
		}
	}
	drop := func([]byte) [][]byte { return nil }
	twice := func(p []byte) [][]byte { return [][]byte{p, p} }
	nothing := func(p []byte) [][]byte { return [][]byte{{0xff, 0xff}, p} }
	for _, c := range []struct {
		name   string
		seed   func(f *fake)
		want   Report
		stalls bool
	}{
		{"no message", func(f *fake) { f.deliver = at(drop) }, Report{Lost: 1}, true},
		// Two messages with one id have two PUBRECs, and those two PUBRELs.
		{"message twice before its PUBREL", func(f *fake) { f.deliver = at(twice) }, Report{Duplicates: 1, BadAcks: 1}, false},
		{"PUBREC twice", func(f *fake) { f.ack = at(twice) }, Report{BadAcks: 1}, false},
		{"PUBREC of nothing", func(f *fake) { f.ack = at(nothing) }, Report{BadAcks: 1}, false},
		{"no PUBREL", func(f *fake) { f.release = at(drop) }, Report{Unreleased: 1}, true},
		{"PUBREL twice", func(f *fake) { f.release = at(twice) }, Report{BadAcks: 1}, false},
		{"PUBREL of nothing", func(f *fake) { f.release = at(nothing) }, Report{BadAcks: 1}, false},
		{"no PUBCOMP", func(f *fake) { f.complete = at(drop) }, Report{Unacked: 1}, true},
		{"PUBCOMP twice", func(f *fake) { f.complete = at(twice) }, Report{BadAcks: 1}, false},
		{"PUBCOMP of nothing", func(f *fake) { f.complete = at(nothing) }, Report{BadAcks: 1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			c.seed(f)
			g, err := Open(t.Context(), testPlan(f.addr, 2, 1))
			if err != nil {
				t.Fatal(err)
			}
			_, err = g.Run(t.Context(), 100*time.Millisecond, true)
			if errors.Is(err, ErrStalled) != c.stalls || err != nil && !c.stalls {
				t.Errorf("Run: %v, stalls %v", err, c.stalls)
			}
			r := g.Close()
			got := Report{Lost: r.Lost, Duplicates: r.Duplicates, Reordered: r.Reordered, Foreign: r.Foreign,
				Unacked: r.Unacked, Unreleased: r.Unreleased, BadAcks: r.BadAcks}
			if got != c.want || r.Clean() {
				t.Errorf("found %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestTakeovers(t *testing.T) {
	f := newFake(t)
	clients, err := OpenTakeovers(t.Context(), f.addr, 40) // more than take over at once
	if err != nil {
		t.Fatal(err)
	}
	defer clients.Close()
	if n, took, err := clients.Run(t.Context(), 50*time.Millisecond); n == 0 || took <= 0 || err != nil {
		t.Errorf("%d takeovers in %v, %v", n, took, err)
	}
	f.mu.Lock()
	f.clean = true
	f.mu.Unlock()
	if _, _, err := clients.Run(t.Context(), 50*time.Millisecond); !errors.Is(err, ErrTakeover) {
		t.Errorf("%v though the sessions are gone, want ErrTakeover", err)
	}
}

func TestGroupEndsWithItsBroker(t *testing.T) {
	f := newFake(t)
	g, err := Open(t.Context(), testPlan(f.addr, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	for _, c := range f.subs["t/1"] {
		_ = c.Close()
	}
	f.mu.Unlock()
	if _, err := g.Run(t.Context(), time.Minute, true); err == nil {
		t.Error("Run ended without an error though the broker closed")
	}
	g.Close()
}

func TestPark(t *testing.T) {
	f := newFake(t)
	var connected = make(chan struct{}, 20)
	p, err := Park(t.Context(), f.addr, 20, func() { connected <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	if len(connected) != 20 {
		t.Errorf("%d connected", len(connected))
	}
	p.Close()
	if _, err := Park(t.Context(), "127.0.0.1:1", 3, func() {}); err == nil {
		t.Error("connected to nobody")
	}
}

func TestParallelEndsWithTheFirstError(t *testing.T) {
	var calls atomic.Int64
	want := errors.New("x")
	if err := parallel(1000, func(int) error { calls.Add(1); return want }); !errors.Is(err, want) || calls.Load() > 32 {
		t.Errorf("%v after %d calls, each of which failed", err, calls.Load())
	}
	calls.Store(0)
	if err := parallel(100, func(int) error { calls.Add(1); return nil }); err != nil || calls.Load() != 100 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}
