package mqtt

import (
	"fmt"
	"testing"

	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// propertyValues has a valid value of every property.
var propertyValues = map[byte][]byte{
	packets.PropPayloadFormat: {1}, packets.PropMessageExpiryInterval: {0, 0, 0, 9}, packets.PropContentType: {0, 1, 'c'},
	packets.PropResponseTopic: {0, 1, 'r'}, packets.PropCorrelationData: {0, 1, 0xff}, packets.PropSubscriptionIdentifier: {1},
	packets.PropSessionExpiryInterval: {0, 0, 0, 9}, packets.PropAssignedClientID: {0, 1, 'i'}, packets.PropServerKeepAlive: {0, 9},
	packets.PropAuthenticationMethod: {0, 1, 'm'}, packets.PropAuthenticationData: {0, 1, 'd'}, packets.PropRequestProblemInfo: {1},
	packets.PropWillDelayInterval: {0, 0, 0, 1}, packets.PropRequestResponseInfo: {1}, packets.PropResponseInfo: {0, 1, 'i'},
	packets.PropServerReference: {0, 1, 's'}, packets.PropReasonString: {0, 1, 'r'}, packets.PropReceiveMaximum: {0, 9},
	packets.PropTopicAliasMaximum: {0, 9}, packets.PropTopicAlias: {0, 1}, packets.PropMaximumQos: {1}, packets.PropRetainAvailable: {1},
	packets.PropUser: {0, 1, 'k', 0, 1, 'v'}, packets.PropMaximumPacketSize: {0, 0, 0xff, 0xff}, packets.PropWildcardSubAvailable: {1},
	packets.PropSubIDAvailable: {1}, packets.PropSharedSubAvailable: {1},
}

// propertyPlaces says for each packet of a client which properties it may carry
// (section 2.2.2.2), and builds it around a property list.
var propertyPlaces = []struct {
	name    string
	allowed []byte
	build   func(list []byte) []byte
}{
	{"CONNECT", []byte{
		packets.PropSessionExpiryInterval, packets.PropReceiveMaximum, packets.PropMaximumPacketSize, packets.PropTopicAliasMaximum,
		packets.PropRequestResponseInfo, packets.PropRequestProblemInfo, packets.PropUser,
	}, func(l []byte) []byte { return body(0x10, "\x00\x04MQTT\x05\x02\x00\x00", l, "\x00\x01c") }},
	{"will", []byte{
		packets.PropWillDelayInterval, packets.PropPayloadFormat, packets.PropMessageExpiryInterval, packets.PropContentType,
		packets.PropResponseTopic, packets.PropCorrelationData, packets.PropUser,
	}, func(l []byte) []byte {
		return body(0x10, "\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x01c", l, "\x00\x01w\x00\x01p")
	}},
	{"PUBLISH", []byte{
		packets.PropPayloadFormat, packets.PropMessageExpiryInterval, packets.PropContentType, packets.PropResponseTopic,
		packets.PropCorrelationData, packets.PropTopicAlias, packets.PropUser,
	}, func(l []byte) []byte { return body(0x32, "\x00\x01t\x00\x09", l, "p") }},
	{"PUBACK", ackProps, func(l []byte) []byte { return body(0x40, "\x00\x09\x00", l, "") }},
	{"PUBREC", ackProps, func(l []byte) []byte { return body(0x50, "\x00\x09\x00", l, "") }},
	{"PUBREL", ackProps, func(l []byte) []byte { return body(0x62, "\x00\x09\x00", l, "") }},
	{"PUBCOMP", ackProps, func(l []byte) []byte { return body(0x70, "\x00\x09\x00", l, "") }},
	{"SUBSCRIBE", []byte{packets.PropSubscriptionIdentifier, packets.PropUser}, func(l []byte) []byte { return body(0x82, "\x00\x09", l, "\x00\x01f\x00") }},
	{"UNSUBSCRIBE", []byte{packets.PropUser}, func(l []byte) []byte { return body(0xa2, "\x00\x09", l, "\x00\x01f") }},
	{"DISCONNECT", []byte{packets.PropReasonString, packets.PropUser}, func(l []byte) []byte { return body(0xe0, "\x00", l, "") }},
}

var ackProps = []byte{packets.PropReasonString, packets.PropUser}

// body builds a packet with a property list in its middle.
func body(head byte, before string, list []byte, after string) []byte {
	b := append([]byte(before), byte(len(list)))
	b = append(append(b, list...), after...)
	return append([]byte{head, byte(len(b))}, b...)
}

// outcomeOf sends raw on a fresh connection, after a handshake unless it is a
// CONNECT, and returns the code of the refusal, 0 if it was taken.
func (b *broker) outcomeOf(t *testing.T, raw []byte) byte {
	p := b.dial(5)
	p.t = t
	defer p.c.Drop(nil)
	if raw[0]>>4 != packets.Connect {
		p.handshake("c", nil)
	}
	p.raw(raw...)
	p.raw(packets.Pingreq<<4, 0)
	for {
		pk, ok := p.next()
		switch {
		case !ok || pk.FixedHeader.Type == packets.Pingresp:
			return 0
		case pk.FixedHeader.Type == packets.Disconnect, pk.FixedHeader.Type == packets.Connack && pk.ReasonCode >= 0x80:
			return pk.ReasonCode
		}
	}
}

// Every property in every packet: where it belongs, once; twice it is a protocol
// error, where it does not belong the packet is malformed (section 2.2.2.2), or a
// protocol error if only servers may send it there.
func TestEveryPropertyEverywhere(t *testing.T) {
	b := start(t, nil)
	for _, place := range propertyPlaces {
		allowed := map[byte]bool{}
		for _, id := range place.allowed {
			allowed[id] = true
		}
		for id, value := range propertyValues {
			one := append([]byte{id}, value...)
			if got := b.outcomeOf(t, place.build(one)); allowed[id] != (got == 0) || got != 0 && got != 0x81 && got != 0x82 && got != 0x8c {
				t.Errorf("%s with property %#x: %#x", place.name, id, got)
			}
			twice := append(append([]byte(nil), one...), one...)
			if got := b.outcomeOf(t, place.build(twice)); allowed[id] && id != packets.PropUser && got != 0x82 {
				t.Errorf("%s with property %#x twice: %#x, want 0x82", place.name, id, got)
			}
			for cut := 1; cut < len(one); cut++ {
				if got := b.outcomeOf(t, place.build(one[:cut])); got != 0x81 {
					t.Errorf("%s with property %#x cut to %d: %#x, want 0x81", place.name, id, cut, got)
				}
			}
		}
		for id := range 256 {
			if _, known := propertyValues[byte(id)]; !known {
				if got := b.outcomeOf(t, place.build([]byte{byte(id), 0})); got != 0x81 {
					t.Errorf("%s with property %#x: %#x, want 0x81", place.name, id, got)
				}
			}
		}
	}
}

// Values out of range are protocol errors (sections 3.1.2.11, 3.3.2.3, 3.8.2.1).
func TestPropertyValuesOutOfRange(t *testing.T) {
	b := start(t, nil)
	for _, c := range []struct {
		place int
		list  string
		want  byte
	}{
		{0, "\x17\x02", 0x82}, {0, "\x19\x02", 0x82}, {0, "\x21\x00\x00", 0x82}, {0, "\x27\x00\x00\x00\x00", 0x82},
		{0, "\x26\x00\x01\xff\x00\x00", 0x81}, {0, "\x26\x00\x00\x00\x01\x00", 0x81}, {0, "\x26\x00\x03\xed\xa0\x80\x00\x00", 0x81},
		{1, "\x01\x02", 0x82}, {1, "\x08\x00\x01#", 0x82}, {1, "\x08\x00\x00", 0x82}, {1, "\x03\x00\x01\xff", 0x81},
		{2, "\x01\x02", 0x82}, {2, "\x23\x00\x00", 0x94}, {2, "\x23\x00\x21", 0x94}, {2, "\x08\x00\x01+", 0x82}, {2, "\x08\x00\x00", 0x82},
		{2, "\x03\x00\x01\x00", 0x81}, {2, "\x0b\x01", 0x82}, {3, "\x1f\x00\x01\xc3", 0x81},
		{7, "\x0b\x00", 0x82}, {7, "\x0b\x80\x80\x80\x80\x01", 0x81}, {7, "\x0b\x80\x00", 0x81}, {7, "\x0b\x01\x0b\x02", 0x82},
		{9, "\x11\x00\x00\x00\x01", 0x82}, {9, "\x1c\x00\x01s", 0x82},
	} {
		if got := b.outcomeOf(t, propertyPlaces[c.place].build([]byte(c.list))); got != c.want {
			t.Errorf("%s with % x: %#x, want %#x", propertyPlaces[c.place].name, c.list, got, c.want)
		}
	}
}

// Reason codes that the packet does not know, or that only servers send, are
// protocol errors ([MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1],
// [MQTT-3.7.2-1], [MQTT-3.14.2-1]); the others are not.
func TestEveryReasonCode(t *testing.T) {
	known := map[byte]string{
		0x40: "\x00\x10\x80\x83\x87\x90\x91\x97\x99", 0x50: "\x00\x10\x80\x83\x87\x90\x91\x97\x99",
		0x62: "\x00\x92", 0x70: "\x00\x92",
		0xe0: "\x00\x04\x80\x81\x82\x83\x90\x93\x94\x95\x96\x97\x98\x99",
	}
	b := start(t, nil)
	for head, codes := range known {
		valid := map[byte]bool{}
		for i := range len(codes) {
			valid[codes[i]] = true
		}
		for code := range 256 {
			raw := []byte{head, 3, 0, 9, byte(code)}
			if head == 0xe0 {
				raw = []byte{head, 1, byte(code)}
			}
			want := byte(0x82)
			if valid[byte(code)] {
				want = 0
			}
			if got := b.outcomeOf(t, raw); got != want {
				t.Errorf("%#x with reason %#x: %#x, want %#x", head, code, got, want)
			}
		}
	}
}

// Every first byte after CONNECT: reserved types and flags are malformed, what
// only servers send is a protocol error ([MQTT-2.1.3-1]). 3.1 gives most flags no
// meaning.
func TestEveryFixedHeaderOnTheWire(t *testing.T) {
	for _, version := range []byte{3, 4, 5} {
		b := start(t, nil)
		for head := range 256 {
			p := b.connect(version, "c", nil)
			p.raw(byte(head), 0)
			p.raw(packets.Pingreq<<4, 0)
			pk, ok := p.next()
			ping, end := head == 0xc0, head == 0xe0
			if version == 3 {
				ping, end = head>>4 == 0xc, head>>4 == 0xe
			}
			switch {
			case ping:
				if !ok || pk.FixedHeader.Type != packets.Pingresp {
					t.Errorf("version %d, %#x: not answered", version, head)
				}
			case end:
				if ok {
					t.Errorf("version %d, %#x: answered", version, head)
				}
			case version < 5 && ok, version == 5 && (!ok || pk.ReasonCode != 0x81 && pk.ReasonCode != 0x82):
				t.Errorf("version %d, %#x: open %v, %#x", version, head, ok, pk.ReasonCode)
			}
			p.c.Drop(nil)
		}
	}
}

// Every value of the connect flags: the payload goes with them ([MQTT-3.1.2-3],
// [MQTT-3.1.2-11] to [MQTT-3.1.2-22]).
func TestEveryConnectFlag(t *testing.T) {
	for _, version := range []byte{3, 4, 5} {
		b := start(t, nil)
		for flags := range 256 {
			will, user, password := flags&4 != 0, flags&0x80 != 0, flags&0x40 != 0
			s := "\x00\x04MQTT" + chr(version)
			if version == 3 {
				s = "\x00\x06MQIsdp\x03"
			}
			s += chr(byte(flags)) + "\x00\x00"
			if version == 5 {
				s += "\x00"
			}
			s += "\x00\x01c"
			if will && version == 5 {
				s += "\x00"
			}
			if will {
				s += "\x00\x01w\x00\x01p"
			}
			if user {
				s += "\x00\x03ada"
			}
			if password {
				s += "\x00\x04lace"
			}
			want := flags&1 == 0 && (will && flags&0x18 != 0x18 || !will && flags&0x38 == 0) && (version == 5 || user || !password)
			if version == 3 {
				want = (!will || flags&0x18 != 0x18) && (user || !password)
			}
			p := b.dial(version)
			p.raw(append([]byte{0x10, byte(len(s))}, s...)...)
			pk, ok := p.next()
			taken := ok && pk.ReasonCode != 0x81 // wrong credentials are another matter
			if taken != want {
				t.Errorf("version %d, flags %#x: %+v %v", version, flags, pk.ReasonCode, ok)
			}
			p.c.Drop(nil)
		}
	}
}

// Every subscription options byte ([MQTT-3.8.3-5], and of 3.1.1 [MQTT-3-8.3-4]).
func TestEverySubscriptionOption(t *testing.T) {
	b := start(t, nil)
	for o := range 256 {
		want := byte(0)
		switch {
		case o&0xc0 != 0 || o&3 == 3:
			want = 0x81
		case o&0x30 == 0x30:
			want = 0x82
		}
		if got := b.outcomeOf(t, []byte("\x82\x07\x00\x01\x00\x00\x01f"+chr(byte(o)))); got != want {
			t.Errorf("options %#x: %#x, want %#x", o, got, want)
		}
		p := b.connect(4, "c", nil)
		p.raw([]byte("\x82\x06\x00\x01\x00\x01f" + chr(byte(o)))...)
		if _, ok := p.next(); ok != (o < 3) {
			t.Errorf("options %#x in 3.1.1: %v", o, ok)
		}
		p.c.Drop(nil)
	}
}

// A packet id of 0 wherever there is one ([MQTT-2.2.1-3]).
func TestPacketIDZero(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		empty := ""
		if version == 5 {
			empty = "\x00"
		}
		for _, s := range []string{
			"\x32\x00\x01t\x00\x00" + empty, "\x34\x00\x01t\x00\x00" + empty, "\x40\x00\x00", "\x50\x00\x00", "\x62\x00\x00", "\x70\x00\x00",
			"\x82\x00\x00" + empty + "\x00\x01f\x00", "\xa2\x00\x00" + empty + "\x00\x01f",
		} {
			p := b.connect(version, "c", nil)
			p.raw([]byte(s[:1] + chr(byte(len(s)-1)) + s[1:])...)
			p.wantEnd(0x82, subproto.CloseProtocol)
		}
	})
}

// A conversation at QoS 2, cut at every byte over two frames, and byte by byte
// ([MQTT-6.0.0-2]).
func TestQoS2StreamCutAtEveryByte(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		p := &peer{t: t, version: version}
		var stream []byte
		for _, pk := range []packets.Packet{connectPacket(version, "c", nil), p.publishPacket(2, "t", "a"), p.publishPacket(1, "t", "b"), p.publishPacket(2, "t", "c")} {
			stream = append(stream, encode(t, pk)...)
		}
		stream = append(stream, 0x62, 2, 0, 1, 0x62, 2, 0, 3)
		answers := map[byte]int{packets.Connack: 1, packets.Pubrec: 2, packets.Puback: 1, packets.Pubcomp: 2}
		for cut := 0; cut <= len(stream); cut++ {
			p := b.dial(version)
			p.raw(stream[:cut]...)
			p.raw(stream[cut:]...)
			got := map[byte]int{}
			for range 6 {
				pk, ok := p.next()
				if !ok || pk.ReasonCode != 0 {
					t.Fatalf("cut at %d: %v %#x", cut, ok, pk.ReasonCode)
				}
				got[pk.FixedHeader.Type]++
			}
			if fmt.Sprint(got) != fmt.Sprint(answers) {
				t.Fatalf("cut at %d: %v", cut, got)
			}
			p.quiet()
			p.c.Drop(nil)
		}
	})
}

// A thousand publishes at QoS 2 in one frame, then a thousand PUBRELs in one.
func TestThousandQoS2PacketsInOneFrame(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		sub, pub := b.connect(version, "sub", nil), b.connect(version, "pub", nil)
		sub.subscribe(2, "t")
		var frame, rels, recs, comps []byte
		for i := range 1000 {
			frame = append(frame, encode(t, pub.publishPacket(2, "t", fmt.Sprint(i)))...)
			rels = append(rels, 0x62, 2, byte((i+1)>>8), byte(i+1))
		}
		pub.raw(frame...)
		for i := range 1000 {
			pub.wantID(packets.Pubrec, uint16(i+1)) // [MQTT-4.6.0-3]
		}
		pub.raw(rels...)
		for i := range 1000 {
			pub.wantID(packets.Pubcomp, uint16(i+1))
		}
		for i := range 1000 {
			pk := sub.want(packets.Publish)
			if string(pk.Payload) != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", pk.Payload, i)
			}
			recs = append(recs, 0x50, 2, byte(pk.PacketID>>8), byte(pk.PacketID))
			comps = append(comps, 0x70, 2, byte(pk.PacketID>>8), byte(pk.PacketID))
		}
		sub.raw(recs...)
		for i := range 1000 {
			sub.wantID(packets.Pubrel, uint16(recs[4*i+2])<<8|uint16(recs[4*i+3])) // [MQTT-4.6.0-4]
		}
		sub.raw(comps...)
		sub.quiet()
	})
}
