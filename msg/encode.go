package msg

import (
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"strconv"
)

// encoder writes tokens in one codec. A nil encoder takes everything and writes
// nothing: the check before a value is passed on as it is.
type encoder struct {
	codec Codec
	b     []byte
	buf   []byte
}

func (e *encoder) scalar(t *token) error {
	if e == nil {
		return nil
	}
	switch t.kind {
	case tokNull:
		e.b = append(e.b, e.pick("null", "\xc0", "\xf6")...)
	case tokBool:
		if t.yes {
			e.b = append(e.b, e.pick("true", "\xc3", "\xf5")...)
		} else {
			e.b = append(e.b, e.pick("false", "\xc2", "\xf4")...)
		}
	case tokInt:
		e.integer(t)
	case tokBig:
		return e.bigInteger(t)
	case tokFloat:
		return e.float(t.f)
	case tokString:
		s := e.text(t)
		if t.escaped && e.codec != CodecJSON {
			if b, ok := binaryOfString(s); ok {
				e.binary(b)
				return nil
			}
		}
		e.str(s)
	case tokBinary:
		e.binary(t.b)
	}
	return nil
}

func (e *encoder) pick(json, msgpack, cbor string) string {
	switch e.codec {
	case CodecJSON:
		return json
	case CodecMsgpack:
		return msgpack
	}
	return cbor
}

// text is what a string token stands for.
func (e *encoder) text(t *token) []byte {
	if !t.escaped {
		return t.b
	}
	e.buf = unescape(e.buf[:0], t.b)
	return e.buf
}

func (e *encoder) key(t *token) {
	if e == nil {
		return
	}
	e.str(e.text(t))
	if e.codec == CodecJSON {
		e.b = append(e.b, ':')
	}
}

// open begins a container, whose head close writes: the number of elements is
// not known before.
func (e *encoder) open(isMap bool) (mark int) {
	if e == nil {
		return 0
	}
	head := byte('[') // the binary codecs overwrite it
	if isMap {
		head = '{'
	}
	e.b = append(e.b, head)
	return len(e.b)
}

func (e *encoder) separate(n uint64) {
	if e != nil && e.codec == CodecJSON && n > 0 {
		e.b = append(e.b, ',')
	}
}

func (e *encoder) close(isMap bool, mark int, n uint64) {
	if e == nil {
		return
	}
	if e.codec == CodecJSON {
		e.b = append(e.b, e.b[mark-1]+2) // ASCII: '[' + 2 = ']', '{' + 2 = '}'
		return
	}
	var room [9]byte
	head := appendContainer(room[:0], e.codec, isMap, n)
	e.b[mark-1] = head[0]
	if len(head) > 1 {
		e.b = slices.Insert(e.b, mark, head[1:]...)
	}
}

func appendContainer(b []byte, c Codec, isMap bool, n uint64) []byte {
	switch {
	case c == CodecCBOR && isMap:
		return cborHeader(b, 5, n)
	case c == CodecCBOR:
		return cborHeader(b, 4, n)
	case n < 16 && isMap:
		return append(b, 0x80|byte(n))
	case n < 16:
		return append(b, 0x90|byte(n))
	}
	code := byte(0xdc)
	if isMap {
		code = 0xde
	}
	if n <= math.MaxUint16 {
		return binary.BigEndian.AppendUint16(append(b, code), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, code+1), uint32(n))
}

func cborHeader(b []byte, major byte, u uint64) []byte {
	major <<= 5
	switch {
	case u < 24:
		return append(b, major|byte(u))
	case u <= math.MaxUint8:
		return append(b, major|24, byte(u))
	case u <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(u))
	case u <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(u))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), u)
}

func (e *encoder) str(s []byte) {
	switch e.codec {
	case CodecJSON:
		e.b = appendJSONString(e.b, s)
		return
	case CodecCBOR:
		e.b = cborHeader(e.b, 3, uint64(len(s)))
	case CodecMsgpack:
		if len(s) < 32 {
			e.b = append(e.b, 0xa0|byte(len(s)))
		} else {
			e.b = msgpackLength(e.b, 0xd9, len(s))
		}
	}
	e.b = append(e.b, s...)
}

func (e *encoder) binary(b []byte) {
	switch e.codec {
	case CodecJSON:
		e.b = appendJSONBinary(e.b, b)
		return
	case CodecCBOR:
		e.b = cborHeader(e.b, 2, uint64(len(b)))
	case CodecMsgpack:
		e.b = msgpackLength(e.b, 0xc4, len(b))
	}
	e.b = append(e.b, b...)
}

// msgpackLength writes a length behind code, code+1 or code+2.
func msgpackLength(b []byte, code byte, n int) []byte {
	switch {
	case n <= math.MaxUint8:
		return append(b, code, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, code+1), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, code+2), uint32(n))
}

func (e *encoder) integer(t *token) {
	switch e.codec {
	case CodecJSON:
		e.b = appendDecimal(e.b, t)
	case CodecCBOR:
		major := byte(0)
		if t.neg {
			major = 1
		}
		e.b = cborHeader(e.b, major, t.u)
	case CodecMsgpack:
		e.msgpackInt(t)
	}
}

func (e *encoder) msgpackInt(t *token) {
	u := t.u
	switch {
	case t.neg && u > math.MaxInt64:
		e.str(appendDecimal(nil, t)) // see bigInteger
	case t.neg && u < 32:
		e.b = append(e.b, ^byte(u))
	case t.neg && u <= math.MaxInt8:
		e.b = append(e.b, 0xd0, ^byte(u))
	case t.neg && u <= math.MaxInt16:
		e.b = binary.BigEndian.AppendUint16(append(e.b, 0xd1), ^uint16(u))
	case t.neg && u <= math.MaxInt32:
		e.b = binary.BigEndian.AppendUint32(append(e.b, 0xd2), ^uint32(u))
	case t.neg:
		e.b = binary.BigEndian.AppendUint64(append(e.b, 0xd3), ^u)
	case u < 128:
		e.b = append(e.b, byte(u))
	case u <= math.MaxUint8:
		e.b = append(e.b, 0xcc, byte(u))
	case u <= math.MaxUint16:
		e.b = binary.BigEndian.AppendUint16(append(e.b, 0xcd), uint16(u))
	case u <= math.MaxUint32:
		e.b = binary.BigEndian.AppendUint32(append(e.b, 0xce), uint32(u))
	default:
		e.b = binary.BigEndian.AppendUint64(append(e.b, 0xcf), u)
	}
}

// appendDecimal writes a tokInt's digits.
func appendDecimal(b []byte, t *token) []byte {
	switch {
	case !t.neg:
		return strconv.AppendUint(b, t.u, 10)
	case t.u == math.MaxUint64:
		return append(b, "-18446744073709551616"...) // u+1 does not fit
	}
	return strconv.AppendUint(append(b, '-'), t.u+1, 10)
}

// bigInteger writes an integer beyond 64 bits. MessagePack has no place for it:
// it becomes a string of its digits, because a float would silently be another
// number (two identifiers that differ in their last digits would be one).
func (e *encoder) bigInteger(t *token) error {
	if e.codec == CodecCBOR {
		u := magnitude(t)
		if t.neg && t.decimal {
			u.Sub(u, big.NewInt(1))
		}
		if u.IsUint64() { // -2^64
			e.b = cborHeader(e.b, 1, u.Uint64())
			return nil
		}
		tag := byte(0xc0 | cborPosBig)
		if t.neg {
			tag = 0xc0 | cborNegBig
		}
		e.b = append(e.b, tag)
		e.binary(u.Bytes())
		return nil
	}
	var digits []byte
	if t.neg {
		digits = append(digits, '-')
	}
	if t.decimal {
		digits = append(digits, t.b...)
	} else {
		u := magnitude(t)
		if t.neg {
			u.Add(u, big.NewInt(1))
		}
		digits = u.Append(digits, 10)
	}
	if e.codec == CodecMsgpack {
		e.str(digits)
		return nil
	}
	var f float64
	if len(digits) >= maxIntDigits && parseFloat(digits, &f) != nil {
		return errNumber
	}
	e.b = append(e.b, digits...)
	return nil
}

// magnitude is the number that a tokBig's bytes or digits write down.
func magnitude(t *token) *big.Int {
	if !t.decimal {
		return new(big.Int).SetBytes(t.b)
	}
	u := new(big.Int)
	u.SetString(string(t.b), 10) // the scanner lets only digits through
	return u
}

// float keeps a float a float: JSON gets ".0" where its digits look like an
// integer, so that another conversion does not change the type.
func (e *encoder) float(f float64) error {
	switch e.codec {
	case CodecMsgpack:
		e.b = binary.BigEndian.AppendUint64(append(e.b, 0xcb), math.Float64bits(f))
	case CodecCBOR:
		e.b = binary.BigEndian.AppendUint64(append(e.b, 0xfb), math.Float64bits(f))
	default:
		abs := math.Abs(f)
		if math.IsNaN(f) || abs > math.MaxFloat64 {
			return errNumber
		}
		if abs != 0 && (abs < 1e-6 || abs >= 1e21) {
			e.b = strconv.AppendFloat(e.b, f, 'e', -1, 64)
			return nil
		}
		e.b = strconv.AppendFloat(e.b, f, 'f', -1, 64)
		if f == math.Trunc(f) {
			e.b = append(e.b, ".0"...)
		}
	}
	return nil
}
