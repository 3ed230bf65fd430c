package mqtt

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Session present and subscriptions, over three connections ([MQTT-3.1.2-5],
// [MQTT-3.1.2-6], [MQTT-3.2.2-3]; 3.1.1: [MQTT-3.1.2-4], [MQTT-3.2.2-2]).
func TestConfSessionIsResumed(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w := b.wire(v)
		if ack := w.connect(kept("c")); ack.present || ack.code != 0 {
			t.Fatalf("CONNACK %+v", ack)
		}
		w.subscribe(1, "t/+")
		for range 2 {
			w.lose()
			w = b.reopen(v, kept("c"))
			w.publish(0, 0, 0, "t/x", "", "to myself")
			w.expect("t/x", "to myself", 0)
		}
		w.send(packets.Disconnect << 4) // a goodbye ends the connection, not the session
		w.wantClosed(0)
		b.reopen(v, kept("c"))
		if ack := b.wire(v).connect(kept("d")); ack.present {
			t.Fatal("another client id has the session")
		}
	})
}

// [MQTT-4.5.0-1]; 3.1.1: [MQTT-3.1.2-5]
func TestConfSessionCollects(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w := b.open(v, kept("c"))
		w.subscribe(2, "t")
		w.subscribe(0, "zero")
		w.lose()
		pub := b.open(v, conn{id: "pub", clean: true})
		pub.tell(0, "t", "one")
		pub.tell2("t", "two")
		pub.tell(0, "zero", "not collected at QoS 0")
		pub.tell(0, "other", "not subscribed")
		pub.tell(0, "t", "three")
		w = b.reopen(v, kept("c"))
		w.ack(packets.Puback, w.expect("t", "one", 1).id)
		two := w.expect("t", "two", 2)
		w.ack(packets.Puback, w.expect("t", "three", 1).id)
		w.ack(packets.Pubrec, two.id)
		w.wantAck(packets.Pubrel, two.id)
		w.ack(packets.Pubcomp, two.id)
		w.quiet()
		w.lose()
		b.reopen(v, kept("c")).quiet() // once is enough
	})
}

// [MQTT-3.1.2-4], [MQTT-3.2.2-2]; 3.1.1: [MQTT-3.1.2-6], [MQTT-3.2.2-1]
func TestConfCleanStartDiscards(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w := b.open(v, kept("c"))
		w.subscribe(1, "t")
		w.lose()
		pub := b.open(v, conn{id: "pub", clean: true})
		pub.tell(0, "t", "for the old session")
		w = b.wire(v)
		if ack := w.connect(conn{id: "c", clean: true}); ack.present || ack.code != 0 {
			t.Fatalf("CONNACK %+v", ack)
		}
		pub.tell(0, "t", "for nobody")
		w.quiet()
		w.lose()
		// A clean session leaves nothing behind; in 5 because it had no expiry.
		if ack := b.wire(v).connect(kept("c")); ack.present {
			t.Fatal("the clean session was kept")
		}
	})
}

// A clean start and an expiry go together in 5: discarded first, kept then.
func TestConfCleanStartWithExpiry(t *testing.T) {
	b := start(t, nil)
	clean := kept("c")
	clean.clean = true
	w := b.open(5, clean)
	w.subscribe(1, "t")
	w.lose()
	b.reopen(5, kept("c")).lose()
	if ack := b.wire(5).connect(clean); ack.present {
		t.Fatal("session present after a clean start")
	}
}

// [MQTT-4.1.0-2], [MQTT-3.1.2-23]: to the second, counted from the end of the
// connection, and by what DISCONNECT said last.
func TestConfSessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		at := func(wait time.Duration, want bool) {
			t.Helper()
			time.Sleep(wait)
			w := b.wire(5)
			if ack := w.connect(conn{id: "c", expiry: 10}); ack.present != want {
				t.Fatalf("after %v: session present %v", wait, ack.present)
			}
			w.lose()
		}
		w := b.open(5, conn{id: "c", expiry: 10})
		w.subscribe(1, "t")
		time.Sleep(time.Hour) // not while connected [MQTT-4.1.0-1]
		w.lose()
		at(9*time.Second, true)
		at(9*time.Second, true) // counted anew
		at(12*time.Second, false)
		w = b.reopen(5, conn{id: "c", expiry: 10})
		w.send(packets.Disconnect<<4, "\x00", w.props("\x11"+u32(100)))
		w.wantClosed(0)
		at(90*time.Second, true)
		w = b.reopen(5, conn{id: "c", expiry: 10})
		w.send(packets.Disconnect<<4, "\x00", w.props("\x11"+u32(0)))
		w.wantClosed(0)
		at(0, false)
	})
}

// [MQTT-4.1.0-1]; 3.1.1: [MQTT-4.1.0-2]
func TestConfSessionLastsWithItsConnection(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, nil)
			w := b.open(v, conn{id: "c", clean: true}) // expiry 0
			w.subscribe(1, "t")
			time.Sleep(time.Hour)
			w.publish(0, 0, 0, "t", "", "still subscribed")
			w.expect("t", "still subscribed", 0)
		})
	})
}

// 3.1.1: [MQTT-3.1.2-7]
func TestConfRetainedOutlivesTheSession(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w := b.open(v, kept("c"))
		w.tell(retain, "r", "kept")
		w.send(packets.Disconnect << 4)
		w.wantClosed(0)
		w = b.open(v, conn{id: "c", clean: true})
		w.lose()
		w = b.open(v, conn{id: "c", clean: true})
		w.subscribe(0, "r")
		if m := w.expect("r", "kept", 0); !m.retain {
			t.Fatal("not marked as retained")
		}
	})
}

// What was not acknowledged comes again on the next connection: in its order,
// under its packet id and with DUP ([MQTT-4.4.0-1], [MQTT-3.3.1-1],
// [MQTT-4.6.0-1]); what was, does not; and on a connection that stays nothing is
// repeated, however long it takes.
func TestConfUnacknowledgedComesAgain(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, nil)
			w := b.open(v, kept("c"))
			w.subscribe(1, "t")
			pub := b.open(v, conn{id: "pub", clean: true})
			ids := map[string]int{}
			for i := range 6 {
				pub.tell(0, "t", fmt.Sprint(i))
				m := w.expect("t", fmt.Sprint(i), 1)
				if m.dup {
					t.Fatalf("%d has DUP", i)
				}
				ids[m.payload] = m.id
			}
			w.ack(packets.Puback, ids["1"])
			w.ack(packets.Puback, ids["4"])
			time.Sleep(time.Hour)
			w.quiet()
			for range 3 {
				w.lose()
				w = b.reopen(v, kept("c"))
				for _, payload := range []string{"0", "2", "3", "5"} {
					if m := w.expect("t", payload, 1); !m.dup || m.id != ids[payload] {
						t.Fatalf("%s under id %d (was %d), DUP %v", payload, m.id, ids[payload], m.dup)
					}
				}
				w.quiet()
			}
			pub.tell(0, "t", "new")
			m := w.expect("t", "new", 1)
			if m.dup {
				t.Fatal("a new message has DUP")
			}
			for _, payload := range []string{"0", "2", "3", "5"} {
				if m.id == ids[payload] {
					t.Fatalf("id %d is in use", m.id)
				}
				w.ack(packets.Puback, ids[payload])
			}
			w.ack(packets.Puback, m.id)
			w.lose()
			b.reopen(v, kept("c")).quiet()
		})
	})
}

// The client's smaller window on its next connection holds for what is sent
// again, too [MQTT-3.3.4-9].
func TestConfResendingKeepsToTheNewWindow(t *testing.T) {
	b := start(t, nil)
	w := b.open(5, kept("c"))
	w.subscribe(1, "t")
	pub := b.open(5, conn{id: "pub", clean: true})
	for i := range 10 {
		pub.tell(0, "t", fmt.Sprint(i))
		w.expect("t", fmt.Sprint(i), 1)
	}
	w.lose()
	small := kept("c")
	small.props = "\x21" + u16(2)
	w = b.reopen(5, small)
	var open []message
	for i := range 10 {
		open = append(open, w.expect("t", fmt.Sprint(i), 1))
		if len(open) == 2 {
			w.quiet()
			w.ack(packets.Puback, open[0].id)
			open = open[1:]
		}
	}
	w.ack(packets.Puback, open[0].id)
	w.quiet()
}
