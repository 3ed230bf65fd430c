package wamp

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"parley/msg"
	"parley/subproto"
)

// packWire reads wamp.2.msgpack (the MessagePack specification, 2013 revision:
// str is UTF-8, bin is binary).
type packWire struct{}

func (packWire) codec() msg.Codec     { return msg.CodecMsgpack }
func (packWire) frame() subproto.Kind { return subproto.Binary }
func (packWire) check([]byte) error   { return nil }

// packHead describes the value b begins with: its shape, the length of its
// head, and n: bytes that follow (text, binary, other), items (list) or pairs
// (dict).
func packHead(b []byte) (s shape, head, n int, err error) {
	if len(b) == 0 {
		return 0, 0, 0, errTruncated
	}
	c := b[0]
	switch {
	case c <= 0x7f || c >= 0xe0:
		return shapeNumber, 1, 0, nil
	case c <= 0x8f:
		return shapeDict, 1, int(c & 0x0f), nil
	case c <= 0x9f:
		return shapeList, 1, int(c & 0x0f), nil
	case c <= 0xbf:
		return shapeText, 1, int(c & 0x1f), nil
	}
	sized := func(s shape, width, more int) (shape, int, int, error) {
		if len(b) < 1+width {
			return 0, 0, 0, errTruncated
		}
		var n uint64
		for _, x := range b[1 : 1+width] {
			n = n<<8 | uint64(x)
		}
		return s, 1 + width + more, int(n), nil
	}
	switch c {
	case 0xc0:
		return shapeNull, 1, 0, nil
	case 0xc2, 0xc3:
		return shapeBool, 1, 0, nil
	case 0xc4, 0xc5, 0xc6:
		return sized(shapeBinary, 1<<(c-0xc4), 0)
	case 0xc7, 0xc8, 0xc9:
		return sized(shapeOther, 1<<(c-0xc7), 1)
	case 0xca:
		return shapeNumber, 1, 4, nil
	case 0xcb:
		return shapeNumber, 1, 8, nil
	case 0xcc, 0xcd, 0xce, 0xcf:
		return shapeNumber, 1, 1 << (c - 0xcc), nil
	case 0xd0, 0xd1, 0xd2, 0xd3:
		return shapeNumber, 1, 1 << (c - 0xd0), nil
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8:
		return shapeOther, 2, 1 << (c - 0xd4), nil
	case 0xd9, 0xda, 0xdb:
		return sized(shapeText, 1<<(c-0xd9), 0)
	case 0xdc, 0xdd:
		return sized(shapeList, 2<<(c-0xdc), 0)
	case 0xde, 0xdf:
		return sized(shapeDict, 2<<(c-0xde), 0)
	}
	return 0, 0, 0, errMalformed // 0xc1 is never used
}

func (w packWire) size(b []byte, depth int) (int, error) {
	s, head, n, err := packHead(b)
	switch {
	case err != nil:
		return 0, err
	case s == shapeList || s == shapeDict:
		return w.group(b, depth, nil)
	case len(b)-head < n:
		return 0, errTruncated
	case s == shapeText && !utf8.Valid(b[head:head+n]):
		return 0, errMalformed
	}
	return head + n, nil
}

// group walks a list or dictionary like jsonWire.group.
func (w packWire) group(b []byte, depth int, each func(key, item []byte) error) (int, error) {
	s, i, n, err := packHead(b)
	if err != nil {
		return 0, err
	}
	if depth <= 0 {
		return 0, errTooDeep
	}
	for ; n > 0; n-- {
		k, err := entry(w, b[i:], s == shapeDict, depth-1, each)
		if err != nil {
			return 0, err
		}
		i += k
	}
	return i, nil
}

func (packWire) shape(v []byte) shape {
	s, _, _, _ := packHead(v)
	return s
}

func (w packWire) list(b []byte, depth int, each func(item []byte) error) (int, error) {
	if len(b) == 0 || w.shape(b) != shapeList {
		return 0, errType
	}
	return w.group(b, depth, func(_, item []byte) error { return each(item) })
}

func (w packWire) dict(b []byte, depth int, each func(key string, item []byte) error) (int, error) {
	if len(b) == 0 || w.shape(b) != shapeDict {
		return 0, errType
	}
	return w.group(b, depth, func(key, item []byte) error {
		k, ok := w.str(key)
		if !ok {
			return errType
		}
		return each(k, item)
	})
}

func (w packWire) str(v []byte) (string, bool) {
	s, head, n, _ := packHead(v)
	if s != shapeText {
		return "", false
	}
	return string(v[head : head+n]), true
}

func (w packWire) bytes(v []byte) ([]byte, bool) {
	s, head, n, _ := packHead(v)
	if s != shapeBinary {
		return nil, false
	}
	return append([]byte(nil), v[head:head+n]...), true
}

func (packWire) boolean(v []byte) (t, ok bool) {
	return v[0] == 0xc3, v[0] == 0xc3 || v[0] == 0xc2
}

func (packWire) id(v []byte) (uint64, bool) {
	c := v[0]
	switch {
	case c <= 0x7f:
		return uint64(c), true
	case c >= 0xcc && c <= 0xcf:
		var n uint64
		for _, x := range v[1:] {
			n = n<<8 | uint64(x)
		}
		return n, n <= maxID
	case c >= 0xd0 && c <= 0xd3 && v[1] < 0x80: // signed but not negative
		var n uint64
		for _, x := range v[1:] {
			n = n<<8 | uint64(x)
		}
		return n, n <= maxID
	case c == 0xca:
		return wholeFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(v[1:]))))
	case c == 0xcb:
		return wholeFloat(math.Float64frombits(binary.BigEndian.Uint64(v[1:])))
	}
	return 0, false
}
