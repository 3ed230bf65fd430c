package main

import (
	"math"
	"testing"
	"time"

	"parley/bench/load"
	"parley/bench/proc"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		in               []float64
		median, low, top float64
	}{
		{[]float64{3, 1, 2}, 2, 1, 3},
		{[]float64{4, 1, 2, 3}, 2.5, 1, 4},
		{[]float64{7}, 7, 7, 7},
		{[]float64{math.NaN(), 5, math.Inf(1)}, 5, 5, 5},
	} {
		if s := spreadOf(c.in); s.Median != c.median || s.Min != c.low || s.Max != c.top {
			t.Errorf("%v: %+v", c.in, s)
		}
	}
	if s := spreadOf(nil); s.N != 0 || !math.IsNaN(s.Median) {
		t.Errorf("nothing: %+v", s)
	}
}

// Ratios pair what was measured in the same round: noise that hits one round hits both.
func TestRatiosGoByRound(t *testing.T) {
	at := func(broker string, round int, value float64) sample {
		return sample{Broker: broker, Round: round, Value: value}
	}
	failed := at(mochi, 4, 1)
	failed.Error = "x"
	all := []sample{
		at(parley, 1, 1), at(parley, 2, 10), at(parley, 3, 3), at(parley, 4, 100),
		at(mochi, 3, 10), at(mochi, 1, 2), at(mochi, 2, 20), failed, at(mosquitto, 1, 1),
	}
	if r := ratios(all, parley, mochi); r.N != 3 || r.Median != 0.5 || r.Min != 0.3 || r.Max != 0.5 {
		t.Errorf("%+v", r)
	}
	if r := ratios(all, parley, "nobody"); r.N != 0 {
		t.Errorf("a broker that was not measured: %+v", r)
	}
}

func TestAimsAreJudged(t *testing.T) {
	samples := []sample{{Broker: parley, Round: 1, Value: 5}, {Broker: mochi, Round: 1, Value: 10}}
	for _, c := range []struct {
		aim aim
		met bool
	}{{aim{ratio: 0.5}, true}, {aim{ratio: 0.49}, false}, {aim{value: 5}, true}, {aim{value: 4.9}, false}} {
		r := newRow("x", "", "u", c.aim, []string{parley, mochi}, samples)
		if r.Met == nil || *r.Met != c.met {
			t.Errorf("%+v: %v", c.aim, r.Met)
		}
	}
	if r := newRow("x", "", "u", aim{ratio: 1}, []string{parley, mochi}, samples[:1]); r.Met != nil {
		t.Error("judged without a peer")
	}
}

func TestBetween(t *testing.T) {
	start := time.Now()
	a := point{at: start, busy: time.Second}
	b := point{
		at: start.Add(2 * time.Second), busy: 4 * time.Second,
		broker: proc.Usage{CPU: time.Second, Writes: 500}, load: proc.Usage{CPU: 500 * time.Millisecond},
		counts: load.Counts{Sent: 1000, Acked: 800, Delivered: 1000},
		inner:  inner{commits: 10, stored: 1000, mallocs: 3000},
	}
	s := between(a, b, 1000, 2*time.Second)
	for name, pair := range map[string][2]float64{
		"cpu": {s.Value, 1000}, "sent": {s.Sent, 500}, "acked": {s.Acked, 400}, "writes": {s.Writes, 0.5},
		"per commit": {s.PerCommit, 100}, "fsyncs": {s.Fsyncs, 10}, "allocs": {s.Allocs, 3},
		"broker": {s.BrokerCores, 0.5}, "load": {s.LoadCores, 0.25}, "other": {s.OtherCores, 0.75},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %g, want %g", name, pair[0], pair[1])
		}
	}
}

func TestReadsMetricsAndMemStats(t *testing.T) {
	const text = "# HELP a_total b\na_total 12\na_totals 99\nb{x=\"1 2\"} 3\nb{x=\"}\"} 4.5\n"
	if metric([]byte(text), "a_total") != 12 || metric([]byte(text), "b") != 7.5 || metric([]byte(text), "c") != 0 {
		t.Errorf("a %g, b %g", metric([]byte(text), "a_total"), metric([]byte(text), "b"))
	}
	const heap = "# runtime.MemStats\n# TotalAlloc = 2759464\n# Mallocs = 12581\n"
	if memStat([]byte(heap), "Mallocs") != 12581 || memStat([]byte(heap), "TotalAlloc") != 2759464 {
		t.Error("memory statistics not found")
	}
}
