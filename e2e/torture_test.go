package e2e

import (
	"context"
	"testing"
	"time"

	"parley/torture"
)

// TestTortureMixed: nothing is killed, but clients are cut, take themselves over,
// read slowly, and subscribe and unsubscribe while they lag.
func TestTortureMixed(t *testing.T) {
	tortured(t, torture.Options{Cycles: 2, Duration: 5 * time.Second, Pace: 15 * time.Millisecond})
}

// TestTortureKill: the broker is killed thirty times under load from all
// protocols and keeps every promise (torture/history lists them as rules).
func TestTortureKill(t *testing.T) {
	tortured(t, torture.Options{Kill: true, Cycles: 30, CheckEvery: 10, Publishers: 4, Subscribers: 4, Passing: 1, Pace: 25 * time.Millisecond})
}

func tortured(t *testing.T, o torture.Options) {
	t.Helper()
	binary, err := builtBroker()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	o.Binary, o.Data, o.Progress = binary, t.TempDir(), testLog{t}
	res, err := torture.Run(ctx, o)
	t.Logf("seed %d: %d cycles, %d kills, %+v in %v", res.Seed, res.Cycles, res.Kills, res.Counts, res.Elapsed)
	if err != nil {
		t.Error(err)
	}
	if res.Counts.Acknowledged == 0 || res.Counts.Delivered == 0 {
		t.Error("nothing happened")
	}
	for i, f := range res.Faults {
		if i == 5 {
			t.Errorf("and %d more faults", len(res.Faults)-i)
			break
		}
		t.Errorf("%s", f)
		for _, e := range f.Events {
			t.Logf("  %s", e)
		}
	}
}

// testLog writes a run's progress to the test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", p)
	return len(p), nil
}
