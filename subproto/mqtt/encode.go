package mqtt

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

const binaryFrame = subproto.Binary

// outPublish is one PUBLISH to one receiver, in the parts it is stitched from.
// What is the same for all receivers of a message is computed once: the payload
// (Message.BytesView) and the properties (sharedProps). It is not joined to one
// blob, because each packet has to be copied together anyway.
type outPublish struct {
	head    byte
	version byte
	id      uint16
	topic   string
	shared  []byte // properties of the message
	own     []byte // properties for this receiver
	payload []byte

	remaining int // set by measure
}

// measure computes the packet's size in bytes.
func (p *outPublish) measure(qos msg.QoS) int {
	p.remaining = 2 + len(p.topic) + len(p.payload)
	if qos > 0 {
		p.remaining += 2
	}
	if p.version == 5 {
		n := len(p.shared) + len(p.own)
		p.remaining += varintLen(n) + n
	}
	return 1 + varintLen(p.remaining) + p.remaining
}

// append appends the packet, measured before.
func (p *outPublish) append(b []byte) []byte {
	b = appendVarint(append(b, p.head), p.remaining)
	b = appendText(b, p.topic)
	if p.head&0x06 != 0 {
		b = append(b, byte(p.id>>8), byte(p.id))
	}
	if p.version == 5 {
		b = appendVarint(b, len(p.shared)+len(p.own))
		b = append(b, p.shared...)
		b = append(b, p.own...)
	}
	return append(b, p.payload...)
}

// sharedProps are the properties of m that all receivers get: those of its
// publisher, and for messages that came through another protocol what MQTT
// clients can be told of their payload's form.
func sharedProps(m *msg.Message) []byte {
	p := &m.Payload
	if m.Via == msg.ViaMQTT && !p.Text && p.ContentType == "" && m.ResponseTopic == "" && m.Correlation == nil && len(m.User) == 0 {
		return nil
	}
	return m.Shared(msg.SharedMQTT, func() []byte { return encodeShared(m) })
}

func encodeShared(m *msg.Message) []byte {
	text, contentType := m.Payload.Text, m.Payload.ContentType
	if m.Via != msg.ViaMQTT {
		if !text && (m.Payload.Form == msg.FormArgs || m.Via == msg.ViaJSON) {
			text = m.UTF8()
		}
		if contentType == "" && text {
			if _, encoding := m.JSONView(); encoding == "" {
				contentType = "application/json"
			}
		}
	}
	var b []byte
	if text {
		b = append(b, packets.PropPayloadFormat, 1)
	}
	if contentType != "" && encodable(contentType) {
		b = appendText(append(b, packets.PropContentType), contentType)
	}
	if m.ResponseTopic != "" && encodable(m.ResponseTopic) && !strings.ContainsAny(m.ResponseTopic, "+#") {
		b = appendText(append(b, packets.PropResponseTopic), m.ResponseTopic)
	}
	if m.Correlation != nil && len(m.Correlation) <= 65535 {
		b = appendText(append(b, packets.PropCorrelationData), string(m.Correlation))
	}
	for _, u := range m.User {
		if encodable(u.Name) && encodable(u.Value) {
			b = appendUser(b, u.Name, u.Value)
		}
	}
	return b
}

// encodable tells whether s can be a UTF-8 Encoded String (section 1.5.4). What
// clients of other protocols send need not be one, and a receiver would have to
// close for it; such properties are left out.
func encodable(s string) bool {
	return len(s) <= 65535 && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

func appendUser(b []byte, name, value string) []byte {
	return appendText(appendText(append(b, packets.PropUser), name), value)
}

// appendText appends a string, or binary data, of at most 65,535 bytes with its
// length.
func appendText(b []byte, s string) []byte {
	return append(append(b, byte(len(s)>>8), byte(len(s))), s...)
}

func appendVarint(b []byte, v int) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func varintLen(v int) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	}
	return 4
}

// encodeAck builds PUBACK, PUBREC, PUBREL or PUBCOMP. The codec leaves out codes
// below 0x80; 3.1.1 has none at all. The reason string goes only to a client that
// wants it and has room for it ([MQTT-3.1.2-29], [MQTT-3.4.2-2]).
func (h *handler) encodeAck(kind byte, id uint16, code byte, text string) []byte {
	head := kind << 4
	if kind == packets.Pubrel {
		head |= 2
	}
	if h.version < 5 || code == 0 {
		return []byte{head, 2, byte(id >> 8), byte(id)}
	}
	text = h.reason(text)
	full := []byte{head, 3, byte(id >> 8), byte(id), code}
	if n := 3 + len(text); text != "" && (h.maxOut == 0 || len(full)+1+n <= h.maxOut) {
		full[1] += byte(1 + n) // our texts are short
		full = appendText(append(full, byte(n), packets.PropReasonString), text)
	}
	return full
}

// appendStored builds a positive PUBACK or PUBREC. To a client that asks for
// offsets it carries the message's, if it is stored and there is room for it
// ([MQTT-3.1.2-29], [MQTT-3.4.2-3], [MQTT-3.5.2-3]).
func (h *handler) appendStored(b []byte, kind byte, id uint16, offset msg.Offset) []byte {
	const fixed = 2 + 2 + 1 + 1 + 1 + 2 + len(propOffset) + 2 // all but the digits
	if h.wantOffset && h.problemInfo && offset != 0 {
		digits := strconv.FormatUint(uint64(offset), 10)
		if n := fixed + len(digits); h.maxOut == 0 || n <= h.maxOut { // all of it is less than 128 bytes
			b = append(b, kind<<4, byte(n-2), byte(id>>8), byte(id), 0, byte(n-6))
			return appendUser(b, propOffset, digits)
		}
	}
	return append(b, kind<<4, 2, byte(id>>8), byte(id))
}

// The functions below use the codec. Their packets hold nothing that it could
// refuse, so its errors cannot occur.

func encodeConnack(code byte, present bool, props packets.Properties) []byte {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ProtocolVersion: 5, ReasonCode: code, SessionPresent: present, Properties: props}
	pk.Mods.AllowResponseInfo = true
	var b bytes.Buffer
	_ = pk.ConnackEncode(&b)
	return b.Bytes()
}

func encodeSuback(kind, version byte, id uint16, codes []byte, props packets.Properties) []byte {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, ProtocolVersion: version, PacketID: id, ReasonCodes: codes, Properties: props}
	var b bytes.Buffer
	if kind == packets.Suback {
		_ = pk.SubackEncode(&b)
	} else {
		_ = pk.UnsubackEncode(&b)
	}
	return b.Bytes()
}

func encodeDisconnect(code byte, text string) []byte {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ProtocolVersion: 5, ReasonCode: code}
	pk.Properties.ReasonString = text
	var b bytes.Buffer
	_ = pk.DisconnectEncode(&b)
	return b.Bytes()
}
