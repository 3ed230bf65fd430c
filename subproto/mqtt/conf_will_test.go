package mqtt

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// [MQTT-3.1.2-10]; 3.1.1: [MQTT-3.1.2-10], [MQTT-3.1.2-12]: each connection has
// its own will or none.
func TestConfWillIsPublishedOnce(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w := b.open(v, fresh("witness"))
		w.subscribe(0, "#")
		with := kept("c")
		with.will = &willing{topic: "will", payload: "gone"}
		b.open(v, with).lose()
		w.expect("will", "gone", 0)
		b.reopen(v, kept("c")).lose() // no will flag
		w.quiet()
		c := b.reopen(v, with)
		c.send(packets.Disconnect << 4)
		c.wantClosed(0)
		w.quiet()
		b.reopen(v, kept("c")).lose()
		w.quiet()
	})
}

// [MQTT-3.1.2-14], [MQTT-3.1.2-15]; 3.1.1: [MQTT-3.1.2-16], [MQTT-3.1.2-17]; at
// every QoS.
func TestConfWillRetain(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w := b.open(v, fresh("witness"))
		w.subscribe(2, "#")
		for qos := byte(0); qos < 3; qos++ {
			for _, r := range []bool{false, true} {
				topic := fmt.Sprintf("will/%d/%v", qos, r)
				o := fresh("c")
				o.will = &willing{topic: topic, payload: "gone", qos: qos, retain: r}
				b.open(v, o).lose()
				if w.expect(topic, "gone", qos).retain {
					t.Fatal("RETAIN on a live message")
				}
				late := b.open(v, fresh("late"))
				late.subscribe(0, topic)
				if r && !late.expect(topic, "gone", 0).retain {
					t.Fatal("not marked as retained")
				}
				late.quiet()
			}
		}
	})
}

// [MQTT-3.1.2-7], [MQTT-3.1.2-8], [MQTT-3.1.3-9]: after the delay, or when the
// session ends, whichever comes first, and not if the client is back.
func TestConfWillDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		w := b.open(5, fresh("witness"))
		w.subscribe(0, "#")
		o := conn{id: "c", expiry: 60, will: &willing{topic: "will", payload: "gone", props: "\x18" + u32(10)}}
		expect := func(after time.Duration) {
			t.Helper()
			time.Sleep(after - 100*time.Millisecond)
			w.quiet()
			time.Sleep(1200 * time.Millisecond)
			w.expect("will", "gone", 0)
		}
		b.open(5, o).lose()
		expect(10 * time.Second)

		b.reopen(5, o).lose() // back within the delay: no will, twice
		time.Sleep(9 * time.Second)
		back := b.reopen(5, o)
		time.Sleep(time.Minute)
		w.quiet()
		back.lose()
		expect(10 * time.Second)

		short := o // the session ends first
		short.expiry = 3
		b.reopen(5, short).lose()
		expect(3 * time.Second)

		b.open(5, o).lose() // a clean start ends the session, and with it the delay
		fresh := o
		fresh.clean, fresh.will = true, nil
		b.open(5, fresh)
		w.expect("will", "gone", 0)
		time.Sleep(time.Minute)
		w.quiet()
	})
}

// All properties of the will are published with it; the order of the user
// properties is kept [MQTT-3.1.3-10].
func TestConfWillProperties(t *testing.T) {
	b := start(t, nil)
	w := b.open(5, fresh("witness"))
	w.subscribe(0, "#")
	o := fresh("c")
	user := []string{"b=1", "a=2", "b=1", "=", "a=1"}
	o.will = &willing{topic: "will", payload: "gone", props: "\x01\x01\x02" + u32(100) + "\x03" + str("text/plain") + "\x08" + str("answer/here") + "\x09" + str("\x00\xff")}
	for _, u := range [][2]string{{"b", "1"}, {"a", "2"}, {"b", "1"}, {"", ""}, {"a", "1"}} {
		o.will.props += "\x26" + str(u[0]) + str(u[1])
	}
	b.open(5, o).lose()
	m := w.expect("will", "gone", 0)
	for id, want := range map[byte]string{1: "\x01", 2: u32(100), 3: "text/plain", 8: "answer/here", 9: "\x00\xff"} {
		if v, _ := find(m.props, id); v != want {
			t.Errorf("property %#x is %q, want %q", id, v, want)
		}
	}
	var got []string
	for _, p := range m.props {
		if p.id == 0x26 {
			got = append(got, p.value)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(user) {
		t.Errorf("user properties %q, want %q", got, user)
	}
}

// [MQTT-3.1.2-22]: silence is a lost connection: the will is due, the session
// stays.
func TestConfKeepAlivePublishesTheWill(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, nil)
			w := b.open(v, fresh("witness"))
			w.subscribe(0, "#")
			o := kept("c")
			o.keepAlive, o.will = 10, &willing{topic: "will", payload: "silent"}
			c := b.open(v, o)
			time.Sleep(14 * time.Second)
			w.quiet()
			time.Sleep(3 * time.Second)
			w.expect("will", "silent", 0)
			c.wantClosed(0x8d)
			c.lose()
			b.reopen(v, o)
		})
	})
}

// [MQTT-3.2.2-21], [MQTT-3.1.2-21]: the keep-alive that CONNACK names is the one
// that counts.
func TestConfServerKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, func(o *Options) { o.MaxKeepAlive = 20 * time.Second })
		for _, asked := range []int{0, 21, 60_000} {
			o := fresh("c")
			o.keepAlive = asked
			w := b.wire(5)
			if v, _ := find(w.connect(o).props, 0x13); v != u16(20) {
				t.Fatalf("Server Keep Alive % x", v)
			}
			time.Sleep(29 * time.Second)
			w.quiet()
			time.Sleep(31 * time.Second)
			w.wantClosed(0x8d)
			w.lose()
		}
	})
}
