package hub

import (
	"testing"
	"testing/synctest"
	"time"
)

// after a commit that took 300 µs and ended at the zero time, gather waits at
// most 150 µs.
func gatherAfter(g *gather, answered, waiting int) {
	g.committed(answered, waiting, 300*time.Microsecond, time.Time{})
}

func micros(n int) time.Time { return time.Time{}.Add(time.Duration(n) * time.Microsecond) }

func TestGatherJoinsHalves(t *testing.T) {
	var g gather
	gatherAfter(&g, 25, 25)
	if got := g.worth(25, micros(10)); got != 140*time.Microsecond {
		t.Fatalf("half of the window waits, the other was just answered: put off by %v, want 140µs", got)
	}
	g.tried(true)
	gatherAfter(&g, 50, 0)
	if got := g.worth(0, micros(0)); got != 0 {
		t.Fatalf("nothing waits: put off by %v", got)
	}
	if got := g.worth(1, micros(90)); got != 60*time.Microsecond {
		t.Fatalf("the first of 50 is back: put off by %v, want 60µs", got)
	}
	if got := g.worth(50, micros(90)); got != 0 {
		t.Fatalf("all are back: put off by %v", got)
	}
}

func TestGatherLeavesAloneWhoHasOneInFlight(t *testing.T) {
	var g gather
	for range 1000 {
		gatherAfter(&g, 1, 0)
		if got := g.worth(1, micros(5)); got != 0 {
			t.Fatalf("put off by %v", got)
		}
	}
}

func TestGatherIsOverWhenPeersAreFar(t *testing.T) {
	var g gather
	gatherAfter(&g, 50, 0)
	for _, at := range []int{150, 151, 50_000} {
		if got := g.worth(1, micros(at)); got != 0 {
			t.Fatalf("%d µs after the commit: put off by %v", at, got)
		}
	}
	gatherAfter(&g, 50, 0)
	if got := g.worth(1, micros(149)); got != time.Microsecond {
		t.Fatalf("149 µs after the commit: put off by %v, want 1µs: who was too late is no failure", got)
	}
	g.committed(50, 0, time.Second, time.Time{})
	if got := g.worth(1, micros(0)); got != gatherMost {
		t.Fatalf("after a commit of a second: put off by %v, want %v", got, gatherMost)
	}
}

// tries counts the waits in n chances of which paid tells the outcome.
func tries(g *gather, n int, paid func(try int) bool) int {
	tried := 0
	for range n {
		gatherAfter(g, 2, 2)
		if g.worth(2, micros(0)) > 0 {
			g.tried(paid(tried))
			tried++
		}
	}
	return tried
}

func TestGatherBacksOff(t *testing.T) {
	for _, c := range []struct {
		name string
		paid func(int) bool
		most int // tries in 10,000 chances
	}{
		{"never pays", func(int) bool { return false }, 5 + 10_000/(gatherRest+1)},
		{"every third pays", func(try int) bool { return try%3 == 0 }, 250},
	} {
		if got := tries(&gather{}, 10_000, c.paid); got > c.most || got < 10_000/(gatherRest+1) {
			t.Errorf("%s: %d tries in 10,000 chances, want at most %d, and never none", c.name, got, c.most)
		}
	}
}

func TestGatherComesBack(t *testing.T) {
	var g gather
	tries(&g, 10_000, func(int) bool { return false })
	pays := func(try int) bool { return try%10 != 9 }
	tries(&g, gatherRest+20, pays)
	if got := tries(&g, 1000, pays); got < 800 {
		t.Fatalf("nine of ten pay again: %d tries in 1,000 chances, want 800", got)
	}
}

func TestAwaitEndsWhenAllAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommitter(nil)
		for try := range 3 {
			c.queue = nil
			c.gathered <- struct{}{} // as left by a wait that its bound ended at the same time
			c.gather.committed(2, 2, time.Millisecond, time.Now())
			c.submit(op{})
			c.submit(op{})
			begin := time.Now()
			time.AfterFunc(20*time.Microsecond, func() { c.submit(op{}) })
			time.AfterFunc(50*time.Microsecond, func() { c.submit(op{}) })
			c.await()
			if took := time.Since(begin); took != 50*time.Microsecond || len(c.queue) != 4 || c.want != 0 {
				t.Fatalf("try %d: %v and %d ops, want 50µs and 4", try, took, len(c.queue))
			}
		}
		if c.gather.rest != 0 {
			t.Fatal("counted as failures")
		}
	})
}

func TestAwaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommitter(nil)
		c.gather.committed(2, 2, time.Millisecond, time.Now())
		c.submit(op{})
		begin := time.Now()
		time.AfterFunc(gatherMost+time.Microsecond, func() { c.submit(op{}) })
		c.await()
		if took := time.Since(begin); took != gatherMost || len(c.queue) != 1 {
			t.Fatalf("%v and %d ops, want %v and 1", took, len(c.queue), gatherMost)
		}
		synctest.Wait()
		begin = time.Now()
		c.gather.committed(2, 1, time.Millisecond, begin)
		c.await()
		if took := time.Since(begin); took != 0 || c.gather.rest != 1 {
			t.Fatalf("the next after a failure: put off by %v", took)
		}
	})
}
