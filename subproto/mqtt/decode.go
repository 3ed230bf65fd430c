package mqtt

import (
	"bytes"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The functions here first walk a body with a cursor, which proves every length
// and string and whatever the codec leaves unchecked, and only then give it to
// the codec. The codec's strings are views of the bytes it is given, so callers
// give it a copy that nobody changes.

// connectVersion reads protocol name and level, 0 for a level that the name does
// not go with. Without them it is not known in which form to answer.
func connectVersion(body []byte) (byte, error) {
	c := cursor{b: body}
	name, version := string(c.text()), c.u8()
	switch {
	case c.err != nil:
		return 0, c.err
	case name == "MQIsdp" && version != 3, name == "MQTT" && version == 3:
		return 0, nil
	case name == "MQIsdp", name == "MQTT": // [MQTT-3.1.2-1]
		return version, nil
	}
	return 0, violation("protocol name")
}

// connect is a decoded CONNECT.
type connect struct {
	packets.Packet
	had     uint64 // its properties, as in cursor.seen
	willHad uint64 // the will's
}

// decodeConnect decodes the body of a CONNECT of level 3, 4 or 5. It may change
// the body.
func decodeConnect(body []byte, version byte) (*connect, error) {
	pk := &connect{}
	pk.FixedHeader = packets.FixedHeader{Type: packets.Connect, Remaining: len(body)}
	if err := pk.check(body, version); err != nil {
		return nil, err
	}
	if err := pk.ConnectDecode(body); err != nil {
		return nil, malformed("CONNECT")
	}
	return pk, nil
}

func (pk *connect) check(body []byte, version byte) error {
	c := cursor{b: body}
	c.text()
	c.u8()
	at := c.off
	flags := c.u8()
	c.u16()
	will := flags&0x04 != 0
	if version == 5 {
		c.props()
		pk.had = c.seen
	}
	c.text()
	if will {
		if version == 5 {
			c.props()
			pk.willHad = c.seen
		}
		c.text()
		c.binary()
	}
	if version == 3 && c.err == nil {
		flags = c.missing(flags)
		body[at] = flags
	}
	user, password := flags&0x80 != 0, flags&0x40 != 0
	if user {
		c.text() // [MQTT-3.1.3-11]
	}
	if password {
		c.binary()
	}
	switch {
	case c.err != nil:
		return c.err
	case flags&0x01 != 0: // [MQTT-3.1.2-3]
		return malformed("reserved connect flag")
	case !will && flags&0x38 != 0: // [MQTT-3.1.2-11], [MQTT-3.1.2-13]
		return malformed("will QoS or retain without a will")
	case flags&0x18 == 0x18: // [MQTT-3.1.2-12]
		return malformed("will QoS 3")
	case version < 5 && password && !user: // [MQTT-3.1.2-22] of 3.1.1
		return malformed("password without user name")
	}
	return c.end()
}

// missing returns the connect flags of 3.1 without those that say nothing: the
// reserved bit, those of a will that is not there, and those of a user name or
// password that the Remaining Length leaves no room for, which section 3.1 of
// that version tells a server to accept.
func (c *cursor) missing(flags byte) byte {
	flags &^= 0x01
	if flags&0x04 == 0 {
		flags &^= 0x38
	}
	if flags&0x80 != 0 && c.left() == 0 {
		flags &^= 0xc0
	}
	if flags&0x40 != 0 {
		rest := *c
		if rest.text(); rest.left() == 0 {
			flags &^= 0x40
		}
	}
	return flags
}

// decodeSubscribe decodes SUBSCRIBE. It may change the body.
func decodeSubscribe(body []byte, version byte) (*packets.Packet, error) {
	c := cursor{b: body}
	if err := c.packetID(); err != nil {
		return nil, err
	}
	if version == 5 {
		c.props()
	}
	n := 0
	for ; c.err == nil && c.left() > 0; n++ {
		c.text()
		opts := c.u8()
		if c.err == nil && version == 3 { // it gives the other bits no meaning
			opts &= 0x03
			body[c.off-1] = opts
		}
		if c.err == nil {
			c.err = checkSubscribeOptions(opts, version)
		}
	}
	c.count(n) // [MQTT-3.8.3-2]
	if c.err != nil {
		return nil, c.err
	}
	pk := &packets.Packet{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Remaining: len(body), Qos: 1}}
	if err := pk.SubscribeDecode(body); err != nil {
		return nil, malformed("SUBSCRIBE")
	}
	return pk, nil
}

// checkSubscribeOptions: [MQTT-3.8.3-5], and of 3.1.1 [MQTT-3-8.3-4].
func checkSubscribeOptions(opts, version byte) error {
	switch {
	case version < 5 && opts&0xfc != 0, opts&0xc0 != 0:
		return malformed("reserved subscription options")
	case opts&0x03 == 3:
		return malformed("QoS 3")
	case opts&0x30 == 0x30:
		return violation("retain handling 3")
	}
	return nil
}

// decodeUnsubscribe decodes UNSUBSCRIBE.
func decodeUnsubscribe(body []byte, version byte) (*packets.Packet, error) {
	c := cursor{b: body}
	if err := c.packetID(); err != nil {
		return nil, err
	}
	if version == 5 {
		c.props()
	}
	n := 0
	for ; c.err == nil && c.left() > 0; n++ {
		c.text()
	}
	c.count(n) // [MQTT-3.10.3-2]
	if c.err != nil {
		return nil, c.err
	}
	pk := &packets.Packet{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Remaining: len(body), Qos: 1}}
	if err := pk.UnsubscribeDecode(body); err != nil {
		return nil, malformed("UNSUBSCRIBE")
	}
	return pk, nil
}

// maxFilters bounds one SUBSCRIBE or UNSUBSCRIBE, because a decoded filter takes
// far more memory than the four bytes it can be written in.
const maxFilters = 10_000

// count judges the number of filters read.
func (c *cursor) count(filters int) {
	switch {
	case c.err != nil:
	case filters == 0:
		c.err = violation("no topic filter")
	case filters > maxFilters:
		c.err = fault{0x97, "too many topic filters in one packet"}
	}
}

// packetID reads a packet identifier ([MQTT-2.2.1-3]).
func (c *cursor) packetID() error {
	if c.u16() == 0 && c.err == nil {
		c.err = violation("packet identifier 0")
	}
	return c.err
}

// decodeProps decodes a property list, its length included, that cursor.props
// has proved; nil if there are none. It must be given bytes that are not
// changed afterwards.
func decodeProps(kind byte, list []byte) (*packets.Properties, error) {
	if len(list) < 2 {
		return nil, nil
	}
	p := new(packets.Properties)
	if _, err := p.Decode(kind, bytes.NewBuffer(list)); err != nil {
		return nil, malformed("property out of place")
	}
	return p, nil
}

// checkAck walks the body of PUBACK, PUBREC, PUBREL or PUBCOMP and returns its
// packet identifier and reason code.
func checkAck(kind byte, body []byte, version byte) (id uint16, code byte, err error) {
	c := cursor{b: body}
	id = c.u16()
	if c.err == nil && id == 0 {
		c.err = violation("packet identifier 0")
	}
	if version == 5 && c.left() > 0 {
		code = c.u8()
		if c.left() > 0 {
			if _, err := decodeProps(kind, c.props()); err != nil {
				c.err = firstOf(c.err, err)
			}
		}
		if c.err == nil && strings.IndexByte(ackCodes(kind), code) < 0 {
			c.err = violation("reason code out of place")
		}
	}
	return id, code, c.end()
}

// ackCodes are the reason codes of tables 3-4 to 3-7 ([MQTT-3.4.2-1],
// [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1]).
func ackCodes(kind byte) string {
	if kind == packets.Puback || kind == packets.Pubrec {
		return "\x00\x10\x80\x83\x87\x90\x91\x97\x99"
	}
	return "\x00\x92"
}

// disconnectCodes are those of table 3-10 that a client may send ([MQTT-3.14.2-1]).
const disconnectCodes = "\x00\x04\x80\x81\x82\x83\x90\x93\x94\x95\x96\x97\x98\x99"
