package wamp

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"parley/msg"
)

// Everything of a subscription up to a publication is acknowledged, in the order
// in which it was sent.
func TestAckIsCumulative(t *testing.T) {
	for _, protocol := range protocols {
		s := &scripted{}
		c, _ := s.open(t, protocol, durableHello)
		sub := s.subscribe(c, "", "a.b")
		ids := map[int]string{}
		for _, o := range []int{5, 7, 3, 9, 11} { // 3 is a retained value: not in the order of the log
			s.event(msg.Offset(o), func(d *msg.Delivery) { d.Retained = o == 3 }, s.sub.Filter)
			retained := ""
			if o == 3 {
				retained = `,"retained":true`
			}
			ids[o] = c.expect(fmt.Sprintf(`[36,%s,*,{"_parley_offset":%d%s},[""]]`, sub, o, retained))[0]
		}
		for _, step := range []struct {
			upTo int
			n    string
			refs []uint64
		}{
			{7, `[2]`, []uint64{5, 7}},
			{7, `[0]`, nil}, // again: nothing is before it any more
			{9, `[2]`, []uint64{3, 9}},
			{5, `[0]`, nil},
			{11, `[1]`, []uint64{11}},
		} {
			if got := c.call("parley.ack", `[`+sub+`,`+ids[step.upTo]+`]`); got != step.n {
				t.Errorf("%s: up to %d: %s acknowledged, want %s", protocol, step.upTo, got, step.n)
			}
			if got := s.acks(c); !slices.Equal(got, step.refs) {
				t.Errorf("%s: up to %d: refs %v, want %v", protocol, step.upTo, got, step.refs)
			}
		}
	}
}

// A publication that was not sent here acknowledges what the log has before it:
// one that comes again, and one that is transient.
func TestAckByPosition(t *testing.T) {
	s := &scripted{result: msg.AttachResult{Head: 1 << 40}}
	c, _ := s.open(t, "wamp.2.json", durableHello)
	sub := s.subscribe(c, "", "a.b")
	const base = 1 << 40
	ids := newPubIDs("e", "default")
	for o := range msg.Offset(5) {
		s.event(base+o, nil, s.sub.Filter)
		c.expect(fmt.Sprintf(`[36,%s,*,{"_parley_offset":%d},[""]]`, sub, base+o))
	}
	ack := func(id uint64, want string) {
		t.Helper()
		if got := c.call("parley.ack", fmt.Sprintf(`[%s,%d]`, sub, id)); got != want {
			t.Errorf("%s acknowledged, want %s", got, want)
		}
	}
	ack(ids.of(&msg.Message{After: base + 1, Serial: 9}), `[2]`) // its id has the low 36 bits of it only
	ack(ids.ofOffset(base-100), `[0]`)
	ack(ids.ofOffset(base+100), `[3]`)
}

func TestNearest(t *testing.T) {
	const cycle = 1 << afterBits
	for _, c := range []struct{ at, head msg.Offset }{
		{0, 0}, {5, 0}, {5, 7}, {7, 5}, {cycle + 1, cycle - 1}, {cycle - 1, cycle + 1}, {5*cycle - 3, 5*cycle + 3}, {5*cycle + 3, 5*cycle - 3},
		{cycle / 4, cycle / 2},
	} {
		if got := nearest(c.at&(cycle-1), c.head); got != c.at {
			t.Errorf("%d near %d: %d", c.at, c.head, got)
		}
	}
}

// A delivery for several subscriptions is acknowledged when the last one is; one
// that was given up counts.
func TestAckOfSeveralSubscriptions(t *testing.T) {
	s := &scripted{}
	c, _ := s.open(t, "wamp.2.json", durableHello)
	one := s.subscribe(c, "", "a.b")
	f1 := s.sub
	two := s.subscribe(c, `"match":"prefix"`, "a")
	f2 := s.sub
	three := s.subscribe(c, `"match":"wildcard","_parley_ack":"auto"`, "a.")
	both := func(d *msg.Delivery) { d.Matches = []*msg.Subscription{&f1, &f2, &s.sub} }
	s.event(1, both)
	id := c.expect(`[36,` + one + `,*,{"_parley_offset":1},[""]]`)[0]
	c.expect(`[36,` + two + `,` + id + `,{"_parley_offset":1,"topic":"a.b"},[""]]`)
	c.expect(`[36,` + three + `,` + id + `,{"_parley_offset":1,"topic":"a.b"},[""]]`)
	c.call("parley.ack", `[`+one+`,`+id+`]`)
	if got := s.acks(c); got != nil {
		t.Errorf("acknowledged early: %v", got)
	}
	c.send(`[34,4,` + two + `]`)
	c.expect(`[35,4]`)
	if got := s.acks(c); !slices.Equal(got, []uint64{1}) {
		t.Errorf("acknowledged %v", got)
	}
	// Not before all of it is sent, even if the peer is quick.
	c.RoomFor(1)
	s.event(2, func(d *msg.Delivery) { d.Matches = []*msg.Subscription{&f1, &s.sub} })
	id = c.expect(`[36,` + one + `,*,{"_parley_offset":2},[""]]`)[0]
	c.call("parley.ack", `[`+one+`,`+id+`]`)
	if got := s.acks(c); got != nil {
		t.Errorf("acknowledged while a part is not sent: %v", got)
	}
	c.SetRoom(true)
	c.expect(`[36,` + three + `,` + id + `,{"_parley_offset":2,"topic":"a.b"},[""]]`)
	if got := s.acks(c); !slices.Equal(got, []uint64{2}) {
		t.Errorf("acknowledged %v", got)
	}
}

// Which subscriptions wait for parley.ack.
func TestAckModes(t *testing.T) {
	for _, r := range []struct {
		hello, options string
		qos            msg.QoS
		waits          bool
	}{
		{"", ``, 0, false},
		{"", `"_parley_ack":"auto"`, 0, false},
		{"", `"_parley_ack":"explicit"`, 1, true},
		{"", `"_parley_group":"g"`, 1, true},
		{"", `"_parley_group":"g","_parley_ack":"auto"`, 1, false},
		{durableHello, ``, 1, true},
		{durableHello, `"_parley_ack":"auto"`, 1, false},
	} {
		s := &scripted{}
		c, _ := s.open(t, "wamp.2.json", r.hello)
		sub := s.subscribe(c, r.options, "a.b")
		if s.sub.QoS != r.qos {
			t.Errorf("%s %s: QoS %d", r.hello, r.options, s.sub.QoS)
		}
		s.event(4, nil, s.sub.Filter)
		c.expect(`[36,` + sub + `,*,{"_parley_offset":4},[""]]`)
		if got := s.acks(c); (got == nil) != r.waits {
			t.Errorf("%s %s: acknowledged %v", r.hello, r.options, got)
		}
		// Changing to auto acknowledges what waits.
		s.subscribe(c, `"_parley_ack":"auto"`+map[bool]string{true: `,"_parley_group":"g"`}[s.sub.Filter.Group != ""], "a.b")
		if got := s.acks(c); (got != nil) != r.waits {
			t.Errorf("%s %s: acknowledged %v on changing to auto", r.hello, r.options, got)
		}
	}
}

func TestBadAcks(t *testing.T) {
	s := &scripted{}
	c, _ := s.open(t, "wamp.2.json", durableHello)
	sub := s.subscribe(c, "", "a.b")
	for args, want := range map[string]string{
		`[]`:                  "wamp.error.invalid_argument",
		`[1]`:                 "wamp.error.invalid_argument",
		`[1,2,3]`:             "wamp.error.invalid_argument",
		`["a","b"]`:           "wamp.error.invalid_argument",
		`{"a":1}`:             "wamp.error.invalid_argument",
		`null`:                "wamp.error.invalid_argument",
		`[` + sub + `,0]`:     "wamp.error.invalid_argument",
		`[` + sub + `,-1]`:    "wamp.error.invalid_argument",
		`[` + sub + `,1.5]`:   "wamp.error.invalid_argument",
		`[7,8]`:               "wamp.error.no_such_subscription",
		`[` + sub + `,1e300]`: "wamp.error.invalid_argument",
	} {
		c.send(`[48,9,{},"parley.ack",` + args + `]`)
		if got := c.next(); !strings.HasPrefix(got, `[8,48,9,{},"`+want+`"`) {
			t.Errorf("parley.ack%s: %s", args, got)
		}
	}
	c.barrier() // still there
}

// A member of a shared group that goes leaves what it has not acknowledged to
// another one [MQTT-4.8.2-5 applied to WAMP].
func TestSharedGroup(t *testing.T) {
	b := start(t, nil)
	a := b.session("wamp.2.json")
	first, second := b.session("wamp.2.json"), b.session("wamp.2.cbor")
	first.send(`[32,1,{"_parley_group":"g"},"a.b"]`)
	sub := first.expect(`[33,1,*]`)[0]
	ids := a.publish("a.b", 0, 3)
	for i, id := range ids {
		first.expect(fmt.Sprintf(`[36,%s,%s,{"_parley_offset":*,"_parley_via":"wamp"},[%d]]`, sub, id, i))
	}
	first.call("parley.ack", `[`+sub+`,`+ids[0]+`]`)
	second.send(`[32,1,{"_parley_group":"g"},"a.b"]`)
	second.expect(`[33,1,` + sub + `]`)
	first.send(`[34,2,` + sub + `]`)
	first.expect(`[35,2]`)
	for i := 1; i < 3; i++ {
		second.expect(fmt.Sprintf(`[36,%s,%s,{"_parley_offset":*,"_parley_via":"wamp"},[%d]]`, sub, ids[i], i))
	}
	second.send(`[32,3,{"_parley_group":"a/b"},"a.b"]`)
	second.expect(`[8,32,3,{},"wamp.error.invalid_uri",["topic filter invalid"]]`)
}
