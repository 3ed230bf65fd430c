package wamp

import (
	"fmt"
	"slices"
	"testing"

	"parley/msg"
	"parley/subproto"
)

// What a loose filter matches is held in order while attached filters go on, and
// waits for its own attaching only.
func TestLooseFiltersAreHeld(t *testing.T) {
	one, two := msg.Filter{Pattern: "a/b"}, msg.Filter{Kind: msg.FilterPrefix, Pattern: "a/"}
	s := &scripted{result: msg.AttachResult{Present: true, Subscriptions: []msg.Subscription{{Filter: one}, {Filter: two}}}}
	c, _ := s.open(t, "wamp.2.json", durableHello)
	s.event(1, nil, one)
	s.event(2, nil, one, two)
	s.event(3, func(d *msg.Delivery) { d.Redelivered = true }, two)
	// Attached, and faster than the answer: what comes next waits behind it.
	c.send(`[32,1,{"match":"prefix"},"a."]`)
	s.event(4, nil, two)
	s.change(func() { s.done([]msg.SubscribeResult{{}}) })
	sub := c.expect(`[33,1,*]`)[0]
	c.expect(`[36,` + sub + `,*,{"_parley_offset":2,"topic":"a.b"},[""]]`)
	c.expect(`[36,` + sub + `,*,{"_parley_offset":3,"_parley_redelivered":true,"topic":"a.b"},[""]]`)
	last := c.expect(`[36,` + sub + `,*,{"_parley_offset":4,"topic":"a.b"},[""]]`)[0]
	if got := c.call("parley.ack", `[`+sub+`,`+last+`]`); got != `[3]` {
		t.Errorf("acknowledged %s", got)
	}
	if got := s.acks(c); !slices.Equal(got, []uint64{3, 4}) { // 2 waits for the other filter too
		t.Errorf("acknowledged %v", got)
	}
	other := s.subscribe(c, "", "a.b")
	c.expect(`[36,` + other + `,*,{"_parley_offset":1},[""]]`)
	last = c.expect(`[36,` + other + `,*,{"_parley_offset":2},[""]]`)[0]
	c.call("parley.ack", `[`+other+`,`+last+`]`)
	if got := s.acks(c); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("acknowledged %v", got)
	}
}

// What is held is bounded; then nothing more is taken, but what the session says
// is heard.
func TestHeldIsBounded(t *testing.T) {
	loose, own := msg.Filter{Pattern: "a/b"}, msg.Filter{Pattern: "c"}
	for name, big := range map[string]int{"by count": 0, "by bytes": 64 << 10} {
		t.Run(name, func(t *testing.T) {
			most := heldMost
			if big > 0 {
				most = heldBytes/big + 1
			}
			s := &scripted{result: msg.AttachResult{Present: true, Subscriptions: []msg.Subscription{{Filter: loose}}}}
			c, _ := s.open(t, "wamp.2.json", durableHello)
			s.subscribe(c, "", "c")
			for i := range most + 10 {
				s.event(msg.Offset(i+1), func(d *msg.Delivery) { d.Message.Payload = msg.Bytes(make([]byte, big)) }, loose)
			}
			s.event(5000, nil, own)
			c.barrier()
			c.barrier()
			s.mu.Lock()
			pulled := s.pulled
			s.mu.Unlock()
			if pulled > most || pulled < most-most/10 {
				t.Errorf("%d taken, want about %d", pulled, most)
			}
			// Giving the filter up sets free what waits behind it.
			id := (&handler{}).subscriptionID(loose)
			c.send(fmt.Sprintf(`[34,2,%d]`, id))
			c.expect(`[35,2]`)
			c.expect(`[36,*,*,{"_parley_offset":5000},[""]]`)
			if got := s.acks(c); len(got) != most+10 {
				t.Errorf("%d acknowledged", len(got))
			}
		})
	}
}

func TestTakenOverWhileFull(t *testing.T) {
	loose := msg.Filter{Pattern: "a/b"}
	s := &scripted{result: msg.AttachResult{Present: true, Subscriptions: []msg.Subscription{{Filter: loose}}}}
	c, _ := s.open(t, "wamp.2.json", durableHello)
	for i := range heldMost + 10 {
		s.event(msg.Offset(i+1), nil, loose)
	}
	s.deliver(msg.Delivery{Notice: &msg.Notice{Kind: msg.NoticeTakenOver}})
	c.expect(`[6,{"message":"session taken over"},"parley.close.taken_over"]`)
	c.closed(subproto.ClosePolicy)
}

// A transient message for a loose filter is dropped rather than that it stops
// the session.
func TestTransientForLooseFilter(t *testing.T) {
	loose := msg.Filter{Pattern: "a/b"}
	s := &scripted{result: msg.AttachResult{Present: true, Subscriptions: []msg.Subscription{{Filter: loose}}}}
	c, _ := s.open(t, "wamp.2.json", durableHello)
	for range 2 * heldMost {
		s.event(1, func(d *msg.Delivery) { d.Message.Offset, d.QoS = 0, 0 }, loose)
	}
	s.event(1, nil, loose)
	c.barrier()
	id := s.subscribe(c, "", "a.b")
	for range heldMost / 2 {
		c.expect(`[36,` + id + `,*,{},[""]]`)
	}
	c.expect(`[36,` + id + `,*,{"_parley_offset":1},[""]]`)
}

// A filter that is revoked before it was attached is no secret id to the peer,
// and what was held for it needs no acknowledgement.
func TestRevokedLooseFilter(t *testing.T) {
	loose := msg.Filter{Pattern: "a/b"}
	s := &scripted{result: msg.AttachResult{Present: true, Subscriptions: []msg.Subscription{{Filter: loose}}}}
	c, _ := s.open(t, "wamp.2.json", durableHello)
	s.event(1, nil, loose)
	s.deliver(msg.Delivery{Notice: &msg.Notice{Kind: msg.NoticeRevoked, Subscription: &msg.Subscription{Filter: loose}}})
	c.barrier()
	if got := s.acks(c); !slices.Equal(got, []uint64{1}) {
		t.Errorf("acknowledged %v", got)
	}
}

// What was sent on an earlier connection for a filter that is gone needs no
// acknowledgement from this one.
func TestRedeliveryForGoneFilter(t *testing.T) {
	s := &scripted{result: msg.AttachResult{Present: true}}
	c, _ := s.open(t, "wamp.2.json", durableHello)
	s.event(1, func(d *msg.Delivery) { d.Redelivered = true }, msg.Filter{Pattern: "a/b"})
	c.barrier()
	if got := s.acks(c); !slices.Equal(got, []uint64{1}) {
		t.Errorf("acknowledged %v", got)
	}
}
