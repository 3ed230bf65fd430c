package wamp

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/gammazero/nexus/v3/wamp"

	"parley/msg"
)

// encoder appends values in one serialization to b. In JSON it sets the commas
// itself: a value never ends in one of the bytes it looks for.
type encoder struct {
	codec msg.Codec
	b     []byte
}

// item is called before every list item and dictionary key.
func (e *encoder) item() {
	if e.codec != msg.CodecJSON || len(e.b) == 0 {
		return
	}
	switch e.b[len(e.b)-1] {
	case '[', '{', ':':
	default:
		e.b = append(e.b, ',')
	}
}

// list begins a list of n items, dict a dictionary of n pairs; end closes it.
func (e *encoder) list(n int) {
	e.item()
	switch e.codec {
	case msg.CodecJSON:
		e.b = append(e.b, '[')
	case msg.CodecMsgpack:
		e.packLen(n, 0x90, 15, 0xdc)
	case msg.CodecCBOR:
		e.cborLen(cborList, uint64(n))
	}
}

func (e *encoder) dict(n int) {
	e.item()
	switch e.codec {
	case msg.CodecJSON:
		e.b = append(e.b, '{')
	case msg.CodecMsgpack:
		e.packLen(n, 0x80, 15, 0xde)
	case msg.CodecCBOR:
		e.cborLen(cborMap, uint64(n))
	}
}

func (e *encoder) endList() { e.end(']') }
func (e *encoder) endDict() { e.end('}') }

func (e *encoder) end(c byte) {
	if e.codec == msg.CodecJSON {
		e.b = append(e.b, c)
	}
}

// packLen writes a MessagePack length: short form up to most, else 16 or 32
// bits under code and code+1.
func (e *encoder) packLen(n int, short byte, most int, code byte) {
	switch {
	case n <= most:
		e.b = append(e.b, short|byte(n))
	case n <= math.MaxUint16:
		e.b = binary.BigEndian.AppendUint16(append(e.b, code), uint16(n))
	default:
		e.b = binary.BigEndian.AppendUint32(append(e.b, code+1), uint32(n))
	}
}

func (e *encoder) cborLen(major byte, n uint64) {
	major <<= 5
	switch {
	case n < 24:
		e.b = append(e.b, major|byte(n))
	case n <= math.MaxUint8:
		e.b = append(e.b, major|24, byte(n))
	case n <= math.MaxUint16:
		e.b = binary.BigEndian.AppendUint16(append(e.b, major|25), uint16(n))
	case n <= math.MaxUint32:
		e.b = binary.BigEndian.AppendUint32(append(e.b, major|26), uint32(n))
	default:
		e.b = binary.BigEndian.AppendUint64(append(e.b, major|27), n)
	}
}

// raw appends a value (or, in a dictionary, whole pairs) that is encoded already.
func (e *encoder) raw(v []byte) {
	if len(v) > 0 {
		e.item()
		e.b = append(e.b, v...)
	}
}

func (e *encoder) key(s string) {
	e.text(s)
	if e.codec == msg.CodecJSON {
		e.b = append(e.b, ':')
	}
}

func (e *encoder) null() {
	e.item()
	switch e.codec {
	case msg.CodecJSON:
		e.b = append(e.b, "null"...)
	case msg.CodecMsgpack:
		e.b = append(e.b, 0xc0)
	case msg.CodecCBOR:
		e.b = append(e.b, 0xf6)
	}
}

func (e *encoder) bool(v bool) {
	e.item()
	switch e.codec {
	case msg.CodecJSON:
		e.b = strconv.AppendBool(e.b, v)
	case msg.CodecMsgpack:
		e.b = append(e.b, 0xc2+bit(v))
	case msg.CodecCBOR:
		e.b = append(e.b, 0xf4+bit(v))
	}
}

func bit(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func (e *encoder) uint(n uint64) {
	e.item()
	switch e.codec {
	case msg.CodecJSON:
		e.b = strconv.AppendUint(e.b, n, 10)
	case msg.CodecMsgpack:
		switch {
		case n < 128:
			e.b = append(e.b, byte(n))
		case n <= math.MaxUint8:
			e.b = append(e.b, 0xcc, byte(n))
		case n <= math.MaxUint16:
			e.b = binary.BigEndian.AppendUint16(append(e.b, 0xcd), uint16(n))
		case n <= math.MaxUint32:
			e.b = binary.BigEndian.AppendUint32(append(e.b, 0xce), uint32(n))
		default:
			e.b = binary.BigEndian.AppendUint64(append(e.b, 0xcf), n)
		}
	case msg.CodecCBOR:
		e.cborLen(cborUint, n)
	}
}

func (e *encoder) int(n int64) {
	if n >= 0 {
		e.uint(uint64(n))
		return
	}
	e.item()
	switch e.codec {
	case msg.CodecJSON:
		e.b = strconv.AppendInt(e.b, n, 10)
	case msg.CodecMsgpack:
		e.b = binary.BigEndian.AppendUint64(append(e.b, 0xd3), uint64(n))
	case msg.CodecCBOR:
		e.cborLen(cborNegative, uint64(-(n + 1)))
	}
}

// float writes a number; what JSON cannot hold becomes null.
func (e *encoder) float(f float64) {
	if e.codec == msg.CodecJSON && (math.IsNaN(f) || math.IsInf(f, 0)) {
		e.null()
		return
	}
	e.item()
	switch e.codec {
	case msg.CodecJSON:
		e.b = strconv.AppendFloat(e.b, f, 'g', -1, 64)
	case msg.CodecMsgpack:
		e.b = binary.BigEndian.AppendUint64(append(e.b, 0xcb), math.Float64bits(f))
	case msg.CodecCBOR:
		e.b = binary.BigEndian.AppendUint64(append(e.b, 0xfb), math.Float64bits(f))
	}
}

// text writes a string; what is not UTF-8 in it becomes U+FFFD.
func (e *encoder) text(s string) {
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	e.item()
	switch e.codec {
	case msg.CodecJSON:
		e.b = appendJSONString(e.b, s)
	case msg.CodecMsgpack:
		if n := len(s); n > 31 && n <= math.MaxUint8 {
			e.b = append(e.b, 0xd9, byte(n))
		} else {
			e.packLen(n, 0xa0, 31, 0xda)
		}
		e.b = append(e.b, s...)
	case msg.CodecCBOR:
		e.cborLen(cborText, uint64(len(s)))
		e.b = append(e.b, s...)
	}
}

func (e *encoder) bytes(v []byte) {
	switch e.codec {
	case msg.CodecJSON:
		e.text("\x00" + base64.StdEncoding.EncodeToString(v))
	case msg.CodecMsgpack:
		if len(v) <= math.MaxUint8 {
			e.b = append(e.b, 0xc4, byte(len(v)))
		} else {
			e.packLen(len(v), 0, -1, 0xc5)
		}
		e.b = append(e.b, v...)
	case msg.CodecCBOR:
		e.cborLen(cborBytes, uint64(len(v)))
		e.b = append(e.b, v...)
	}
}

func appendJSONString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// any writes the values that nexus itself puts into messages: details and the
// results of its meta procedures. Anything else becomes null.
func (e *encoder) any(v any) {
	switch v := v.(type) {
	case bool:
		e.bool(v)
	case string:
		e.text(v)
	case wamp.URI:
		e.text(string(v))
	case wamp.ID:
		e.uint(uint64(v))
	case int:
		e.int(int64(v))
	case int64:
		e.int(v)
	case uint64:
		e.uint(v)
	case float64:
		e.float(v)
	case []byte:
		e.bytes(v)
	case []wamp.ID:
		anyList(e, v)
	case wamp.List:
		anyList(e, v)
	case []any:
		anyList(e, v)
	case []string:
		anyList(e, v)
	case wamp.Dict:
		e.anyDict(v)
	case map[string]any:
		e.anyDict(v)
	default:
		e.null()
	}
}

func anyList[T any](e *encoder, l []T) {
	e.list(len(l))
	for _, v := range l {
		e.any(v)
	}
	e.endList()
}

func (e *encoder) anyDict(d map[string]any) {
	e.dict(len(d))
	for k, v := range d {
		e.key(k)
		e.any(v)
	}
	e.endDict()
}
