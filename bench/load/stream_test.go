package load

import (
	"slices"
	"testing"
)

// A stream whose faults are known must be judged by exactly these faults.
func TestStreamFindsSeededFaults(t *testing.T) {
	upTo := func(n uint64) (all []uint64) {
		for i := range n {
			all = append(all, i)
		}
		return all
	}
	swap := func(v []uint64, i, j int) []uint64 { v[i], v[j] = v[j], v[i]; return v }
	for _, c := range []struct {
		name                 string
		arrivals             []uint64
		lost, dup, reordered uint64
	}{
		{"clean", upTo(100), 0, 0, 0},
		{"nothing came", nil, 100, 0, 0},
		{"the last is lost", upTo(99), 1, 0, 0},
		{"the first is lost", upTo(100)[1:], 1, 0, 0},
		{"a gap in the middle", slices.Delete(upTo(100), 40, 47), 7, 0, 0},
		{"one twice in a row", slices.Insert(upTo(100), 50, 49), 0, 1, 0},
		{"one again at the end", append(upTo(100), 3), 0, 1, 0},
		{"two neighbours swapped", swap(upTo(100), 10, 11), 0, 0, 1},
		{"two far ones swapped", swap(upTo(100), 10, 90), 0, 0, 80},
		{"late, then again", append(slices.Delete(upTo(100), 5, 6), 5, 5), 0, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Stream
			var fresh uint64
			for _, n := range c.arrivals {
				if s.Take(n) {
					fresh++
				}
			}
			if s.Lost(100) != c.lost || s.Duplicates != c.dup || s.Reordered != c.reordered {
				t.Errorf("lost %d, duplicate %d, reordered %d; want %d, %d, %d",
					s.Lost(100), s.Duplicates, s.Reordered, c.lost, c.dup, c.reordered)
			}
			if fresh != s.Received || fresh != 100-c.lost {
				t.Errorf("%d new of %d received; want %d", fresh, s.Received, 100-c.lost)
			}
		})
	}
}
