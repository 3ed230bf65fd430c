package e2e

import (
	"encoding/json"
	"fmt"
	"syscall"
	"testing"
)

var wampKinds = []string{"wamp.json", "wamp.msgpack", "wamp.cbor"}

// TestWAMPDurableSession: an autobahn-js client whose connection is cut again
// and again while messages stream in has all of them, in order; what comes twice
// was not acknowledged and says so.
func TestWAMPDurableSession(t *testing.T) {
	const total, cuts = 600, 5
	for _, kind := range wampKinds {
		t.Run(kind, func(t *testing.T) {
			b := startBroker(t, "")
			d, c := startDriver(t), startCutter(t, b)
			pub := d.open("pub", "mqtt5", b, nil)
			connect := func(i int) *peer {
				return d.open(fmt.Sprint("truck", i), kind, b, args{"url": c.url("/wamp"), "session": "truck-7", "expiry": 600})
			}
			sub := connect(0)
			if sub.opened.SessionPresent {
				t.Error("a new session is present")
			}
			sub.subscribe("load", nil)
			publishing := make(chan bool)
			go func() {
				defer close(publishing)
				for i := range total {
					if _, err := pub.try("publish", args{"topic": "load", "payload": fmt.Sprint(i), "qos": 1}); err != nil {
						t.Errorf("publish: %v", err)
					}
				}
			}()
			next, acked, cut := 0, -1, 0
			for next < total {
				m := sub.recv()
				n := numberOf(t, m.Payload)
				switch {
				case n > next:
					t.Fatalf("received %d, want %d: lost", n, next)
				case n < next && (!m.Redelivered || n <= acked):
					t.Fatalf("received %d again (redelivered %v, acknowledged up to %d)", n, m.Redelivered, acked)
				}
				next = max(next, n+1)
				if n%10 == 9 {
					sub.do("ack", args{"filter": "load", "publication": m.Publication})
					acked = n
				}
				if cut < cuts && n == (cut+1)*total/(cuts+2)+5 {
					cut++
					c.cut()
					sub.waitClosed()
					sub = connect(cut)
					if s := sub.opened.Subscriptions; !sub.opened.SessionPresent || len(s) != 1 || s[0].URI != "load" || s[0].Match != "exact" {
						t.Fatalf("resumed: %+v", sub.opened)
					}
					sub.subscribe("load", nil)
				}
			}
			<-publishing
			if cut != cuts {
				t.Errorf("%d cuts", cut)
			}
		})
	}
}

// TestWAMPReplayAndHistory: subscriptions that begin in the past, after the last
// publication a client has seen, and the event history procedure, through
// autobahn-js, over messages that were published twice with one key.
func TestWAMPReplayAndHistory(t *testing.T) {
	b := startBroker(t, "")
	d := startDriver(t)
	pub := d.open("pub", "wamp.json", b, nil)
	const total = 20
	publish := func(i int) json.Number {
		var r struct{ Publication json.Number }
		with := args{"topic": [2]string{"h.x", "h.y"}[i%2], "payload": args{"args": []int{i}}, "key": fmt.Sprint("key ", i)}
		if err := json.Unmarshal(pub.do("publish", with), &r); err != nil {
			t.Fatal(err)
		}
		return r.Publication
	}
	ids := make([]json.Number, total)
	for i := range total {
		ids[i] = publish(i)
		if again := publish(i); again != ids[i] {
			t.Errorf("publication %s, repeated with its key %s", ids[i], again)
		}
	}
	for _, kind := range wampKinds {
		t.Run(kind, func(t *testing.T) {
			c := d.open(kind, kind, b, nil)
			for i, r := range []struct {
				filter  string
				options args
				first   int
			}{
				{"h/#", args{"_parley_from": "earliest"}, 0},
				{"h/#", args{"_parley_after": ids[11]}, 12},
				{"h/#", args{"_parley_from": "@2020-01-01T00:00:00Z"}, 0},
			} {
				c.subscribe(r.filter, args{"options": r.options})
				for n := r.first; n < total; n++ {
					if m := c.recv(); numberOf(t, m.Payload) != n || m.Publication != ids[n] || !m.Replayed {
						t.Fatalf("%d: received %+v, want %d", i, m, n)
					}
				}
				if i < 2 {
					c.do("unsubscribe", args{"filter": "h."})
				}
			}
			var past struct {
				Events []struct {
					Publication json.Number
					Args        []int
					Details     map[string]any
				}
				More bool
			}
			answer := c.do("history", args{"filter": "h.", "bounds": args{"reverse": true, "limit": 3, "topic": "h.x", "before_publication": ids[15]}})
			if err := json.Unmarshal(answer, &past); err != nil {
				t.Fatal(err)
			}
			if len(past.Events) != 3 || !past.More {
				t.Fatalf("history %s", answer)
			}
			for i, e := range past.Events {
				if want := 14 - 2*i; e.Args[0] != want || e.Publication != ids[want] || e.Details["topic"] != "h.x" {
					t.Errorf("history %+v, want %d", e, want)
				}
			}
			gaps := c.do("call", args{"procedure": "parley.gaps"})
			if string(gaps) != `{"value":[]}` {
				t.Errorf("parley.gaps: %s", gaps)
			}
		})
	}
}

// TestWAMPSessionSurvivesKill: the session, its filter, what was acknowledged and
// what was not outlive a kill -9 of the broker; so do publication ids.
func TestWAMPSessionSurvivesKill(t *testing.T) {
	for _, kind := range wampKinds {
		t.Run(kind, func(t *testing.T) {
			b := startBroker(t, "")
			d := startDriver(t)
			publish := func(name string, first, last int) {
				pub := d.open(name, "mqtt5", b, nil)
				for i := first; i <= last; i++ {
					pub.do("publish", args{"topic": "load", "payload": fmt.Sprint(i), "qos": 1})
				}
			}
			sub := d.open("before", kind, b, args{"session": "truck-7"})
			sub.subscribe("load", nil)
			publish("first", 0, 9)
			ids := map[int]json.Number{}
			for want := range 10 {
				m := sub.recv()
				if got := numberOf(t, m.Payload); got != want {
					t.Fatalf("received %d, want %d", got, want)
				}
				ids[want] = m.Publication
			}
			sub.do("ack", args{"filter": "load", "publication": ids[4]})
			b.signal(syscall.SIGKILL)
			sub.waitClosed()
			b.start()

			publish("second", 10, 12)
			sub = d.open("after", kind, b, args{"session": "truck-7"})
			if !sub.opened.SessionPresent {
				t.Fatal("the session is gone")
			}
			// The client has seen 7, wherever the broker's checkpoint stood.
			sub.subscribe("load", args{"options": args{"_parley_after": ids[7]}})
			for want := 8; want <= 12; want++ {
				m := sub.recv()
				if got := numberOf(t, m.Payload); got != want || want < 10 && m.Publication != ids[want] {
					t.Fatalf("received %d as %s, want %d", got, m.Publication, want)
				}
			}
		})
	}
}
