package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
)

// sessionKinds are clients that can have a durable session.
var sessionKinds = []string{"mqtt5", "wamp.cbor", "centrifuge"}

// attach connects with the session truck-7. A resumed session has the filter
// move/t already, but autobahn-js needs a handler for it.
func attach(t *testing.T, d *driver, b *broker, kind, name string, resumed bool) *peer {
	t.Helper()
	with := args{"session": "truck-7", "expiry": 600}
	p := d.open(name, kind, b, args{"session": "truck-7", "expiry": 600, "data": with})
	present := p.opened.SessionPresent
	if s := p.opened.Data.Session; s != nil {
		present = s.Present
	}
	if present != resumed {
		t.Fatalf("%s: session present: %v", kind, present)
	}
	if !resumed || p.wamp() {
		p.subscribe("move/t", nil)
	}
	return p
}

// take receives and acknowledges numbers in order; MQTT.js acknowledges itself.
func take(t *testing.T, p *peer, from, to int) {
	t.Helper()
	for want := from; want <= to; want++ {
		m := p.recv()
		if got := numberOf(t, m.Payload); got != want {
			t.Fatalf("%s received %d (redelivered %v), want %d", p.name, got, m.Redelivered, want)
		}
		switch p.family() {
		case "json":
			p.do("rpc", args{"method": "parley.ack", "data": args{"channel": "move/t", "offset": m.Offset}})
		case "wamp":
			p.do("ack", args{"filter": "move.t", "publication": m.Publication})
		}
	}
}

// numberOf reads a number out of what any kind of client shows as payload.
func numberOf(t *testing.T, raw json.RawMessage) (n int) {
	t.Helper()
	var payload struct{ Args []int }
	var text string
	switch {
	case json.Unmarshal(raw, &n) == nil:
	case json.Unmarshal(raw, &payload) == nil && len(payload.Args) == 1:
		n = payload.Args[0]
	case json.Unmarshal(raw, &text) == nil:
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatalf("payload %s", raw)
		}
	default:
		t.Fatalf("payload %s", raw)
	}
	return n
}

// TestSessionMovesBetweenProtocols: a client of any protocol goes on exactly
// where one of another stopped, whether that one has gone or is taken over.
func TestSessionMovesBetweenProtocols(t *testing.T) {
	for _, from := range sessionKinds {
		for _, to := range sessionKinds {
			t.Run(from+" to "+to, func(t *testing.T) {
				b := startBroker(t, "")
				d := startDriver(t)
				pub := d.open("pub", "mqtt5", b, nil)
				publish := func(first, last int) {
					for i := first; i <= last; i++ {
						pub.do("publish", args{"topic": "move/t", "payload": fmt.Sprint(i), "qos": 1})
					}
				}
				a := attach(t, d, b, from, "a "+from, false)
				publish(0, 1)
				take(t, a, 0, 1)
				a.do("close", nil)
				a.waitClosed()
				publish(2, 4)
				c := attach(t, d, b, to, "c "+to, true)
				publish(5, 6)
				take(t, c, 2, 6)
				// And back, by takeover.
				e := attach(t, d, b, from, "e "+from, true)
				c.waitClosed()
				publish(7, 8)
				take(t, e, 7, 8)
			})
		}
	}
}
