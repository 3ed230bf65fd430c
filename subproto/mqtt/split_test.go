package mqtt

import (
	"bytes"
	"fmt"
	"testing"

	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// conversation is everything a client sends in one go, and what it is answered.
func conversation(t testing.TB, version byte) (stream []byte, answers []byte) {
	p := &peer{t: t, version: version}
	for _, pk := range []packets.Packet{
		connectPacket(version, "c", nil),
		{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 9, Filters: packets.Subscriptions{{Filter: "a/#", Qos: 1}}},
		p.publishPacket(1, "b", "first"),
		p.publishPacket(0, "b", ""),
		{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Pingreq}},
		p.publishPacket(1, "b", "second"),
		{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: 10, Filters: packets.Subscriptions{{Filter: "a/#"}}},
	} {
		stream = append(stream, encode(t, pk)...)
	}
	return stream, []byte{packets.Connack, packets.Suback, packets.Pingresp, packets.Unsuback, packets.Puback, packets.Puback}
}

// A packet may span frames, and a frame may hold many packets ([MQTT-6.0.0-2]).
func TestStreamCutAtEveryByte(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		stream, answers := conversation(t, version)
		for cut := 0; cut <= len(stream); cut++ {
			p := b.dial(version)
			p.raw(stream[:cut]...)
			p.raw(stream[cut:]...)
			p.wantAll(answers)
			p.c.Drop(nil)
		}
	})
}

func TestStreamByteByByte(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		stream, answers := conversation(t, version)
		p := b.dialInfo(version, subproto.Info{Protocol: "mqtt", Stream: true})
		for i := range stream {
			p.raw(stream[i])
		}
		p.wantAll(answers)
	})
}

// wantAll waits for packets of these types, in any order but for PUBACKs.
func (p *peer) wantAll(kinds []byte) {
	p.t.Helper()
	left := map[byte]int{}
	for _, k := range kinds {
		left[k]++
	}
	acked := uint16(0)
	for range kinds {
		pk, ok := p.next()
		if !ok {
			p.t.Fatalf("closed, still wanted %v", left)
		}
		if left[pk.FixedHeader.Type]--; left[pk.FixedHeader.Type] < 0 {
			p.t.Fatalf("unexpected %s", packets.PacketNames[pk.FixedHeader.Type])
		}
		if pk.FixedHeader.Type == packets.Puback {
			if pk.PacketID <= acked {
				p.t.Fatalf("PUBACK %d after %d", pk.PacketID, acked)
			}
			acked = pk.PacketID
		}
	}
}

// A thousand publishes in one frame are all acknowledged, in order.
func TestThousandPacketsInOneFrame(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		sub, pub := b.connect(version, "sub", nil), b.connect(version, "pub", nil)
		sub.subscribe(1, "#")
		var frame []byte
		for i := range 1000 {
			frame = append(frame, encode(t, pub.publishPacket(1, "t", fmt.Sprint(i)))...)
		}
		pub.raw(frame...)
		for i := range 1000 {
			pub.wantAck(uint16(i + 1))
			sub.receive("t", fmt.Sprint(i))
		}
	})
}

// What a first packet declares is refused before it is waited for.
func TestOversizedBeforeConnectIsRefusedAtOnce(t *testing.T) {
	b := start(t, nil)
	for _, head := range [][]byte{
		{0x10, 0xff, 0xff, 0xff, 0x7f}, // 256 MiB
		{0x10, 0x80, 0x80, 0x04},       // 64 KiB and the fixed header
	} {
		p := b.dial(5)
		p.raw(head...)
		p.wantEnd(0, subproto.CloseTooBig)
	}
}

func TestOversizedAfterConnect(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, func(o *Options) { o.MaxPacket = 1000 })
		p := b.connect(version, "c", nil)
		p.raw(0x30, 0xe5, 0x07) // 997 bytes and three of header fit
		p = b.connect(version, "d", nil)
		p.raw(0x30, 0xe6, 0x07)
		p.wantEnd(0x95, subproto.CloseTooBig)
	})
}

// [MQTT-1.5.5-1] is a rule of v5; some 3.1.1 devices write a Remaining Length of
// fixed width.
func TestPaddedRemainingLength(t *testing.T) {
	b := start(t, nil)
	p := b.connect(4, "c", nil)
	p.raw(0xc0, 0x80, 0x80, 0x80, 0x00)
	p.want(packets.Pingresp)
	p = b.connect(5, "d", nil)
	p.raw(0xc0, 0x80, 0x00)
	p.wantEnd(0x81, subproto.CloseProtocol)
}

// An idle connection holds no input buffer.
func TestInputBufferIsLetGo(t *testing.T) {
	b := start(t, nil)
	h, err := b.e.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	hd := h.(*handler)
	connect := encode(t, connectPacket(4, "c", nil))
	hd.c = nowhere{}
	hd.Frame(subproto.Binary, connect[:5])
	if len(hd.in) != 5 {
		t.Fatalf("%d bytes kept, want 5", len(hd.in))
	}
	hd.Frame(subproto.Binary, connect[5:])
	if hd.in != nil {
		t.Fatal("buffer kept")
	}
	hd.Closed(nil)
}

func FuzzSplit(f *testing.F) {
	for _, v := range []byte{4, 5} {
		stream, _ := conversation(f, v)
		f.Add(stream, v)
	}
	f.Add([]byte{0xc0, 0x80, 0x80, 0x80, 0x80, 0x00}, byte(4))
	f.Fuzz(func(t *testing.T, data []byte, version byte) {
		const limit = 4096
		p, n, err := split(data, limit, version)
		switch {
		case err != nil:
			if n != 0 {
				t.Fatalf("n %d with error %v", n, err)
			}
			return
		case n == 0:
			if len(data) >= limit {
				t.Fatal("more than the limit is awaited")
			}
		case n > len(data) || n > limit || len(p.body) > n-2 || !bytes.Equal(p.body, data[n-len(p.body):n]) || p.head != data[0]:
			t.Fatalf("packet of %d bytes, body %d, data %d", n, len(p.body), len(data))
		}
		// What a prefix decides, the whole decides too.
		for i := range min(len(data), 8) {
			if _, m, err := split(data[:i], limit, version); err != nil || m != 0 && m != n {
				t.Fatalf("prefix of %d: %d, %v; whole: %d", i, m, err, n)
			}
		}
	})
}
