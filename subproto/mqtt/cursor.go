package mqtt

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// fault is what is wrong with a packet: a v5 reason code and a fixed text that
// the peer may see.
type fault struct {
	code byte
	text string
}

func (f fault) Error() string { return f.text }

func malformed(text string) error { return fault{0x81, "malformed packet: " + text} }
func violation(text string) error { return fault{0x82, "protocol error: " + text} }

// cutShort is a packet whose fields reach beyond its Remaining Length.
func cutShort() error { return malformed("cut short") }

// cursor walks a packet's body. The first step beyond the end, or onto a string
// that is none, sets err; later steps then do nothing.
type cursor struct {
	b    []byte
	off  int
	err  error
	seen uint64 // a bit for each property of the last list; the codec cannot tell 0 from absent
}

// had tells whether the last property list held the property.
func (c *cursor) had(property byte) bool { return c.seen&(1<<property) != 0 }

func (c *cursor) left() int { return len(c.b) - c.off }

func (c *cursor) take(n int) []byte {
	if c.err != nil {
		return nil
	}
	if n > c.left() {
		c.err = cutShort()
		return nil
	}
	b := c.b[c.off : c.off+n : c.off+n]
	c.off += n
	return b
}

func (c *cursor) u8() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// varint reads a Variable Byte Integer, minimal ([MQTT-1.5.5-1]) and of at most
// four bytes.
func (c *cursor) varint() int {
	v := 0
	for i := range 4 {
		b := c.u8()
		v |= int(b&0x7f) << (7 * i)
		if b&0x80 == 0 {
			if b == 0 && i > 0 && c.err == nil {
				c.err = malformed("variable byte integer is not minimal")
			}
			return v
		}
	}
	if c.err == nil {
		c.err = malformed("variable byte integer has more than four bytes")
	}
	return 0
}

// binary reads Binary Data (section 1.5.6).
func (c *cursor) binary() []byte { return c.take(int(c.u16())) }

// text reads a UTF-8 Encoded String ([MQTT-1.5.4-1], [MQTT-1.5.4-2]).
func (c *cursor) text() []byte {
	b := c.binary()
	if c.err == nil && (!utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0) {
		c.err = malformed("not a UTF-8 string")
		return nil
	}
	return b
}

// end requires that everything was read.
func (c *cursor) end() error {
	if c.err == nil && c.left() != 0 {
		c.err = malformed("bytes after the end")
	}
	return c.err
}
