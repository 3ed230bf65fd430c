package mqtt

import (
	"fmt"
	"testing"

	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Packets that no client may send, each on a fresh connection. code 0: the
// version has no such packet.
var malformedPackets = []struct {
	name   string
	v4, v5 []byte // nil: not for this version
	code   byte   // of the v5 DISCONNECT
}{
	{"type 0", []byte{0x00, 0}, []byte{0x00, 0}, 0x81},
	{"second CONNECT [MQTT-3.1.0-2]", []byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c"), []byte("\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01c"), 0x82},
	{"CONNACK from a client", []byte{0x20, 2, 0, 0}, []byte{0x20, 3, 0, 0, 0}, 0x82},
	{"SUBACK from a client", []byte{0x90, 3, 0, 1, 0}, []byte{0x90, 4, 0, 1, 0, 0}, 0x82},
	{"PINGRESP from a client", []byte{0xd0, 0}, []byte{0xd0, 0}, 0x82},
	{"AUTH without a method", []byte{0xf0, 0}, []byte{0xf0, 0}, 0x82},
	{"AUTH with reason", nil, []byte{0xf0, 2, 0x18, 0}, 0x82},
	{"PINGREQ with a body", []byte{0xc0, 1, 0}, []byte{0xc0, 1, 0}, 0x81},
	{"remaining length of five bytes", []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0}, []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0}, 0x81},

	{"PUBLISH QoS 3 [MQTT-3.3.1-4]", []byte("\x36\x05\x00\x01a\x00\x01"), []byte("\x36\x06\x00\x01a\x00\x01\x00"), 0x81},
	{"PUBLISH DUP with QoS 0 [MQTT-3.3.1-2]", []byte("\x38\x03\x00\x01a"), []byte("\x38\x04\x00\x01a\x00"), 0x81},
	{"PUBLISH packet id 0 [MQTT-2.2.1-3]", []byte("\x32\x05\x00\x01a\x00\x00"), []byte("\x32\x06\x00\x01a\x00\x00\x00"), 0x82},
	{"PUBLISH with + [MQTT-3.3.2-2]", []byte("\x30\x05\x00\x03a/+"), []byte("\x30\x06\x00\x03a/+\x00"), 0x81},
	{"PUBLISH with # [MQTT-3.3.2-2]", []byte("\x30\x05\x00\x03a/#"), []byte("\x30\x06\x00\x03a/#\x00"), 0x81},
	{"PUBLISH without topic", []byte("\x30\x02\x00\x00"), []byte("\x30\x03\x00\x00\x00"), 0x82},
	{"PUBLISH with U+0000 [MQTT-1.5.4-2]", []byte("\x30\x05\x00\x03a\x00b"), []byte("\x30\x06\x00\x03a\x00b\x00"), 0x81},
	{"PUBLISH with a surrogate [MQTT-1.5.4-1]", []byte("\x30\x05\x00\x03\xed\xa0\x80"), []byte("\x30\x06\x00\x03\xed\xa0\x80\x00"), 0x81},
	{"PUBLISH with invalid UTF-8", []byte("\x30\x04\x00\x02\xc3\x28"), []byte("\x30\x05\x00\x02\xc3\x28\x00"), 0x81},
	{"PUBLISH with a control character", []byte("\x30\x04\x00\x02a\x01"), []byte("\x30\x05\x00\x02a\x01\x00"), 0x90},
	{"PUBLISH with topic cut short", []byte("\x30\x03\x00\x02a"), []byte("\x30\x03\x00\x02a"), 0x81},
	{"PUBLISH without packet id", []byte("\x32\x04\x00\x01a\x00"), []byte("\x32\x04\x00\x01a\x00"), 0x81},
	{"PUBLISH without property length", nil, []byte("\x30\x03\x00\x01a"), 0x81},
	{"PUBLISH with properties beyond the end", nil, []byte("\x30\x06\x00\x01a\x05\x01\x00"), 0x81},
	{"PUBLISH with a property beyond the list", nil, []byte("\x30\x09\x00\x01a\x01\x03\x00\x02ab"), 0x81},
	{"PUBLISH with property length of five bytes", nil, []byte("\x30\x08\x00\x01a\x80\x80\x80\x80\x00"), 0x81},
	{"PUBLISH with property length not minimal", nil, []byte("\x30\x05\x00\x01a\x80\x00"), 0x81},
	{"PUBLISH with an unknown property", nil, []byte("\x30\x06\x00\x01a\x02\x7f\x00"), 0x81},
	{"PUBLISH with a property of CONNECT", nil, []byte("\x30\x07\x00\x01a\x03\x21\x00\x05"), 0x81},
	{"PUBLISH with content type twice", nil, []byte("\x30\x0c\x00\x01a\x08\x03\x00\x01x\x03\x00\x01y"), 0x82},
	{"PUBLISH with payload format 2", nil, []byte("\x30\x06\x00\x01a\x02\x01\x02"), 0x82},
	{"PUBLISH with a subscription identifier [MQTT-3.3.4-6]", nil, []byte("\x30\x06\x00\x01a\x02\x0b\x01"), 0x82},
	{"PUBLISH with wildcards in the response topic [MQTT-3.3.2-14]", nil, []byte("\x30\x08\x00\x01a\x04\x08\x00\x01#"), 0x82},
	{"PUBLISH with alias 0", nil, []byte("\x30\x07\x00\x01a\x03\x23\x00\x00"), 0x94},
	{"PUBLISH with an alias above the maximum [MQTT-3.2.2-17]", nil, []byte("\x30\x07\x00\x01a\x03\x23\x00\x21"), 0x94},
	{"PUBLISH with the largest alias", nil, []byte("\x30\x07\x00\x01a\x03\x23\xff\xff"), 0x94},
	{"PUBLISH with an alias that was not set", nil, []byte("\x30\x06\x00\x00\x03\x23\x00\x01"), 0x82},
	{"PUBLISH with an empty response topic [MQTT-4.7.3-1]", nil, []byte("\x30\x07\x00\x01a\x03\x08\x00\x00"), 0x82},
	{"PUBLISH QoS 0 with payload format 1 and no UTF-8", nil, []byte("\x30\x07\x00\x01a\x02\x01\x01\xff"), 0x99},

	{"PUBACK cut short", []byte{0x40, 1, 0}, []byte{0x40, 1, 0}, 0x81},
	{"PUBACK packet id 0", []byte{0x40, 2, 0, 0}, []byte{0x40, 2, 0, 0}, 0x82},
	{"PUBACK with more", []byte{0x40, 3, 0, 1, 0}, []byte{0x40, 5, 0, 1, 0, 0, 0}, 0x81},
	{"PUBACK with a property of PUBLISH", nil, []byte{0x40, 6, 0, 1, 0, 2, 0x01, 0x01}, 0x81},
	{"PUBREC empty", []byte{0x50, 0}, []byte{0x50, 0}, 0x81},
	{"PUBREL with wrong flags [MQTT-3.6.1-1]", []byte{0x60, 2, 0, 1}, []byte{0x60, 2, 0, 1}, 0x81},

	{"SUBSCRIBE with wrong flags [MQTT-3.8.1-1]", []byte("\x80\x06\x00\x01\x00\x01a\x00"), []byte("\x80\x07\x00\x01\x00\x00\x01a\x00"), 0x81},
	{"SUBSCRIBE packet id 0", []byte("\x82\x06\x00\x00\x00\x01a\x00"), []byte("\x82\x07\x00\x00\x00\x00\x01a\x00"), 0x82},
	{"SUBSCRIBE without filters [MQTT-3.8.3-2]", []byte("\x82\x02\x00\x01"), []byte("\x82\x03\x00\x01\x00"), 0x82},
	{"SUBSCRIBE without options byte", []byte("\x82\x05\x00\x01\x00\x01a"), []byte("\x82\x06\x00\x01\x00\x00\x01a"), 0x81},
	{"SUBSCRIBE with QoS 3", []byte("\x82\x06\x00\x01\x00\x01a\x03"), []byte("\x82\x07\x00\x01\x00\x00\x01a\x03"), 0x81},
	{"SUBSCRIBE with reserved bits [MQTT-3.8.3-5]", []byte("\x82\x06\x00\x01\x00\x01a\x04"), []byte("\x82\x07\x00\x01\x00\x00\x01a\x40"), 0x81},
	{"SUBSCRIBE with retain handling 3", nil, []byte("\x82\x07\x00\x01\x00\x00\x01a\x30"), 0x82},
	{"SUBSCRIBE with invalid UTF-8", []byte("\x82\x06\x00\x01\x00\x01\xff\x00"), []byte("\x82\x07\x00\x01\x00\x00\x01\xff\x00"), 0x81},
	{"SUBSCRIBE with U+0000", []byte("\x82\x06\x00\x01\x00\x01\x00\x00"), []byte("\x82\x07\x00\x01\x00\x00\x01\x00\x00"), 0x81},
	{"SUBSCRIBE with subscription identifier 0", nil, []byte("\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x00"), 0x82},
	{"SUBSCRIBE with two subscription identifiers", nil, []byte("\x82\x0b\x00\x01\x04\x0b\x01\x0b\x02\x00\x01a\x00"), 0x82},
	{"SUBSCRIBE with no local on a shared subscription [MQTT-3.8.3-4]", nil, []byte("\x82\x11\x00\x01\x00\x00\x0b$share/g/ab\x04"), 0x82},

	{"UNSUBSCRIBE with wrong flags [MQTT-3.10.1-1]", []byte("\xa0\x05\x00\x01\x00\x01a"), []byte("\xa0\x06\x00\x01\x00\x00\x01a"), 0x81},
	{"UNSUBSCRIBE without filters [MQTT-3.10.3-2]", []byte("\xa2\x02\x00\x01"), []byte("\xa2\x03\x00\x01\x00"), 0x82},
	{"UNSUBSCRIBE cut short", []byte("\xa2\x05\x00\x01\x00\x02a"), []byte("\xa2\x06\x00\x01\x00\x00\x02a"), 0x81},

	{"DISCONNECT with flags [MQTT-3.14.1-1]", []byte{0xe1, 0}, []byte{0xe1, 0}, 0x81},
	{"DISCONNECT with bytes after the end", []byte{0xe0, 1, 0}, []byte{0xe0, 3, 0, 0, 0}, 0x81},
	{"DISCONNECT with a property of PUBLISH", nil, []byte{0xe0, 4, 0, 2, 0x01, 0x01}, 0x81},
	{"DISCONNECT raises session expiry from 0", nil, []byte{0xe0, 7, 0, 5, 0x11, 0, 0, 0, 9}, 0x82},
}

// since311 names what 3.1 takes, because it gives the bits no meaning.
var since311 = map[string]bool{
	"PUBLISH DUP with QoS 0 [MQTT-3.3.1-2]":        true,
	"SUBSCRIBE with reserved bits [MQTT-3.8.3-5]":  true,
	"DISCONNECT with flags [MQTT-3.14.1-1]":        true,
	"SUBSCRIBE with wrong flags [MQTT-3.8.1-1]":    false,
	"UNSUBSCRIBE with wrong flags [MQTT-3.10.1-1]": false,
}

// closeCode is the WebSocket close code that goes with a v5 code.
func closeCode(code byte) int { return closeOf(fault{code: code}) }

// Each gets its code, ends its own connection, and nobody else notices.
func TestMalformedPackets(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		witness := b.connect(version, "witness", nil)
		witness.subscribe(1, "alive")
		for _, c := range malformedPackets {
			raw := c.v5
			if version < 5 {
				raw = c.v4
			}
			if raw == nil || version == 3 && since311[c.name] {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				p := b.connect(version, "c", nil)
				p.t = t
				p.raw(raw...)
				p.wantEnd(c.code, closeCode(c.code))
			})
		}
		witness.publish(0, "alive", "yes")
		witness.receive("alive", "yes")
	})
}

// Before CONNECT is accepted: v5 gets a CONNACK where its version is known,
// 3.1.1 a close without one ([MQTT-3.1.4-1] of 3.1.1).
func TestMalformedConnect(t *testing.T) {
	for _, c := range []struct {
		name    string
		raw     string
		connack int // -1: none
	}{
		{"not CONNECT [MQTT-3.1.0-1]", "\xc0\x00", -1},
		{"HTTP", "GET / HTTP/1.1\r\n", -1},
		{"wrong flags", "\x11\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c", -1},
		{"empty", "\x10\x00", -1},
		{"wrong name", "\x10\x0d\x00\x04MQTX\x04\x02\x00\x00\x00\x01c", -1},
		{"name in lower case", "\x10\x0d\x00\x04mqtt\x05\x02\x00\x00\x00\x01c", -1},
		{"v4 reserved flag [MQTT-3.1.2-3]", "\x10\x0d\x00\x04MQTT\x04\x03\x00\x00\x00\x01c", -1},
		{"v4 will retain without will", "\x10\x0d\x00\x04MQTT\x04\x22\x00\x00\x00\x01c", -1},
		{"v4 will QoS 3", "\x10\x13\x00\x04MQTT\x04\x1e\x00\x00\x00\x01c\x00\x01t\x00\x01p", -1},
		{"v4 password without user", "\x10\x10\x00\x04MQTT\x04\x42\x00\x00\x00\x01c\x00\x01p", -1},
		{"v4 user flag without user", "\x10\x0d\x00\x04MQTT\x04\x82\x00\x00\x00\x01c", -1},
		{"v4 bytes after the end", "\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x01cx", -1},
		{"v4 client id with U+0000", "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01\x00", -1},
		{"v4 no client id, no clean session [MQTT-3.1.3-8]", "\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00", 2},
		{"v5 reserved flag", "\x10\x0e\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x01c", 0x81},
		{"v5 no properties", "\x10\x0a\x00\x04MQTT\x05\x02\x00\x00", 0x81},
		{"v5 receive maximum 0", "\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x03\x21\x00\x00\x00\x01c", 0x82},
		{"v5 maximum packet size 0", "\x10\x13\x00\x04MQTT\x05\x02\x00\x00\x05\x27\x00\x00\x00\x00\x00\x01c", 0x82},
		{"v5 session expiry twice", "\x10\x18\x00\x04MQTT\x05\x02\x00\x00\x0a\x11\x00\x00\x00\x01\x11\x00\x00\x00\x01\x00\x01c", 0x82},
		{"v5 request problem information 2", "\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x02\x17\x02\x00\x01c", 0x82},
		{"v5 property of PUBLISH", "\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x02\x01\x01\x00\x01c", 0x81},
		{"v5 authentication method [MQTT-4.12.0-1]", "\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x04\x15\x00\x01x\x00\x01c", 0x8c},
		{"v5 authentication data alone", "\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x04\x16\x00\x01x\x00\x01c", 0x82},
		{"v5 will topic with wildcard", "\x10\x15\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x01c\x00\x00\x01#\x00\x01p", 0x90},
		{"v5 will payload format 1 and no UTF-8", "\x10\x17\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x01c\x02\x01\x01\x00\x01t\x00\x01\xff", 0x99},
		{"level 3 without a client id", "\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00", 2},
		{"level 3, password without user", "\x10\x12\x00\x06MQIsdp\x03\x42\x00\x00\x00\x01c\x00\x01p", -1},
		{"level 4 of MQIsdp", "\x10\x0f\x00\x06MQIsdp\x04\x02\x00\x00\x00\x01c", 1},
		{"level 4 of a bridge", "\x10\x0d\x00\x04MQTT\x84\x02\x00\x00\x00\x01c", 1},
		{"level 3 (MQTT)", "\x10\x0d\x00\x04MQTT\x03\x02\x00\x00\x00\x01c", 1},
		{"level 6", "\x10\x0d\x00\x04MQTT\x06\x02\x00\x00\x00\x01c", 0x84},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, nil)
			version := byte(4)
			if c.connack >= 0x80 {
				version = 5
			}
			p := b.dial(version)
			p.raw([]byte(c.raw)...)
			if c.connack >= 0 {
				if ack := p.want(packets.Connack); int(ack.ReasonCode) != c.connack || ack.SessionPresent {
					t.Fatalf("CONNACK %#x, want %#x", ack.ReasonCode, c.connack)
				}
			}
			if pk, ok := p.next(); ok {
				t.Fatalf("%s, the close was awaited", packets.PacketNames[pk.FixedHeader.Type])
			}
			if ready, _, _ := p.c.State(); ready {
				t.Fatal("Ready was called")
			}
		})
	}
}

// A CONNECT of 5.0 that is cut short is told so. If more bytes have come behind
// it, its length lies, and it is closed without a CONNACK, which [MQTT-3.1.4-1]
// leaves open; what is wrong in another way is told in any case.
func TestConnectLongerThanItsLength(t *testing.T) {
	const (
		short  = "\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x04tes" // the length of the client id says 4
		inWill = "\x10\x15\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x01c\x00\x00\x01t\x00\x02p"
		inList = "\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x03\x11\x00\x00\x00\x01c" // a property longer than the list
		flag   = "\x10\x0e\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x01c"
	)
	for _, c := range []struct {
		name   string
		frames []string
		told   bool
	}{
		{"alone", []string{short}, true},
		{"more in the same frame", []string{short + "t"}, false},
		{"a packet in the same frame", []string{short + "\xc0\x00"}, false},
		{"in two frames", []string{short[:5], short[5:] + "t"}, false},
		{"more later", []string{short, "t"}, true},
		{"will alone", []string{inWill}, true},
		{"will", []string{inWill + "p"}, false},
		{"property", []string{inList + "\xc0\x00"}, true},
		{"reserved flag", []string{flag + "\xc0\x00"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, nil)
			p := b.dial(5)
			for _, f := range c.frames {
				p.raw([]byte(f)...)
			}
			if c.told {
				if ack := p.want(packets.Connack); ack.ReasonCode != 0x81 {
					t.Fatalf("CONNACK %#x, want 0x81", ack.ReasonCode)
				}
			}
			p.wantEnd(0, subproto.CloseProtocol)
		})
	}
}

func TestTextFrameIsUnsupportedData(t *testing.T) { // [MQTT-6.0.0-1]
	b := start(t, nil)
	for _, p := range []*peer{b.dial(5), b.connect(5, "c", nil)} {
		p.c.Feed(subproto.Text, []byte("hello"))
		p.wantEnd(0, subproto.CloseUnsupported)
	}
}

// fullPackets has one of each packet a client may send, with all its parts.
func fullPackets(version byte) map[string][]byte {
	if version < 5 {
		connect := []byte("\x10\x1e\x00\x04MQTT\x04\xee\x00\x0a\x00\x01c\x00\x01w\x00\x01p\x00\x03ada\x00\x04lace")
		if version == 3 {
			connect = []byte("\x10\x20\x00\x06MQIsdp\x03\xee\x00\x0a\x00\x01c\x00\x01w\x00\x01p\x00\x03ada\x00\x04lace")
		}
		return map[string][]byte{
			"CONNECT":     connect,
			"PUBLISH":     []byte("\x3b\x08\x00\x03a/b\x00\x01p"),
			"PUBACK":      {0x40, 2, 0, 1},
			"SUBSCRIBE":   []byte("\x82\x0c\x00\x01\x00\x01a\x00\x00\x03b/#\x01"),
			"UNSUBSCRIBE": []byte("\xa2\x0a\x00\x01\x00\x01a\x00\x03b/#"),
			"PINGREQ":     {0xc0, 0},
			"DISCONNECT":  {0xe0, 0},
		}
	}
	return map[string][]byte{
		"CONNECT":     []byte("\x10\x34\x00\x04MQTT\x05\xee\x00\x0a\x0f\x11\x00\x00\x00\x01\x21\x00\x05\x26\x00\x01k\x00\x01v\x00\x01c\x05\x18\x00\x00\x00\x01\x00\x01w\x00\x01p\x00\x03ada\x00\x04lace"),
		"PUBLISH":     []byte("\x3b\x1d\x00\x03a/b\x00\x01\x14\x01\x01\x02\x00\x00\x00\x09\x03\x00\x01t\x09\x00\x01c\x26\x00\x00\x00\x00p"),
		"PUBACK":      {0x40, 9, 0, 1, 0, 5, 0x26, 0, 0, 0, 0},
		"SUBSCRIBE":   []byte("\x82\x0f\x00\x01\x02\x0b\x01\x00\x01a\x00\x00\x03b/#\x2d"),
		"UNSUBSCRIBE": []byte("\xa2\x10\x00\x01\x05\x26\x00\x00\x00\x00\x00\x01a\x00\x03b/#"),
		"PINGREQ":     {0xc0, 0},
		"DISCONNECT":  {0xe0, 7, 0, 5, 0x1f, 0, 2, 'o', 'k'},
	}
}

// Every packet cut at every byte, its Remaining Length set to fit: the engine
// goes on or closes, and it always answers the next connection.
func TestPacketsCutAtEveryByte(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		for name, full := range fullPackets(version) {
			if int(full[1]) != len(full)-2 {
				t.Fatalf("%s: %d bytes, says %d", name, len(full)-2, full[1])
			}
			for n := 2; n < len(full); n++ {
				cut := append([]byte{full[0], byte(n - 2)}, full[2:n]...)
				p := b.dial(version)
				if name != "CONNECT" {
					p.handshake("c", nil)
				}
				p.raw(cut...)
				if !legalCut(name, version, n) {
					if name == "CONNECT" {
						if pk, ok := p.next(); ok && (version < 5 || pk.FixedHeader.Type != packets.Connack || pk.ReasonCode < 0x80) {
							t.Fatalf("%s cut to %d: %+v", name, n, pk)
						}
						p.c.WaitClose()
					} else if version == 5 {
						if pk := p.want(packets.Disconnect); pk.ReasonCode != 0x81 && pk.ReasonCode != 0x82 {
							t.Fatalf("%s cut to %d: %#x", name, n, pk.ReasonCode)
						}
					} else if pk, ok := p.next(); ok {
						t.Fatalf("%s cut to %d: answered with %+v", name, n, pk.FixedHeader)
					}
				}
				p.c.Drop(nil)
			}
		}
		b.connect(version, "alive", nil).quiet()
	})
}

// legalCut names the cuts that leave a whole packet.
func legalCut(name string, version byte, n int) bool {
	switch fmt.Sprint(name, version) {
	case "CONNECT3": // the end takes precedence over the user name and password flags
		return n == 23 || n == 28
	case "PUBLISH3", "PUBLISH4":
		return n >= 9 // an empty payload
	case "PUBLISH5":
		return n >= 30
	case "SUBSCRIBE3", "SUBSCRIBE4":
		return n == 8
	case "SUBSCRIBE5":
		return n == 11
	case "UNSUBSCRIBE3", "UNSUBSCRIBE4":
		return n == 7
	case "UNSUBSCRIBE5":
		return n == 13
	case "PUBACK5":
		return n == 4 || n == 5
	case "DISCONNECT5":
		return n <= 3
	}
	return false
}

// Every first byte: reserved types and flags are refused ([MQTT-2.1.3-1]).
func TestEveryFixedHeader(t *testing.T) {
	for head := range 256 {
		kind, flags := byte(head>>4), byte(head&15)
		want := kind != 0 && flags == 0
		switch kind {
		case packets.Publish:
			want = flags>>1&3 != 3 && (flags>>1&3 != 0 || flags&8 == 0)
		case packets.Pubrel, packets.Subscribe, packets.Unsubscribe:
			want = flags == 2
		}
		if err := checkHead(byte(head), 4); (err == nil) != want {
			t.Errorf("%#02x: %v", head, err)
		}
	}
}
