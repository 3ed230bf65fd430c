package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// page is a client of the centrifuge SDK that comes back by itself.
type page struct{ *peer }

// push is what the SDK tells besides publications.
type push struct {
	Subscribed     string
	Recovered, Was bool
	Position       *struct {
		Offset int64
		Epoch  string
	}
	Connected *struct{ Session *sessionData }
	Pong      *int
	Handled   int
	Data      json.RawMessage
}

// sessionData is what a connect reply says of a session.
type sessionData struct {
	Present bool
	Expiry  any // seconds or "never"
}

// event waits for the next push that wanted picks.
func (p page) event(what string, wanted func(push) bool) push {
	p.d.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case raw := <-p.frames:
			if got := decode[push](p.d.t, raw); wanted(got) {
				return got
			}
		case <-deadline:
			p.d.t.Fatalf("%s: no %s", p.name, what)
		}
	}
}

// back waits until the client has subscribed again.
func (p page) back() push {
	p.d.t.Helper()
	return p.event("subscribed", func(got push) bool { return got.Subscribed != "" })
}

// openPage connects; data is what connect carries, nil for nothing.
func openPage(d *driver, name, kind string, b *broker, data args) page {
	d.t.Helper()
	with := args{"reconnect": 20, "pongs": data != nil}
	if data != nil {
		with["data"] = data
	}
	return page{d.open(name, kind, b, with)}
}

func number(t *testing.T, m message) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(string(m.Payload), `"n%d"`, &n); err != nil {
		t.Fatalf("payload %s: %v", m.Payload, err)
	}
	return n
}

// TestJSONRecovery: an SDK whose connection is cut again and again during a
// stream has every message once, in order; recovery is always whole.
func TestJSONRecovery(t *testing.T) {
	const count, cuts = 3000, 15
	b := startBroker(t, "")
	for i, kind := range []string{"centrifuge", "centrifuge+json"} {
		t.Run(kind, func(t *testing.T) {
			d := startDriver(t)
			p, publisher := openPage(d, "page", kind, b, nil), d.open("publisher", "bare", b, nil)
			topic := fmt.Sprint("load/", i)
			p.subscribe(topic, nil)
			p.back()
			done := make(chan struct{})
			go func() {
				defer close(done)
				publisher.do("burst", args{"topic": topic, "prefix": "n", "count": count, "window": 50})
			}()
			last, cut := int64(0), false
			returned := func() {
				if got := p.back(); !got.Was || !got.Recovered || got.Position == nil {
					t.Fatalf("%+v", got)
				}
			}
			for i := range count {
				m := p.recv()
				if n := number(t, m); n != i || m.Offset <= last {
					t.Fatalf("message %d at offset %d instead of %d after %d", n, m.Offset, i, last)
				}
				last = m.Offset
				if i%(count/cuts) == count/cuts/2 {
					if cut {
						returned()
					}
					cut = true
					p.do("drop", nil)
				}
			}
			<-done
			returned()
		})
	}
}

// TestJSONDurableSession: a page with a session has what it did not acknowledge
// and what it missed, over cuts, other connections and a restart of the broker;
// its SDK acknowledges by answering pings, after its handlers have returned.
func TestJSONDurableSession(t *testing.T) {
	b := startBroker(t, "")
	d := startDriver(t)
	data := args{"session": "truck-7", "window": 16}
	p, device := openPage(d, "page", "centrifuge", b, data), d.open("device", "mqtt5", b, nil)
	p.subscribe("job/#", nil)
	p.back()
	const count = 1000
	done := make(chan struct{})
	go func() {
		defer close(done)
		device.do("burst", args{"topic": "job/1", "prefix": "n", "count": count, "qos": 1})
	}()
	next, again := 0, 0
	for next < count {
		m := p.recv()
		n := number(t, m)
		switch {
		case n == next:
			next++
			if next%200 == 100 {
				p.do("drop", nil)
			}
		case n < next && m.Tags["redelivered"] == "true":
			again++
		default:
			t.Fatalf("message %d instead of %d, tags %v", n, next, m.Tags)
		}
	}
	<-done
	if again > 5*16 {
		t.Errorf("%d messages came again: more than a window at each of 5 returns", again)
	}
	pongs := 0
	for len(p.frames) > 0 {
		if got := decode[push](t, <-p.frames); got.Pong != nil {
			pongs++
			if got.Handled < *got.Pong {
				t.Fatalf("ping answered after %d of %d publications were handled", got.Handled, *got.Pong)
			}
		}
	}
	if pongs < count/16/2 {
		t.Errorf("%d pings answered for %d messages in a window of 16", pongs, count)
	}
	p.do("close", nil)
	device.do("publish", args{"topic": "job/2", "payload": "\"n1000\"", "qos": 1})

	// Elsewhere, without subscribing: what the session holds is subscribed already.
	other := openPage(d, "other", "centrifuge+json", b, data)
	for {
		m := other.recv()
		if !m.Server {
			t.Fatalf("%+v came to a subscription", m)
		}
		if m.Tags["redelivered"] == "true" {
			continue // not yet acknowledged when the first page closed
		}
		if n := number(t, m); n != 1000 || m.Topic != "job/2" {
			t.Fatalf("message %d instead of 1000: %+v", n, m)
		}
		break
	}
	other.do("rpc", args{"method": "parley.ack", "data": args{"channel": "job/#", "offset": 1 << 40}})
	other.do("close", nil)
	// Everything is acknowledged now: the next has only what is new.
	third := openPage(d, "third", "centrifuge", b, data)
	device.do("publish", args{"topic": "job/2", "payload": "\"n1001\"", "qos": 1})
	if m := third.recv(); number(t, m) != 1001 || m.Tags["redelivered"] != "" {
		t.Fatalf("%+v", m)
	}
	third.do("rpc", args{"method": "parley.session.end"})
	if c := third.waitClosed(); c.Code != 4503 || c.Again {
		t.Fatalf("%+v", c)
	}
}

// TestJSONHistory: with the SDK, and a replay into a subscription.
func TestJSONHistory(t *testing.T) {
	b := startBroker(t, "")
	d := startDriver(t)
	p := openPage(d, "page", "centrifuge", b, nil)
	p.do("burst", args{"topic": "log/1", "prefix": "n", "count": 20})
	type history struct {
		Publications []struct{ Offset int64 }
		Epoch        string
		Offset       int64
	}
	ask := func(options args) history {
		return decode[history](t, p.do("history", args{"filter": "log/#", "options": options}))
	}
	all := ask(args{"limit": -1})
	if len(all.Publications) != 20 || all.Epoch == "" || all.Offset < all.Publications[19].Offset {
		t.Fatalf("%+v", all)
	}
	mid := all.Publications[9].Offset
	some := ask(args{"limit": 5, "since": args{"offset": mid, "epoch": all.Epoch}})
	back := ask(args{"limit": 5, "reverse": true, "since": args{"offset": mid, "epoch": all.Epoch}})
	if len(some.Publications) != 5 || some.Publications[0] != all.Publications[10] || len(back.Publications) != 5 || back.Publications[0] != all.Publications[8] {
		t.Fatalf("%+v %+v", some, back)
	}
	if top := ask(args{}); len(top.Publications) != 0 || top.Offset != all.Offset {
		t.Fatalf("%+v", top)
	}
	if _, err := p.try("history", args{"filter": "log/#", "options": args{"limit": 5, "since": args{"offset": mid, "epoch": "another"}}}); err == nil || err.Code != 112.0 {
		t.Fatal(err)
	}

	p.subscribe("log/#", args{"options": args{"since": args{"offset": mid, "epoch": all.Epoch}}})
	if got := p.back(); !got.Recovered || got.Position.Offset != mid {
		t.Fatalf("%+v", got)
	}
	for i := 10; i < 20; i++ {
		if m := p.recv(); number(t, m) != i || m.Tags["replayed"] != "true" {
			t.Fatalf("%+v instead of %d", m, i)
		}
	}
	p.do("rpc", args{"method": "parley.replay", "data": args{"channel": "log/#", "from": "earliest"}})
	for i := range 20 {
		if m := p.recv(); number(t, m) != i {
			t.Fatalf("%+v instead of %d", m, i)
		}
	}
}

// TestJSONSessionOutlivesBroker: a session, its filters, what it acknowledged and
// what it did not, over a kill -9 and a proper restart.
func TestJSONSessionOutlivesBroker(t *testing.T) {
	b := startBroker(t, "")
	for name, again := range map[string]func(){"kill": func() { b.kill(); b.start() }, "restart": b.restart} {
		t.Run(name, func(t *testing.T) {
			d := startDriver(t)
			topic := name + "/1"
			data := args{"session": name, "expiry": "never"}
			bare, device := d.open("bare", "bare", b, args{"data": data}), d.open("device", "bare", b, nil)
			if s := bare.opened.Data.Session; s == nil || s.Present {
				t.Fatalf("%+v", bare.opened)
			}
			bare.subscribe(name+"/#", nil)
			device.do("burst", args{"topic": topic, "prefix": "n", "count": 10})
			var got [10]message
			for i := range got {
				got[i] = bare.recv()
			}
			bare.do("rpc", args{"method": "parley.ack", "data": args{"channel": name + "/#", "offset": got[3].Offset}})
			bare.do("close", nil)
			bare.waitClosed()
			device.do("burst", args{"topic": topic, "prefix": "m", "count": 5})
			again()

			p := openPage(d, "page", "centrifuge", b, data)
			p.subscribe(name+"/#", nil)
			if back := p.back(); !back.Was || !back.Recovered {
				t.Fatalf("%+v", back)
			}
			seen := map[string]bool{}
			for last := int64(0); !seen[`"m4"`]; {
				m := p.recv()
				switch again := m.Tags["redelivered"] == "true"; {
				case m.Offset > last: // to the client, until its subscription is there
					last = m.Offset
				case !again:
					t.Fatalf("%+v after offset %d", m, last)
				}
				if s := string(m.Payload); m.Offset <= got[3].Offset {
					t.Logf("%s comes again: its acknowledgement was not yet on disk", s)
				} else {
					seen[s] = true
				}
			}
			if len(seen) != 6+5 {
				t.Fatalf("came: %v", seen)
			}
		})
	}
}

// TestJSONAndMQTTSession: one session, two protocols, back and forth.
func TestJSONAndMQTTSession(t *testing.T) {
	b := startBroker(t, "")
	d := startDriver(t)
	publisher := d.open("publisher", "bare", b, nil)
	device := d.open("device", "mqtt5", b, args{"session": "truck-7"})
	device.subscribe("job/+", args{"qos": 1})
	publisher.do("publish", args{"topic": "job/1", "payload": "n0"})
	if m := device.recv(); string(m.Payload) != `"\"n0\""` {
		t.Fatalf("%+v", m)
	}
	// Taken over while connected: the page goes on, the device hears so.
	p := openPage(d, "page", "centrifuge", b, args{"session": "truck-7"})
	if c := device.waitClosed(); c.Disconnect != 0x8E {
		t.Fatalf("%+v", c)
	}
	publisher.do("publish", args{"topic": "job/1", "payload": "n1"})
	m := p.recv()
	for ; m.Tags["redelivered"] == "true"; m = p.recv() { // n0, if its PUBACK had not come
		if number(t, m) != 0 {
			t.Fatalf("%+v", m)
		}
	}
	if number(t, m) != 1 || !m.Server {
		t.Fatalf("%+v", m)
	}
	p.do("rpc", args{"method": "parley.ack", "data": args{"channel": "job/+", "offset": m.Offset}})
	p.do("close", nil)
	publisher.do("publish", args{"topic": "job/2", "payload": "n2"})
	device = d.open("device again", "mqtt5", b, args{"session": "truck-7"})
	if !device.opened.SessionPresent {
		t.Fatalf("%+v", device.opened)
	}
	if m := device.recv(); string(m.Payload) != `"\"n2\""` || m.QoS != 1 {
		t.Fatalf("%+v", m)
	}
}

// TestJSONLateSubscribe: what comes for a subscription that is not answered yet goes
// to the client (centrifuge-js) or is dropped (centrifuge-go). A page that
// subscribes while its session's backlog is coming has that part once more, marked.
func TestJSONLateSubscribe(t *testing.T) {
	const count = 1000
	b := startBroker(t, "")
	d := startDriver(t)
	publisher := d.open("publisher", "bare", b, nil)
	for _, after := range []int{1, 50, 300} {
		filter, data := fmt.Sprintf("late/%d/#", after), args{"session": fmt.Sprint("late-", after), "window": 200}
		first := openPage(d, fmt.Sprint("first ", after), "centrifuge", b, data)
		first.subscribe(filter, nil)
		first.do("close", nil)
		publisher.do("burst", args{"topic": fmt.Sprintf("late/%d/x", after), "prefix": "n", "count": count, "window": 200})
		p := page{d.open(fmt.Sprint("page ", after), "centrifuge", b, args{"data": data, "late": args{"filter": filter, "after": after}})}
		next, again := 0, 0
		for next < count {
			m := p.recv()
			switch n := number(t, m); {
			case n == next:
				next++
			case n > next:
				t.Fatalf("subscribed after %d: message %d came, %d is lost", after, n, next)
			case m.Tags["redelivered"] != "true":
				t.Fatalf("subscribed after %d: %d came again, unmarked", after, n)
			default:
				again++
			}
			if n := number(t, m); m.Server && n >= after+200 {
				t.Fatalf("subscribed after %d: message %d still came to the client", after, n)
			}
		}
		if again == 0 {
			t.Errorf("subscribed after %d: nothing was under way", after)
		}
		p.do("close", nil)
	}
}
