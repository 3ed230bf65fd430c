package load

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors of a peer that does not speak as it should.
var (
	// ErrFrame is returned, wrapped, for a WebSocket frame that a server must not send.
	ErrFrame = errors.New("bad WebSocket frame")
	// ErrPacket is returned, wrapped, for an MQTT packet that a server must not send.
	ErrPacket = errors.New("bad MQTT packet")
)

// MQTT 3.1.1 packet types (section 2.2.1), in the upper half of the first byte.
const (
	typeConnack    = 2
	typePublish    = 3
	typePuback     = 4
	typeDisconnect = 14
	typePubrec     = 5
	typePubrel     = 6
	typePubcomp    = 7
	typeSuback     = 9
)

// WebSocket opcodes (RFC 6455 section 5.2).
const (
	opContinuation = 0
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// mask is the generator's masking key (RFC 6455 section 5.3). One key for all:
// there is no intermediary here for a changing one to protect.
var mask = [4]byte{0x5a, 0xc3, 0x96, 0x3d}

// beginFrame appends the header of a masked frame with a payload of n bytes.
func beginFrame(b []byte, op byte, n int) []byte {
	b = append(b, 0x80|op)
	switch {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = append(b, 0x80|127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return append(b, mask[:]...)
}

// applyMask masks a payload in place, from its first byte on.
func applyMask(b []byte) {
	word := uint64(binary.LittleEndian.Uint32(mask[:]))
	word |= word << 32
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^word)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= mask[i&3]
	}
}

// appendFrame appends one whole masked frame.
func appendFrame(b []byte, op byte, payload []byte) []byte {
	b = beginFrame(b, op, len(payload))
	start := len(b)
	b = append(b, payload...)
	applyMask(b[start:])
	return b
}

// nextFrame takes one frame of a server off b. ok is false when b does not hold
// all of it yet; size is then how many bytes it needs, as far as known.
func nextFrame(b []byte) (op byte, payload []byte, size int, ok bool, err error) {
	if len(b) < 2 {
		return 0, nil, 2, false, nil
	}
	if b[0]&0x70 != 0 || b[1]&0x80 != 0 {
		return 0, nil, 0, false, fmt.Errorf("reserved bits or a masked frame from the server: %w", ErrFrame)
	}
	n, head := uint64(b[1]), 2
	switch n {
	case 126:
		if head = 4; len(b) < head {
			return 0, nil, head, false, nil
		}
		n = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if head = 10; len(b) < head {
			return 0, nil, head, false, nil
		}
		n = binary.BigEndian.Uint64(b[2:])
	}
	if n > 64<<20 {
		return 0, nil, 0, false, fmt.Errorf("%d bytes: %w", n, ErrFrame)
	}
	size = head + int(n)
	if len(b) < size {
		return 0, nil, size, false, nil
	}
	return b[0] & 0x0f, b[head:size], size, true, nil
}

// nextPacket takes one MQTT packet off b; ok is false when b does not hold all
// of it yet. The remaining length has at most four bytes (section 2.2.3).
func nextPacket(b []byte) (first byte, body []byte, size int, ok bool, err error) {
	n, shift := 0, 0
	for i := 1; i < len(b); i++ {
		n |= int(b[i]&0x7f) << shift
		if b[i]&0x80 == 0 {
			size = 1 + i + n
			if len(b) < size {
				return 0, nil, 0, false, nil
			}
			return b[0], b[1+i : size], size, true, nil
		}
		if shift += 7; shift > 21 {
			return 0, nil, 0, false, fmt.Errorf("remaining length: %w", ErrPacket)
		}
	}
	return 0, nil, 0, false, nil
}

func appendLength(b []byte, n int) []byte {
	for n >= 128 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func appendText(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// appendAck appends the frame of a PUBACK, PUBREC, PUBREL or PUBCOMP (sections
// 3.4 to 3.7). The flags of PUBREL are 0010 [MQTT-3.6.1-1].
func appendAck(b []byte, kind byte, id uint16) []byte {
	first := kind << 4
	if kind == typePubrel {
		first |= 2
	}
	ack := [4]byte{first, 2, byte(id >> 8), byte(id)}
	return appendFrame(b, opBinary, ack[:])
}

// connectPacket is a CONNECT of MQTT 3.1.1 with a keep-alive of ten minutes
// (section 3.1); clean is the flag Clean Session.
func connectPacket(id string, clean bool) []byte {
	flags := byte(0)
	if clean {
		flags = 2
	}
	body := appendText(nil, "MQTT")
	body = append(body, 4, flags)
	body = binary.BigEndian.AppendUint16(body, 600)
	body = appendText(body, id)
	return append(appendLength([]byte{0x10}, len(body)), body...)
}

func subscribePacket(id uint16, filter string, qos byte) []byte {
	body := binary.BigEndian.AppendUint16(nil, id)
	body = append(appendText(body, filter), qos)
	return append(appendLength([]byte{0x82}, len(body)), body...)
}

// publish is what a PUBLISH holds (section 3.3); its slices are the reader's.
type publish struct {
	topic   []byte
	payload []byte
	id      uint16
	qos     byte
	dup     bool
}

func parsePublish(first byte, body []byte) (publish, error) {
	p := publish{qos: first >> 1 & 3, dup: first&8 != 0}
	if len(body) < 2 {
		return p, fmt.Errorf("PUBLISH without a topic: %w", ErrPacket)
	}
	n := int(binary.BigEndian.Uint16(body))
	body = body[2:]
	need := n
	if p.qos > 0 {
		need += 2
	}
	if p.qos > 2 || len(body) < need {
		return p, fmt.Errorf("PUBLISH: %w", ErrPacket)
	}
	p.topic, body = body[:n], body[n:]
	if p.qos > 0 {
		p.id, body = binary.BigEndian.Uint16(body), body[2:]
	}
	p.payload = body
	return p, nil
}
