package json

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"parley/auth"
	"parley/msg"
	"parley/subproto"
)

// Messages of the scripts below, as n publishes of a client of its own make them.
func publish(t *testing.T, e *Engine, topic string, values ...int) {
	t.Helper()
	c := open(t, e, subproto.Info{})
	c.talk(hello)
	for _, v := range values {
		c.send(fmt.Sprintf(`{"id":9,"publish":{"channel":%q,"data":%d}}`, topic, v))
		if got := c.next(); !strings.HasPrefix(got, `{"id":9,"publish":{"offset":`) {
			t.Fatal(got)
		}
	}
	c.c.Drop(nil)
}

// pub is the push of a value, with its marks.
func pub(channel, topic string, value, offset int, marks string) string {
	return fmt.Sprintf(`{"push":{"channel":%q,"pub":{"data":%d,"offset":%d,"time":*,"tags":{"topic":%q,"via":"json"%s},"info":{"user":"","client":*}}}}`,
		channel, value, offset, topic, marks)
}

const (
	redelivered = `,"redelivered":"true"`
	replayed    = `,"replayed":"true"`
)

// durable is a connect command and its reply.
func durable(data, reply string) string {
	return `> {"id":1,"connect":{"data":` + data + `}}
		< {"id":1,"connect":{"client":*,"version":"parley","ping":25,"pong":true,` + reply + `}}
	`
}

const (
	fresh   = `"data":{"session":{"present":false,"expiry":3600}}`
	present = `"data":{"session":{"present":true,"expiry":3600}},"subs":{"t/#":{"epoch":*,"was_recovering":true,"recovered":true}}`
	truck   = `{"session":"truck-7"}`
	attach  = `> {"id":2,"subscribe":{"channel":"t/#"}}
		< {"id":2,"subscribe":{"epoch":*,"was_recovering":true,"recovered":true}}
	`
	subscribe = `> {"id":2,"subscribe":{"channel":"t/#"}}
		< {"id":2,"subscribe":{"epoch":*,"offset":0,"positioned":true}}
	`
)

// TestDurableSession: what a client did not acknowledge comes again, marked, what
// it missed comes after that, and nothing comes before an SDK has had the chance
// to subscribe anew.
func TestDurableSession(t *testing.T) {
	e := New(Options{Attach: startHub(t).Attach})
	c := open(t, e, subproto.Info{})
	c.talk(durable(truck, fresh) + subscribe)
	publish(t, e, "t/1", 10, 11)
	c.talk("< " + pub("t/#", "t/1", 10, 1, "") + "\n< " + pub("t/#", "t/1", 11, 2, "") + `
		> {"id":3,"rpc":{"method":"parley.ack","data":{"channel":"t/#","offset":1}}}
		< {"id":3,"rpc":{"data":{}}}`)
	c.c.Drop(io.EOF)
	publish(t, e, "t/1", 12)

	c = open(t, e, subproto.Info{})
	c.talk(durable(truck, present) + "< {}\n" + attach + "> {}\n" +
		"< " + pub("t/#", "t/1", 11, 2, redelivered) + "\n< " + pub("t/#", "t/1", 12, 3, ""))
	c.c.Drop(io.EOF)

	c = open(t, e, subproto.Info{}) // by hand: at once, and subscribing is not needed
	c.talk(`
		> {"connect":{"data":{"session":"truck-7","expiry":60}}}
		< {"connect":{"client":*,"version":"parley","pong":false,"data":{"session":{"present":true,"expiry":60}},"subs":{"t/#":{"epoch":*,"was_recovering":true,"recovered":true}}}}
		< ` + pub("t/#", "t/1", 11, 2, redelivered) + `
		< ` + pub("t/#", "t/1", 12, 3, redelivered) + `
		> {"rpc":{"method":"parley.ack","data":{"channel":"t/#","offset":3}}}
		< {"rpc":{"data":{}}}
		> {"subscribe":{"channel":"t/#"}}
		< {"subscribe":{"epoch":*,"was_recovering":true,"recovered":true}}
		> {"subscribe":{"channel":"t/#"}}
		< {"error":{"code":105,"message":"already subscribed"}}
		> {"unsubscribe":{"channel":"t/#"}}
		< {"unsubscribe":{}}`)
	c.c.Drop(io.EOF)
	publish(t, e, "t/1", 13)

	c = open(t, e, subproto.Info{}) // everything acknowledged, nothing subscribed
	c.talk(durable(truck, `"data":{"session":{"present":true,"expiry":3600}}`) + `
		> {"id":2,"ping":{}}
		< {"id":2,"ping":{}}`)
}

// TestPongAcknowledges: the answer to a ping covers what was pushed before the
// ping and nothing later; a ping is sent early when half of the window waits.
func TestPongAcknowledges(t *testing.T) {
	e := New(Options{Attach: startHub(t).Attach})
	c := open(t, e, subproto.Info{})
	data := `{"session":"truck-7","window":4}`
	c.talk(durable(data, fresh) + subscribe)
	publish(t, e, "t/1", 10)
	c.talk("< " + pub("t/#", "t/1", 10, 1, ""))
	publish(t, e, "t/1", 11)
	c.talk("< " + pub("t/#", "t/1", 11, 2, "") + "\n< {}")
	publish(t, e, "t/1", 12, 13, 14)
	c.talk("< " + pub("t/#", "t/1", 12, 3, "") + "\n< " + pub("t/#", "t/1", 13, 4, "") + `
		> {"id":3,"ping":{}}
		< {"id":3,"ping":{}}
		> {}`)
	got := []string{stable(c.next()), stable(c.next())} // in the order that 14 comes out of the hub
	slices.Sort(got)
	if got[0] != pub("t/#", "t/1", 14, 5, "") || got[1] != "{}" {
		t.Fatal(got)
	}
	c.c.Drop(io.EOF)
	c = open(t, e, subproto.Info{})
	c.talk(durable(data, present) + "< {}\n> {}\n< " + pub("t/#", "t/1", 12, 3, redelivered))
}

// TestDurableBadData: what is wrong with the data is said.
func TestDurableBadData(t *testing.T) {
	e := New(Options{Attach: startHub(t).Attach})
	for data, reason := range map[string]string{
		`{"session":5}`:                            "session",
		`{"session":""}`:                           "session",
		`{"session":"\u0000"}`:                     "session",
		`{"session":["a"]}`:                        "session",
		`{"session":"a","expiry":-1}`:              "expiry",
		`{"session":"a","expiry":1.5}`:             "expiry",
		`{"session":"a","expiry":4294967296}`:      "expiry",
		`{"session":"a","expiry":"forever"}`:       "expiry",
		`{"session":"a","window":0}`:               "window",
		`{"session":"a","window":65536}`:           "window",
		`{"expiry":{},"session":"a","window":"x"}`: "expiry",
	} {
		for _, id := range []string{`"id":1,`, ""} {
			open(t, e, subproto.Info{}).talk(fmt.Sprintf("> {%s\"connect\":{\"data\":%s}}\n! 3501 connect data: %s not valid", id, data, reason))
		}
	}
}

// TestDurableExpiry: the session is asked for as the client says, within the limit.
func TestDurableExpiry(t *testing.T) {
	for data, want := range map[string]string{
		`{"session":"a"}`:                   "3600 1h0m0s a false 1024",
		`{"session":"a","expiry":null}`:     "3600 1h0m0s a false 1024",
		`{"session":"a","expiry":0}`:        "0 0s a false 1024",
		`{"session":"a","expiry":60}`:       "60 1m0s a false 1024",
		`{"session":"a","expiry":90000}`:    "86400 24h0m0s a false 1024",
		`{"session":"a","expiry":"never"}`:  "86400 24h0m0s a false 1024",
		`{"session":"a","window":5}`:        "3600 1h0m0s a false 5",
		`{"session":"a","window":2000}`:     "3600 1h0m0s a false 1024",
		`{"session":null,"expiry":5}`:       " 0s  true 1024",
		`{"user":"ann","password":"x"}`:     " 0s  true 1024",
		`"anything"`:                        " 0s  true 1024",
		`{"other":{"session":"a"},"x":[1]}`: " 0s  true 1024",
	} {
		var got msg.SessionParams
		s := &fakeSession{}
		e := New(Options{MaxSessionExpiry: 24 * 3600e9, Attach: func(p subproto.Peer, id *auth.Identity, params msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
			got = params
			return s.attach(p, id, params, done)
		}})
		c := open(t, e, subproto.Info{})
		c.send(`{"id":1,"connect":{"data":` + data + `}}`)
		_, granted, _ := strings.Cut(c.next(), `"expiry":`)
		granted = strings.TrimRight(granted, "}")
		if s := fmt.Sprint(granted, " ", got.Expiry, " ", got.ClientID, " ", got.CleanStart, " ", got.Window); s != want {
			t.Errorf("%s: %q, want %q", data, s, want)
		}
	}
	never := New(Options{Attach: (&fakeSession{}).attach})
	open(t, never, subproto.Info{}).talk(durable(`{"session":"a","expiry":"never"}`, `"data":{"session":{"present":false,"expiry":"never"}}`))
}

// TestSessionEnd: a client ends its session for good, filters included.
func TestSessionEnd(t *testing.T) {
	e := New(Options{Attach: startHub(t).Attach})
	c := open(t, e, subproto.Info{})
	c.talk(durable(truck, fresh) + subscribe + `
		> {"id":3,"rpc":{"method":"parley.session.end"}}
		< {"id":3,"rpc":{"data":{}}}
		! 4503 session ended`)
	c.c.Drop(nil)
	open(t, e, subproto.Info{}).talk(durable(truck, fresh))
	open(t, e, subproto.Info{}).talk(hello + `
		> {"id":3,"rpc":{"method":"parley.session.end"}}
		< {"id":3,"error":{"code":108,"message":"not available"}}`)
	c = open(t, e, subproto.Info{}) // expiry 0: it ends with this connection
	c.talk(durable(`{"session":"b"}`, fresh))
	c.c.Drop(nil)
	c = open(t, e, subproto.Info{})
	c.talk(durable(`{"session":"b","expiry":0}`, `"data":{"session":{"present":true,"expiry":0}}`))
	c.c.Drop(nil)
	open(t, e, subproto.Info{}).talk(durable(`{"session":"b"}`, fresh))
}

// TestSessionOwner: a session belongs to its user, and to the newest of that
// user's connections; the older one is told not to come back (4500).
func TestSessionOwner(t *testing.T) {
	e := New(Options{Attach: startHub(t).Attach})
	as := func(user string) *client { return open(t, e, subproto.Info{Identity: &auth.Identity{User: user}}) }
	ann := as("ann")
	ann.talk(durable(truck, fresh) + subscribe)
	as("bob").talk("> {\"id\":1,\"connect\":{\"data\":" + truck + "}}\n! 4502 client identifier not valid")
	publish(t, e, "t/1", 10)
	ann.talk("< " + pub("t/#", "t/1", 10, 1, ""))
	newer := as("ann")
	newer.talk(durable(truck, present) + "< {}\n> {}\n< " + pub("t/#", "t/1", 10, 1, redelivered))
	ann.talk("! 4500 session taken over")
}

// TestAckErrors: of parley.ack.
func TestAckErrors(t *testing.T) {
	e := New(Options{Attach: startHub(t).Attach})
	c := open(t, e, subproto.Info{})
	c.talk(durable(truck, fresh))
	for _, data := range []string{`null`, `{}`, `{"channel":"a"}`, `{"offset":1}`, `{"channel":"a","offset":0}`, `{"channel":"a","offset":"1"}`, `{"channel":"a","offset":1,"x":2}`, `[]`} {
		want := `{"id":3,"error":{"code":107,"message":"bad request"}}`
		if data == `{"offset":1}` {
			want = `{"id":3,"error":{"code":1005,"message":"no such subscription"}}`
		}
		c.talk(`> {"id":3,"rpc":{"method":"parley.ack","data":` + data + "}}\n< " + want)
	}
	c.talk(`
		> {"id":3,"rpc":{"method":"parley.ack"}}
		< {"id":3,"error":{"code":107,"message":"bad request"}}
		> {"id":3,"rpc":{"method":"parley.ack","data":{"channel":"a","offset":1}}}
		< {"id":3,"error":{"code":1005,"message":"no such subscription"}}`)
}

// TestResumedFilters: those of another protocol have names, also where this one
// has no notation; a subscribe finds a group under both of its.
func TestResumedFilters(t *testing.T) {
	var subs []msg.Subscription
	for i, f := range []msg.Filter{
		{Pattern: "a/b", Kind: msg.FilterPrefix}, {Pattern: "a/+/c", Kind: msg.FilterWildcard}, {Pattern: "j/#", Group: "g"}, {Pattern: "q/0"},
	} {
		subs = append(subs, msg.Subscription{Filter: f, Handle: uint64(7 + i), NoLocal: true})
	}
	s := &fakeSession{result: msg.AttachResult{Present: true, Subscriptions: subs}}
	var asked []msg.Subscription
	s.subscribe = func(subs []msg.Subscription, done func([]msg.SubscribeResult)) {
		asked = append(asked, subs...)
		done([]msg.SubscribeResult{{}})
	}
	s.give(msg.Delivery{Notice: &msg.Notice{Kind: msg.NoticeGap, Subscription: &subs[2], First: 1, Last: 2, Count: 2, Reason: "age"}})
	for i := range subs {
		s.give(msg.Delivery{Message: &msg.Message{Topic: "x", Via: msg.ViaMQTT}, Matches: []*msg.Subscription{&subs[i]}})
	}
	c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
	const ok, lost = `{"epoch":*,"was_recovering":true,"recovered":true}`, `{"epoch":*,"was_recovering":true,"recovered":false}`
	push := func(channel string) string {
		return `< {"push":{"channel":"` + channel + `","pub":{"data":"","tags":{"topic":"x","via":"mqtt","encoding":"text"}}}}` + "\n"
	}
	c.talk(durable(truck, `"data":{"session":{"present":true,"expiry":3600}},"subs":{"$prefix/a/b":`+ok+`,"$share/g/j/#":`+lost+`,"$wildcard/a/+/c":`+ok+`,"q/0":`+ok+`}`) + `
		< {}
		< {"push":{"message":{"data":{"type":"gap","filter":"$share/g/j/#","first":1,"last":2,"count":2,"reason":"age"}}}}
		> {"id":2,"subscribe":{"channel":"j/#","data":{"group":"g"}}}
		< {"id":2,"subscribe":` + lost + `}
		> {"id":3,"subscribe":{"channel":"q/0"}}
		< {"id":3,"subscribe":` + ok + `}
		> {}
		` + push("$prefix/a/b") + push("$wildcard/a/+/c") + push("j/#") + push("q/0") + `
		> {"id":4,"unsubscribe":{"channel":"$prefix/a/b"}}
		< {"id":4,"unsubscribe":{}}`)
	if len(asked) != 2 || asked[0].Handle != 9 || asked[1].Handle != 10 || asked[1].QoS != 1 || !asked[1].NoLocal || asked[1].Retained != msg.RetainNone {
		t.Fatalf("%+v", asked)
	}
}

// TestGroups: option group and $share are the same; what a member leaves
// unacknowledged goes to another at once, durable or not.
func TestGroups(t *testing.T) {
	e := New(Options{Attach: startHub(t).Attach})
	a, b := open(t, e, subproto.Info{}), open(t, e, subproto.Info{})
	a.talk(hello + `
		> {"id":2,"subscribe":{"channel":"j/#","data":{"group":"g"}}}
		< {"id":2,"subscribe":{"epoch":*}}
		> {"id":3,"subscribe":{"channel":"$share/g/j/#"}}
		< {"id":3,"error":{"code":105,"message":"already subscribed"}}
		> {"id":3,"subscribe":{"channel":"$share/g/x","data":{"group":"h"}}}
		< {"id":3,"error":{"code":107,"message":"bad request"}}
		> {"id":3,"subscribe":{"channel":"x","data":{"group":"a/b"}}}
		< {"id":3,"error":{"code":107,"message":"bad request"}}
		> {"id":3,"subscribe":{"channel":"x","data":{"group":5}}}
		< {"id":3,"error":{"code":107,"message":"bad request"}}`)
	publish(t, e, "j/1", 10, 11)
	a.talk("< " + pub("j/#", "j/1", 10, 1, "") + "\n< " + pub("j/#", "j/1", 11, 2, "") + `
		> {"id":4,"rpc":{"method":"parley.ack","data":{"channel":"j/#","offset":1}}}
		< {"id":4,"rpc":{"data":{}}}`)
	b.talk(hello + `
		> {"id":2,"subscribe":{"channel":"$share/g/j/#"}}
		< {"id":2,"subscribe":{"epoch":*}}`)
	a.c.Drop(io.EOF)
	b.talk("< " + pub("$share/g/j/#", "j/1", 11, 2, ""))
}

// TestLateSubscribe: an SDK that subscribes when deliveries are under way drops
// those that come before the reply; they come again after it, and no pong that was
// sent meanwhile acknowledges them.
func TestLateSubscribe(t *testing.T) {
	e := New(Options{Attach: startHub(t).Attach})
	c := open(t, e, subproto.Info{})
	c.talk(durable(truck, fresh) + subscribe)
	c.c.Drop(io.EOF)
	publish(t, e, "t/1", 10, 11)
	c = open(t, e, subproto.Info{})
	c.talk(durable(`{"session":"truck-7","window":4}`, present) + "< {}\n> {}\n" +
		"< " + pub("t/#", "t/1", 10, 1, "") + "\n< " + pub("t/#", "t/1", 11, 2, "") + "\n< {}\n" +
		attach + "< " + pub("t/#", "t/1", 10, 1, redelivered) + "\n< " + pub("t/#", "t/1", 11, 2, redelivered) + `
		> {}
		< {}
		> {"id":3,"rpc":{"method":"parley.ack","data":{"channel":"t/#","offset":1}}}
		< {"id":3,"rpc":{"data":{}}}`)
	c.c.Drop(io.EOF)
	c = open(t, e, subproto.Info{})
	c.talk(durable(truck, present) + "< {}\n> {}\n< " + pub("t/#", "t/1", 11, 2, redelivered) + `
		> {"id":3,"unsubscribe":{"channel":"t/#"}}
		< {"id":3,"unsubscribe":{}}`)
}

// TestKeptBounded: messages kept for that are bounded in bytes; more come as they
// are acknowledged.
func TestKeptBounded(t *testing.T) {
	sub := msg.Subscription{Filter: msg.Filter{Pattern: "a"}, Handle: 1, QoS: 1}
	s := &fakeSession{result: msg.AttachResult{Present: true, Subscriptions: []msg.Subscription{sub}}}
	large := msg.Bytes([]byte(strings.Repeat("1", keptBytes/4)))
	for i := range 20 {
		s.give(msg.Delivery{Message: &msg.Message{Topic: "a", Offset: msg.Offset(i + 1), Payload: large}, Matches: []*msg.Subscription{&sub}, QoS: 1, Ref: uint64(i + 1)})
	}
	c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
	c.send(`{"id":1,"connect":{"data":{"session":"s"}}}`)
	c.next()
	for i := 0; i < 20; i++ {
		if got := c.next(); got == "{}" {
			if left := s.left(); left > 0 && left < 20-i-4 {
				t.Fatalf("%d were pushed before an answer was due, %d are left", i, left)
			}
			c.send("{}")
			i--
		}
	}
}
