package msg

import (
	"math"
	"time"
	"unicode/utf8"
)

const (
	msgpackTimestamp = 0xff // extension type -1

	// Years that RFC 3339 can write, in seconds.
	year0     = -62167219200
	year10000 = 253402300800
)

// nextMsgpack reads one token of MessagePack. Text that is not UTF-8 is taken as
// binary; of the extensions a timestamp is a string in RFC 3339, any other is
// binary.
func (s *scanner) nextMsgpack(t *token) error {
	b, err := s.take(1)
	if err != nil {
		return err
	}
	switch c := b[0]; {
	case c < 0x80:
		t.kind, t.u = tokInt, uint64(c)
	case c < 0x90:
		return s.msgpackContainer(t, tokMap, uint64(c&15))
	case c < 0xa0:
		return s.msgpackContainer(t, tokArray, uint64(c&15))
	case c < 0xc0:
		return s.msgpackString(t, uint64(c&31))
	case c >= 0xe0:
		t.kind, t.neg, t.u = tokInt, true, uint64(^c)
	default:
		return s.msgpackLong(t, c)
	}
	return nil
}

func (s *scanner) msgpackLong(t *token, c byte) error {
	switch c {
	case 0xc0:
		return nil
	case 0xc1:
		return errSyntax
	case 0xc2, 0xc3:
		t.kind, t.yes = tokBool, c == 0xc3
		return nil
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8:
		return s.msgpackExt(t, 1<<(c-0xd4))
	}
	u, err := s.bigEndian(msgpackWidth(c))
	if err != nil {
		return err
	}
	switch c {
	case 0xc4, 0xc5, 0xc6:
		t.kind = tokBinary
		t.b, err = s.take(u)
	case 0xc7, 0xc8, 0xc9:
		return s.msgpackExt(t, u)
	case 0xca:
		t.kind, t.f = tokFloat, float64(math.Float32frombits(uint32(u)))
	case 0xcb:
		t.kind, t.f = tokFloat, math.Float64frombits(u)
	case 0xcc, 0xcd, 0xce, 0xcf:
		t.kind, t.u = tokInt, u
	case 0xd0:
		signed(t, int64(int8(u)))
	case 0xd1:
		signed(t, int64(int16(u)))
	case 0xd2:
		signed(t, int64(int32(u)))
	case 0xd3:
		signed(t, int64(u))
	case 0xd9, 0xda, 0xdb:
		return s.msgpackString(t, u)
	case 0xdc, 0xdd:
		return s.msgpackContainer(t, tokArray, u)
	case 0xde, 0xdf:
		return s.msgpackContainer(t, tokMap, u)
	}
	return err
}

// msgpackWidth is the size of the number that follows c (0xc4 to 0xdf without
// the fixed extensions).
func msgpackWidth(c byte) uint64 {
	switch c {
	case 0xc4, 0xc7, 0xcc, 0xd0, 0xd9:
		return 1
	case 0xc5, 0xc8, 0xcd, 0xd1, 0xda, 0xdc, 0xde:
		return 2
	case 0xcb, 0xcf, 0xd3:
		return 8
	}
	return 4
}

func signed(t *token, v int64) {
	t.kind, t.u = tokInt, uint64(v)
	if v < 0 {
		t.neg, t.u = true, uint64(^v)
	}
}

func (s *scanner) msgpackContainer(t *token, kind tokenKind, n uint64) error {
	t.kind, t.u = kind, n
	return s.count(t)
}

func (s *scanner) msgpackString(t *token, n uint64) (err error) {
	t.kind = tokString
	if t.b, err = s.take(n); err == nil && !utf8.Valid(t.b) {
		t.kind, s.altered = tokBinary, true
	}
	return err
}

func (s *scanner) msgpackExt(t *token, n uint64) error {
	typ, err := s.take(1)
	if err != nil {
		return err
	}
	t.kind = tokBinary
	if t.b, err = s.take(n); err != nil {
		return err
	}
	if typ[0] != msgpackTimestamp {
		return nil
	}
	at, ok := msgpackTime(t.b)
	if s.altered = s.altered || !ok; ok { // some decoders fail on a time that is none
		t.kind = tokString
		t.b = at.AppendFormat(s.buf[:0], time.RFC3339Nano)
		s.buf = t.b
	}
	return nil
}

// msgpackTime reads the timestamp extension in its three lengths; years that
// RFC 3339 cannot write are left binary.
func msgpackTime(b []byte) (time.Time, bool) {
	n := scanner{b: b}
	var sec int64
	var nsec uint64
	switch len(b) {
	case 4:
		u, _ := n.bigEndian(4)
		sec = int64(u)
	case 8:
		u, _ := n.bigEndian(8)
		sec, nsec = int64(u&(1<<34-1)), u>>34
	case 12:
		nsec, _ = n.bigEndian(4)
		u, _ := n.bigEndian(8)
		sec = int64(u)
	default:
		return time.Time{}, false
	}
	if nsec > 999999999 || sec >= year10000 || sec < year0 {
		return time.Time{}, false
	}
	return time.Unix(sec, int64(nsec)).UTC(), true
}
