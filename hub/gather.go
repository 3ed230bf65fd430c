package hub

import "time"

const (
	// gatherShare: a commit waits at most this part of what the last one took.
	// Two halves that take turns cost two commits, gathered they cost one and the
	// wait, so up to here a wait that pays gains a third and more.
	gatherShare = 2
	// gatherMost is what peers that answer at once need to be back: about 120 µs
	// in the mean over the loopback interface of a busy machine. Whoever is
	// farther away is not waited for.
	gatherMost = 200 * time.Microsecond
	// gatherRest is how many chances pass at most between two tries that do not
	// pay. A Go timer may be late by a millisecond when nothing else runs; over so
	// many commits that is 4 µs each.
	gatherRest = 256
)

// gather decides whether the next commit waits for those whom the last one
// answered. Without it a publisher with n in flight falls into two halves that
// take turns: one is committed while the other is under way, each pays two
// syncs for n/2 messages, and nothing ever joins them again.
//
// What the last commit answered and what waited when it ended is what can be
// here soon. The wait ends when as much is here; it blocks, so that the
// readers have the processor, and its timer is but the bound. Who has one in
// flight is never waited for: when it is back, all that was expected is here.
// Where the expectation is not met (many devices with one message each now and
// then, peers with a long round trip), tries become rare, down to one in 257
// chances; it takes two that pay to make up for one that does not, so chance hits
// do not keep it going.
//
// Owned by the committer's goroutine.
type gather struct {
	want  int       // ops that can be here soon after the last commit
	until time.Time // when they should be
	skip  int       // chances still to pass by
	rest  int       // chances passed by after the last try that did not pay, less what paid since
}

// committed notes a commit that took so long, answered so many ops and
// left others waiting.
func (g *gather) committed(answered, waiting int, took time.Duration, end time.Time) {
	g.want = answered + waiting
	g.until = end.Add(min(took/gatherShare, gatherMost))
}

// worth returns how long a commit of what waits should be put off, 0 for not at
// all. Whoever waits tells the outcome by tried.
func (g *gather) worth(waiting int, now time.Time) time.Duration {
	left := g.until.Sub(now)
	if waiting == 0 || waiting >= g.want || left <= 0 {
		return 0
	}
	if g.skip > 0 {
		g.skip--
		return 0
	}
	return left
}

// tried notes whether all that was expected came in time.
func (g *gather) tried(paid bool) {
	if paid {
		g.rest /= 2
		return
	}
	g.rest = min(4*g.rest+1, gatherRest)
	g.skip = g.rest
}

// await puts the next commit off while that pays.
func (c *committer) await() {
	c.mu.Lock()
	wait := c.gather.worth(len(c.queue), time.Now())
	if wait == 0 {
		c.mu.Unlock()
		return
	}
	c.want = c.gather.want
	select {
	case <-c.gathered: // together with the last bound
	default:
	}
	c.mu.Unlock()
	c.bound.Reset(wait)
	select {
	case <-c.gathered:
	case <-c.bound.C:
	}
	c.bound.Stop()
	c.mu.Lock()
	paid := len(c.queue) >= c.want
	c.want = 0
	c.mu.Unlock()
	c.gather.tried(paid)
}

// notify leaves a token in a channel that has room for one.
func notify(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
