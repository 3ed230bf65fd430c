package hub

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"parley/msg"
)

// The index matches exactly what the filters match, while filters come and go.
func TestIndexAgreesWithFilters(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var x index
	held := map[*registration]bool{}
	for range 20_000 {
		if r.IntN(3) > 0 || len(held) == 0 {
			reg := &registration{filter: randomFilter(r)}
			x.add(reg)
			held[reg] = true
		} else {
			for reg := range held {
				x.remove(reg)
				delete(held, reg)
				break
			}
		}
		if len(held) > 60 {
			for reg := range held {
				x.remove(reg)
				delete(held, reg)
			}
		}
		topic := randomTopic(r)
		got := map[*registration]int{}
		for _, reg := range x.match(topic, nil) {
			got[reg]++
		}
		for reg := range held {
			want := 0
			if reg.filter.Matches(topic) {
				want = 1
			}
			if got[reg] != want {
				t.Fatalf("%v on %q: found %d times, want %d", reg.filter, topic, got[reg], want)
			}
			delete(got, reg)
		}
		if len(got) > 0 {
			t.Fatalf("%q: %d registrations that are gone", topic, len(got))
		}
	}
	for reg := range held {
		x.remove(reg)
	}
	if len(x.exact) != 0 || len(x.root.children) != 0 || len(x.prefixes.children) != 0 {
		t.Fatalf("left over: %d exact, %d levels, %d prefixes", len(x.exact), len(x.root.children), len(x.prefixes.children))
	}
}

// 100,000 filters of all kinds: match stays in the microseconds.
func BenchmarkIndexMatch100k(b *testing.B) {
	var x index
	for i := range 100_000 {
		f := msg.Filter{Pattern: fmt.Sprintf("site/%d/device/%d/state", i%1000, i)}
		switch i % 4 {
		case 1:
			f.Pattern = fmt.Sprintf("site/%d/+/%d/#", i%1000, i)
		case 2:
			f = msg.Filter{Kind: msg.FilterPrefix, Pattern: fmt.Sprintf("site/%d/device/%d", i%1000, i)}
		}
		x.add(&registration{filter: f})
	}
	b.ReportAllocs()
	var regs []*registration
	for b.Loop() {
		regs = x.match("site/500/device/77500/state", regs[:0])
	}
	b.ReportMetric(float64(len(regs)), "matches")
}
