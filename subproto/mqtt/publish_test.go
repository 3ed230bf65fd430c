package mqtt

import (
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// One message through publisher, log and subscriber, at each QoS.
func TestPublishReachesSubscriber(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		sub, pub := b.connect(version, "sub", nil), b.connect(version, "pub", nil)
		if got := sub.subscribe(2, "a/+", "b/#"); got[0] != 1 || got[1] != 1 {
			t.Fatalf("granted % x, want 1 1", got)
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
		pub.wantEnd(0, 1000)
	})
}
