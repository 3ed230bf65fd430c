package mqtt

import "github.com/mochi-mqtt/server/v2/packets"

// maxRemaining is the largest Remaining Length four bytes can say (section 1.5.5).
const maxRemaining = 268435455

// rawPacket is one control packet as it stands in the input.
type rawPacket struct {
	head byte // type and flags
	body []byte
}

func (p rawPacket) kind() byte { return p.head >> 4 }

// split cuts the first control packet off data. n is the bytes it takes, 0 if
// data does not hold all of it yet. The fixed header is judged as soon as it is
// there: limit is the most bytes a packet may have, and 5.0 refuses a Remaining
// Length in more bytes than needed ([MQTT-1.5.5-1]; older versions do not forbid
// it). version is 0 before CONNECT.
func split(data []byte, limit int, version byte) (p rawPacket, n int, err error) {
	if len(data) == 0 {
		return p, 0, nil
	}
	p.head = data[0]
	if err := checkHead(p.head, version); err != nil {
		return p, 0, err
	}
	length := 0
	for i := 1; ; i++ {
		if i == 5 {
			return p, 0, malformed("remaining length has more than four bytes")
		}
		if i == len(data) {
			return p, 0, nil
		}
		b := data[i]
		length |= int(b&0x7f) << (7 * (i - 1))
		if b&0x80 != 0 {
			continue
		}
		if version == 5 && b == 0 && i > 1 {
			return p, 0, malformed("remaining length is not minimal")
		}
		n = 1 + i
		break
	}
	if n+length > limit {
		return p, 0, fault{0x95, "packet too large"}
	}
	if len(data) < n+length {
		return p, 0, nil
	}
	p.body = data[n : n+length : n+length]
	return p, n + length, nil
}

// checkHead judges type and flags ([MQTT-2.1.3-1], [MQTT-3.3.1-2], [MQTT-3.3.1-4]).
// In 3.1 flags without a meaning are not used rather than reserved, and DUP marks
// a repeated PUBREL, SUBSCRIBE or UNSUBSCRIBE too (section 2.1 of 3.1).
func checkHead(head, version byte) error {
	flags := head & 0x0f
	if kind := head >> 4; version == 3 && kind != packets.Reserved {
		switch kind {
		case packets.Publish:
			flags &= 0x06
		case packets.Pubrel, packets.Subscribe, packets.Unsubscribe:
			flags &= 0x06
		default:
			flags = 0
		}
	}
	switch head >> 4 {
	case packets.Reserved:
		return malformed("packet type 0")
	case packets.Publish:
		switch {
		case flags&0x06 == 0x06:
			return malformed("QoS 3")
		case flags&0x06 == 0 && flags&0x08 != 0:
			return malformed("DUP with QoS 0")
		}
		return nil
	case packets.Pubrel, packets.Subscribe, packets.Unsubscribe:
		if flags != 2 {
			return malformed("reserved flags")
		}
		return nil
	}
	if flags != 0 {
		return malformed("reserved flags")
	}
	return nil
}
