package wamp

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"parley/msg"
	"parley/subproto"
)

// durableHello asks for session truck-7 by HELLO.Details.
const durableHello = `,"_parley_session":"truck-7"`

// dialDurable joins with a durable session and returns WELCOME's details.
func (b *broker) dialDurable(protocol, details string) (*client, map[string]any) {
	b.t.Helper()
	c := b.dial(protocol)
	return c, c.welcome(helloWith(details))
}

// publish stores n messages on a topic and returns their publication ids.
func (c *client) publish(topic string, from, n int) (ids []string) {
	c.t.Helper()
	for i := from; i < from+n; i++ {
		c.send(fmt.Sprintf(`[16,5,{"acknowledge":true},"%s",[%d]]`, topic, i))
		ids = append(ids, c.expect(`[17,5,*]`)[0])
	}
	return ids
}

// call calls one of the engine's procedures and returns the rest of the RESULT.
func (c *client) call(procedure, args string) string {
	c.t.Helper()
	c.send(`[48,9,{},"` + procedure + `",` + args + `]`)
	got := c.next()
	rest, ok := strings.CutPrefix(got, `[50,9,{},`)
	if !ok {
		c.t.Fatalf("%s(%s): %s", procedure, args, got)
	}
	return strings.TrimSuffix(rest, "]")
}

func TestDurableSessionParams(t *testing.T) {
	for _, c := range []struct {
		details string
		name    string
		expiry  time.Duration
	}{
		{``, "", 0},
		{durableHello, "truck-7", time.Hour},
		{durableHello + `,"_parley_expiry":90`, "truck-7", 90 * time.Second},
		{durableHello + `,"_parley_expiry":0`, "truck-7", 0},
		{durableHello + `,"_parley_expiry":4294967295`, "truck-7", msg.Forever},
		{durableHello + `,"_parley_expiry":9007199254740992`, "truck-7", msg.Forever},
		{`,"_parley_expiry":90`, "", 0},
		{`,"authextra":{"_parley_session":"x","_parley_expiry":7,"other":1}`, "x", 7 * time.Second},
		{`,"authextra":{"_parley_session":"x","_parley_expiry":7}` + durableHello, "truck-7", 7 * time.Second},
		{`,"authextra":{"_parley_session":null}`, "", 0},
		{`,"authextra":null`, "", 0},
	} {
		s := &scripted{}
		_, d := s.open(t, "wamp.2.cbor", c.details)
		if s.params.ClientID != c.name || s.params.Expiry != c.expiry || s.params.Protocol != msg.ViaWAMP {
			t.Errorf("%s: %+v", c.details, s.params)
		}
		if _, told := d["_parley_session_present"]; told != (c.name != "") {
			t.Errorf("%s: WELCOME %v", c.details, d)
		}
	}
}

func TestBadDurableSession(t *testing.T) {
	b := start(t, nil)
	for details, want := range map[string]string{
		`,"_parley_session":""`:                                         `[3,{"message":"client identifier not valid"},"wamp.error.no_such_principal"]`,
		`,"_parley_session":"` + strings.Repeat("x", 257) + `"`:         `[3,{"message":"client identifier not valid"},"wamp.error.no_such_principal"]`,
		`,"_parley_session":7`:                                          `[3,{"message":"malformed message: wrong type"},"wamp.error.protocol_violation"]`,
		`,"authextra":{"_parley_session":[]}`:                           `[3,{"message":"malformed message: wrong type"},"wamp.error.protocol_violation"]`,
		`,"_parley_session":"x","_parley_expiry":-1`:                    `[3,{"message":"malformed message: wrong type"},"wamp.error.protocol_violation"]`,
		`,"_parley_session":"x","authextra":{"_parley_expiry":"later"}`: `[3,{"message":"malformed message: wrong type"},"wamp.error.protocol_violation"]`,
	} {
		c := b.dial("wamp.2.json")
		c.send(helloWith(details))
		c.expect(want)
	}
}

// A durable session belongs to its user.
func TestDurableSessionOfAnotherUser(t *testing.T) {
	b := start(t, nil)
	b.dialDurable("wamp.2.json", durableHello)
	c := b.dial("wamp.2.json")
	c.send(`[1,"realm1",{"roles":` + allRoles + `,"authid":"u","authmethods":["ticket"]` + durableHello + `}]`)
	c.expect(`[4,"ticket",{}]`)
	c.send(`[5,"p",{}]`)
	c.expect(`[3,{"message":"client identifier not valid"},"wamp.error.no_such_principal"]`)
}

// What is stored while a durable subscriber is away, and what it had not
// acknowledged, arrives once it is back and has attached its filters: in order,
// once, what comes again marked.
func TestDurableSubscriberMissesNothing(t *testing.T) {
	b := start(t, nil)
	for i, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			b := b.with(t)
			topic, hello := fmt.Sprintf("d%d.t", i), fmt.Sprintf(`,"_parley_session":"s%d"`, i)
			a := b.session("wamp.2.json")
			s, d := b.dialDurable(protocol, hello)
			if d["_parley_session_present"] != false || len(d["_parley_subscriptions"].([]any)) != 0 {
				t.Errorf("a new session: %v", d)
			}
			s.send(`[32,1,{},"` + topic + `"]`)
			sub := s.expect(`[33,1,*]`)[0]
			ids := a.publish(topic, 0, 3)
			for i, id := range ids {
				s.expect(fmt.Sprintf(`[36,%s,%s,{"_parley_offset":*,"_parley_via":"wamp"},[%d]]`, sub, id, i))
			}
			if got := s.call("parley.ack", `[`+sub+`,`+ids[1]+`]`); got != `[2]` {
				t.Errorf("acknowledged %s", got)
			}
			s.Drop(io.EOF)
			ids = append(ids, a.publish(topic, 3, 2)...)

			s, d = b.dialDurable(protocol, hello)
			subs := d["_parley_subscriptions"].([]any)
			if d["_parley_session_present"] != true || len(subs) != 1 {
				t.Fatalf("resumed: %v", d)
			}
			if m := subs[0].(map[string]any); m["uri"] != topic || m["match"] != "exact" || fmt.Sprintf("%.0f", m["subscription"]) != sub {
				t.Errorf("resumed: %v", m)
			}
			ids = append(ids, a.publish(topic, 5, 1)...)
			s.barrier()
			s.barrier() // nothing on an id that this peer does not hold
			s.send(`[32,1,{},"` + topic + `"]`)
			s.expect(`[33,1,` + sub + `]`)
			s.expect(fmt.Sprintf(`[36,%s,%s,{"_parley_offset":*,"_parley_redelivered":true,"_parley_via":"wamp"},[2]]`, sub, ids[2]))
			for i := 3; i < 6; i++ {
				s.expect(fmt.Sprintf(`[36,%s,%s,{"_parley_offset":*,"_parley_via":"wamp"},[%d]]`, sub, ids[i], i))
			}
			if got := s.call("parley.ack", `[`+sub+`,`+ids[5]+`]`); got != `[4]` {
				t.Errorf("acknowledged %s", got)
			}
			s.Drop(io.EOF)

			s, _ = b.dialDurable(protocol, hello)
			s.send(`[32,1,{},"` + topic + `"]`)
			s.expect(`[33,1,` + sub + `]`)
			a.publish(topic, 6, 1)
			s.expect(`[36,` + sub + `,*,{"_parley_offset":*,"_parley_via":"wamp"},[6]]`)
		})
	}
}

// The filters of any protocol can be attached.
func TestFilterTerms(t *testing.T) {
	for _, f := range []msg.Filter{
		{Pattern: "a/b"}, {Pattern: "a/#"}, {Pattern: "a/+/b"}, {Pattern: "#"}, {Pattern: "a//b"}, {Pattern: "v1.2/up time"},
		{Pattern: "/"}, {Pattern: "a/b", Group: "g"}, {Pattern: "a/#", Group: "g"},
		{Kind: msg.FilterPrefix, Pattern: "a/b"}, {Kind: msg.FilterPrefix, Pattern: "a/"}, {Kind: msg.FilterPrefix},
		{Kind: msg.FilterPrefix, Pattern: "a//b"}, {Kind: msg.FilterPrefix, Pattern: "a/v1.2"},
		{Kind: msg.FilterWildcard, Pattern: "a/+/b"}, {Kind: msg.FilterWildcard, Pattern: "+/"}, {Kind: msg.FilterWildcard, Pattern: "+"},
		{Kind: msg.FilterWildcard, Pattern: "a", Group: "g"},
	} {
		uri, match := termsOf(f)
		if got, err := filterOf(uri, match, f.Group); got != f || err != nil {
			t.Errorf("%+v: as %q %q it is %+v, %v", f, uri, match, got, err)
		}
	}
	if _, err := filterOf("$share/g/a", matchFilter, "h"); err == nil {
		t.Error("two groups")
	}
}

// The older connection is told; the session goes on where it stopped.
func TestTakeover(t *testing.T) {
	b := start(t, nil)
	a := b.session("wamp.2.json")
	s, _ := b.dialDurable("wamp.2.msgpack", durableHello)
	s.send(`[32,1,{},"a.b"]`)
	sub := s.expect(`[33,1,*]`)[0]
	a.publish("a.b", 0, 1)
	s.expect(`[36,` + sub + `,*,{"_parley_offset":*,"_parley_via":"wamp"},[0]]`)
	n, d := b.dialDurable("wamp.2.json", durableHello)
	s.expect(`[6,{"message":"session taken over"},"parley.close.taken_over"]`)
	s.closed(subproto.ClosePolicy)
	if d["_parley_session_present"] != true {
		t.Errorf("WELCOME %v", d)
	}
	n.send(`[32,1,{},"a.b"]`)
	n.expect(`[33,1,` + sub + `]`)
	n.expect(`[36,` + sub + `,*,{"_parley_offset":*,"_parley_redelivered":true,"_parley_via":"wamp"},[0]]`)
}

// A durable session ends when a connection comes and goes with an expiry of 0.
func TestDurableSessionEnds(t *testing.T) {
	b := start(t, nil)
	s, _ := b.dialDurable("wamp.2.json", durableHello)
	s.send(`[32,1,{},"a.b"]`)
	s.expect(`[33,1,*]`)
	s.Drop(io.EOF)
	s, d := b.dialDurable("wamp.2.json", durableHello+`,"_parley_expiry":0`)
	if d["_parley_session_present"] != true {
		t.Errorf("WELCOME %v", d)
	}
	s.send(`[6,{},"wamp.close.normal"]`)
	s.expect(`[6,{},"wamp.close.goodbye_and_out"]`)
	s.Drop(io.EOF)
	if _, d := b.dialDurable("wamp.2.json", durableHello); d["_parley_session_present"] != false {
		t.Errorf("WELCOME %v", d)
	}
}

// Black- and whitelists name a resumed session by the id that its WELCOME gave.
func TestResumedSessionIsKnownByItsNewID(t *testing.T) {
	b := start(t, nil)
	a := b.session("wamp.2.json")
	c, _ := b.dialDurable("wamp.2.json", durableHello)
	c.send(`[32,1,{},"a.b"]`)
	sub := c.expect(`[33,1,*]`)[0]
	c.Drop(io.EOF)
	c = b.dial("wamp.2.json")
	c.send(helloWith(durableHello))
	id, _, _ := strings.Cut(c.next()[len(`[2,`):], ",")
	c.send(`[32,1,{},"a.b"]`)
	c.expect(`[33,1,` + sub + `]`)
	a.send(`[16,1,{"acknowledge":true,"exclude":[` + id + `]},"a.b",[1]]`)
	a.expect(`[17,1,*]`)
	a.send(`[16,2,{"acknowledge":true,"eligible":[` + id + `]},"a.b",[2]]`)
	a.expect(`[17,2,*]`)
	c.expect(`[36,` + sub + `,*,{"_parley_offset":*,"_parley_via":"wamp"},[2]]`)
}

// A subscriber that does not acknowledge is sent its window and then waits; what
// it acknowledges makes room, in order.
func TestWindowFillsWithoutAck(t *testing.T) {
	b := start(t, nil)
	a := b.session("wamp.2.json")
	c, _ := b.dialDurable("wamp.2.msgpack", durableHello)
	c.send(`[32,1,{},"w.t"]`)
	sub := c.expect(`[33,1,*]`)[0]
	const window, more = 1024, 50
	ids := a.publish("w.t", 0, window+more)
	want := 0
	for ; want < window; want++ {
		if got, _ := c.number(sub); got != want {
			t.Fatalf("got %d, want %d", got, want)
		}
	}
	c.barrier()
	c.barrier()
	if got := c.call("parley.ack", `[`+sub+`,`+ids[9]+`]`); got != `[10]` {
		t.Errorf("acknowledged %s", got)
	}
	for ; want < window+10; want++ {
		if got, _ := c.number(sub); got != want {
			t.Fatalf("got %d, want %d", got, want)
		}
	}
	c.call("parley.ack", `[`+sub+`,`+ids[window+5]+`]`)
	for ; want < window+more; want++ {
		if got, _ := c.number(sub); got != want {
			t.Fatalf("got %d, want %d", got, want)
		}
	}
}

// With auto nothing waits for parley.ack, and what was written does not come
// again.
func TestAutoAckInDurableSession(t *testing.T) {
	b := start(t, nil)
	a := b.session("wamp.2.json")
	c, _ := b.dialDurable("wamp.2.json", durableHello)
	c.send(`[32,1,{"_parley_ack":"auto"},"w.t"]`)
	sub := c.expect(`[33,1,*]`)[0]
	a.publish("w.t", 0, 3)
	for want := range 3 {
		if got, _ := c.number(sub); got != want {
			t.Fatalf("got %d, want %d", got, want)
		}
	}
	c.Drop(io.EOF)
	a.publish("w.t", 3, 1)
	c, _ = b.dialDurable("wamp.2.json", durableHello)
	c.send(`[32,1,{"_parley_ack":"auto"},"w.t"]`)
	c.expect(`[33,1,` + sub + `]`)
	if got, _ := c.number(sub); got != 3 {
		t.Fatalf("got %d, want 3", got)
	}
}

// Two clients that fight over a session: the newcomer is refused in the end.
func TestSessionThatIsFoughtOver(t *testing.T) {
	b := start(t, nil)
	for range 20 {
		c := b.dial("wamp.2.json")
		c.send(helloWith(durableHello))
		if got := c.next(); !strings.HasPrefix(got, `[2,`) {
			if !strings.HasPrefix(got, `[3,{"message":"session changes hands too often"},"parley.error.session_busy"]`) {
				t.Fatal(got)
			}
			c.closed(subproto.CloseTryLater)
			return
		}
	}
	t.Error("no one was refused")
}
