package mqtt

import (
	"bytes"
	"fmt"
	"testing"

	"parley/auth"
	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Each filter is answered in its place.
func TestSubackCodes(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		p := b.connect(version, "c", nil)
		got := p.subscribe(2, "a", "a/#/b", "b+", "", "$share/g/a", "$share/+/a", "denied/#", "$rpc/p", "b/+")
		want := []byte{2, 0x8f, 0x8f, 0x8f, 2, 0x8f, 0x87, 0x83, 2}
		if version < 5 {
			want = []byte{2, 0x80, 0x80, 0x80, 2, 0x80, 0x80, 0x80, 2}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("granted % x, want % x", got, want)
		}
		if got := p.subscribe(0, "#/a"); got[0] < 0x80 {
			t.Fatalf("granted %x", got)
		}
		p.publish(0, "a", "still here")
		p.receive("a", "still here")
	})
}

func TestUnsubscribe(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		p := b.connect(version, "c", nil)
		p.subscribe(1, "a/#", "b")
		p.send(packets.Packet{
			ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: 77,
			Filters: packets.Subscriptions{{Filter: "a/#"}, {Filter: "never"}, {Filter: "a/#/b"}, {Filter: "$share/g/b"}},
		})
		ack := p.want(packets.Unsuback)
		if ack.PacketID != 77 {
			t.Fatalf("UNSUBACK for %d", ack.PacketID)
		}
		if version == 5 && !bytes.Equal(ack.ReasonCodes, []byte{0, 0x11, 0x8f, 0x11}) {
			t.Fatalf("UNSUBACK % x", ack.ReasonCodes)
		}
		if version < 5 && ack.FixedHeader.Remaining != 2 {
			t.Fatalf("UNSUBACK of %d bytes, want 2", ack.FixedHeader.Remaining)
		}
		p.publish(0, "a/x", "gone")
		p.publish(0, "b", "kept")
		p.receive("b", "kept")
	})
}

// [MQTT-3.8.3-3]: a client's own messages, seen by nobody but the others.
func TestNoLocal(t *testing.T) {
	b := start(t, nil)
	p, other := b.connect(5, "c", nil), b.connect(5, "d", nil)
	p.subscribeWith(packets.Subscription{Filter: "t", Qos: 1, NoLocal: true})
	p.publish(1, "t", "own")
	other.publish(1, "t", "other's")
	p.receive("t", "other's")
}

func (p *peer) subscribeWith(s packets.Subscription) {
	p.t.Helper()
	pk := packets.Packet{ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: p.id(), Filters: packets.Subscriptions{s}}
	if s.Identifier > 0 {
		pk.Properties.SubscriptionIdentifier = []int{s.Identifier}
	}
	p.send(pk)
	if ack := p.want(packets.Suback); ack.ReasonCodes[0] >= 0x80 {
		p.t.Fatalf("SUBACK %#x", ack.ReasonCodes[0])
	}
}

func TestRetained(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		pub, early := b.connect(version, "pub", nil), b.connect(version, "early", nil)
		early.subscribe(1, "r/#")
		pk := pub.publishPacket(1, "r/1", "one")
		pk.FixedHeader.Retain = true
		pub.send(pk)
		pub.wantAck(pk.PacketID)
		if pk := early.receive("r/1", "one"); pk.FixedHeader.Retain { // [MQTT-3.3.1-12]
			t.Fatal("a live message is marked as retained")
		}
		late := b.connect(version, "late", nil)
		late.subscribe(1, "r/+")
		if pk := late.receive("r/1", "one"); !pk.FixedHeader.Retain { // [MQTT-3.3.1-8]
			t.Fatal("a retained value is not marked")
		}
		clear := pub.publishPacket(0, "r/1", "") // [MQTT-3.3.1-6], at QoS 0 too
		clear.FixedHeader.Retain = true
		pub.send(clear)
		early.receive("r/1", "")
		last := b.connect(version, "last", nil)
		last.subscribe(1, "r/#")
		last.quiet()
	})
}

func TestRetainHandlingAndRetainAsPublished(t *testing.T) {
	b := start(t, nil)
	pub := b.connect(5, "pub", nil)
	pk := pub.publishPacket(1, "r", "kept")
	pk.FixedHeader.Retain = true
	pub.send(pk)
	pub.wantAck(pk.PacketID)

	never := b.connect(5, "never", nil)
	never.subscribeWith(packets.Subscription{Filter: "r", RetainHandling: 2}) // [MQTT-3.3.1-11]
	never.quiet()
	once := b.connect(5, "once", nil)
	once.subscribeWith(packets.Subscription{Filter: "r", RetainHandling: 1, RetainAsPublished: true}) // [MQTT-3.3.1-10]
	once.receive("r", "kept")
	once.subscribeWith(packets.Subscription{Filter: "r", RetainHandling: 1, RetainAsPublished: true})
	once.quiet()

	pk = pub.publishPacket(1, "r", "new")
	pk.FixedHeader.Retain = true
	pub.send(pk)
	pub.wantAck(pk.PacketID)
	if got := once.receive("r", "new"); !got.FixedHeader.Retain { // [MQTT-3.3.1-13]
		t.Fatal("RETAIN was not kept as published")
	}
	if got := never.receive("r", "new"); got.FixedHeader.Retain {
		t.Fatal("RETAIN without retain as published")
	}
}

// [MQTT-3.3.4-3], [MQTT-3.3.4-4]: one copy with the highest QoS and the
// identifiers of all matching subscriptions that have one.
func TestOverlappingSubscriptions(t *testing.T) {
	b := start(t, nil)
	p := b.connect(5, "c", nil)
	p.subscribeWith(packets.Subscription{Filter: "a/#", Qos: 0, Identifier: 7})
	p.subscribeWith(packets.Subscription{Filter: "a/+", Qos: 1, Identifier: 268435455})
	p.subscribeWith(packets.Subscription{Filter: "+/b", Qos: 0})
	p.publish(1, "a/b", "x")
	got := p.receive("a/b", "x")
	ids := map[int]bool{}
	for _, id := range got.Properties.SubscriptionIdentifier {
		ids[id] = true
	}
	if got.FixedHeader.Qos != 1 || len(ids) != 2 || !ids[7] || !ids[268435455] {
		t.Fatalf("QoS %d, identifiers %v", got.FixedHeader.Qos, got.Properties.SubscriptionIdentifier)
	}
	p.subscribeWith(packets.Subscription{Filter: "a/+", Qos: 1, Identifier: 9}) // replaced [MQTT-3.8.4-3]
	p.publish(1, "a/c", "y")
	got = p.receive("a/c", "y")
	if fmt.Sprint(len(got.Properties.SubscriptionIdentifier)) != "2" {
		t.Fatalf("identifiers %v", got.Properties.SubscriptionIdentifier)
	}
	p.quiet()
}

// Ten thousand retained values on one SUBSCRIBE, through a window of twenty.
func TestManyRetained(t *testing.T) {
	const n = 10_000
	b := start(t, nil)
	pub := b.connect(4, "pub", nil)
	for i := 0; i < n; i += 500 {
		var frame []byte
		for j := i; j < i+500; j++ {
			pk := pub.publishPacket(1, fmt.Sprint("r/", j), "x")
			pk.FixedHeader.Retain = true
			frame = append(frame, encode(t, pk)...)
		}
		pub.raw(frame...)
		for range 500 {
			pub.want(packets.Puback)
		}
	}
	p := b.connect(5, "c", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 20 })
	p.subscribe(1, "r/#")
	seen := map[string]bool{}
	for range n {
		pk := p.want(packets.Publish)
		p.ack(pk.PacketID)
		seen[pk.TopicName] = pk.FixedHeader.Retain
	}
	if len(seen) != n {
		t.Fatalf("%d topics, want %d", len(seen), n)
	}
	p.quiet()
}

// Four bytes of a packet must not become megabytes of memory.
func TestTooManyFiltersInOnePacket(t *testing.T) {
	b := start(t, nil)
	p := b.connect(5, "c", nil)
	body := append([]byte{0, 1, 0}, bytes.Repeat([]byte{0, 1, 'a', 0}, maxFilters+1)...)
	p.raw(append(appendVarint([]byte{0x82}, len(body)), body...)...)
	p.wantEnd(0x97, 1008)
}

// lazy is a session that answers SUBSCRIBE only when asked for deliveries, and
// then yields one at once.
type lazy struct {
	sink
	dones []func([]msg.SubscribeResult)
	held  bool
}

func (l *lazy) Subscribe(_ []msg.Subscription, done func([]msg.SubscribeResult)) {
	l.dones = append(l.dones, done)
}

func (l *lazy) Next(d *msg.Delivery) bool {
	if l.held {
		return false
	}
	for _, done := range l.dones {
		done(make([]msg.SubscribeResult, 1))
	}
	l.n, l.dones = len(l.dones), nil
	return l.sink.Next(d)
}

// kinds records the types of the packets sent.
type kinds struct {
	nowhere
	sent    []byte
	heads   []byte // the same with their flags
	reading bool
}

func (k *kinds) Send(_ subproto.Kind, b []byte) {
	k.sent, k.heads = append(k.sent, b[0]>>4), append(k.heads, b[0])
}
func (k *kinds) SetReading(on bool) { k.reading = on }

func openLazy(t *testing.T) (*lazy, *kinds, subproto.Handler) {
	l, k := &lazy{sink: sink{deliver: delivery(0)}}, &kinds{reading: true}
	e := New(Options{Auth: anybody{}, Attach: func(_ subproto.Peer, _ *auth.Identity, _ msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
		done(msg.AttachResult{}, nil)
		return l
	}})
	h, err := e.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	h.Frame(subproto.Binary, encode(t, connectPacket(4, "c", nil)))
	return l, k, h
}

// A SUBACK leaves before what the subscription brings, even if it becomes due
// while deliveries are being pulled.
func TestSubackLeavesBeforeDeliveries(t *testing.T) {
	_, k, h := openLazy(t)
	h.Frame(subproto.Binary, []byte("\x82\x06\x00\x01\x00\x01a\x00"))
	h.Wake()
	if want := []byte{packets.Connack, packets.Suback, packets.Publish}; !bytes.Equal(k.sent, want) {
		t.Fatalf("sent % x, want % x", k.sent, want)
	}
	h.Closed(nil)
}

// A client cannot have requests without number waiting for an outcome.
func TestWaitingRequestsAreBounded(t *testing.T) {
	l, k, h := openLazy(t)
	l.held = true
	h.Frame(subproto.Binary, bytes.Repeat([]byte("\x82\x06\x00\x01\x00\x01a\x00"), 100))
	if len(l.dones) != maxWaiting || k.reading {
		t.Fatalf("%d waiting, reading %v", len(l.dones), k.reading)
	}
	l.held = false
	for !k.reading {
		h.Wake()
	}
	h.Wake()
	if got := bytes.Count(k.sent, []byte{packets.Suback}); got != 100 {
		t.Fatalf("%d SUBACKs, want 100", got)
	}
	h.Closed(nil)
}
