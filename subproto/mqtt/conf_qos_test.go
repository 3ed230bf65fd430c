package mqtt

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"parley/persist/mem"

	"github.com/mochi-mqtt/server/v2/packets"
)

// fresh is a client whose session ends with its connection.
func fresh(id string) conn { return conn{id: id, clean: true} }

// What a delivery looks like on the wire, byte by byte ([MQTT-4.3.1-1],
// [MQTT-4.3.2-2], [MQTT-2.2.1-2], [MQTT-2.2.2-1], [MQTT-3.3.1-2]).
func TestConfBytesOfADelivery(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w := b.open(v, fresh("c"))
		w.subscribe(2, "t")
		w.publish(0, 0, 0, "t", "", "x")
		if r := w.want(packets.Publish); r.head != 0x30 || string(r.body) != "\x00\x01t"+w.props("")+"x" {
			t.Fatalf("QoS 0: %#x % x", r.head, r.body)
		}
		b.open(v, fresh("pub")).tell(0, "t", "x")
		r := w.want(packets.Publish)
		id := string(r.body[3:5])
		if r.head != 0x32 || id == "\x00\x00" || string(r.body) != "\x00\x01t"+id+w.props("")+"x" {
			t.Fatalf("QoS 1: %#x % x", r.head, r.body)
		}
	})
}

// [MQTT-3.3.1-3]
func TestConfDupIsNotPassedOn(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w, pub := b.open(v, fresh("c")), b.open(v, fresh("pub"))
		w.subscribe(2, "t")
		pub.tell(dup, "t", "one")
		if w.expect("t", "one", 1).dup {
			t.Fatal("DUP at QoS 1")
		}
		pub.publish(2, dup, 9, "t", "", "two")
		pub.wantAck(packets.Pubrec, 9)
		pub.ack(packets.Pubrel, 9)
		pub.wantAck(packets.Pubcomp, 9)
		if w.expect("t", "two", 2).dup {
			t.Fatal("DUP at QoS 2")
		}
	})
}

// [MQTT-4.3.2-5]; 3.1.1: [MQTT-4.3.2-2]
func TestConfUsedIDIsANewMessage(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w, pub := b.open(v, fresh("c")), b.open(v, fresh("pub"))
		w.subscribe(0, "t")
		for i := range 3 {
			pub.publish(1, byte(i%2)*dup, 7, "t", "", fmt.Sprint(i))
			pub.wantAck(packets.Puback, 7)
			w.expect("t", fmt.Sprint(i), 0)
		}
	})
}

// [MQTT-4.3.3-8], [MQTT-4.3.3-10] to [MQTT-4.3.3-12]; 3.1.1: [MQTT-4.3.3-2]
func TestConfQoS2In(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w, pub := b.open(v, fresh("c")), b.open(v, fresh("pub"))
		w.subscribe(0, "t")
		for round := range 2 { // the second finds the id free again
			payload := fmt.Sprint(round)
			pub.publish(2, 0, 7, "t", "", payload)
			pub.wantAck(packets.Pubrec, 7)
			for range 3 { // nobody repeats on one connection, but it may
				pub.publish(2, dup, 7, "t", "", payload)
				pub.wantAck(packets.Pubrec, 7)
			}
			pub.ack(packets.Pubrel, 7)
			if code := pub.wantAck(packets.Pubcomp, 7); code != 0 {
				t.Fatalf("PUBCOMP %#x", code)
			}
			w.expect("t", payload, 0)
			w.quiet()
		}
		pub.publish(2, dup, 7, "t", "", "new though DUP says otherwise")
		pub.wantAck(packets.Pubrec, 7)
		w.expect("t", "new though DUP says otherwise", 0)
	})
}

// The same over reconnects: until PUBREL the id is taken [MQTT-4.3.3-10].
func TestConfQoS2InIsResumed(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w, pub := b.open(v, fresh("c")), b.open(v, kept("pub"))
		w.subscribe(0, "t")
		pub.publish(2, 0, 7, "t", "", "once")
		pub.wantAck(packets.Pubrec, 7)
		w.expect("t", "once", 0)
		for range 3 {
			pub.lose()
			pub = b.reopen(v, kept("pub"))
			pub.publish(2, dup, 7, "t", "", "once")
			pub.wantAck(packets.Pubrec, 7)
		}
		w.quiet()
		pub.ack(packets.Pubrel, 7)
		pub.wantAck(packets.Pubcomp, 7)
		pub.lose()
		pub = b.reopen(v, kept("pub"))
		pub.ack(packets.Pubrel, 7) // the client missed PUBCOMP
		if code := pub.wantAck(packets.Pubcomp, 7); code != 0 && code != 0x92 {
			t.Fatalf("PUBCOMP %#x", code)
		}
		pub.publish(2, 0, 7, "t", "", "new")
		pub.wantAck(packets.Pubrec, 7)
		w.expect("t", "new", 0)
		pub.lose() // a new session knows nothing of it
		pub = b.open(v, fresh("pub"))
		pub.publish(2, dup, 7, "t", "", "of a new session")
		pub.wantAck(packets.Pubrec, 7)
		w.expect("t", "of a new session", 0)
	})
}

// A refusal frees the id [MQTT-4.3.3-9], and its code is one of PUBREC's
// [MQTT-3.5.2-1].
func TestConfQoS2Refused(t *testing.T) {
	b := start(t, nil)
	w, pub := b.open(5, fresh("c")), b.open(5, fresh("pub"))
	w.subscribe(0, "t")
	for range 2 {
		for topic, want := range map[string]byte{"denied/t": 0x87, "$SYS/t": 0x90} {
			pub.publish(2, 0, 7, topic, "", "x")
			if code := pub.wantAck(packets.Pubrec, 7); code != want {
				t.Fatalf("%s: PUBREC %#x, want %#x", topic, code, want)
			}
		}
	}
	pub.publish(2, 0, 7, "t", "", "allowed")
	if code := pub.wantAck(packets.Pubrec, 7); code != 0 {
		t.Fatalf("PUBREC %#x", code)
	}
	w.expect("t", "allowed", 0)
}

// PUBREC says that the message is ours: not before the store has it
// [MQTT-4.3.3-8].
func TestConfQoS2WaitsForTheStore(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		s := &stuckStore{Store: mem.New(), release: make(chan struct{})}
		b := startOn(t, s, nil)
		pub := b.open(v, fresh("pub"))
		pub.publish(2, 0, 7, "t", "", "x")
		pub.quiet()
		close(s.release)
		pub.wantAck(packets.Pubrec, 7)
	})
}

// [MQTT-4.6.0-3]
func TestConfPubrecsInReceiveOrder(t *testing.T) {
	b := start(t, nil)
	pub := b.open(5, fresh("pub"))
	for id := 1; id <= 30; id++ {
		pub.publish(2, 0, id, []string{"t", "denied/t", "$SYS/t"}[id%3], "", "x")
	}
	for id := 1; id <= 30; id++ {
		if code := pub.wantAck(packets.Pubrec, id); code != []byte{0, 0x87, 0x90}[id%3] {
			t.Fatalf("PUBREC %d: %#x", id, code)
		}
	}
}

// [MQTT-4.3.3-13]: the lifetime of a message has nothing to do with its id.
func TestConfQoS2InExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		w, pub := b.open(5, kept("c")), b.open(5, fresh("pub"))
		w.subscribe(2, "t")
		w.lose()
		pub.publish(2, 0, 7, "t", "\x02"+u32(5), "short")
		pub.wantAck(packets.Pubrec, 7)
		time.Sleep(time.Minute)
		pub.publish(2, dup, 7, "t", "\x02"+u32(5), "short")
		pub.wantAck(packets.Pubrec, 7)
		pub.ack(packets.Pubrel, 7)
		if code := pub.wantAck(packets.Pubcomp, 7); code != 0 {
			t.Fatalf("PUBCOMP %#x", code)
		}
		b.reopen(5, kept("c")).quiet()
	})
}

// [MQTT-4.3.3-2] to [MQTT-4.3.3-5]; 3.1.1: [MQTT-4.3.3-1]
func TestConfQoS2Out(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w, pub := b.open(v, fresh("c")), b.open(v, fresh("pub"))
		if codes := w.subscribe(2, "t"); codes[0] != 2 {
			t.Fatalf("granted % x", codes)
		}
		for i := range 3 {
			pub.tell2("t", fmt.Sprint(i))
			m := w.expect("t", fmt.Sprint(i), 2)
			if m.dup {
				t.Fatal("DUP on a first delivery")
			}
			for range 2 { // a client may repeat PUBREC
				w.ack(packets.Pubrec, m.id)
				if code := w.wantAck(packets.Pubrel, m.id); code != 0 {
					t.Fatalf("PUBREL %#x", code)
				}
			}
			w.ack(packets.Pubcomp, m.id)
			w.quiet()
		}
	})
}

// Before PUBREC the PUBLISH comes again, after it PUBREL and never the PUBLISH
// ([MQTT-4.3.3-3], [MQTT-4.3.3-5], [MQTT-4.3.3-6], [MQTT-4.4.0-1]).
func TestConfQoS2OutIsResumed(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w, pub := b.open(v, kept("c")), b.open(v, fresh("pub"))
		w.subscribe(2, "t")
		pub.tell2("t", "first")
		first := w.expect("t", "first", 2)
		for range 2 {
			w.lose()
			w = b.reopen(v, kept("c"))
			if m := w.expect("t", "first", 2); m.id != first.id || !m.dup {
				t.Fatalf("sent again as %+v, was %+v", m, first)
			}
			w.quiet()
		}
		w.ack(packets.Pubrec, first.id)
		w.wantAck(packets.Pubrel, first.id)
		for range 2 {
			w.lose()
			w = b.reopen(v, kept("c"))
			if code := w.wantAck(packets.Pubrel, first.id); code != 0 {
				t.Fatalf("PUBREL %#x", code)
			}
			w.quiet()
		}
		w.ack(packets.Pubcomp, first.id)
		w.quiet()
		w.lose()
		w = b.reopen(v, kept("c"))
		w.quiet()
	})
}

// [MQTT-4.6.0-4]: PUBRELs in the order of the PUBRECs. On the next connection
// all of them are sent again, and of the rest the PUBLISH packets in their order.
func TestConfPubrelsInReceiveOrder(t *testing.T) {
	versions(t, func(t *testing.T, v byte) {
		b := start(t, nil)
		w, pub := b.open(v, kept("c")), b.open(v, fresh("pub"))
		w.subscribe(2, "t")
		var ids []int
		for i := range 5 {
			pub.tell2("t", fmt.Sprint(i))
			ids = append(ids, w.expect("t", fmt.Sprint(i), 2).id)
		}
		order := []int{ids[3], ids[0], ids[4]}
		for _, id := range order {
			w.ack(packets.Pubrec, id)
		}
		for _, id := range order {
			w.wantAck(packets.Pubrel, id)
		}
		w.lose()
		w = b.reopen(v, kept("c"))
		pubrels, publishes := []int{}, []string{}
		for range ids {
			r, _ := w.read()
			if r.kind() == packets.Pubrel {
				pubrels = append(pubrels, int(r.body[0])<<8|int(r.body[1]))
			} else {
				publishes = append(publishes, string(r.body[len(r.body)-1:]))
			}
		}
		slices.Sort(pubrels)
		slices.Sort(order)
		if fmt.Sprint(pubrels) != fmt.Sprint(order) || fmt.Sprint(publishes) != "[1 2]" {
			t.Fatalf("PUBREL %v, want %v; PUBLISH %v, want [1 2]", pubrels, order, publishes)
		}
	})
}

// [MQTT-4.4.0-2], [MQTT-4.3.3-4]: no PUBREL, not again, and the place in the
// window is free.
func TestConfNegativePubrec(t *testing.T) {
	b := start(t, nil)
	o := kept("c")
	o.props = "\x21" + u16(1)
	w, pub := b.open(5, o), b.open(5, fresh("pub"))
	w.subscribe(2, "t")
	pub.tell2("t", "unwanted")
	pub.tell2("t", "wanted")
	m := w.expect("t", "unwanted", 2)
	w.send(packets.Pubrec<<4, u16(m.id), "\x97")
	w.expect("t", "wanted", 2)
	w.lose()
	w = b.reopen(5, o)
	w.expect("t", "wanted", 2)
	w.quiet()
}

// [MQTT-4.3.3-7]: what was sent is completed, however long the client takes.
func TestConfQoS2OutDoesNotExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		w, pub := b.open(5, kept("c")), b.open(5, fresh("pub"))
		w.subscribe(2, "t")
		pub.publish(2, 0, 7, "t", "\x02"+u32(5), "short")
		pub.wantAck(packets.Pubrec, 7)
		m := w.expect("t", "short", 2)
		time.Sleep(time.Minute)
		w.ack(packets.Pubrec, m.id)
		if code := w.wantAck(packets.Pubrel, m.id); code != 0 {
			t.Fatalf("PUBREL %#x", code)
		}
		w.lose()
		w = b.reopen(5, kept("c"))
		w.wantAck(packets.Pubrel, m.id)
		w.ack(packets.Pubcomp, m.id)
		w.quiet()
	})
}

// The place in the window is taken until PUBCOMP, not only until PUBREC
// [MQTT-3.3.4-9].
func TestConfReceiveMaximumAtQoS2(t *testing.T) {
	b := start(t, nil)
	o := fresh("c")
	o.props = "\x21" + u16(2)
	w, pub := b.open(5, o), b.open(5, fresh("pub"))
	w.subscribe(2, "t")
	for i := range 6 {
		pub.tell2("t", fmt.Sprint(i))
	}
	open := []message{w.receive(), w.receive()}
	for i := 2; i < 6; i++ {
		w.ack(packets.Pubrec, open[0].id)
		w.wantAck(packets.Pubrel, open[0].id)
		w.quiet() // PUBREC does not give the place back
		w.ack(packets.Pubcomp, open[0].id)
		open = append(open[1:], w.expect("t", fmt.Sprint(i), 2))
	}
}

// An id is not given out again before its PUBCOMP [MQTT-4.3.3-1].
func TestConfQoS2IDsStayTaken(t *testing.T) {
	b := start(t, nil)
	w, pub := b.open(4, fresh("c")), b.open(4, fresh("pub"))
	w.subscribe(2, "t")
	taken := map[int]bool{}
	for i := range 50 {
		pub.tell2("t", fmt.Sprint(i))
		m := w.expect("t", fmt.Sprint(i), 2)
		if taken[m.id] {
			t.Fatalf("id %d is in use", m.id)
		}
		taken[m.id] = true
		w.ack(packets.Pubrec, m.id)
		w.wantAck(packets.Pubrel, m.id)
	}
}

// With its quota used up the broker still sends QoS 0, SUBACK, UNSUBACK, PUBACK,
// PUBREC, PUBCOMP and PINGRESP ([MQTT-3.3.4-10], [MQTT-4.9.0-3]).
func TestConfQuotaHoldsNothingElse(t *testing.T) {
	b := start(t, nil)
	o := fresh("c")
	o.props = "\x21" + u16(1)
	w, pub := b.open(5, o), b.open(5, fresh("pub"))
	w.subscribe(1, "t")
	pub.tell(0, "t", "one")
	pub.tell(0, "t", "two")
	m := w.expect("t", "one", 1)
	w.tell(0, "other", "x")
	w.tell2("other", "x")
	w.subscribe(0, "u")
	w.unsubscribe("u")
	w.quiet()
	w.ack(packets.Puback, m.id)
	w.expect("t", "two", 1)
}

// PUBREL, PUBCOMP, SUBACK and UNSUBACK have no properties, successful or not
// ([MQTT-3.6.2-2], [MQTT-3.6.2-3], [MQTT-3.7.2-2], [MQTT-3.7.2-3], [MQTT-3.9.2-1],
// [MQTT-3.9.2-2], [MQTT-3.11.2-1], [MQTT-3.11.2-2]), so none can be too large for
// the client.
func TestConfAcknowledgementsAreBare(t *testing.T) {
	b := start(t, nil)
	o := fresh("c")
	o.props = "\x27" + u32(100)
	w, pub := b.open(5, o), b.open(5, fresh("pub"))
	bare := func(kind byte, most int) {
		t.Helper()
		if r := w.want(kind); len(r.body) > most {
			t.Errorf("%s % x", packets.PacketNames[kind], r.body)
		}
	}
	w.send(packets.Subscribe<<4|2, u16(1), "\x00", str("t"), "\x02", str("denied/t"), "\x02")
	bare(packets.Suback, 2+1+2)
	pub.tell2("t", "x")
	m := w.expect("t", "x", 2)
	w.ack(packets.Pubrec, m.id)
	bare(packets.Pubrel, 2)
	w.ack(packets.Pubrec, 999)
	bare(packets.Pubrel, 4)
	w.publish(2, 0, 7, "u", "", "x")
	w.wantAck(packets.Pubrec, 7)
	w.ack(packets.Pubrel, 7)
	bare(packets.Pubcomp, 2)
	w.ack(packets.Pubrel, 8)
	bare(packets.Pubcomp, 4)
	w.send(packets.Unsubscribe<<4|2, u16(2), "\x00", str("never"), str("t"))
	bare(packets.Unsuback, 2+1+2)
}
