package wamp

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"parley/msg"
	"parley/subproto"
)

// cborWire reads wamp.2.cbor (RFC 8949), indefinite lengths and tags included.
type cborWire struct{}

func (cborWire) codec() msg.Codec     { return msg.CodecCBOR }
func (cborWire) frame() subproto.Kind { return subproto.Binary }
func (cborWire) check([]byte) error   { return nil }

// Major types (RFC 8949 section 3.1).
const (
	cborUint = iota
	cborNegative
	cborBytes
	cborText
	cborList
	cborMap
	cborTag
	cborSimple
)

const cborBreak = 0xff

// cborHead reads the head of a data item: major type, argument, whether the
// length is indefinite, and the head's length.
func cborHead(b []byte) (major byte, arg uint64, open bool, n int, err error) {
	if len(b) == 0 {
		return 0, 0, false, 0, errTruncated
	}
	major, info := b[0]>>5, b[0]&0x1f
	switch {
	case info < 24:
		return major, uint64(info), false, 1, nil
	case info < 28:
		width := 1 << (info - 24)
		if len(b) < 1+width {
			return 0, 0, false, 0, errTruncated
		}
		for _, x := range b[1 : 1+width] {
			arg = arg<<8 | uint64(x)
		}
		if major == cborSimple && width == 1 && arg < 32 { // section 3.3
			return 0, 0, false, 0, errMalformed
		}
		return major, arg, false, 1 + width, nil
	case info == 31 && major >= cborBytes && major <= cborMap:
		return major, 0, true, 1, nil
	}
	return 0, 0, false, 0, errMalformed // reserved, or a break out of place
}

func (w cborWire) size(b []byte, depth int) (int, error) {
	major, arg, open, n, err := cborHead(b)
	if err != nil {
		return 0, err
	}
	switch major {
	case cborBytes, cborText:
		if open {
			return w.chunks(b, major, nil)
		}
		if uint64(len(b)-n) < arg {
			return 0, errTruncated
		}
		end := n + int(arg)
		if major == cborText && !utf8.Valid(b[n:end]) {
			return 0, errMalformed
		}
		return end, nil
	case cborList, cborMap:
		return w.group(b, depth, nil)
	case cborTag:
		if depth <= 0 {
			return 0, errTooDeep
		}
		k, err := w.size(b[n:], depth-1)
		return n + k, err
	}
	return n, nil // numbers and simple values are heads only
}

// chunks walks a string of indefinite length (section 3.2.3).
func (w cborWire) chunks(b []byte, major byte, each func(chunk []byte)) (int, error) {
	for i := 1; ; {
		if i >= len(b) {
			return 0, errTruncated
		}
		if b[i] == cborBreak {
			return i + 1, nil
		}
		m, arg, open, n, err := cborHead(b[i:])
		if err != nil {
			return 0, err
		}
		if m != major || open {
			return 0, errMalformed
		}
		if uint64(len(b)-i-n) < arg {
			return 0, errTruncated
		}
		chunk := b[i+n : i+n+int(arg)]
		if major == cborText && !utf8.Valid(chunk) {
			return 0, errMalformed
		}
		if each != nil {
			each(chunk)
		}
		i += n + int(arg)
	}
}

// group walks a list or dictionary like jsonWire.group.
func (w cborWire) group(b []byte, depth int, each func(key, item []byte) error) (int, error) {
	major, left, open, i, err := cborHead(b)
	if err != nil {
		return 0, err
	}
	if depth <= 0 {
		return 0, errTooDeep
	}
	for ; open || left > 0; left-- {
		if open && i < len(b) && b[i] == cborBreak {
			return i + 1, nil
		}
		n, err := entry(w, b[i:], major == cborMap, depth-1, each)
		if err != nil {
			return 0, err
		}
		i += n
	}
	return i, nil
}

func (cborWire) shape(v []byte) shape {
	switch v[0] >> 5 {
	case cborUint, cborNegative:
		return shapeNumber
	case cborBytes:
		return shapeBinary
	case cborText:
		return shapeText
	case cborList:
		return shapeList
	case cborMap:
		return shapeDict
	case cborSimple:
		switch v[0] {
		case 0xf4, 0xf5:
			return shapeBool
		case 0xf6, 0xf7: // null and undefined
			return shapeNull
		case 0xf9, 0xfa, 0xfb:
			return shapeNumber
		}
	}
	return shapeOther
}

func (w cborWire) list(b []byte, depth int, each func(item []byte) error) (int, error) {
	if len(b) == 0 || w.shape(b) != shapeList {
		return 0, errType
	}
	return w.group(b, depth, func(_, item []byte) error { return each(item) })
}

func (w cborWire) dict(b []byte, depth int, each func(key string, item []byte) error) (int, error) {
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

func (w cborWire) content(v []byte, want byte) ([]byte, bool) {
	major, _, open, n, _ := cborHead(v)
	if major != want {
		return nil, false
	}
	if !open {
		return append([]byte(nil), v[n:]...), true
	}
	all := []byte{}
	_, _ = w.chunks(v, major, func(c []byte) { all = append(all, c...) })
	return all, true
}

func (w cborWire) str(v []byte) (string, bool) {
	b, ok := w.content(v, cborText)
	return string(b), ok
}

func (w cborWire) bytes(v []byte) ([]byte, bool) { return w.content(v, cborBytes) }

func (cborWire) boolean(v []byte) (t, ok bool) {
	return v[0] == 0xf5, v[0] == 0xf5 || v[0] == 0xf4
}

func (cborWire) id(v []byte) (uint64, bool) {
	switch {
	case v[0]>>5 == cborUint:
		_, n, _, _, _ := cborHead(v)
		return n, n <= maxID
	case v[0] == 0xfa:
		return wholeFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(v[1:]))))
	case v[0] == 0xfb:
		return wholeFloat(math.Float64frombits(binary.BigEndian.Uint64(v[1:])))
	}
	return 0, false
}
