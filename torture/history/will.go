package history

import (
	"iter"
	"math"
	"time"
)

// destiny is what must become of a will.
type destiny struct {
	message *message
	from    int           // Connect
	end     int           // what ended the connection; -1: it lasts
	early   time.Duration // when it may be published
	due     time.Duration // when it must have been
	never   bool          // it must not be published
	must    bool          // it must be published
}

const forEver = time.Duration(math.MaxInt64)

// wills: a will is published once its connection is lost and its delay is over,
// not earlier, not after a goodbye, and not if the session is back in time. After
// a kill of the broker the delay begins with the start, and is at least the grace.
// What another event may have overtaken on its way to the broker is judged for
// duplicates only.
func (c *checker) wills() {
	received := map[ID]int{}
	for _, key := range c.streamKey {
		for _, i := range c.streams[key].deliveries {
			id := c.events[i].Message
			if m := c.messages[id]; m != nil && m.will {
				if at, ok := received[id]; !ok || i < at {
					received[id] = i
				}
			}
		}
	}
	for _, name := range c.names {
		k := c.clients[name]
		for n, i := range k.connects {
			if c.events[i].Will == nil {
				continue
			}
			next := -1
			if n+1 < len(k.connects) {
				next = k.connects[n+1]
			}
			c.judge(c.destinyOf(k, i, next), received)
		}
	}
}

// destinyOf follows the will of Connect event i; next is the session's next
// Connect, -1 if there is none.
func (c *checker) destinyOf(k *client, i, next int) destiny {
	e := &c.events[i]
	d := destiny{message: c.messages[e.Will.Message], from: i, end: -1, early: forEver, due: forEver}
	ended := firstAfter(k.ends, i)
	killed := firstAfter(c.kills, i)
	switch {
	case ended < 0 && killed < 0:
		return d // the connection lasts
	case ended >= 0 && (killed < 0 || ended < killed && !c.near(ended, killed)):
		d.end = ended
		if c.events[ended].Clean {
			d.never = true
			return d
		}
		d.due = c.events[ended].At + e.Will.Delay
		d.early = d.due
		if killed >= 0 && c.events[killed].At < d.due+c.lim.Tolerance {
			return d // the kill may have been first, and then the delay begins anew
		}
		if next >= 0 && e.Will.Delay > 0 {
			return c.back(d, next)
		}
		d.must = true
		return d
	case ended >= 0 && ended < killed:
		d.end, d.early = ended, 0 // a kill came right after: either may have been first
		return d
	}
	d.end = killed
	for start := range c.startsBetween(killed, next) {
		d.due = c.events[start].At + max(e.Will.Delay, c.lim.WillGrace)
		if again := firstAfter(c.kills, start); again < 0 || c.events[again].At > d.due-c.lim.Tolerance {
			d.early = min(d.early, d.due)
		}
		if again := firstAfter(c.kills, start); again >= 0 && c.events[again].At > d.due+c.lim.Tolerance {
			break // it was published long before
		}
	}
	switch {
	case d.due == forEver: // not started again
	case next >= 0:
		return c.back(d, next)
	default:
		d.must = true
	}
	return d
}

// back judges a session that came back at event next.
func (c *checker) back(d destiny, next int) destiny {
	at := c.events[next].At
	switch {
	case at < d.early-c.lim.Tolerance:
		d.never = true
	case at > d.due+c.lim.Tolerance:
		d.must = true
	}
	return d
}

// near: two events may have reached the broker in the other order.
func (c *checker) near(a, b int) bool { return c.events[b].At-c.events[a].At < c.lim.Tolerance }

// startsBetween yields the starts after event killed and before event next (-1:
// the end): each kill in between begins the delay anew.
func (c *checker) startsBetween(killed, next int) iter.Seq[int] {
	return func(yield func(int) bool) {
		start := firstAfter(c.starts, killed)
		for start >= 0 && (next < 0 || start < next) && yield(start) {
			start = firstAfter(c.starts, start)
		}
	}
}

func (c *checker) judge(d destiny, received map[ID]int) {
	at, came := received[d.message.id]
	switch {
	case came && d.end < 0 || came && at < d.end:
		c.fault(at, RuleWill, []int{d.from, at}, "the will %s was published while its connection lasted", d.message.id)
	case came && d.never:
		c.fault(at, RuleWill, []int{d.from, d.end, at}, "the will %s was published though it was given up", d.message.id)
	case came && d.early != forEver && c.events[at].At < d.early-c.lim.Tolerance:
		c.fault(at, RuleWill, []int{d.from, d.end, at}, "the will %s was published %v before it was due", d.message.id, d.early-c.events[at].At)
	case d.must && d.message.qos > 0:
		c.willArrived(d)
	}
}

// willArrived: everybody who was subscribed before the connection ended, and still
// is when everything is quiet, has the will.
func (c *checker) willArrived(d destiny) {
	quiet := -1
	for _, q := range c.quiesced {
		if q > d.end && c.events[q].At > d.due+c.lim.Tolerance {
			quiet = q
			break
		}
	}
	if quiet < 0 {
		return
	}
	for _, name := range c.names {
		for _, in := range c.intervals(c.clients[name]) {
			if in.qos == 0 || in.from > d.end || in.to < quiet || !c.matches(in.filter, d.message.topic) {
				continue
			}
			filter := in.filter
			if in.mqtt {
				filter = ""
			}
			if !c.had(name, filter, d.message.id, quiet) {
				c.fault(quiet, RuleWill, []int{in.from, d.from, d.end, quiet}, "%s (%s) never received the will %s", name, in.filter, d.message.id)
			}
		}
	}
}

// Pending tells how many wills are due or will be within limit, and have not been
// received by anybody: before everything is called quiet they are waited for.
func Pending(events []Event, lim Limits, now, limit time.Duration) int {
	c := &checker{events: events, lim: lim}
	if c.lim.WillGrace == 0 {
		c.lim.WillGrace = 30 * time.Second
	}
	if c.lim.Tolerance == 0 {
		c.lim.Tolerance = 5 * time.Second
	}
	c.index()
	received := map[ID]bool{}
	for i := range events {
		if events[i].Kind == Deliver {
			received[events[i].Message] = true
		}
	}
	pending := 0
	for _, name := range c.names {
		k := c.clients[name]
		for n, i := range k.connects {
			next := -1
			if n+1 < len(k.connects) {
				next = k.connects[n+1]
			}
			if w := events[i].Will; w != nil && !received[w.Message] {
				if d := c.destinyOf(k, i, next); d.must && now <= d.due+c.lim.Tolerance && d.due <= now+limit {
					pending++
				}
			}
		}
	}
	return pending
}
