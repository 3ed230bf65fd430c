package mqtt

import (
	"fmt"
	"testing"

	"parley/persist/mem"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// One message at QoS 2 from end to end ([MQTT-4.3.3-1] to [MQTT-4.3.3-13]), and
// the lower QoS of publish and subscription otherwise ([MQTT-3.8.4-8]).
func TestQoS2EndToEnd(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		pub := b.connect(version, "pub", nil)
		var subs []*peer
		for qos := range byte(3) {
			p := b.connect(version, fmt.Sprint("sub", qos), nil)
			if got := p.subscribe(qos, "t"); got[0] != qos {
				t.Fatalf("granted %d, want %d", got[0], qos)
			}
			subs = append(subs, p)
		}
		for i := range 3 {
			for qos := range byte(3) {
				if code := pub.publish(qos, "t", fmt.Sprint(i, qos)); code != 0 {
					t.Fatalf("code %#x", code)
				}
			}
		}
		for granted, p := range subs {
			for i := range 3 {
				for qos := range byte(3) {
					pk := p.receive("t", fmt.Sprint(i, qos))
					if want := min(qos, byte(granted)); pk.FixedHeader.Qos != want || pk.FixedHeader.Dup {
						t.Fatalf("QoS %d, dup %v, want %d", pk.FixedHeader.Qos, pk.FixedHeader.Dup, want)
					}
				}
			}
			p.quiet()
		}
	})
}

// Until PUBREL the same packet id is the same message, DUP or not, and each
// PUBLISH is answered; after PUBCOMP it is a new one ([MQTT-4.3.3-10],
// [MQTT-4.3.3-12]). The connection may change in between ([MQTT-4.1.0-1]).
func TestQoS2DuplicatesArePublishedOnce(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		sub, pub := b.connect(version, "sub", nil), b.resume(version, "pub", false)
		sub.subscribe(2, "t")
		pk := pub.publishPacket(2, "t", "first")
		pub.send(pk)
		pub.wantID(packets.Pubrec, pk.PacketID)
		pk.FixedHeader.Dup = true
		for range 3 {
			pub.send(pk)
			pub.wantID(packets.Pubrec, pk.PacketID)
		}
		pub.c.Drop(nil)
		pub = b.resume(version, "pub", true)
		pub.send(pk)
		pub.wantID(packets.Pubrec, pk.PacketID)
		pub.short(packets.Pubrel, pk.PacketID)
		if code := pub.wantID(packets.Pubcomp, pk.PacketID); code != 0 {
			t.Fatalf("PUBCOMP %#x", code)
		}
		pub.short(packets.Pubrel, pk.PacketID) // not held any more
		if code := pub.wantID(packets.Pubcomp, pk.PacketID); version == 5 && code != 0x92 {
			t.Fatalf("PUBCOMP %#x, want 0x92", code)
		}
		pk.Payload, pk.FixedHeader.Dup = []byte("second"), false
		pub.send(pk)
		pub.wantID(packets.Pubrec, pk.PacketID)
		sub.receive("t", "first")
		sub.receive("t", "second")
		sub.quiet()
	})
}

// resume connects without a clean start, for a session that lasts.
func (b *broker) resume(version byte, id string, present bool, change ...func(*packets.Packet)) *peer {
	b.t.Helper()
	p := b.dial(version)
	ack := p.handshake(id, lasting(change...))
	if ack.ReasonCode != 0 || ack.SessionPresent != (present && version > 3) {
		b.t.Fatalf("CONNACK %#x, session present %v", ack.ReasonCode, ack.SessionPresent)
	}
	return p
}

// lasting asks for a session that outlives its connection.
func lasting(change ...func(*packets.Packet)) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		pk.Connect.Clean = false
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 0xffffffff, true
		for _, c := range change {
			c(pk)
		}
	}
}

// What was sent comes again under its packet id, in order and marked, until it is
// acknowledged; of what was received only PUBREL comes ([MQTT-4.4.0-1],
// [MQTT-3.3.1-1], [MQTT-4.6.0-1]).
func TestQoS2DeliveryIsResumed(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		sub := b.resume(version, "sub", false)
		sub.subscribe(2, "t")
		pub := b.connect(version, "pub", nil)
		for i := range 4 {
			pub.publish(2, "t", fmt.Sprint(i))
		}
		var ids []uint16
		for range 4 {
			ids = append(ids, sub.want(packets.Publish).PacketID)
		}
		sub.short(packets.Pubrec, ids[1])
		sub.wantID(packets.Pubrel, ids[1])
		sub.short(packets.Pubrec, ids[2])
		sub.wantID(packets.Pubrel, ids[2])
		sub.short(packets.Pubcomp, ids[2])
		sub.quiet()
		for range 3 {
			sub.c.Drop(nil)
			sub = b.resume(version, "sub", true)
			sub.wantID(packets.Pubrel, ids[1])
			for _, i := range []int{0, 3} {
				pk := sub.want(packets.Publish)
				if pk.PacketID != ids[i] || !pk.FixedHeader.Dup || string(pk.Payload) != fmt.Sprint(i) {
					t.Fatalf("id %d, dup %v, payload %s; want id %d", pk.PacketID, pk.FixedHeader.Dup, pk.Payload, ids[i])
				}
			}
			sub.quiet()
		}
		sub.short(packets.Pubcomp, ids[1])
		for _, i := range []int{0, 3} {
			sub.short(packets.Pubrec, ids[i])
			sub.wantID(packets.Pubrel, ids[i])
			sub.short(packets.Pubcomp, ids[i])
		}
		sub.quiet()
		sub.c.Drop(nil)
		sub = b.resume(version, "sub", true)
		pub.publish(2, "t", "new")
		if pk := sub.receive("t", "new"); pk.FixedHeader.Dup {
			t.Fatal("a new message is marked as sent before")
		}
		sub.quiet()
	})
}

// A negative PUBREC ends the message and frees the id ([MQTT-4.3.3-4], section
// 4.3.3); the window of one goes on.
func TestQoS2NegativePubrec(t *testing.T) {
	b := start(t, nil)
	sub := b.connect(5, "sub", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 1 })
	sub.subscribe(2, "t")
	pub := b.connect(5, "pub", nil)
	pub.publish(2, "t", "one")
	pub.publish(2, "t", "two")
	id := sub.want(packets.Publish).PacketID
	sub.quiet()
	sub.raw(packets.Pubrec<<4, 3, byte(id>>8), byte(id), 0x97)
	sub.receive("t", "two")
	sub.quiet()
}

// Refusals: v5 is told in PUBREC and the id is free again; what the engine
// refuses and what the hub refuses keep the order.
func TestQoS2Refusals(t *testing.T) {
	b := start(t, nil)
	p := b.connect(5, "c", nil)
	bad := p.publishPacket(2, "t", "\xff")
	bad.Properties.PayloadFormat, bad.Properties.PayloadFormatFlag = 1, true
	var frame []byte
	for _, pk := range []packets.Packet{bad, p.publishPacket(2, "denied/t", ""), p.publishPacket(2, "$SYS/t", ""), p.publishPacket(2, "t\x01", ""), p.publishPacket(2, "t", "")} {
		frame = append(frame, encode(t, pk)...)
	}
	p.raw(frame...)
	for i, want := range []byte{0x99, 0x87, 0x90, 0x90, 0} {
		if code := p.wantID(packets.Pubrec, uint16(i+1)); code != want {
			t.Fatalf("PUBREC %d: %#x, want %#x", i+1, code, want)
		}
	}
	p.short(packets.Pubrel, 2) // nothing is held for it
	if code := p.wantID(packets.Pubcomp, 2); code != 0x92 {
		t.Fatalf("PUBCOMP %#x", code)
	}
	one := p.publishPacket(1, "t", "")
	one.PacketID = 5 // in use at QoS 2
	p.send(one)
	if code := p.wantAck(5); code != 0x91 {
		t.Fatalf("PUBACK %#x, want 0x91", code)
	}
}

// Where the operator chose so, a refused publish of 3.1.1 completes as if taken.
func TestQoS2AckRefused(t *testing.T) {
	b := start(t, func(o *Options) { o.AckRefused = true })
	p := b.connect(4, "c", nil)
	p.publish(2, "denied/t", "x")
	p.quiet()
}

// PUBREL that comes before PUBREC is answered behind it, and once.
func TestQoS2EarlyPubrel(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		s := &stuckStore{Store: mem.New(), release: make(chan struct{})}
		b := startOn(t, s, nil)
		p := b.connect(version, "c", nil)
		p.send(p.publishPacket(2, "t", "x"))
		p.short(packets.Pubrel, 1)
		p.short(packets.Pubrel, 1)
		p.quiet()
		close(s.release)
		p.wantID(packets.Pubrec, 1)
		p.wantID(packets.Pubcomp, 1)
		p.quiet()
		p.publish(2, "t", "y")
	})
}

// [MQTT-3.3.4-9], section 4.9: at QoS 2 a publish counts until PUBCOMP.
func TestReceiveMaximumTowardsUsAtQoS2(t *testing.T) {
	b := start(t, func(o *Options) { o.ReceiveMaximum = 3 })
	p := b.connect(5, "c", nil)
	for i := range 10 { // completed ones do not count
		p.publish(byte(i%3), "t", "")
		p.publish(2, "denied", "")
	}
	p.nextID = 0
	for range 3 {
		pk := p.publishPacket(2, "t", "")
		p.send(pk)
		p.wantID(packets.Pubrec, pk.PacketID)
		p.send(pk) // a repetition does not count either
		p.wantID(packets.Pubrec, pk.PacketID)
	}
	p.short(packets.Pubrel, 2)
	p.wantID(packets.Pubcomp, 2)
	p.publish(1, "t", "")
	pk := p.publishPacket(2, "t", "")
	p.send(pk)
	p.wantID(packets.Pubrec, pk.PacketID)
	p.send(p.publishPacket(2, "t", ""))
	p.wantEnd(0x93, subproto.CloseProtocol)
}

// Acknowledgements that do not go with the delivery are protocol errors.
func TestAcknowledgementsOutOfPlace(t *testing.T) {
	for _, c := range []struct {
		name string
		qos  byte
		send func(p *peer, id uint16)
	}{
		{"PUBACK at QoS 2", 2, func(p *peer, id uint16) { p.ack(id) }},
		{"PUBREC at QoS 1", 1, func(p *peer, id uint16) { p.short(packets.Pubrec, id) }},
		{"PUBCOMP at QoS 1", 1, func(p *peer, id uint16) { p.short(packets.Pubcomp, id) }},
		{"PUBCOMP before PUBREL", 2, func(p *peer, id uint16) { p.short(packets.Pubcomp, id) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, func(t *testing.T, version byte) {
				b := start(t, nil)
				p := b.connect(version, "c", nil)
				p.subscribe(c.qos, "t")
				b.connect(version, "pub", nil).publish(2, "t", "x")
				c.send(p, p.want(packets.Publish).PacketID)
				p.wantEnd(0x82, subproto.CloseProtocol)
			})
		})
	}
}

// A repeated PUBREC is answered again, PUBACK and PUBCOMP of a finished exchange
// change nothing.
func TestRepeatedAcknowledgements(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		p := b.connect(version, "c", nil)
		p.subscribe(2, "t")
		b.connect(version, "pub", nil).publish(2, "t", "x")
		id := p.want(packets.Publish).PacketID
		for range 2 {
			p.short(packets.Pubrec, id)
			p.wantID(packets.Pubrel, id)
		}
		for range 2 {
			p.short(packets.Pubcomp, id)
		}
		p.quiet()
	})
}
