package mqtt

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Forty connections race for one session that lasts, half of them with a clean
// start: one is left, and it works ([MQTT-3.1.4-3]).
func TestStormOfConnectsToOneSession(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		peers := make([]*peer, 40)
		var wg sync.WaitGroup
		for i := range peers {
			peers[i] = b.dial(version)
			connect := encode(t, connectPacket(version, "c", lasting(func(pk *packets.Packet) { pk.Connect.Clean = i%2 == 0 })))
			wg.Go(func() { peers[i].raw(connect...) })
		}
		wg.Wait()
		ended, live := make(chan *peer, len(peers)), map[*peer]bool{}
		for _, p := range peers {
			p.want(packets.Connack)
			live[p] = true
			go func() { p.c.WaitClose(); ended <- p }()
		}
		for range len(peers) - 1 {
			p := <-ended
			p.wantEnd(0x8e, subproto.ClosePolicy)
			delete(live, p)
		}
		for p := range live {
			p.subscribe(2, "t")
			p.publish(2, "t", "alive")
			p.receive("t", "alive")
			if n := b.hub.Sessions(); n != 1 {
				t.Errorf("%d sessions", n)
			}
			p.raw(packets.Disconnect<<4, 0)
			<-ended
		}
	})
}

// 200 takeovers while messages at QoS 1 and 2 come in: the receiver, which keeps
// what a client has to keep, sees each message once at QoS 2, at least once at
// QoS 1, and never an older one after a newer one but as a repetition.
func TestStormOfTakeoversLosesNothing(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		const count = 2000
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		b := start(t, nil)
		c := &device{peer: b.resume(version, "c", false), held: map[uint16]bool{}}
		c.peer.subscribe(2, "t")
		pub := b.connect(version, "pub", nil)
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for i := range count {
				pub.publish(byte(1+i%2), "t", fmt.Sprint(i))
			}
		})
		takeovers := 0
		for c.next < count || len(c.held) > 0 {
			if takeovers < 200 && r.IntN(40) == 0 {
				old := c.peer
				c.peer = b.resume(version, "c", true)
				if takeovers++; takeovers%2 == 0 {
					old.c.Drop(nil)
				}
			}
			pk, ok := c.peer.fresh()
			if !ok {
				t.Fatal("closed")
			}
			c.take(t, pk)
		}
		if takeovers == 0 {
			t.Fatal("no takeover")
		}
		c.peer.quiet()
	})
}

// device is a client that keeps to the rules of QoS 1 and 2 over connections.
type device struct {
	peer *peer
	next int             // message expected
	held map[uint16]bool // received at QoS 2, PUBREL awaited
}

// take handles one packet.
func (c *device) take(t *testing.T, pk packets.Packet) {
	t.Helper()
	switch pk.FixedHeader.Type {
	case packets.Pubrel:
		delete(c.held, pk.PacketID)
		c.peer.short(packets.Pubcomp, pk.PacketID)
	case packets.Publish:
		var n int
		if _, err := fmt.Sscan(string(pk.Payload), &n); err != nil {
			t.Fatal(err)
		}
		repeated := n < c.next
		if n > c.next || repeated && !pk.FixedHeader.Dup {
			t.Fatalf("got %d, dup %v, want %d", n, pk.FixedHeader.Dup, c.next)
		}
		switch {
		case pk.FixedHeader.Qos == 1:
			c.peer.ack(pk.PacketID)
		case repeated && !c.held[pk.PacketID]:
			t.Fatalf("%d at QoS 2 came twice", n)
		default:
			c.held[pk.PacketID] = true
			c.peer.short(packets.Pubrec, pk.PacketID)
		}
		if !repeated {
			c.next++
		}
	default:
		t.Fatalf("%s", packets.PacketNames[pk.FixedHeader.Type])
	}
}

// Receive Maximum 1 with 10,000 messages waiting: one at a time, all of them, in
// order, at QoS 1 and 2.
func TestStormThroughAWindowOfOne(t *testing.T) {
	const count = 10_000
	b := start(t, nil)
	one := func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 1 }
	p := b.resume(5, "c", false, one)
	p.subscribe(2, "t")
	p.c.Drop(nil)
	pub := b.connect(5, "pub", nil)
	for i := 0; i < count; i += 500 {
		var frame, rels []byte
		for j := i; j < i+500; j++ {
			pk := pub.publishPacket(byte(1+j%2), "t", fmt.Sprint(j))
			frame = append(frame, encode(t, pk)...)
			if j%2 == 1 {
				rels = append(rels, 0x62, 2, byte(pk.PacketID>>8), byte(pk.PacketID))
			}
		}
		pub.raw(frame...)
		for range 500 {
			pub.next()
		}
		pub.raw(rels...)
		for range 250 {
			pub.want(packets.Pubcomp)
		}
	}
	p = b.resume(5, "c", true, one)
	for i := range count {
		pk := p.want(packets.Publish)
		if i%1000 == 0 {
			p.quiet() // nothing more is on its way
		}
		if string(pk.Payload) != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", pk.Payload, i)
		}
		if pk.FixedHeader.Qos == 1 {
			p.ack(pk.PacketID)
			continue
		}
		p.short(packets.Pubrec, pk.PacketID)
		p.wantID(packets.Pubrel, pk.PacketID)
		p.short(packets.Pubcomp, pk.PacketID)
	}
	p.quiet()
}

// A Receive Maximum that is lower than what is sent again holds for that too
// ([MQTT-3.3.4-7]).
func TestReceiveMaximumHoldsForResends(t *testing.T) {
	b := start(t, nil)
	p := b.resume(5, "c", false)
	p.subscribe(2, "t")
	pub := b.connect(5, "pub", nil)
	for i := range 20 {
		pub.publish(byte(1+i%2), "t", fmt.Sprint(i))
	}
	for range 20 {
		p.want(packets.Publish)
	}
	p = b.resume(5, "c", true, func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 3 })
	for i := 0; i < 20; i++ {
		if i == 0 {
			for range 3 {
				p.later = append(p.later, p.want2(packets.Publish))
			}
			p.raw(packets.Pingreq<<4, 0)
			if pk, ok := p.fresh(); !ok || pk.FixedHeader.Type != packets.Pingresp {
				t.Fatalf("a fourth %s", packets.PacketNames[pk.FixedHeader.Type])
			}
		}
		p.receive("t", fmt.Sprint(i))
	}
	p.quiet()
}

func (p *peer) want2(kind byte) packets.Packet {
	p.t.Helper()
	pk, ok := p.fresh()
	if !ok || pk.FixedHeader.Type != kind {
		p.t.Fatalf("%s was awaited", packets.PacketNames[kind])
	}
	return pk
}

// 200 clients stop reading in the middle of a stream: the others get everything,
// memory stays, and nobody has to be waited for.
func TestStormOfClientsThatStopReading(t *testing.T) {
	const stopped, count = 200, 500
	b := start(t, nil)
	var peers []*peer
	for i := range stopped {
		p := b.resume(5, fmt.Sprint("c", i), false)
		p.subscribe(byte(i%3), "t")
		p.c.SetRoom(false)
		peers = append(peers, p)
	}
	reader, pub := b.connect(5, "reader", nil), b.connect(5, "pub", nil)
	reader.subscribe(2, "t")
	payload := strings.Repeat("x", 1000)
	before := inUse()
	for i := range count {
		pub.publish(byte(i%3), "t", fmt.Sprint(i, payload))
		reader.receive("t", fmt.Sprint(i, payload))
	}
	if grown := inUse() - before; grown > 64<<20 {
		t.Errorf("%d MiB for clients that do not read", grown>>20)
	}
	for i, p := range peers { // QoS 0 to a full queue may be dropped, the rest may not
		if i%20 > 2 || i%3 == 0 {
			continue
		}
		p.c.SetRoom(true)
		next := 1
		for next < count {
			pk, ok := p.fresh()
			if !ok {
				t.Fatal("closed")
			}
			switch {
			case pk.FixedHeader.Type == packets.Pubrel:
				p.short(packets.Pubcomp, pk.PacketID)
				continue
			case pk.FixedHeader.Qos == 0:
				continue
			case pk.FixedHeader.Qos == 1:
				p.ack(pk.PacketID)
			default:
				p.short(packets.Pubrec, pk.PacketID)
			}
			if want := fmt.Sprint(next, payload); string(pk.Payload) != want {
				t.Fatalf("client %d: got %.8s, want %.8s", i, pk.Payload, want)
			}
			if next++; next%3 == 0 {
				next++
			}
		}
	}
}

func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// Ten thousand retained values at QoS 2 on one SUBSCRIBE, through a window of
// twenty.
func TestStormOfRetainedAtQoS2(t *testing.T) {
	const count = 10_000
	b := start(t, nil)
	pub := b.connect(4, "pub", nil)
	for i := 0; i < count; i += 1000 {
		var frame []byte
		for j := i; j < i+1000; j++ {
			pk := pub.publishPacket(0, fmt.Sprint("r/", j), "x")
			pk.FixedHeader.Retain, pk.FixedHeader.Qos = true, 2
			pk.PacketID = uint16(j + 1)
			frame = append(frame, encode(t, pk)...)
		}
		pub.raw(frame...)
		for range 1000 {
			pub.want(packets.Pubrec)
		}
	}
	p := b.connect(5, "c", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 20 })
	p.subscribe(2, "r/#")
	seen := map[string]bool{}
	for range count {
		pk := p.want(packets.Publish)
		seen[pk.TopicName] = pk.FixedHeader.Retain
		p.short(packets.Pubrec, pk.PacketID)
		p.wantID(packets.Pubrel, pk.PacketID)
		p.short(packets.Pubcomp, pk.PacketID)
	}
	if len(seen) != count {
		t.Fatalf("%d topics", len(seen))
	}
	p.quiet()
}

// A slow assignment of packet ids: deliveries keep their order behind it, what is
// kept back is bounded, and nothing leaves before it is assigned.
func TestDeliveriesWaitForTheirPacketID(t *testing.T) {
	s := &slowSession{sink: sink{}}
	h := openSink(t, &s.sink, 5, nil)
	h.sess = s
	c := &kinds{reading: true}
	h.c = c
	var want []byte
	for i := range 3 * maxHeld {
		q := byte([]byte{2, 0, 1}[i%3])
		want = append(want, packets.Publish<<4|q<<1)
	}
	s.qos = want
	h.Wake()
	if len(c.sent) != 0 || s.taken != maxHeld {
		t.Fatalf("%d sent before the first was assigned, %d taken", len(c.sent), s.taken)
	}
	for len(s.dones) > 0 {
		done := s.dones[0]
		s.dones = s.dones[1:]
		done(nil)
		h.Wake()
	}
	if len(c.sent) != len(want) || s.taken != len(want) {
		t.Fatalf("%d sent, %d taken, want %d", len(c.sent), s.taken, len(want))
	}
	for i, head := range c.heads {
		if head != want[i] {
			t.Fatalf("packet %d is %#x, want %#x", i, head, want[i])
		}
	}
	h.Closed(nil)
}

// slowSession yields deliveries of the given heads and answers Assign when told.
type slowSession struct {
	sink
	qos   []byte
	taken int
	dones []func(error)
}

func (s *slowSession) Next(d *msg.Delivery) bool {
	if s.taken == len(s.qos) {
		return false
	}
	*d = delivery(msg.QoS(s.qos[s.taken] >> 1 & 3))
	s.taken++
	d.Ref = uint64(s.taken)
	return true
}

func (s *slowSession) Assign(_ uint64, _ uint16, done func(error)) {
	if done != nil {
		s.dones = append(s.dones, done)
	}
}
