package mqtt

import (
	"bytes"
	"io"
	"testing"
	"time"

	"parley/subproto"
	"parley/subproto/subprototest"

	"github.com/mochi-mqtt/server/v2/packets"
)

// peer is the client's end of a connection.
type peer struct {
	t       testing.TB
	c       *subprototest.Conn
	version byte
	nextID  uint16
	later   []packets.Packet // publishes that came while an acknowledgement was awaited
}

// dial opens a connection without a CONNECT.
func (b *broker) dial(version byte) *peer {
	b.t.Helper()
	return b.dialInfo(version, subproto.Info{Protocol: "mqtt", Negotiated: true})
}

func (b *broker) dialInfo(version byte, info subproto.Info) *peer {
	b.t.Helper()
	c, err := subprototest.Open(b.e, info)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Drop(io.EOF) })
	return &peer{t: b.t, c: c, version: version}
}

// connect opens a connection and completes the handshake.
func (b *broker) connect(version byte, id string, change func(*packets.Packet)) *peer {
	b.t.Helper()
	p := b.dial(version)
	if ack := p.handshake(id, change); ack.ReasonCode != 0 {
		b.t.Fatalf("CONNACK %#x", ack.ReasonCode)
	}
	return p
}

func (p *peer) handshake(id string, change func(*packets.Packet)) packets.Packet {
	p.t.Helper()
	p.send(connectPacket(p.version, id, change))
	return p.want(packets.Connack)
}

func connectPacket(version byte, id string, change func(*packets.Packet)) packets.Packet {
	pk := packets.Packet{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Connect}}
	pk.Connect.ProtocolName, pk.Connect.Clean, pk.Connect.ClientIdentifier = []byte("MQTT"), true, id
	if version == 3 {
		pk.Connect.ProtocolName = []byte("MQIsdp")
	}
	if change != nil {
		change(&pk)
	}
	return pk
}

// encode is the client's side of the codec.
func encode(t testing.TB, pk packets.Packet) []byte {
	var b bytes.Buffer
	pk.Mods.AllowResponseInfo = true
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&b)
	case packets.Publish:
		err = pk.PublishEncode(&b)
	case packets.Puback:
		err = pk.PubackEncode(&b)
	case packets.Pubrec:
		err = pk.PubrecEncode(&b)
	case packets.Pubrel:
		err = pk.PubrelEncode(&b)
	case packets.Pubcomp:
		err = pk.PubcompEncode(&b)
	case packets.Subscribe:
		pk.FixedHeader.Qos = 1
		err = pk.SubscribeEncode(&b)
	case packets.Unsubscribe:
		pk.FixedHeader.Qos = 1
		err = pk.UnsubscribeEncode(&b)
	case packets.Pingreq:
		err = pk.PingreqEncode(&b)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&b)
	default:
		t.Fatalf("no encoder for type %d", pk.FixedHeader.Type)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (p *peer) send(pk packets.Packet) { p.t.Helper(); p.raw(encode(p.t, pk)...) }

// raw feeds bytes as one frame; the engine may have closed.
func (p *peer) raw(b ...byte) bool { return p.c.Feed(subproto.Binary, b) }

// next waits for the next packet; false if the engine closed instead.
func (p *peer) next() (packets.Packet, bool) {
	p.t.Helper()
	if len(p.later) > 0 {
		pk := p.later[0]
		p.later = p.later[1:]
		return pk, true
	}
	return p.fresh()
}

// fresh is next without what was put aside.
func (p *peer) fresh() (packets.Packet, bool) {
	p.t.Helper()
	type result struct {
		f  subprototest.Frame
		ok bool
	}
	got := make(chan result, 1)
	go func() { f, ok := p.c.Next(); got <- result{f, ok} }()
	select {
	case r := <-got:
		if !r.ok {
			return packets.Packet{}, false
		}
		return decode(p.t, r.f, p.version), true
	case <-time.After(patience):
		p.t.Fatal("no packet came in time")
		panic("unreachable")
	}
}

// decode is the client's side of the codec; a frame holds exactly one packet.
func decode(t testing.TB, f subprototest.Frame, version byte) packets.Packet {
	t.Helper()
	if f.Kind != subproto.Binary {
		t.Fatal("text frame")
	}
	pk := packets.Packet{ProtocolVersion: version}
	if err := pk.FixedHeader.Decode(f.Data[0]); err != nil {
		t.Fatal(err)
	}
	n, size, err := packets.DecodeLength(bytes.NewReader(f.Data[1:]))
	body := f.Data[1+size:]
	if err != nil || n != len(body) {
		t.Fatalf("remaining length %d of %d bytes: % x", n, len(body), f.Data)
	}
	pk.FixedHeader.Remaining = n
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback, packets.Pubrec, packets.Pubcomp, packets.Pubrel:
		err = pk.PubackDecode(body)
	case packets.Suback:
		err = pk.SubackDecode(body)
	case packets.Unsuback:
		err = pk.UnsubackDecode(body)
	case packets.Disconnect:
		if n == 1 {
			pk.ReasonCode = body[0]
		} else {
			err = pk.DisconnectDecode(body)
		}
	case packets.Pingresp:
	default:
		t.Fatalf("type %d from a server", pk.FixedHeader.Type)
	}
	if err != nil {
		t.Fatalf("decode % x: %v", f.Data, err)
	}
	return pk
}

// want waits for the next packet, which must be of the given type.
func (p *peer) want(kind byte) packets.Packet {
	p.t.Helper()
	pk, ok := p.next()
	if !ok {
		code, reason := p.c.WaitClose()
		p.t.Fatalf("closed with %d %q, %s was awaited", code, reason, packets.PacketNames[kind])
	}
	if pk.FixedHeader.Type != kind {
		p.t.Fatalf("%s (reason %#x), %s was awaited", packets.PacketNames[pk.FixedHeader.Type], pk.ReasonCode, packets.PacketNames[kind])
	}
	return pk
}

// wantEnd waits for the end: v5 is told code in a DISCONNECT (0: no packet),
// 3.1.1 sees only the close.
func (p *peer) wantEnd(code byte, closing int) {
	p.t.Helper()
	if p.version == 5 && code != 0 {
		if pk := p.want(packets.Disconnect); pk.ReasonCode != code {
			p.t.Fatalf("DISCONNECT %#x, want %#x", pk.ReasonCode, code)
		}
	}
	if pk, ok := p.next(); ok {
		p.t.Fatalf("%s, the close was awaited", packets.PacketNames[pk.FixedHeader.Type])
	}
	if got, reason := p.c.WaitClose(); got != closing {
		p.t.Fatalf("closed with %d %q, want %d", got, reason, closing)
	}
}

// subscribe subscribes and returns the SUBACK's codes.
func (p *peer) subscribe(qos byte, filters ...string) []byte {
	p.t.Helper()
	pk := packets.Packet{ProtocolVersion: p.version, FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: p.id()}
	for _, f := range filters {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f, Qos: qos})
	}
	p.send(pk)
	ack := p.want(packets.Suback)
	if ack.PacketID != pk.PacketID {
		p.t.Fatalf("SUBACK for %d, want %d", ack.PacketID, pk.PacketID)
	}
	return ack.ReasonCodes
}

func (p *peer) id() uint16 { p.nextID++; return p.nextID }

// publishPacket is a PUBLISH with the peer's next packet id if QoS > 0.
func (p *peer) publishPacket(qos byte, topic, payload string) packets.Packet {
	pk := packets.Packet{
		ProtocolVersion: p.version, FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos},
		TopicName: topic, Payload: []byte(payload),
	}
	if qos > 0 {
		pk.PacketID = p.id()
	}
	return pk
}

// publish publishes and completes the exchange. It returns the code of PUBACK or
// PUBREC.
func (p *peer) publish(qos byte, topic, payload string) byte {
	p.t.Helper()
	pk := p.publishPacket(qos, topic, payload)
	p.send(pk)
	switch qos {
	case 0:
		return 0
	case 1:
		return p.wantAck(pk.PacketID)
	}
	code := p.wantID(packets.Pubrec, pk.PacketID)
	if code < 0x80 {
		p.short(packets.Pubrel, pk.PacketID)
		if got := p.wantID(packets.Pubcomp, pk.PacketID); got != 0 {
			p.t.Fatalf("PUBCOMP %#x", got)
		}
	}
	return code
}

// short sends an acknowledgement without a reason code.
func (p *peer) short(kind byte, id uint16) {
	head := kind << 4
	if kind == packets.Pubrel {
		head |= 2
	}
	p.raw(head, 2, byte(id>>8), byte(id))
}

// wantID waits for an acknowledgement and returns its reason code. Publishes that
// come before it are put aside.
func (p *peer) wantID(kind byte, id uint16) byte {
	p.t.Helper()
	ack, ok := p.fresh()
	for ok && ack.FixedHeader.Type == packets.Publish {
		p.later = append(p.later, ack)
		ack, ok = p.fresh()
	}
	if !ok || ack.FixedHeader.Type != kind {
		p.t.Fatalf("%s (open %v), %s was awaited", packets.PacketNames[ack.FixedHeader.Type], ok, packets.PacketNames[kind])
	}
	if ack.PacketID != id {
		p.t.Fatalf("%s for %d, want %d", packets.PacketNames[kind], ack.PacketID, id)
	}
	return ack.ReasonCode
}

func (p *peer) wantAck(id uint16) byte {
	p.t.Helper()
	return p.wantID(packets.Puback, id)
}

// receive waits for a PUBLISH, checks it and completes the exchange.
func (p *peer) receive(topic, payload string) packets.Packet {
	p.t.Helper()
	pk := p.want(packets.Publish)
	if pk.TopicName != topic || string(pk.Payload) != payload {
		p.t.Fatalf("got %s %q, want %s %q", pk.TopicName, pk.Payload, topic, payload)
	}
	switch pk.FixedHeader.Qos {
	case 1:
		p.ack(pk.PacketID)
	case 2:
		p.short(packets.Pubrec, pk.PacketID)
		p.wantID(packets.Pubrel, pk.PacketID)
		p.short(packets.Pubcomp, pk.PacketID)
	}
	return pk
}

func (p *peer) ack(id uint16) { p.short(packets.Puback, id) }

// quiet proves that nothing is on its way to the peer: a PINGREQ is answered
// first thing.
func (p *peer) quiet() {
	p.t.Helper()
	p.raw(packets.Pingreq<<4, 0)
	p.want(packets.Pingresp)
}
