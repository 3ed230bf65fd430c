package bolt_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"

	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

// haystack is how many messages TestNarrowFilterReadsOnlyItsBlocks writes on
// other topics.
var haystack = flag.Int("haystack", 200_000, "messages on other topics")

// write commits messages to namespace a, 1,000 at a time.
func write(t testing.TB, s *bolt.Store, count int, class func(i int) uint8, topic func(i int) string) {
	t.Helper()
	var failed error
	for i := 0; i < count && failed == nil; {
		b := &persist.Batch{}
		for ; len(b.Appends) < 1000 && i < count; i++ {
			m := &msg.Message{Topic: topic(i), QoS: 1, Payload: msg.Bytes([]byte("0123456789"))}
			b.Appends = append(b.Appends, persist.Append{Namespace: "a", Class: class(i), Message: m})
		}
		s.Commit(b, func(err error) { failed = err })
	}
	if failed != nil {
		t.Fatal(failed)
	}
}

// find reads everything that a filter selects, and how often it asked.
func find(t testing.TB, s *bolt.Store, f msg.Filter) (found []msg.Offset, calls int) {
	t.Helper()
	end := head(t, s)
	for from := msg.Offset(1); from <= end; calls++ {
		ms, next, err := s.Read("a", from, end, persist.Limits{Filters: []msg.Filter{f}})
		if err != nil || next <= from {
			t.Fatalf("from %d: next %d, %v", from, next, err)
		}
		for _, m := range ms {
			found = append(found, m.Offset)
		}
		from = next
	}
	return found, calls
}

// TestNarrowFilterReadsOnlyItsBlocks: of a long log a session with one narrow
// filter reads only the blocks that hold something for it, besides the few that
// a Bloom filter takes for such and the one that is still filled.
func TestNarrowFilterReadsOnlyItsBlocks(t *testing.T) {
	n := *haystack
	for _, c := range []struct {
		name    string
		topics  int // different ones beside those that are looked for
		falsely float64
	}{
		{"few topics", 20, 0},
		{"many topics", 50_000, 0.02},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, bolt.Options{})
			needles := map[int]string{n / 7: "needle/a/1", n / 2: "needle/b", n/2 + 1: "needle/a/2"}
			write(t, s, n, func(i int) uint8 { return uint8(i & 1) }, func(i int) string {
				if topic := needles[i]; topic != "" {
					return topic
				}
				return fmt.Sprintf("site/%d/sensor/%d", i%c.topics/100, i%c.topics)
			})
			for range 2 { // the second time with indexes read from the file
				for _, f := range []struct {
					filter msg.Filter
					want   []int
				}{
					{msg.Filter{Pattern: "needle/b"}, []int{n / 2}},
					{msg.Filter{Pattern: "needle/a/#"}, []int{n / 7, n/2 + 1}},
					{msg.Filter{Pattern: "needle/+/2"}, []int{n/2 + 1}},
					{msg.Filter{Kind: msg.FilterPrefix, Pattern: "needle/"}, []int{n / 7, n / 2, n/2 + 1}},
					{msg.Filter{Pattern: "nothing/of/this"}, nil},
				} {
					before := s.Stats()
					found, calls := find(t, s, f.filter)
					after := s.Stats()
					want := make([]msg.Offset, len(f.want))
					for i := range want {
						want[i] = msg.Offset(f.want[i] + 1)
					}
					if !slices.Equal(found, want) {
						t.Errorf("%v: found %v, want %v", f.filter, found, want)
					}
					read, skipped := after.BlocksRead-before.BlocksRead, after.BlocksSkipped-before.BlocksSkipped
					// A message may be met by two calls, and each class has an open block.
					most := 2*len(want) + 2*calls + 2 + int(c.falsely*float64(n)/512)
					if int(read) > most || int(skipped) < n/512-most {
						t.Errorf("%v: %d blocks read of %d, at most %d are needed", f.filter, read, read+skipped, most)
					}
					t.Logf("%v: %d calls, %d blocks read, %d skipped", f.filter, calls, read, skipped)
				}
				s.Close()
				s = open(t, dir, bolt.Options{})
			}
		})
	}
}

// TestSkippingChangesNothing: whatever a block holds and however its topics are
// kept, a filter finds what looking at every message finds.
func TestSkippingChangesNothing(t *testing.T) {
	topics := func(i int) string {
		switch i / 700 % 4 {
		case 0:
			return fmt.Sprintf("few/%d", i%5)
		case 1:
			return fmt.Sprintf("many/%d/%d", i%40, i)
		case 2:
			return fmt.Sprintf("a/b/c/d/e/f/g/h/i/j/%d", i%300) // deeper than what is entered
		default:
			return []string{"/", "//x", "/x", "$sys/a", "many", "a", "a/b", "few/1/", "+x"}[i%9]
		}
	}
	const n = 9000
	dir := t.TempDir()
	s := open(t, dir, bolt.Options{SegmentMessages: 2000})
	write(t, s, n, func(i int) uint8 { return uint8(i % 3 / 2) }, topics)
	filters := []msg.Filter{
		{Pattern: "#"}, {Pattern: "+"}, {Pattern: "/"}, {Pattern: "/+"}, {Pattern: "//#"}, {Pattern: "few/+"}, {Pattern: "few/1"}, {Pattern: "few/1/#"},
		{Pattern: "many/3/#"}, {Pattern: "many/+/1000"}, {Pattern: "many/#"}, {Pattern: "many/30/1470"}, {Pattern: "a/#"}, {Pattern: "a/b/c/d/e/f/g/h/i/j/7"},
		{Pattern: "a/b/c/d/e/f/g/h/i/+/7"}, {Pattern: "a/b/c/d/e/f/g/h/#"}, {Pattern: "+/b"}, {Pattern: "$sys/#"}, {Pattern: "none"},
		{Kind: msg.FilterPrefix, Pattern: ""}, {Kind: msg.FilterPrefix, Pattern: "many/1"}, {Kind: msg.FilterPrefix, Pattern: "a/b/c/d/e/f/g/h/i/j/29"},
		{Kind: msg.FilterPrefix, Pattern: "fe"}, {Kind: msg.FilterPrefix, Pattern: "/"}, {Kind: msg.FilterPrefix, Pattern: "few/1/"},
	}
	for range 2 {
		for _, f := range filters {
			var want []msg.Offset
			for i := range n {
				if f.Matches(topics(i)) {
					want = append(want, msg.Offset(i+1))
				}
			}
			if got, _ := find(t, s, f); !slices.Equal(got, want) {
				t.Errorf("%v: %d found, want %d", f, len(got), len(want))
			}
		}
		s.Close()
		s = open(t, dir, bolt.Options{SegmentMessages: 2000})
	}
}
