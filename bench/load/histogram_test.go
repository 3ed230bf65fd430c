package load

import (
	"math"
	"testing"
	"time"
)

func TestHistogramBucketsHoldWhatTheySay(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 1000, time.Millisecond, time.Hour, math.MaxInt64} {
		i := bucket(d)
		if upper(i) < d {
			t.Errorf("%d is above its bucket's end %d", d, upper(i))
		}
		if i > 0 && upper(i-1) >= d {
			t.Errorf("%d belongs below: bucket %d ends at %d", d, i-1, upper(i-1))
		}
		if d < math.MaxInt64/2 && float64(upper(i)) > float64(d)*1.125+1 {
			t.Errorf("%d: bucket ends at %d, more than an eighth above", d, upper(i))
		}
	}
	if bucket(-5) != 0 {
		t.Error("a negative duration is not counted as 0")
	}
}

func TestHistogramQuantiles(t *testing.T) {
	var h, other Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for i := 1; i <= 500; i++ {
		h.Add(time.Duration(i) * time.Microsecond)
		other.Add(time.Duration(500+i) * time.Microsecond)
	}
	h.Merge(&other)
	for q, want := range map[float64]time.Duration{0.5: 500, 0.99: 990, 1: 1000, 0: 1} {
		got, want := h.Quantile(q), want*time.Microsecond
		if got < want || float64(got) > 1.13*float64(want) {
			t.Errorf("quantile %g: %v, want %v or up to an eighth more", q, got, want)
		}
	}
}
