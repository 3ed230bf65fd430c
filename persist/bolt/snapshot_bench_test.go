package bolt_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"parley/persist"
	"parley/persist/bolt"
)

// BenchmarkSnapshotWhileServing reports how long a snapshot takes and what the
// slowest commit during it cost, beside the slowest without it.
func BenchmarkSnapshotWhileServing(b *testing.B) {
	s := open(b, b.TempDir(), bolt.Options{})
	for range 300 {
		if err := publish(s, 1000, 256); err != nil {
			b.Fatal(err)
		}
	}
	c := persist.Checkpoint{Namespace: "a", At: 1}
	for i := range 100_000 {
		c.Puts = append(c.Puts, persist.Put{Key: fmt.Sprintf("r/%08d", i), Value: make([]byte, 64)})
	}
	s.Commit(&persist.Batch{Checkpoints: []persist.Checkpoint{c}}, func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	})
	slowest := func(until <-chan struct{}) (most time.Duration, commits int) {
		for {
			select {
			case <-until:
				return most, commits
			default:
			}
			began := time.Now()
			if err := publish(s, 10, 256); err != nil {
				b.Error(err)
				return most, commits
			}
			most, commits = max(most, time.Since(began)), commits+1
		}
	}
	alone := make(chan struct{})
	time.AfterFunc(time.Second, func() { close(alone) })
	quiet, _ := slowest(alone)
	for b.Loop() {
		done := make(chan struct{})
		began := time.Now()
		go func() {
			defer close(done)
			f, err := s.Snapshot(context.Background())
			if err != nil {
				b.Error(err)
				return
			}
			f.Close()
		}()
		most, commits := slowest(done)
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms/snapshot")
		b.ReportMetric(float64(most.Milliseconds()), "ms-slowest-commit")
		b.ReportMetric(float64(quiet.Milliseconds()), "ms-slowest-without")
		b.ReportMetric(float64(commits), "commits-during")
	}
}
