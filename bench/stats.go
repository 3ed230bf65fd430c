package main

import (
	"math"
	"slices"
)

// spread is the middle and the ends of a few measurements. NaN: there are none.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
}

// spreadOf ignores values that are not numbers; with an even count the median is
// the mean of the two in the middle.
func spreadOf(values []float64) spread {
	v := slices.DeleteFunc(slices.Clone(values), func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) })
	if len(v) == 0 {
		return spread{Median: math.NaN(), Min: math.NaN(), Max: math.NaN()}
	}
	slices.Sort(v)
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (v[len(v)/2-1] + mid) / 2
	}
	return spread{Median: mid, Min: v[0], Max: v[len(v)-1], N: len(v)}
}

// ratios divides what was measured in the same round: what disturbs a round
// disturbs both. A round that lacks one of the two is left out.
func ratios(samples []sample, of, to string) spread {
	byRound := func(name string) map[int]float64 {
		m := make(map[int]float64)
		for _, s := range samples {
			if s.Broker == name && s.Error == "" {
				m[s.Round] = s.Value
			}
		}
		return m
	}
	a, b := byRound(of), byRound(to)
	var all []float64
	for round, x := range a {
		if y, ok := b[round]; ok && y > 0 {
			all = append(all, x/y)
		}
	}
	return spreadOf(all)
}

// values takes one figure of each sample of a broker that was measured.
func values(samples []sample, broker string, of func(sample) float64) []float64 {
	var all []float64
	for _, s := range samples {
		if s.Broker == broker && s.Error == "" {
			all = append(all, of(s))
		}
	}
	return all
}
