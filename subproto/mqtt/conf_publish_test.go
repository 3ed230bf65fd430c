package mqtt

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// aliasMaximum reads what CONNACK allows.
func (w *wire) aliasMaximum(ack connack) int {
	s, ok := find(ack.props, 0x22)
	if !ok {
		return 0
	}
	return int(s[0])<<8 | int(s[1])
}

func alias(n int) string { return "\x23" + u16(n) }

// Every alias up to our maximum is taken [MQTT-3.3.2-12] and may change its
// topic; 0 and what is above are refused ([MQTT-3.3.2-8], [MQTT-3.2.2-17],
// [MQTT-3.3.2-9]).
func TestConfAliasesIn(t *testing.T) {
	b := start(t, nil)
	sub, pub := b.open(5, fresh("sub")), b.wire(5)
	sub.subscribe(0, "#")
	most := pub.aliasMaximum(pub.connect(fresh("pub")))
	if most == 0 {
		t.Fatal("no aliases are offered")
	}
	used := []int{1, 2, most/2 + 1, most - 1, most}
	for _, n := range used {
		pub.publish(0, 0, 0, fmt.Sprint("t/", n), alias(n), "named")
		sub.expect(fmt.Sprint("t/", n), "named", 0)
	}
	for _, n := range used {
		for qos := byte(0); qos < 3; qos++ {
			pub.publish(qos, 0, 1, "", alias(n), "alone")
			sub.expect(fmt.Sprint("t/", n), "alone", 0)
			if qos > 0 {
				pub.wantAck(packets.Puback+qos-1, 1)
			}
			if qos == 2 {
				pub.ack(packets.Pubrel, 1)
				pub.wantAck(packets.Pubcomp, 1)
			}
		}
	}
	pub.publish(0, 0, 0, "changed", alias(1), "x")
	pub.publish(0, 0, 0, "", alias(1), "y")
	sub.expect("changed", "x", 0)
	m := sub.expect("changed", "y", 0)
	if _, ok := find(m.props, 0x23); ok { // the publisher's alias is his own
		t.Fatal("the alias was passed on")
	}
	for _, c := range []struct {
		n    int
		code byte
	}{{0, 0x94}, {most + 1, 0x94}, {65535, 0x94}} {
		if c.n <= most && c.n > 0 {
			continue
		}
		for _, topic := range []string{"t", ""} {
			w := b.open(5, fresh("bad"))
			w.publish(0, 0, 0, topic, alias(c.n), "x")
			w.wantClosed(c.code)
		}
	}
	pub.publish(0, 0, 0, "", alias(3), "nothing was mapped")
	pub.wantClosed(0x82)
}

// [MQTT-3.3.2-7]: with or without a session.
func TestConfAliasesEndWithTheConnection(t *testing.T) {
	b := start(t, nil)
	pub := b.open(5, kept("pub"))
	pub.publish(1, 0, 1, "t", alias(1), "x")
	pub.wantAck(packets.Puback, 1)
	pub.lose()
	pub = b.reopen(5, kept("pub"))
	pub.publish(1, 0, 1, "", alias(1), "x")
	pub.wantClosed(0x82)
}

// What is authorized is the topic that an alias stands for.
func TestConfAliasesAreAuthorized(t *testing.T) {
	b := start(t, nil)
	pub := b.open(5, fresh("pub"))
	for i, topic := range []string{"denied/t", ""} {
		pub.publish(1, 0, i+1, topic, alias(1), "x")
		if code := pub.wantAck(packets.Puback, i+1); code != 0x87 {
			t.Fatalf("PUBACK %#x", code)
		}
	}
}

// The broker's aliases: from 1 to the client's maximum, set up before they are
// used alone, and never more ([MQTT-3.1.2-26], [MQTT-3.3.2-8], [MQTT-3.3.2-11]).
func TestConfAliasesOut(t *testing.T) {
	for _, most := range []int{1, 2, 10} {
		b := start(t, nil)
		o := fresh("c")
		o.props = "\x22" + u16(most)
		w, pub := b.open(5, o), b.open(5, fresh("pub"))
		w.subscribe(0, "#")
		known, saved := map[int]string{}, 0
		for i := range 60 {
			topic := fmt.Sprint("a/topic/long/enough/", i*i%7)
			pub.publish(0, 0, 0, topic, "", fmt.Sprint(i))
			m := w.receive()
			if v, ok := find(m.props, 0x23); ok {
				n := int(v[0])<<8 | int(v[1])
				if n < 1 || n > most {
					t.Fatalf("alias %d, the maximum is %d", n, most)
				}
				if m.topic == "" {
					m.topic = known[n]
					saved++
				}
				known[n] = m.topic
			}
			if m.topic != topic || m.payload != fmt.Sprint(i) {
				t.Fatalf("got %q %q, want %q %d", m.topic, m.payload, topic, i)
			}
		}
		if saved == 0 {
			t.Errorf("maximum %d: no alias was used", most)
		}
	}
}

// [MQTT-3.1.2-27]
func TestConfNoAliasesUnasked(t *testing.T) {
	b := start(t, nil)
	zero := fresh("zero")
	zero.props = "\x22" + u16(0)
	none, w, pub := b.open(5, fresh("none")), b.open(5, zero), b.open(5, fresh("pub"))
	for _, c := range []*wire{none, w} {
		c.subscribe(0, "#")
	}
	for i := range 20 {
		pub.publish(0, 0, 0, "a/topic/long/enough", "", fmt.Sprint(i))
		for _, c := range []*wire{none, w} {
			if _, ok := find(c.expect("a/topic/long/enough", fmt.Sprint(i), 0).props, 0x23); ok {
				t.Fatal("an alias nobody asked for")
			}
		}
	}
}

// [MQTT-3.3.2-5], [MQTT-3.3.2-6]: whole seconds of waiting, on and offline,
// retained messages included.
func TestConfMessageExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		w, pub := b.open(5, kept("c")), b.open(5, fresh("pub"))
		w.subscribe(1, "t")
		w.lose()
		for i, life := range []uint32{5, 0, 100, 0xffffffff} {
			if pub.publish(1, 0, i+1, "t", "\x02"+u32(life), fmt.Sprint(life)); life > 0 {
				pub.publish(1, retain, i+11, fmt.Sprint("r/", life), "\x02"+u32(life), "")
				pub.publish(1, retain, i+21, fmt.Sprint("r/", life), "\x02"+u32(life), fmt.Sprint(life))
				pub.wantAck(packets.Puback, i+1)
				pub.wantAck(packets.Puback, i+11)
				pub.wantAck(packets.Puback, i+21)
				continue
			}
			pub.wantAck(packets.Puback, i+1)
		}
		time.Sleep(30 * time.Second)
		w = b.reopen(5, kept("c"))
		left := func(m message) string {
			v, _ := find(m.props, 2)
			return v
		}
		if v := left(w.expect("t", "100", 1)); v != u32(70) {
			t.Errorf("% x seconds left, want 70", v)
		}
		if v := left(w.expect("t", "4294967295", 1)); v != u32(0xffffffff-30) {
			t.Errorf("% x seconds left", v)
		}
		w.quiet()
		w.subscribe(0, "r/#")
		seen := map[string]string{}
		for range 2 {
			m := w.receive()
			seen[m.payload] = left(m)
		}
		if len(seen) != 2 || seen["100"] != u32(70) || seen["4294967295"] != u32(0xffffffff-30) {
			t.Errorf("retained %q", seen)
		}
		w.quiet()
	})
}

// [MQTT-3.3.1-5]; 3.1.1: [MQTT-3.3.1-7]
func TestConfRetainedIsReplaced(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		pub := b.open(v, fresh("pub"))
		pub.tell(retain, "r", "one")
		pub.publish(0, retain, 0, "r", "", "zero")
		pub.tell(0, "mark", "")
		w := b.open(v, fresh("c"))
		w.subscribe(1, "r")
		w.expect("r", "zero", 0)
		w.quiet()
	})
}

// [MQTT-3.3.1-5]: it is kept with its QoS.
func TestConfRetainedKeepsItsQoS(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		pub := b.open(v, fresh("pub"))
		for qos := byte(0); qos < 3; qos++ {
			pub.publish(qos, retain, 5, fmt.Sprint("r/", qos), "", "x")
		}
		pub.wantAck(packets.Puback, 5)
		pub.wantAck(packets.Pubrec, 5)
		for granted := byte(0); granted < 3; granted++ {
			for qos := byte(0); qos < 3; qos++ {
				w := b.open(v, fresh("c"))
				w.subscribe(granted, fmt.Sprint("r/", qos))
				if m := w.expect(fmt.Sprint("r/", qos), "x", min(qos, granted)); !m.retain {
					t.Fatal("not marked as retained")
				}
			}
		}
	})
}

// [MQTT-3.3.1-8]; 3.1.1: [MQTT-3.3.1-12]
func TestConfNotRetainedLeavesTheRetained(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		pub := b.open(v, fresh("pub"))
		pub.tell(0, "new", "not kept")
		pub.tell(retain, "r", "kept")
		pub.tell(0, "r", "not kept")
		pub.tell(0, "r", "")
		w := b.open(v, fresh("c"))
		w.subscribe(1, "#")
		w.expect("r", "kept", 1)
		w.quiet()
	})
}

// [MQTT-4.7.3-3]: what fits into two bytes of length is a topic.
func TestConfLongestTopic(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w := b.open(v, fresh("c"))
		topic := strings.Repeat("x", 65535)
		w.subscribe(0, topic)
		w.publish(0, 0, 0, topic, "", "x")
		w.expect(topic, "x", 0)
	})
}

// [MQTT-4.7.3-4]: case, composition, empty levels and strange characters count.
func TestConfNothingIsNormalized(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w := b.open(v, fresh("c"))
		alike := []string{"a/b", "A/b", "/a/b", "a/b/", "a//b", "a/b ", "caf\u00e9", "cafe\u0301", "a.b", "%61/b", "../a"}
		for i, topic := range alike {
			w.subscribe(0, topic)
			for _, other := range alike {
				w.publish(0, 0, 0, other, "", fmt.Sprint(i))
			}
			w.expect(topic, fmt.Sprint(i), 0)
			w.quiet()
			w.unsubscribe(topic)
		}
	})
}

// [MQTT-4.7.2-1]: nothing below $ answers a leading wildcard.
func TestConfDollarIsNotMatched(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w := b.open(v, fresh("c"))
		w.subscribe(0, "#", "+/t", "+/#")
		w.publish(0, 0, 0, "$private/t", "", "nobody may")
		w.quiet()
		w.publish(0, 0, 0, "p$/t", "", "x")
		w.expect("p$/t", "x", 0)
	})
}

// A packet of the broker that would be larger than the client takes goes
// without its reason string ([MQTT-3.2.2-19], [MQTT-3.4.2-2], [MQTT-3.5.2-2],
// [MQTT-3.14.2-3], [MQTT-3.1.2-24]).
func TestConfPropertiesThatDoNotFit(t *testing.T) {
	b := start(t, nil)
	limited := func(most int) conn {
		o := fresh("c")
		o.props = "\x27" + u32(uint32(most))
		return o
	}
	size := func(r packet) int { return 1 + len(vbi(len(r.body))) + len(r.body) }
	// A successful CONNACK has to fit; whatever is longer will be cut.
	w := b.wire(5)
	w.c.Feed(subproto.Binary, []byte(w.connectBytes(limited(1000))))
	least := size(w.want(packets.Connack))

	for _, c := range []struct {
		name string
		kind byte
		at   int // where the properties begin
		code byte
		do   func(w *wire)
	}{
		{"PUBACK", packets.Puback, 3, 0x87, func(w *wire) { w.publish(1, 0, 1, "denied/t", "", "x") }},
		{"PUBREC", packets.Pubrec, 3, 0x87, func(w *wire) { w.publish(2, 0, 1, "denied/t", "", "x") }},
		{"DISCONNECT", packets.Disconnect, 1, 0x90, func(w *wire) { w.publish(0, 0, 0, "t", alias(0), "x") }},
		{"CONNACK", packets.Connack, 2, 0x86, nil},
	} {
		var whole int
		for _, most := range []int{1000, least} {
			if c.do == nil {
				o := limited(most)
				o.user = "eve"
				w = b.wire(5)
				w.c.Feed(subproto.Binary, []byte(w.connectBytes(o)))
			} else {
				w = b.open(5, limited(most))
				c.do(w)
			}
			r := w.want(c.kind)
			sent := false
			if len(r.body) > c.at {
				_, sent = find(w.parseProps(&r.body, c.at), 0x1f)
			}
			if code := r.body[c.at-1]; code < 0x80 || size(r) > most || sent != (most == 1000) {
				t.Errorf("%s, at most %d: %d bytes, code %#x, reason string %v", c.name, most, size(r), code, sent)
			}
			if most == 1000 {
				whole = size(r)
			}
		}
		if whole <= least {
			t.Errorf("%s has %d bytes, the limit was %d: this shows nothing", c.name, whole, least)
		}
	}
}

// A client that wants no reason strings gets none in PUBACK, PUBREC, PUBREL,
// PUBCOMP, SUBACK and UNSUBACK [MQTT-3.1.2-29].
func TestConfNoReasonStringUnwanted(t *testing.T) {
	b := start(t, nil)
	o := fresh("c")
	o.props = "\x17\x00"
	w := b.open(5, o)
	bare := func(kind byte) {
		t.Helper()
		r, at := w.want(kind), 3
		if kind == packets.Suback || kind == packets.Unsuback {
			at = 2
		}
		if len(r.body) > at && r.body[at] != 0 {
			t.Errorf("%s % x", packets.PacketNames[kind], r.body)
		}
	}
	w.publish(1, 0, 1, "denied/t", "", "x")
	bare(packets.Puback)
	w.publish(2, 0, 2, "denied/t", "", "x")
	bare(packets.Pubrec)
	w.ack(packets.Pubrel, 3)
	bare(packets.Pubcomp)
	w.ack(packets.Pubrec, 3)
	bare(packets.Pubrel)
	w.send(packets.Subscribe<<4|2, u16(4), "\x00", str("denied/t"), "\x02")
	bare(packets.Suback)
	w.send(packets.Unsubscribe<<4|2, u16(5), "\x00", str("denied/t"))
	bare(packets.Unsuback)
}

// [MQTT-3.14.2-2], [MQTT-3.14.2-4], [MQTT-3.14.4-1]: DISCONNECT of the broker
// has a code and a reason string and nothing else, and nothing follows.
func TestConfDisconnectOfTheServer(t *testing.T) {
	b := start(t, nil)
	o := kept("c")
	for name, end := range map[string]func(w *wire){
		"malformed": func(w *wire) { w.send(0) },
		"takeover":  func(*wire) { b.open(5, o) },
	} {
		w := b.open(5, o)
		end(w)
		r := w.want(packets.Disconnect)
		for _, p := range w.parseProps(&r.body, 1) {
			if p.id != 0x1f {
				t.Errorf("%s: property %#x", name, p.id)
			}
		}
		w.wantClosed(0)
	}
}

// [MQTT-3.14.4-1], [MQTT-3.14.4-2]: what a client sends behind DISCONNECT is not
// looked at, be it in the same frame.
func TestConfNothingAfterDisconnect(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w, c := b.open(v, fresh("witness")), b.open(v, fresh("c"))
		w.subscribe(0, "#")
		body := str("t") + c.props("") + "x"
		late := "\x30" + vbi(len(body)) + body
		c.c.Feed(subproto.Binary, []byte(late+"\xe0\x00"+late))
		c.c.Feed(subproto.Binary, []byte(late))
		w.expect("t", "x", 0)
		w.quiet()
		c.wantClosed(0)
	})
}
