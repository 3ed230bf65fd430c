package hub

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"parley/msg"
)

// overlapping returns 2^levels filters that all match a/a/…/a/x, whatever x.
func overlapping(t *testing.T, levels int, end string) []msg.Subscription {
	var subs []msg.Subscription
	for bits := range 1 << levels {
		var p strings.Builder
		for i := range levels {
			p.WriteString([]string{"a/", "+/"}[bits>>i&1])
		}
		f, err := msg.ParseFilter(p.String() + end)
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, msg.Subscription{Filter: f, QoS: 1})
	}
	return subs
}

func (c *client) subscribeAll(subs []msg.Subscription) []msg.SubscribeResult {
	results := make(chan []msg.SubscribeResult, 1)
	c.Subscribe(subs, func(r []msg.SubscribeResult) { results <- r })
	return await(c.t, results)
}

// Promise 5: filters times retained values is no amount that one SUBSCRIBE can
// make the broker hold. What is over is refused, and possible again later.
func TestPromiseBoundedRetainedOfOverlappingFilters(t *testing.T) {
	h := open(t, newMem(t), nil)
	pub := connect(t, h, msg.SessionParams{})
	const count = 200
	for i := range count {
		pub.Publish(&msg.Message{Topic: fmt.Sprint("a/a/a/a/a/a/a/a/a/", i), Retain: true, Payload: msg.Bytes([]byte("v"))}, nil)
	}
	pub.settle()
	c := connect(t, h, msg.SessionParams{})
	subs := overlapping(t, 9, "#")
	if count*len(subs) < 2*burstSlack-burstSlack/2 {
		t.Fatal("too few to reach the limit")
	}
	granted := 0
	for _, r := range c.subscribeAll(subs) {
		if r.Err == nil {
			granted++
		} else if !errors.Is(r.Err, msg.ErrQuota) {
			t.Fatal(r.Err)
		}
	}
	if granted < burstSlack/count || granted > burstSlack/count+1 {
		t.Fatalf("%d of %d filters with %d values each were granted", granted, len(subs), count)
	}
	for range count {
		if d := c.next(); !d.Retained || len(d.Matches) != granted {
			t.Fatalf("%d filters match %v, want %d", len(d.Matches), d.Message, granted)
		}
	}
	if r := c.subscribeAll(subs[len(subs)-1:]); r[0].Err != nil {
		t.Fatalf("after all was read: %v", r[0].Err)
	}
}

// A filter that finds nothing costs the same; the rest of its packet is refused
// when it was too much in all.
func TestRetainedSearchIsBounded(t *testing.T) {
	var tree retained
	for i := range 100 {
		tree.set(fmt.Sprint("a/", i), 1)
	}
	f, err := msg.ParseFilter("+/+/nothing")
	if err != nil {
		t.Fatal(err)
	}
	s := search{filter: f, steps: 50, limit: 100}
	if tree.find(&s) || s.steps >= 0 {
		t.Fatalf("looked on, %d steps left", s.steps)
	}
}

// Promise 5: what waits for a session is bounded in filters too, and so is what
// the fan-out remembers; stored messages all arrive, in order.
func TestPromiseBoundedOverlappingFilters(t *testing.T) {
	h := open(t, newMem(t), func(o *Options) { o.Shards = 1 })
	c, pub := connect(t, h, msg.SessionParams{}), connect(t, h, msg.SessionParams{})
	subs := overlapping(t, 10, "+")
	c.subscribeAll(subs)
	const count = 1500
	for i := range count {
		pub.publish(fmt.Sprint("a/a/a/a/a/a/a/a/a/a/", i), "v", 1, func(msg.Offset, error) {})
	}
	pub.settle()
	s := c.Session.(*hold).s
	s.mu.Lock()
	if n := s.in.queue.n * len(subs); n > queueRefs+len(subs) {
		t.Errorf("%d filters are queued", n)
	}
	s.mu.Unlock()
	for i := range count {
		d := c.next()
		if want := fmt.Sprint("a/a/a/a/a/a/a/a/a/a/", i); d.Message.Topic != want || len(d.Matches) != len(subs) {
			t.Fatalf("%s with %d filters, want %s", d.Message.Topic, len(d.Matches), want)
		}
	}
	refs := 0
	for _, h := range h.shards[0].cache { // at rest: the last message was handled
		for _, hit := range h.sessions {
			refs += len(hit.regs)
		}
	}
	if refs > cachedRefs {
		t.Errorf("%d registrations are remembered", refs)
	}
}
