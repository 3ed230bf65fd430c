package load

import (
	"math/bits"
	"time"
)

// Histogram counts durations in buckets whose width is at most an eighth of
// their value, from a nanosecond to centuries. The zero value is empty. Not safe for
// concurrent use.
type Histogram struct {
	counts [64 * 8]uint64
	total  uint64
}

func bucket(d time.Duration) int {
	n := uint64(max(d, 0))
	if n < 8 {
		return int(n)
	}
	exp := bits.Len64(n) - 4 // n>>exp is 8..15
	return (exp+1)*8 + int(n>>exp) - 8
}

// upper is the highest duration of bucket i.
func upper(i int) time.Duration {
	if i < 8 {
		return time.Duration(i)
	}
	exp := i/8 - 1
	return time.Duration(uint64(i%8+9)<<exp - 1)
}

// Add counts one duration; negative ones count as 0.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(d)]++
	h.total++
}

// Merge adds all that o has counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
}

// Quantile is a duration that the share q (0 to 1) of those counted does not
// exceed, at most an eighth too high; 0 when nothing was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := uint64(q * float64(h.total-1))
	for i, n := range h.counts {
		if rank < n {
			return upper(i)
		}
		rank -= n
	}
	return 0
}
