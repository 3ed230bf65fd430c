package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// kinds are all clients; every one of them publishes to every one.
var kinds = []string{"mqtt3", "mqtt5", "wamp.json", "wamp.msgpack", "wamp.cbor", "centrifuge", "centrifuge+json", "bare"}

// negotiated is the subprotocol each kind must have been given: what it offered,
// or none if it offered none.
var negotiated = map[string]string{
	"mqtt3": "mqtt", "mqtt5": "mqtt", "wamp.json": "wamp.2.json", "wamp.msgpack": "wamp.2.msgpack",
	"wamp.cbor": "wamp.2.cbor", "centrifuge": "", "centrifuge+json": "json", "bare": "json",
}

// openAll connects one client of each kind.
func openAll(t *testing.T, b *broker) []*peer {
	t.Helper()
	d := startDriver(t)
	peers := make([]*peer, len(kinds))
	for i, kind := range kinds {
		peers[i] = d.open(kind, kind, b, nil)
		if got := peers[i].opened.Protocol; got != negotiated[kind] {
			t.Errorf("%s: subprotocol %q, want %q", kind, got, negotiated[kind])
		}
	}
	return peers
}

// TestEveryPairInOrder: all clients publish 500 acknowledged messages at the
// same time and receive everybody's. Each must see each publisher's messages in
// order, all of them once, and all of them in the order of the log.
func TestEveryPairInOrder(t *testing.T) {
	const count = 500
	b := startBroker(t, "")
	peers := openAll(t, b)
	for _, p := range peers {
		p.subscribe("order/#", nil)
	}
	var publishing sync.WaitGroup
	for _, p := range peers {
		publishing.Go(func() {
			topic := p.topic("order/" + strings.NewReplacer(".", "-", "+", "-").Replace(p.kind))
			if _, err := p.try("burst", args{"topic": topic, "prefix": p.kind + " ", "count": count}); err != nil {
				t.Errorf("%s: publish: %v", p.kind, err)
			}
		})
	}
	publishing.Wait()

	var log []string // what the first receiver that knows offsets saw, in order
	for _, p := range peers {
		next := map[string]int{}
		var last int64
		var saw []string
		for range count * len(peers) {
			m := p.recv()
			text := text(t, p, m)
			saw = append(saw, text)
			from, number, _ := strings.Cut(text, " ")
			if got, err := strconv.Atoi(number); err != nil || got != next[from] {
				t.Fatalf("%s: got message %q of %s, want number %d", p.kind, text, from, next[from])
			}
			next[from]++
			if p.kind == "mqtt3" {
				continue // has no properties
			}
			if m.Offset <= last {
				t.Fatalf("%s: offset %d after %d", p.kind, m.Offset, last)
			}
			last = m.Offset
			if want := (&peer{kind: from}).family(); m.Via != want {
				t.Fatalf("%s: message of %s came via %q, want %q", p.kind, from, m.Via, want)
			}
		}
		if log == nil {
			log = saw
		}
		for i := range log {
			if log[i] != saw[i] {
				t.Fatalf("%s: message %d is %q, another receiver had %q: two orders of one log", p.kind, i, saw[i], log[i])
			}
		}
	}
}

// text is the payload of a message that was published as one text.
func text(t *testing.T, p *peer, m message) (s string) {
	t.Helper()
	raw := m.Payload
	if p.wamp() {
		var e struct{ Args []json.RawMessage }
		if err := json.Unmarshal(raw, &e); err != nil || len(e.Args) != 1 {
			t.Fatalf("%s: payload %s, want one argument", p.kind, raw)
		}
		raw = e.Args[0]
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatalf("%s: payload %s, want a text: %v", p.kind, raw, err)
	}
	if p.mqtt() {
		// A JSON client's text is stored as it was sent, a JSON value.
		if unquoted, err := strconv.Unquote(s); err == nil {
			return unquoted
		}
	}
	return s
}

// TestTransient: what nobody acknowledges has no offset, in any protocol.
func TestTransient(t *testing.T) {
	b := startBroker(t, "")
	peers := openAll(t, b)
	for _, p := range peers {
		p.subscribe("transient/#", nil)
	}
	for i, p := range peers {
		if p.family() == "json" {
			continue // every JSON publish is acknowledged
		}
		topic, payload := fmt.Sprintf("transient/%d", i), any("x")
		if p.wamp() {
			payload = args{"args": []any{"x"}}
		}
		p.do("publish", args{"topic": p.topic(topic), "payload": payload, "qos": 0, "acknowledge": false})
		for _, r := range peers {
			m := r.recv()
			if m.Topic != r.topic(topic) || m.Offset != 0 || m.Retained {
				t.Errorf("%s to %s: %+v, want %s, transient", p.kind, r.kind, m, topic)
			}
			if r.kind != "mqtt3" && m.Via != p.family() {
				t.Errorf("%s to %s: via %q", p.kind, r.kind, m.Via)
			}
		}
	}
}
