package mqtt

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// noLocal is an option of SUBSCRIBE in v5.
const noLocal = 4

// All nine pairs ([MQTT-3.8.4-7], [MQTT-3.8.4-8]; 3.1.1: [MQTT-3.8.4-6]).
func TestConfLowerQoSOfTheTwo(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		pub := b.open(v, fresh("pub"))
		for granted := byte(0); granted < 3; granted++ {
			w := b.open(v, fresh("c"))
			if codes := w.subscribe(granted, "t"); !bytes.Equal(codes, []byte{granted}) {
				t.Fatalf("granted % x, want %d", codes, granted)
			}
			pub.publish(0, 0, 0, "t", "", "0")
			w.expect("t", "0", 0)
			pub.tell(0, "t", "1")
			w.expect("t", "1", min(1, granted))
			pub.tell2("t", "2")
			w.expect("t", "2", min(2, granted))
		}
	})
}

// [MQTT-3.3.4-2]; 3.1.1: [MQTT-3.3.5-1]
func TestConfOverlapAtTheHighestQoS(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w, pub := b.open(v, fresh("c")), b.open(v, fresh("pub"))
		for qos, filter := range []string{"a/#", "a/+", "a/b"} {
			w.subscribe(byte(qos), filter)
		}
		pub.tell2("a/b", "x")
		w.expect("a/b", "x", 2)
		w.quiet() // one copy
		pub.tell2("a/c", "y")
		w.expect("a/c", "y", 1)
		pub.tell2("a/c/d", "z")
		w.expect("a/c/d", "z", 0)
	})
}

// [MQTT-3.8.4-3], [MQTT-3.8.4-4], [MQTT-3.3.1-9]: the QoS is the new one,
// retained messages come again, and there is one subscription.
func TestConfResubscribing(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w, pub := b.open(v, fresh("c")), b.open(v, fresh("pub"))
		pub.tell(retain, "r/1", "kept")
		for _, qos := range []byte{1, 0, 1} {
			w.subscribe(qos, "r/#")
			if m := w.expect("r/1", "kept", qos); !m.retain {
				t.Fatal("not marked as retained")
			}
			pub.tell(0, "r/2", "live")
			w.expect("r/2", "live", qos)
			w.quiet()
		}
	})
}

// [MQTT-3.10.4-1], [MQTT-3.10.4-5]
func TestConfUnsubscribeComparesBytes(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w := b.open(v, fresh("c"))
		w.subscribe(0, "a/+", "A/b", "b/#")
		codes := w.unsubscribe("a/b", "a/#", "A/B", "b", "b/", "#", "a/+/")
		if v == 5 && !bytes.Equal(codes, bytes.Repeat([]byte{0x11}, 7)) || v == 4 && len(codes) > 0 {
			t.Fatalf("UNSUBACK % x", codes)
		}
		for _, topic := range []string{"a/b", "A/b", "b/c/d"} {
			w.publish(0, 0, 0, topic, "", "x")
			w.expect(topic, "x", 0)
		}
		if codes := w.unsubscribe("a/+", "b/#"); v == 5 && !bytes.Equal(codes, []byte{0, 0}) {
			t.Fatalf("UNSUBACK % x", codes)
		}
		for _, topic := range []string{"a/b", "b/c/d"} {
			w.publish(0, 0, 0, topic, "", "x")
		}
		w.quiet()
	})
}

// [MQTT-3.10.4-3]: on this connection and on the next.
func TestConfUnsubscribeCompletesWhatWasBegun(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w, pub := b.open(v, kept("c")), b.open(v, fresh("pub"))
		w.subscribe(2, "t")
		pub.tell(0, "t", "one")
		pub.tell2("t", "two")
		one, two := w.expect("t", "one", 1), w.expect("t", "two", 2)
		w.unsubscribe("t")
		pub.tell2("t", "not any more")
		w.ack(packets.Pubrec, two.id)
		w.wantAck(packets.Pubrel, two.id)
		w.lose()
		w = b.reopen(v, kept("c"))
		got := map[byte]int{}
		for range 2 {
			r, _ := w.read()
			got[r.kind()]++
		}
		if got[packets.Publish] != 1 || got[packets.Pubrel] != 1 {
			t.Fatalf("sent again: %v", got)
		}
		w.ack(packets.Puback, one.id)
		w.ack(packets.Pubcomp, two.id)
		w.quiet()
	})
}

// [MQTT-3.8.3-3]: the same client id on another connection is still the same
// client; to others and through other filters it goes.
func TestConfNoLocalKnowsTheClientID(t *testing.T) {
	b := start(t, nil)
	w := b.open(5, kept("c"))
	w.subscribe(1|noLocal, "t")
	w.publish(1, 0, 1, "t", "", "own")
	w.wantAck(packets.Puback, 1)
	w.lose()
	w = b.reopen(5, kept("c"))
	w.publish(1, 0, 1, "t", "", "own, later")
	w.wantAck(packets.Puback, 1)
	w.quiet()
	b.open(5, fresh("d")).tell(0, "t", "of another")
	w.expect("t", "of another", 1)
	w.subscribe(0, "+")
	w.publish(0, 0, 0, "t", "", "through the other filter")
	w.expect("t", "through the other filter", 0)
}

// [MQTT-4.8.2-1], [MQTT-4.8.2-2]
func TestConfSharedFilters(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w := b.open(v, fresh("c"))
		good := []string{"$share/g/t", "$share/g/#", "$share/g g/a/+", "$share/$x/$y", "$share/\u00e9/t"}
		bad := []string{"$share", "$share/", "$share/g", "$share//t", "$share/g/", "$share/+/t", "$share/#/t", "$share/g+/t", "$share/g#/t", "$share/g/a#"}
		for i, code := range w.subscribe(1, append(good, bad...)...) {
			switch {
			case i < len(good) && code != 1:
				t.Errorf("%s: %#x", good[i], code)
			case i >= len(good) && code != map[byte]byte{4: 0x80, 5: 0x8f}[v]:
				t.Errorf("%s: %#x", bad[i-len(good)], code)
			}
		}
	})
}

// group opens members a and b of one group, each with an own QoS.
func (b *broker) group(v byte, qa, qb byte) (x, y *wire) {
	b.t.Helper()
	x, y = b.open(v, kept("x")), b.open(v, kept("y"))
	x.subscribe(qa, "$share/g/t")
	y.subscribe(qb, "$share/g/t")
	return x, y
}

// either waits until one of the two has a PUBLISH, and says which.
func either(x, y *wire) (has, other *wire, m message) {
	x.t.Helper()
	for begin := time.Now(); time.Since(begin) < patience; x, y = y, x {
		x.send(packets.Pingreq << 4)
		r, ok := x.read()
		if !ok {
			x.t.Fatal("closed")
		}
		if r.kind() == packets.Publish {
			x.want(packets.Pingresp)
			return x, y, x.parse(r)
		}
	}
	x.t.Fatal("no PUBLISH came in time")
	panic("unreachable")
}

// Each message goes to one member, at the QoS that this one was granted
// [MQTT-4.8.2-3].
func TestConfSharedQoS(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		x, y := b.group(v, 2, 0)
		pub := b.open(v, fresh("pub"))
		got := map[*wire]int{}
		for i := range 40 {
			pub.tell2("t", fmt.Sprint(i))
			has, _, m := either(x, y)
			got[has]++
			if m.payload != fmt.Sprint(i) || m.qos != map[*wire]byte{x: 2, y: 0}[has] {
				t.Fatalf("%q at QoS %d", m.payload, m.qos)
			}
			if m.qos == 2 {
				has.ack(packets.Pubrec, m.id)
				has.wantAck(packets.Pubrel, m.id)
				has.ack(packets.Pubcomp, m.id)
			}
		}
		x.quiet()
		y.quiet()
		if got[x] == 0 || got[y] == 0 {
			t.Errorf("%d and %d messages", got[x], got[y])
		}
	})
}

// [MQTT-4.8.2-4]
func TestConfSharedQoS2StaysWithItsMember(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		x, y := b.group(v, 2, 2)
		pub := b.open(v, fresh("pub"))
		pub.tell2("t", "begun")
		has, other, m := either(x, y)
		has.lose()
		other.quiet()
		id := map[*wire]string{x: "x", y: "y"}[has]
		has = b.reopen(v, kept(id))
		if again := has.expect("t", "begun", 2); again.id != m.id || !again.dup {
			t.Fatalf("came again as %+v, was %+v", again, m)
		}
		has.ack(packets.Pubrec, m.id)
		has.wantAck(packets.Pubrel, m.id)
		has.ack(packets.Pubcomp, m.id)
		has.quiet()
		other.quiet()
	})
}

// [MQTT-4.8.2-5]
func TestConfSharedQoS2EndsWithItsMember(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		x, y := b.group(v, 2, 2)
		pub := b.open(v, fresh("pub"))
		pub.tell2("t", "begun")
		has, other, _ := either(x, y)
		has.lose()
		b.open(v, fresh(map[*wire]string{x: "x", y: "y"}[has])) // a clean start ends the session
		other.quiet()
		pub.tell2("t", "next")
		other.expect("t", "next", 2)
		other.quiet()
	})
}

// [MQTT-4.8.2-6]: not to the other member, and not again.
func TestConfSharedNegativeAcknowledgement(t *testing.T) {
	for _, kind := range []byte{packets.Puback, packets.Pubrec} {
		b := start(t, nil)
		x, y := b.group(5, 2, 2)
		pub := b.open(5, fresh("pub"))
		if kind == packets.Puback {
			pub.tell(0, "t", "refused")
		} else {
			pub.tell2("t", "refused")
		}
		has, other, m := either(x, y)
		has.send(kind<<4, u16(m.id), "\x83")
		has.quiet()
		has.lose()
		pub.tell(0, "t", "next") // what goes to another member comes before it
		if next := other.expect("t", "next", 1); next.dup {
			t.Fatal("DUP on a first delivery")
		}
		b.reopen(5, kept(map[*wire]string{x: "x", y: "y"}[has])).quiet()
	}
}
