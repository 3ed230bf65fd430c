package mqtt

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"parley/persist/mem"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Fault: a takeover waits for the old connection's socket, which may have stopped
// being read, and loses what was queued there ([MQTT-3.1.4-3]).
func TestTrapTakeoverOfAStalledSocket(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		old := b.resume(version, "c", false)
		old.subscribe(2, "t")
		pub := b.connect(version, "pub", nil)
		pub.publish(1, "t", "0")
		old.want(packets.Publish)
		old.c.SetRoom(false)
		for i := 1; i < 3000; i++ {
			pub.send(pub.publishPacket(byte(1+i%2), "t", fmt.Sprint(i)))
			p := pub.want([]byte{0, packets.Puback, packets.Pubrec}[1+i%2])
			if i%2 == 1 {
				pub.short(packets.Pubrel, p.PacketID)
				pub.want(packets.Pubcomp)
			}
		}
		begin := time.Now()
		p := b.resume(version, "c", true)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the takeover took %v", took)
		}
		if code, _ := old.c.WaitClose(); code != subproto.ClosePolicy { // it need not read for that
			t.Errorf("the old connection was closed with %d", code)
		}
		for i := range 3000 {
			p.receive("t", fmt.Sprint(i))
		}
		p.quiet()
	})
}

// Fault: messages are sent again in the order of a hash map ([MQTT-4.6.0-1]).
func TestTrapResendOrder(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		p := b.resume(version, "c", false)
		p.subscribe(2, "t")
		pub := b.connect(version, "pub", nil)
		for i := range 100 {
			pub.publish(byte(1+i%2), "t", fmt.Sprint(i))
		}
		var first []uint16
		for resume := range 4 {
			for i := range 100 {
				pk := p.want(packets.Publish)
				if string(pk.Payload) != fmt.Sprint(i) || pk.FixedHeader.Dup != (resume > 0) {
					t.Fatalf("resume %d: got %s, dup %v; want %d", resume, pk.Payload, pk.FixedHeader.Dup, i)
				}
				if resume == 0 {
					first = append(first, pk.PacketID)
				} else if pk.PacketID != first[i] {
					t.Fatalf("resume %d: id %d, want %d", resume, pk.PacketID, first[i])
				}
			}
			p.c.Drop(nil)
			p = b.resume(version, "c", true)
		}
		for i := range 100 {
			p.receive("t", fmt.Sprint(i))
		}
		p.quiet()
	})
}

// Fault: a message larger than the client's Maximum Packet Size stops the backlog
// of a resumed session for ever ([MQTT-3.1.2-25]).
func TestTrapTooLargeInTheBacklog(t *testing.T) {
	b := start(t, nil)
	p := b.resume(5, "c", false)
	p.subscribe(2, "t")
	pub := b.connect(5, "pub", nil)
	pub.publish(2, "t", strings.Repeat("sent before", 100))
	p.want(packets.Publish)
	p.c.Drop(nil)
	for i := range 20 {
		pub.publish(2, "t", strings.Repeat("large", 100))
		pub.publish(byte(1+i%2), "t", fmt.Sprint(i))
	}
	p = b.resume(5, "c", true, func(pk *packets.Packet) { pk.Properties.MaximumPacketSize, pk.Properties.ReceiveMaximum = 100, 1 })
	for i := range 20 {
		p.receive("t", fmt.Sprint(i))
	}
	p.quiet()
	if want := `parley_messages_withheld_total{reason="too_large"} 21`; !strings.Contains(b.scrape(), want+"\n") {
		t.Errorf("not counted as %s", want)
	}
}

// Fault: an expired session leaves its subscriptions behind ([MQTT-3.1.2-23]).
func TestTrapExpiredSessionLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		short := func(pk *packets.Packet) { pk.Properties.SessionExpiryInterval = 10 }
		p := b.resume(5, "c", false, short)
		p.subscribe(2, "t", "$share/g/s")
		p.c.Drop(nil)
		time.Sleep(11 * time.Second)
		if !strings.Contains(b.scrape(), "parley_subscriptions 0\n") {
			t.Error("subscriptions are left")
		}
		b.resume(5, "c", false, short).quiet()
	})
}

// Fault: a repeated PUBLISH at QoS 2 is published again, before its commit, after
// it or after a resume ([MQTT-4.3.3-10]).
func TestTrapQoS2Duplicate(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		s := &stuckStore{Store: mem.New(), release: make(chan struct{})}
		b := startOn(t, s, nil)
		sub, p := b.connect(version, "sub", nil), b.resume(version, "c", false)
		sub.subscribe(2, "t")
		pk := p.publishPacket(2, "t", "once")
		raw := encode(t, pk)
		raw[0] |= 8
		p.send(pk)
		p.raw(raw...) // before the commit
		p.quiet()
		p.c.Drop(nil)
		p = b.dial(version)
		// On another connection, still before it: CONNECT is answered when what the
		// connection before has noted is on disk.
		p.raw(append(encode(t, connectPacket(version, "c", lasting())), raw...)...)
		close(s.release)
		if ack := p.want(packets.Connack); ack.ReasonCode != 0 || ack.SessionPresent != (version > 3) {
			t.Fatalf("CONNACK %#x, session present %v", ack.ReasonCode, ack.SessionPresent)
		}
		p.wantID(packets.Pubrec, pk.PacketID)
		p.raw(raw...) // after it
		p.wantID(packets.Pubrec, pk.PacketID)
		p.c.Drop(nil)
		p = b.resume(version, "c", true)
		p.raw(raw...)
		p.wantID(packets.Pubrec, pk.PacketID)
		p.short(packets.Pubrel, pk.PacketID)
		if code := p.wantID(packets.Pubcomp, pk.PacketID); code != 0 {
			t.Fatalf("PUBCOMP %#x", code)
		}
		sub.receive("t", "once")
		sub.quiet()
	})
}

// Fault: a client that is sent its unacknowledged messages again and keeps silent
// does not hear that another has its session ([MQTT-3.1.4-3]).
func TestTrapTakeoverOfASilentClient(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, func(o *Options) { o.Window = 2 })
		p := b.resume(version, "c", false)
		p.subscribe(1, "t")
		pub := b.connect(version, "pub", nil)
		for i := range 4 {
			pub.publish(1, "t", fmt.Sprint(i))
		}
		for round := range 3 {
			p.want(packets.Publish)
			p.want(packets.Publish)
			next := b.resume(version, "c", true)
			if code, _ := p.c.WaitClose(); code != subproto.ClosePolicy {
				t.Errorf("round %d: closed with %d", round, code)
			}
			p = next
		}
	})
}
