package wamp

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// churn is a durable subscriber with three overlapping filters and what it knows
// about each of them.
type churn struct {
	*client
	t     *testing.T
	total int
	next  map[string]int // by filter: the number that is to come
	acked map[string]int // by filter: how many are acknowledged on this connection
	sure  int            // how many all of the filters have acknowledged on one connection
	ids   map[string]string
	open  map[string]string // filters by the request that attaches them
}

// read handles one message.
func (c *churn) read() {
	c.t.Helper()
	got := c.client.next()
	var m []json.RawMessage
	if err := json.Unmarshal([]byte(got), &m); err != nil || len(m) < 3 {
		c.t.Fatalf("read %s: %v", got, err)
	}
	switch string(m[0]) {
	case "33":
		c.ids[string(m[2])] = c.open[string(m[1])]
	case "50":
	case "36":
		f, attached := c.ids[string(m[1])]
		if !attached {
			c.t.Fatalf("EVENT on an id that is not held: %s", got)
		}
		var args []int
		if err := json.Unmarshal(m[4], &args); err != nil {
			c.t.Fatal(err)
		}
		c.event(f, args[0], strings.Contains(string(m[3]), "_parley_redelivered"))
		if rand.IntN(20) == 0 {
			c.send(fmt.Sprintf(`[48,99,{},"parley.ack",[%s,%s]]`, m[1], m[2]))
			c.acked[f] = args[0] + 1
			if len(c.acked) == 3 {
				c.sure = max(c.sure, slices.Min(slices.Collect(maps.Values(c.acked))))
			}
		}
	default:
		c.t.Fatalf("read %s", got)
	}
}

func (c *churn) event(f string, n int, again bool) {
	c.t.Helper()
	switch {
	case n == c.next[f]:
		c.next[f]++
	case n > c.next[f]:
		c.t.Fatalf("%s: got %d, want %d: lost", f, n, c.next[f])
	case !again:
		c.t.Fatalf("%s: got %d twice without a mark", f, n)
	case n < c.sure:
		c.t.Fatalf("%s: got %d again, acknowledged by all up to %d", f, n, c.sure)
	}
}

// done tells whether the attached filters have had everything.
func (c *churn) done() bool {
	for _, f := range c.ids {
		if c.next[f] < c.total {
			return false
		}
	}
	return true
}

// A session whose connection drops at any point, and which attaches its filters
// in any order and at any time, has everything of each filter, in order; what
// comes twice says so and was not acknowledged.
func TestDurableSessionUnderChurn(t *testing.T) {
	b := start(t, nil)
	const total, drops = 250, 8
	filters := []string{`{"match":"exact"},"c.t"`, `{"match":"prefix"},"c."`, `{"match":"_parley_filter"},"c/#"`}
	first, _ := b.dialDurable("wamp.2.json", durableHello)
	for _, f := range filters {
		first.send(`[32,1,` + f + `]`)
		first.expect(`[33,1,*]`)
	}
	first.Drop(io.EOF)
	a := b.session("wamp.2.json")
	published := make(chan struct{})
	go func() {
		defer close(published)
		for i := range total {
			a.send(fmt.Sprintf(`[16,5,{"acknowledge":true},"c.t",[%d]]`, i))
			a.next()
		}
	}()
	c := &churn{t: t, total: total, next: map[string]int{}}
	for i := 0; ; i++ {
		c.client, _ = b.dialDurable(protocols[i%len(protocols)], durableHello)
		c.ids, c.open, c.acked = map[string]string{}, map[string]string{}, map[string]int{}
		for n, k := range rand.Perm(len(filters)) {
			c.open[fmt.Sprint(n+1)] = filters[k]
			c.send(fmt.Sprintf(`[32,%d,%s]`, n+1, filters[k]))
			for len(c.ids) <= n {
				c.read()
			}
			for range rand.IntN(5) {
				if !c.done() {
					c.read()
				}
			}
		}
		for range rand.IntN(2 * total / drops * len(filters)) {
			if c.done() {
				break
			}
			c.read()
		}
		if i >= drops && c.done() {
			break
		}
		c.Drop(io.EOF)
	}
	<-published
}
