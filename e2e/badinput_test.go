package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestBadInput: what is malformed ends its own connection, with the protocol's
// own words and close code; nobody else notices.
func TestBadInput(t *testing.T) {
	b := startBroker(t, "")
	d := startDriver(t)
	witness := d.open("witness", "bare", b, nil)
	witness.subscribe("witness", nil)

	hexed := func(s string) any { return args{"$hex": strings.ReplaceAll(s, " ", "")} }
	connect5 := hexed("10 0e 0004 4d515454 05 02 003c 00 0001 61") // client id "a"
	tests := []struct {
		name, protocol string
		send           []any
		answer         string // a pattern for something in what comes back, text or hexadecimal
		code           int
	}{
		// [MQTT-4.13.1-1]: DISCONNECT with a reason code, then close.
		{"MQTT 5: reserved packet type", "mqtt", []any{connect5, hexed("00 00")}, `e0[0-9a-f]{2}81`, 1002},
		{"MQTT 5: SUBSCRIBE without options", "mqtt", []any{connect5, hexed("82 06 0001 00 0001 61")}, `e0[0-9a-f]{2}81`, 1002},
		{"MQTT 5: second CONNECT", "mqtt", []any{connect5, connect5}, `e0[0-9a-f]{2}82`, 1002},
		{"MQTT: text frame", "mqtt", []any{"hello"}, "", 1003},
		{"MQTT: first packet is no CONNECT", "mqtt", []any{hexed("c0 00")}, "", 1002},
		// MQTT 3.1.1 section 3.1.2.2: a level that is not served is refused with 0x01; 3
		// goes only with the name of 3.1. MQTT 3.1: an empty client id gets 0x02.
		{"MQTT of level 3", "mqttv3.1", []any{hexed("10 0d 0004 4d515454 03 02 003c 0001 61")}, "20020001", 0},
		{"MQTT 3.1 without a client id", "mqttv3.1", []any{hexed("10 0e 0006 4d5149736470 03 02 003c 0000")}, "20020002", 0},

		{"WAMP: no JSON", "wamp.2.json", []any{`[1,"realm1"`}, "wamp.error.protocol_violation", 1002},
		{"WAMP: unknown message", "wamp.2.json", []any{`[1,"realm1",{"roles":{"subscriber":{}}}]`, `[999]`}, "wamp.error.protocol_violation", 1002},
		{"WAMP: EVENT from a client", "wamp.2.json", []any{`[1,"realm1",{"roles":{"subscriber":{}}}]`, `[36,1,1,{}]`}, "wamp.error.protocol_violation", 1002},
		{"WAMP: SUBSCRIBE before HELLO", "wamp.2.json", []any{`[32,1,{},"a"]`}, "wamp.error.protocol_violation", 1002},
		{"WAMP: no such realm", "wamp.2.json", []any{`[1,"nowhere",{"roles":{"subscriber":{}}}]`}, "wamp.error.no_such_realm", 1008},
		{"WAMP: no CBOR", "wamp.2.cbor", []any{hexed("ff ff")}, "", 1002},

		{"JSON: no JSON", "json", []any{`{"id":1,"connect":{}}`, `{"id":2,`}, "", 3501},
		{"JSON: not an object", "json", []any{`{"id":1,"connect":{}}`, `[1,2]`}, "", 3501},
		{"JSON: second connect", "json", []any{`{"id":1,"connect":{}}`, `{"id":2,"connect":{}}`}, "", 3501},
	}
	for i, tt := range tests {
		raw := d.open(fmt.Sprintf("raw %d", i), "raw", b, args{"protocols": []string{tt.protocol}})
		for _, s := range tt.send {
			raw.do("send", args{"payload": s})
		}
		c := raw.waitClosed()
		if tt.code != 0 && c.Code != tt.code {
			t.Errorf("%s: closed with %d %q, want %d", tt.name, c.Code, c.Reason, tt.code)
		}
		if got := frames(t, raw); !regexp.MustCompile(tt.answer).MatchString(got) {
			t.Errorf("%s: answered %q, want %q", tt.name, got, tt.answer)
		}
	}
	witness.do("publish", args{"topic": "witness", "payload": 1})
	if m := witness.recv(); m.Topic != "witness" {
		t.Errorf("the witness received %+v", m)
	}
}

// frames is all that a raw client received, after its connection ended.
func frames(t *testing.T, p *peer) string {
	t.Helper()
	var all []string
	for {
		select {
		case f := <-p.frames:
			frame := decode[struct {
				Binary  bool
				Payload json.RawMessage
			}](t, f)
			if frame.Binary {
				all = append(all, decode[struct {
					Hex string `json:"$hex"`
				}](t, frame.Payload).Hex)
			} else {
				all = append(all, decode[string](t, frame.Payload))
			}
		default:
			return strings.Join(all, " ")
		}
	}
}

// TestSilentHandshake: who connects and says nothing is shown the door.
func TestSilentHandshake(t *testing.T) {
	b := startBroker(t, "gateway: {timeouts: {handshake: 300ms}}")
	d := startDriver(t)
	for _, protocol := range []string{"mqtt", "wamp.2.json", "json"} {
		d.open(protocol, "raw", b, args{"protocols": []string{protocol}}).waitClosed()
	}
}

// TestOversized: more than the limit ends the connection; MQTT 5 is told 0x95.
func TestOversized(t *testing.T) {
	b := startBroker(t, "mqtt: {max_packet: 16KiB}\ngateway: {limits: {message: 16KiB}}")
	d := startDriver(t)
	for _, kind := range []string{"mqtt5", "wamp.json", "wamp.cbor", "bare"} {
		p := d.open(kind, kind, b, nil)
		payload := any(strings.Repeat("x", 20_000))
		if p.wamp() {
			payload = args{"args": []any{payload}}
		}
		if _, err := p.try("publish", args{"topic": "big", "payload": payload}); err == nil {
			t.Errorf("%s: 20,000 bytes were taken", kind)
			continue
		}
		c := p.waitClosed()
		if !p.wamp() && c.Code != 1009 { // autobahn-js does not show the code
			t.Errorf("%s: %+v, want close 1009", kind, c)
		}
	}
}

// TestQoS2OfAClient: mqtt.js is not told of a lower Maximum QoS and completes the
// exchange in both directions.
func TestQoS2OfAClient(t *testing.T) {
	b := startBroker(t, "")
	d := startDriver(t)
	for _, kind := range []string{"mqtt5", "mqtt3"} {
		p := d.open(kind, kind, b, nil)
		if q := p.opened.Properties["maximumQoS"]; q != nil || p.opened.SessionPresent {
			t.Errorf("CONNACK %+v, want no Maximum QoS and no session", p.opened)
		}
		granted := decode[[]struct{ QoS int }](t, p.do("subscribe", args{"filter": "q/2", "qos": 2}))
		if len(granted) != 1 || granted[0].QoS != 2 {
			t.Errorf("%s: granted %v", kind, granted)
		}
		p.do("publish", args{"topic": "q/2", "payload": "x", "qos": 2})
		if m := p.recv(); m.Topic != "q/2" {
			t.Errorf("%s: received %+v", kind, m)
		}
		p.do("unsubscribe", args{"filter": "q/2"})
	}
}

// TestStoreFull: every protocol says it in its own words; nothing that was not
// stored is acknowledged; reading and transient traffic go on.
func TestStoreFull(t *testing.T) {
	b := startBroker(t, "store: {max_bytes: 2MiB}")
	d := startDriver(t)
	reader := d.open("reader", "bare", b, nil)
	reader.subscribe("full/#", nil)
	device := d.open("device", "mqtt5", b, nil)
	app, page := d.open("app", "wamp.msgpack", b, nil), d.open("page", "centrifuge", b, nil)

	// Near the limit one may still fit where another did not, so all go on until
	// each was refused.
	block := strings.Repeat("x", 100_000)
	acked := 0
	fill := func(p *peer, payload, want any) {
		t.Helper()
		for range 100 {
			_, err := p.try("publish", args{"topic": p.topic("full/x"), "payload": payload})
			if err == nil {
				acked++
				continue
			}
			if fmt.Sprint(err.Code) != fmt.Sprint(want) {
				t.Errorf("%s: refused with %v, want %v", p.kind, err, want)
			}
			return
		}
		t.Errorf("%s: never refused", p.kind)
	}
	fill(device, block, 0x97)
	fill(app, args{"args": []any{block}}, "parley.error.quota_exceeded")
	fill(page, block, 1000)
	device.do("publish", args{"topic": "full/end", "payload": "transient", "qos": 0})
	for range acked {
		if m := reader.recv(); m.Topic != "full/x" || m.Offset == 0 {
			t.Fatalf("received %s, offset %d, want what was acknowledged", m.Topic, m.Offset)
		}
	}
	if m := reader.recv(); m.Topic != "full/end" {
		t.Errorf("received %s: more than was acknowledged", m.Topic)
	}
}
