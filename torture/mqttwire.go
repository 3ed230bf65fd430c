package torture

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Control packet types (MQTT 5 section 2.1.2).
const (
	typeConnect     = 1
	typeConnack     = 2
	typePublish     = 3
	typePuback      = 4
	typePubrec      = 5
	typePubrel      = 6
	typePubcomp     = 7
	typeSubscribe   = 8
	typeSuback      = 9
	typeUnsubscribe = 10
	typeUnsuback    = 11
	typePingreq     = 12
	typePingresp    = 13
	typeDisconnect  = 14
)

var errPacket = errors.New("malformed packet from the broker")

// packetWriter builds the body of a packet.
type packetWriter struct{ b []byte }

func (w *packetWriter) u8(v byte)     { w.b = append(w.b, v) }
func (w *packetWriter) u16(v uint16)  { w.b = binary.BigEndian.AppendUint16(w.b, v) }
func (w *packetWriter) u32(v uint32)  { w.b = binary.BigEndian.AppendUint32(w.b, v) }
func (w *packetWriter) text(s string) { w.u16(uint16(len(s))); w.b = append(w.b, s...) }
func (w *packetWriter) user(name, value string) {
	w.u8(0x26)
	w.text(name)
	w.text(value)
}

// block appends bytes after their length as a Variable Byte Integer.
func (w *packetWriter) block(b []byte) { w.b = append(appendVarint(w.b, len(b)), b...) }

func appendVarint(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// packet frames a body with its fixed header.
func packet(first byte, body []byte) []byte {
	return append(appendVarint([]byte{first}, len(body)), body...)
}

// nextPacket takes one packet off b; ok is false if it is not complete.
func nextPacket(b []byte) (first byte, body, rest []byte, ok bool, err error) {
	if len(b) < 2 {
		return 0, nil, b, false, nil
	}
	n, used := 0, 0
	for {
		if used == 4 {
			return 0, nil, nil, false, errPacket
		}
		if 1+used >= len(b) {
			return 0, nil, b, false, nil
		}
		c := b[1+used]
		n |= int(c&0x7f) << (7 * used)
		used++
		if c < 0x80 {
			break
		}
	}
	start := 1 + used
	if len(b) < start+n {
		return 0, nil, b, false, nil
	}
	return b[0], b[start : start+n], b[start+n:], true, nil
}

// packetReader reads the body of a packet; the first thing that is missing is
// remembered.
type packetReader struct {
	b   []byte
	bad bool
}

func (r *packetReader) take(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return make([]byte, min(n, 8))
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *packetReader) u8() byte     { return r.take(1)[0] }
func (r *packetReader) u16() uint16  { return binary.BigEndian.Uint16(r.take(2)) }
func (r *packetReader) text() string { n := int(r.u16()); return string(r.bytes(n)) }

func (r *packetReader) bytes(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	return r.take(n)
}

func (r *packetReader) varint() int {
	n := 0
	for shift := 0; shift < 28; shift += 7 {
		c := r.u8()
		n |= int(c&0x7f) << shift
		if c < 0x80 {
			return n
		}
	}
	r.bad = true
	return 0
}

func (r *packetReader) err(what string) error {
	if r.bad {
		return fmt.Errorf("%s: %w", what, errPacket)
	}
	return nil
}

// users reads properties and returns the user properties among them (MQTT 5
// section 2.2.2.2).
func (r *packetReader) users() map[string]string {
	p := packetReader{b: r.bytes(r.varint())}
	var out map[string]string
	for len(p.b) > 0 && !p.bad {
		switch id := p.u8(); id {
		case 0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2a:
			p.take(1)
		case 0x13, 0x21, 0x22, 0x23:
			p.take(2)
		case 0x02, 0x11, 0x18, 0x27:
			p.take(4)
		case 0x0b:
			p.varint()
		case 0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1a, 0x1c, 0x1f:
			p.text()
		case 0x26:
			name, value := p.text(), p.text()
			if out == nil {
				out = map[string]string{}
			}
			out[name] = value
		default:
			p.bad = true
		}
	}
	r.bad = r.bad || p.bad
	return out
}
