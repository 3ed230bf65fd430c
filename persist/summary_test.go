package persist_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"parley/msg"
	"parley/persist"
)

// TestSummaryTellsWhatWasAdded compares a summary with what it was made of.
func TestSummaryTellsWhatWasAdded(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		var topics []string
		s := persist.Summary{First: 100, Last: 100}
		for at := msg.Offset(100); len(topics) < 2+r.IntN(200); at++ {
			topics = append(topics, []string{"", "a", "a/b", "a/bc", fmt.Sprint("a/", r.IntN(9)), "$x/y", "ä"}[r.IntN(7)])
			s.Last = at
			s.Add([]byte(topics[len(topics)-1]), at)
		}
		for _, f := range []msg.Filter{{Pattern: "#"}, {Pattern: "a/+"}, {Pattern: "a"}, {Pattern: "none"}, {Kind: msg.FilterPrefix, Pattern: "a/b"}} {
			want := persist.Missed{Exact: true}
			for i, topic := range topics {
				if f.Matches(topic) {
					if want.Count++; want.Count == 1 {
						want.First = msg.Offset(100 + i)
					}
					want.Last = msg.Offset(100 + i)
				}
			}
			got := persist.Missed{Exact: true}
			if err := got.AddSummary(s.Encode(false), []msg.Filter{f}, 1, 1000); err != nil || got.Result() != want {
				t.Fatalf("seed %d: %v: %+v, %v, want %+v", seed, f, got, err, want)
			}
		}
		brief := persist.Missed{Exact: true}
		if err := brief.AddSummary(s.Encode(true), []msg.Filter{{Pattern: "none"}}, 101, 1000); err != nil || brief.Result() != (persist.Missed{First: 101, Last: s.Last}) {
			t.Fatalf("seed %d: brief: %+v, %v", seed, brief, err)
		}
	}
}

// FuzzSummary: no summary panics, and what is refused is refused as corrupt.
func FuzzSummary(f *testing.F) {
	s := persist.Summary{First: 7, Last: 30}
	for at := msg.Offset(7); at <= 30; at++ {
		s.Add(fmt.Appendf(nil, "t/%d", at%5), at)
	}
	f.Add(s.Encode(false))
	f.Add(s.Encode(true))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := persist.Missed{Exact: true}
		if err := m.AddSummary(b, nil, 1, 1000); err != nil && !errors.Is(err, persist.ErrCorrupt) {
			t.Fatal(err)
		}
		if _, _, err := persist.SummaryRange(b); err != nil && !errors.Is(err, persist.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}
