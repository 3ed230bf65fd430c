package mqtt

import "github.com/mochi-mqtt/server/v2/packets"

// props walks a property list and the length before it, and proves that the
// codec can read it: the codec itself neither keeps to the list's length nor
// refuses repeated properties. Whether a property belongs into the packet, the
// codec knows.
func (c *cursor) props() []byte {
	start := c.off
	n := c.varint()
	list := cursor{b: c.take(n)}
	if c.err != nil {
		return nil
	}
	c.seen = 0
	for list.err == nil && list.left() > 0 {
		list.property(&c.seen)
	}
	if list.err != nil {
		if c.err = list.err; c.err == cutShort() {
			c.err = malformed("property beyond the end of the list")
		}
		return nil
	}
	return c.b[start:c.off:c.off]
}

// property walks one property. seen has a bit for each that was there before:
// all but the user property, and in PUBLISH the subscription identifier, which
// no client may send there, may occur once (section 2.2.2.2).
func (c *cursor) property(seen *uint64) {
	id := c.u8()
	if c.err != nil {
		return
	}
	if id < 64 {
		if id != packets.PropUser && *seen&(1<<id) != 0 {
			c.err = violation("property occurs twice")
			return
		}
		*seen |= 1 << id
	}
	switch id {
	case packets.PropPayloadFormat, packets.PropRequestProblemInfo, packets.PropRequestResponseInfo,
		packets.PropMaximumQos, packets.PropRetainAvailable, packets.PropWildcardSubAvailable,
		packets.PropSubIDAvailable, packets.PropSharedSubAvailable:
		if c.u8() > 1 && c.err == nil {
			c.err = violation("property is neither 0 nor 1")
		}
	case packets.PropReceiveMaximum:
		c.nonZero(int(c.u16()))
	case packets.PropServerKeepAlive, packets.PropTopicAliasMaximum, packets.PropTopicAlias:
		c.u16()
	case packets.PropMaximumPacketSize:
		c.nonZero(int(c.u32()))
	case packets.PropMessageExpiryInterval, packets.PropSessionExpiryInterval, packets.PropWillDelayInterval:
		c.u32()
	case packets.PropSubscriptionIdentifier:
		c.nonZero(c.varint())
	case packets.PropCorrelationData, packets.PropAuthenticationData:
		c.binary()
	case packets.PropContentType, packets.PropResponseTopic, packets.PropAssignedClientID,
		packets.PropAuthenticationMethod, packets.PropResponseInfo, packets.PropServerReference, packets.PropReasonString:
		c.text()
	case packets.PropUser:
		c.text()
		c.text()
	default:
		c.err = malformed("unknown property")
	}
}

func (c *cursor) nonZero(v int) {
	if v == 0 && c.err == nil {
		c.err = violation("property must not be 0")
	}
}
