package mqtt

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"parley/persist"
	"parley/persist/mem"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// One message through publisher, log and subscriber, at each QoS.
func TestPublishReachesSubscriber(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		sub, pub := b.connect(version, "sub", nil), b.connect(version, "pub", nil)
		if got := sub.subscribe(2, "a/+", "b/#"); got[0] != 2 || got[1] != 2 {
			t.Fatalf("granted % x, want 2 2", got)
		}
		pub.publish(0, "a/x", "zero")
		if pk := sub.receive("a/x", "zero"); pk.FixedHeader.Qos != 0 {
			t.Fatalf("QoS %d, want 0", pk.FixedHeader.Qos)
		}
		if code := pub.publish(1, "b", "one"); code != 0 {
			t.Fatalf("PUBACK %#x", code)
		}
		if pk := sub.receive("b", "one"); pk.FixedHeader.Qos != 1 || pk.FixedHeader.Dup || pk.FixedHeader.Retain {
			t.Fatalf("header %+v", pk.FixedHeader)
		}
		pub.publish(1, "c", "nobody's")
		sub.quiet()
		pub.send(packets.Packet{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
		pub.wantEnd(0, subproto.CloseNormal)
	})
}

// PUBACKs leave in receive order, refusals included ([MQTT-4.6.0-2]), whether the
// engine or the hub refuses.
func TestAcknowledgementsInReceiveOrder(t *testing.T) {
	b := start(t, nil)
	p := b.connect(5, "c", nil)
	bad := p.publishPacket(1, "t", "\xff")
	bad.Properties.PayloadFormat, bad.Properties.PayloadFormatFlag = 1, true
	var frame []byte
	for range 3 {
		for _, pk := range []packets.Packet{
			p.publishPacket(1, "t", "a"), p.publishPacket(1, "denied/t", "b"), p.publishPacket(1, "t\x01", "c"), bad,
			p.publishPacket(1, "$SYS/t", "d"), p.publishPacket(1, "t", "e"),
		} {
			if pk.PacketID == bad.PacketID {
				pk.PacketID = p.id()
			}
			frame = append(frame, encode(t, pk)...)
		}
	}
	p.raw(frame...)
	for range 3 {
		for i, want := range []byte{0, 0x87, 0x90, 0x99, 0x90, 0} {
			if ack := p.want(packets.Puback); ack.ReasonCode != want {
				t.Fatalf("PUBACK %d of six: %#x, want %#x", i, ack.ReasonCode, want)
			}
		}
	}
}

// MQTT 3.1.1 has no negative PUBACK: a refused publish ends the connection, or
// is acknowledged and discarded where the operator chose so.
func TestRefusedPublishOf311(t *testing.T) {
	b := start(t, nil)
	for _, topic := range []string{"denied/t", "$SYS/t"} {
		for _, qos := range []byte{1, 2} {
			p := b.connect(4, "c", nil)
			p.send(p.publishPacket(qos, topic, "x"))
			p.wantEnd(0, subproto.ClosePolicy)
		}
	}
	b = start(t, func(o *Options) { o.AckRefused = true })
	sub := b.connect(5, "sub", nil)
	sub.subscribe(0, "ok")
	p := b.connect(4, "c", nil)
	p.publish(1, "denied/t", "x")
	p.publish(1, "ok", "y")
	sub.receive("ok", "y")
	v5 := b.connect(5, "d", nil) // the option is for those that cannot be told
	if code := v5.publish(1, "denied/t", "x"); code != 0x87 {
		t.Fatalf("PUBACK %#x", code)
	}
}

// A refused QoS 0 publish is dropped; there is nothing that could tell it.
func TestRefusedPublishAtQoS0(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		p := b.connect(version, "c", nil)
		p.publish(0, "denied/t", "x")
		p.publish(0, "$SYS/t", "x")
		p.quiet()
	})
}

// fullStore is a store without room while full is set.
type fullStore struct {
	persist.Store
	full atomic.Bool
}

func (s *fullStore) Commit(b *persist.Batch, done func(error)) {
	if s.full.Load() && len(b.Appends) > 0 {
		done(persist.ErrFull)
		return
	}
	s.Store.Commit(b, done)
}

// 0x89 is not a PUBACK code; 3.1.1 gets no PUBACK until there is room, and is
// not read further.
func TestStoreFull(t *testing.T) {
	s := &fullStore{Store: mem.New()}
	b := startOn(t, s, nil)
	v5, v4 := b.connect(5, "five", nil), b.connect(4, "four", nil)
	s.full.Store(true)
	if code := v5.publish(1, "t", "x"); code != 0x97 {
		t.Fatalf("PUBACK %#x, want 0x97", code)
	}
	waits := v4.publishPacket(1, "t", "parked")
	v4.send(waits)
	v5.publish(1, "t", "still full")
	s.full.Store(false)
	v4.wantAck(waits.PacketID)
	if code := v5.publish(1, "t", "room"); code != 0 {
		t.Fatalf("PUBACK %#x", code)
	}
}

// stuckStore lets no commit end before release is closed.
type stuckStore struct {
	persist.Store
	release chan struct{}
}

func (s *stuckStore) Commit(b *persist.Batch, done func(error)) {
	if len(b.Appends) > 0 {
		<-s.release
	}
	s.Store.Commit(b, done)
}

// [MQTT-3.3.4-9]: more unacknowledged publishes than our Receive Maximum.
func TestReceiveMaximumTowardsUs(t *testing.T) {
	s := &stuckStore{Store: mem.New(), release: make(chan struct{})}
	b := startOn(t, s, func(o *Options) { o.ReceiveMaximum = 5 })
	v5, v4 := b.connect(5, "five", nil), b.connect(4, "four", nil)
	var in4, in5 []byte
	for i := range 6 {
		in5 = append(in5, encode(t, v5.publishPacket(1, "t", fmt.Sprint(i)))...)
		in4 = append(in4, encode(t, v4.publishPacket(1, "t", fmt.Sprint(i)))...)
	}
	v4.raw(in4...) // 3.1.1 has no such limit
	v5.raw(in5[:len(in5)*5/6]...)
	v5.quiet() // PINGREQ passes while publishes wait
	v5.raw(in5[len(in5)*5/6:]...)
	v5.wantEnd(0x93, subproto.CloseProtocol)
	close(s.release)
	for i := range 6 {
		v4.wantAck(uint16(i + 1))
	}
}

// A publisher of small messages without end is not read while too much waits.
func TestFastPublisherIsHeldBack(t *testing.T) {
	s := &stuckStore{Store: mem.New(), release: make(chan struct{})}
	b := startOn(t, s, nil)
	p := b.connect(4, "c", nil)
	one := encode(t, p.publishPacket(1, "t", string(make([]byte, 1000))))
	sent := 0
	for {
		if _, _, reading := p.c.State(); !reading {
			break
		}
		p.raw(one...)
		if sent++; sent > 100_000 {
			t.Fatal("never held back")
		}
	}
	close(s.release)
	for range sent {
		p.want(packets.Puback)
	}
	p.quiet() // reading goes on
}

// Packet ids of the two directions have nothing to do with each other
// ([MQTT-2.2.1-5]).
func TestSamePacketIDInBothDirections(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		p := b.connect(version, "c", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 1 })
		p.subscribe(1, "t")
		p.nextID = 0 // so that ours and the broker's are both 1
		pk := p.publishPacket(1, "t", "first")
		p.send(pk)
		seen := map[byte]bool{}
		for range 2 {
			got, ok := p.next()
			if !ok || got.PacketID != 1 {
				t.Fatalf("packet %+v", got)
			}
			seen[got.FixedHeader.Type] = true
		}
		if !seen[packets.Puback] || !seen[packets.Publish] {
			t.Fatalf("got %v", seen)
		}
		pk.Payload = []byte("second") // under the id of the delivery that is open
		p.send(pk)
		p.wantAck(1)
		if version == 5 {
			p.quiet() // the window of one is still taken
		}
		p.ack(1)
		p.receive("t", "second")
	})
}

// An acknowledgement nobody waits for changes nothing.
func TestUnknownAcknowledgements(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		p := b.connect(version, "c", nil)
		p.ack(77)
		p.raw(packets.Pubcomp<<4, 2, 0, 7)
		p.quiet()
		p.raw(packets.Pubrel<<4|2, 2, 0, 7)
		if pk := p.want(packets.Pubcomp); pk.PacketID != 7 || version == 5 && pk.ReasonCode != 0x92 {
			t.Fatalf("PUBCOMP %+v", pk)
		}
		p.raw(packets.Pubrec<<4, 2, 0, 8)
		if pk := p.want(packets.Pubrel); pk.PacketID != 8 || version == 5 && pk.ReasonCode != 0x92 {
			t.Fatalf("PUBREL %+v", pk)
		}
	})
}

// A negative PUBACK ends the message too ([MQTT-4.4.0-2]).
func TestNegativeAcknowledgementOfADelivery(t *testing.T) {
	b := start(t, nil)
	p := b.connect(5, "c", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 1 })
	p.subscribe(1, "t")
	b.connect(5, "pub", nil).publish(1, "t", "one")
	pub := b.connect(5, "pub2", nil)
	pub.publish(1, "t", "two")
	pk := p.want(packets.Publish)
	p.raw(packets.Puback<<4, 3, byte(pk.PacketID>>8), byte(pk.PacketID), 0x87)
	p.receive("t", "two")
}

// The bytes of a frame are only lent; nothing that is kept may show them.
func TestFrameBytesAreCopied(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		sub := b.connect(version, "sub", withWill("will/topic", "will", false))
		sub.subscribe(1, "some/filter/#")
		pub := b.connect(version, "pub", nil)
		for i := range 3 { // the third uses the remembered topic
			pk := pub.publishPacket(1, "some/filter/x", fmt.Sprint("payload ", i))
			if version == 5 {
				pk.Properties.User = []packets.UserProperty{{Key: "key", Val: "value"}}
			}
			pub.send(pk)
			pub.wantAck(pk.PacketID)
			got := sub.receive("some/filter/x", fmt.Sprint("payload ", i))
			if version == 5 && (len(got.Properties.User) != 1 || got.Properties.User[0] != pk.Properties.User[0]) {
				t.Fatalf("user properties %v", got.Properties.User)
			}
		}
		pub.subscribe(1, "will/#")
		sub.c.Drop(nil)
		pub.receive("will/topic", "will")
	})
}

// failedStore fails for good at the first message.
type failedStore struct{ persist.Store }

func (s *failedStore) Commit(b *persist.Batch, done func(error)) {
	if len(b.Appends) > 0 {
		done(persist.ErrFailed)
		return
	}
	s.Store.Commit(b, done)
}

// When the store has failed nothing is answered for the message, not even that
// it is refused: the client keeps it and sends it again elsewhere or later.
func TestStoreFailed(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := startOn(t, &failedStore{mem.New()}, nil)
		p := b.connect(version, "c", nil)
		p.send(p.publishPacket(1, "t", "x"))
		p.wantEnd(0x80, subproto.CloseInternal)
	})
}

// A payload of many frames, with every width of Remaining Length.
func TestLargePayloads(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, func(o *Options) { o.MaxPacket = 4 << 20 })
		sub, pub := b.connect(version, "sub", nil), b.connect(version, "pub", nil)
		sub.subscribe(1, "t")
		for _, n := range []int{100, 127, 128, 16_383, 16_384, 1 << 20} {
			payload := strings.Repeat("0123456789abcdef", n/16) + strings.Repeat("x", n%16)
			pk := pub.publishPacket(1, "t", payload)
			raw := encode(t, pk)
			for len(raw) > 0 {
				cut := min(len(raw), 4096)
				pub.raw(raw[:cut]...)
				raw = raw[cut:]
			}
			pub.wantAck(pk.PacketID)
			sub.receive("t", payload)
		}
	})
}

// With a policy without a rule every request is refused with its own code.
func TestNothingIsAllowedWithoutARule(t *testing.T) {
	b := start(t, nil)
	p := b.connect(5, "c", nil)
	if got := p.subscribe(1, "denied", "denied/#", "denied/+"); string(got) != "\x87\x87\x87" {
		t.Errorf("SUBACK % x", got)
	}
	if code := p.publish(1, "denied", "x"); code != 0x87 {
		t.Errorf("PUBACK %#x", code)
	}
	retained := p.publishPacket(1, "denied", "x")
	retained.FixedHeader.Retain = true
	p.send(retained)
	if code := p.wantAck(retained.PacketID); code != 0x87 {
		t.Errorf("PUBACK of a retained message: %#x", code)
	}
	if ack := b.dial(5).handshake("w", withWill("denied", "x", false)); ack.ReasonCode != 0x87 {
		t.Errorf("CONNACK %#x", ack.ReasonCode)
	}
}
