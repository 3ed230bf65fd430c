package mqtt

import (
	"fmt"
	"strings"
	"testing"

	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Flags and payload fields belong together ([MQTT-3.1.2-9], [MQTT-3.1.2-11] to
// [MQTT-3.1.2-13], [MQTT-3.1.2-16] to [MQTT-3.1.2-19]; 3.1.1: [MQTT-3.1.2-9] to
// [MQTT-3.1.2-22]), and the fields stand in their order [MQTT-3.1.3-1].
func TestConfConnectFlags(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		for _, c := range []struct {
			name   string
			flags  byte
			fields string // behind the client id; "W" stands for the will's properties
			ok     [6]bool
		}{
			{"nothing", 0x02, "", [6]bool{4: true, 5: true}},
			{"will", 0x06, "W\x00\x01t\x00\x01p", [6]bool{4: true, 5: true}},
			{"will at QoS 2, retained", 0x36, "W\x00\x01t\x00\x01p", [6]bool{4: true, 5: true}},
			{"all fields in order", 0xc6, "W\x00\x01t\x00\x01p\x00\x03ada\x00\x04lace", [6]bool{4: true, 5: true}},
			{"password without user", 0x42, "\x00\x03key", [6]bool{5: true}},
			{"will flag without a will", 0x06, "", [6]bool{}},
			{"will flag without a payload", 0x06, "W\x00\x01t", [6]bool{}},
			{"will without its flag", 0x02, "W\x00\x01t\x00\x01p", [6]bool{}},
			{"will QoS 1 without a will", 0x0a, "", [6]bool{}},
			{"will QoS 2 without a will", 0x12, "", [6]bool{}},
			{"will retain without a will", 0x22, "", [6]bool{}},
			{"will QoS 3", 0x1e, "W\x00\x01t\x00\x01p", [6]bool{}},
			{"user name without its flag", 0x02, "\x00\x03ada", [6]bool{}},
			{"user name flag without a user name", 0x82, "", [6]bool{}},
			{"password without its flag", 0x82, "\x00\x03ada\x00\x04lace", [6]bool{}},
			{"password flag without a password", 0xc2, "\x00\x03ada", [6]bool{}},
		} {
			t.Run(c.name, func(t *testing.T) {
				b := start(t, nil)
				w := b.wire(v)
				w.send(0x10, str("MQTT"), chr(v), chr(c.flags), u16(0), w.props(""), str("c"),
					strings.ReplaceAll(c.fields, "W", w.props("")))
				r, ok := w.read()
				switch {
				case c.ok[v]:
					if !ok || r.kind() != packets.Connack || r.body[1] != 0 {
						t.Fatalf("%v % x, want CONNACK 0", ok, r)
					}
				case v == 5:
					if !ok || r.kind() != packets.Connack || r.body[1] != 0x81 && r.body[1] != 0x82 {
						t.Fatalf("%v % x, want CONNACK 0x81 or 0x82", ok, r)
					}
					w.wantClosed(0)
				case ok:
					t.Fatalf("% x, want the close", r)
				}
			})
		}
	})
}

// Levels nobody knows get the answer of the version that they resemble
// ([MQTT-3.1.2-2] of both).
func TestConfUnknownLevels(t *testing.T) {
	b := start(t, nil)
	for _, level := range []byte{0, 1, 2, 6, 7, 127, 255} {
		w := b.wire(5)
		w.send(0x10, str("MQTT"), chr(level), "\x02\x00\x00\x00", str("c"))
		r := w.want(packets.Connack)
		if r.body[0] != 0 || r.body[1] != 1 && r.body[1] != 0x84 {
			t.Errorf("level %d: CONNACK % x", level, r.body)
		}
		w.wantClosed(0)
	}
}

// [MQTT-3.1.3-5]
func TestConfClientIDs(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		const all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		for n := 1; n <= 23; n++ {
			b.open(v, conn{id: all[n:][:n], clean: true})
		}
		b.open(v, conn{id: all[len(all)-23:], clean: true})
	})
}

// Everyone without a client id gets one of his own ([MQTT-3.1.3-6],
// [MQTT-3.2.2-16]), which names his session ([MQTT-3.1.3-7]).
func TestConfEmptyClientIDs(t *testing.T) {
	b := start(t, nil)
	seen := map[string]bool{}
	for range 20 {
		w := b.wire(5)
		id, ok := find(w.connect(conn{expiry: 60}).props, 0x12)
		if !ok || id == "" || seen[id] {
			t.Fatalf("assigned %q after %v", id, seen)
		}
		seen[id] = true
		w.subscribe(1, "t/"+id)
		w.lose()
		w = b.reopen(5, conn{id: id, expiry: 60})
		w.quiet()
	}
	one, two := b.open(4, conn{clean: true}), b.open(4, conn{clean: true})
	one.quiet() // the second is somebody else
	two.quiet()
}

// What stands behind a CONNECT that is refused is not even looked at, with a
// session kept under the same id ([MQTT-3.1.4-6]; 3.1.1: [MQTT-3.1.4-5]).
func TestConfNothingBehindARefusal(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		witness := b.open(v, conn{id: "witness", clean: true})
		witness.subscribe(0, "#")
		w := b.wire(v)
		w.c.Feed(subproto.Binary, []byte(w.connectBytes(conn{id: "c", clean: true, user: "eve"})+"\x30\x05\x00\x01t"+w.props("")+"xy"[:2-len(w.props(""))]))
		if r := w.want(packets.Connack); r.body[0] != 0 || r.body[1] == 0 {
			t.Fatalf("CONNACK % x", r.body)
		}
		w.wantClosed(0)
		w.send(0x30, str("t"), w.props(""), "x")
		witness.quiet()
	})
}

// A refusal never says that there is a session ([MQTT-3.2.2-6]; 3.1.1:
// [MQTT-3.2.2-4]), and it leaves the session alone.
func TestConfRefusalOfAKeptSession(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w := b.open(v, kept("c"))
		w.subscribe(1, "t")
		w.lose()
		refused := kept("c")
		refused.user = "eve"
		if ack := b.wire(v).connect(refused); ack.code == 0 || ack.present {
			t.Fatalf("CONNACK %+v", ack)
		}
		b.reopen(v, kept("c")).quiet()
	})
}

// Strings of every packet are checked, not topics alone ([MQTT-1.5.4-1],
// [MQTT-1.5.4-2], [MQTT-1.5.7-1] and those that refer to them).
func TestConfStringsOfEveryPacket(t *testing.T) {
	bad := map[string]string{"no UTF-8": "\xc3\x28", "surrogate": "\xed\xa0\x80", "U+0000": "a\x00b", "overlong": "\xc0\x80", "beyond U+10FFFF": "\xf4\x90\x80\x80"}
	connect := map[string]func(w *wire, s string) conn{
		"client id":  func(_ *wire, s string) conn { return conn{id: s, clean: true} },
		"will topic": func(_ *wire, s string) conn { return conn{id: "c", clean: true, will: &willing{topic: s}} },
		"user name":  func(_ *wire, s string) conn { return conn{id: "c", clean: true, user: s} },
	}
	connect5 := map[string]func(s string) conn{
		"user property name":  func(s string) conn { return conn{id: "c", clean: true, props: "\x26" + str(s) + str("v")} },
		"user property value": func(s string) conn { return conn{id: "c", clean: true, props: "\x26" + str("k") + str(s)} },
		"will content type": func(s string) conn {
			return conn{id: "c", clean: true, will: &willing{topic: "t", props: "\x03" + str(s)}}
		},
		"will response topic": func(s string) conn {
			return conn{id: "c", clean: true, will: &willing{topic: "t", props: "\x08" + str(s)}}
		},
	}
	after := map[string]func(w *wire, s string){
		"topic":              func(w *wire, s string) { w.publish(0, 0, 0, s, "", "x") },
		"filter":             func(w *wire, s string) { w.send(0x82, u16(1), w.props(""), str(s), "\x00") },
		"filter to be ended": func(w *wire, s string) { w.send(0xa2, u16(1), w.props(""), str(s)) },
	}
	after5 := map[string]func(w *wire, s string){
		"content type":        func(w *wire, s string) { w.publish(0, 0, 0, "t", "\x03"+str(s), "x") },
		"response topic":      func(w *wire, s string) { w.publish(0, 0, 0, "t", "\x08"+str(s), "x") },
		"user property name":  func(w *wire, s string) { w.publish(0, 0, 0, "t", "\x26"+str(s)+str("v"), "x") },
		"user property value": func(w *wire, s string) { w.publish(0, 0, 0, "t", "\x26"+str("k")+str(s), "x") },
		"reason string":       func(w *wire, s string) { w.send(0xe0, "\x00", w.props("\x1f"+str(s))) },
	}
	for kind, s := range bad {
		refused := func(v byte, name string, o conn) {
			t.Run(fmt.Sprintf("%s, %s, v%d", name, kind, v), func(t *testing.T) {
				w := start(t, nil).wire(v)
				w.c.Feed(subproto.Binary, []byte(w.connectBytes(o)))
				if r, ok := w.read(); ok && (v == 4 || r.kind() != packets.Connack || r.body[1] < 0x80) {
					t.Fatalf("answered % x", r)
				}
				w.wantClosed(0)
			})
		}
		ended := func(v byte, name string, do func(*wire, string)) {
			t.Run(fmt.Sprintf("%s, %s, v%d", name, kind, v), func(t *testing.T) {
				w := start(t, nil).open(v, conn{id: "c", clean: true})
				do(w, s)
				w.wantClosed(0x81)
			})
		}
		for name, f := range connect {
			refused(4, name, f(nil, s))
			refused(5, name, f(nil, s))
		}
		for name, f := range connect5 {
			refused(5, name, f(s))
		}
		for name, f := range after {
			ended(4, name, f)
			ended(5, name, f)
		}
		for name, f := range after5 {
			ended(5, name, f)
		}
	}
}

// [MQTT-1.5.4-3]; 3.1.1: [MQTT-1.5.3-3]
func TestConfByteOrderMarkIsKept(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w := b.open(v, conn{id: "c", clean: true})
		w.subscribe(0, "\ufefft", "u/\ufeff/+")
		w.publish(0, 0, 0, "t", "", "without")
		w.publish(0, 0, 0, "\ufefft", "", "with")
		w.publish(0, 0, 0, "u/\ufeff/x\ufeff", "", "within")
		w.expect("\ufefft", "with", 0)
		w.expect("u/\ufeff/x\ufeff", "within", 0)
		w.quiet()
	})
}

// [MQTT-3.1.2-28]
func TestConfResponseInformation(t *testing.T) {
	b := start(t, nil)
	for _, props := range []string{"", "\x19\x00"} {
		if _, sent := find(b.wire(5).connect(conn{id: "c", clean: true, props: props}).props, 0x1a); sent {
			t.Error("response information nobody asked for")
		}
	}
}

// What CONNACK leaves out is offered ([MQTT-3.2.2-9], section 3.2.2.3), and it
// names no authentication method unasked [MQTT-4.12.0-6].
func TestConfWhatIsOffered(t *testing.T) {
	ack := start(t, nil).wire(5).connect(conn{id: "c", clean: true})
	for id, name := range map[byte]string{0x24: "Maximum QoS", 0x15: "Authentication Method", 0x16: "Authentication Data"} {
		if v, sent := find(ack.props, id); sent {
			t.Errorf("%s %q in CONNACK", name, v)
		}
	}
	for id, name := range map[byte]string{0x25: "Retain", 0x28: "Wildcard Subscription", 0x29: "Subscription Identifiers", 0x2a: "Shared Subscription"} {
		if v, sent := find(ack.props, id); sent && v != "\x01" {
			t.Errorf("%s Available is %q", name, v)
		}
	}
}
