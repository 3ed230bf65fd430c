package msg

import (
	"bytes"
	"math"
	"time"
	"unicode/utf8"
)

const (
	cborBreak = 0xff
	// maxTags in a row; decoders recurse into them.
	maxTags = 8
	// maxBigBytes holds every integer below the largest float64.
	maxBigBytes = 128

	// Tags of RFC 8949 section 3.4.
	cborDate   = 0 // text
	cborEpoch  = 1 // number of seconds
	cborPosBig = 2
	cborNegBig = 3
	cborSelf   = 55799 // says that this is CBOR; stands for "no tag" here
)

// nextCBOR reads one token of RFC 8949 CBOR. Tags other than the two of big
// integers are dropped and their content is taken; undefined is null. Text that
// is not UTF-8 is taken as binary.
//
// A client of the same codec gets tags as they are only if they cannot hurt:
// several decoders fail on a date that is none, or on other tags with content
// they do not expect, and that would end the connections of all subscribers.
func (s *scanner) nextCBOR(t *token) error {
	tag, tags := uint64(cborSelf), 0
	for {
		major, info, u, err := s.cborHead()
		if err != nil {
			return err
		}
		if major != 6 {
			if err := s.cborItem(t, major, info, u); err != nil {
				return err
			}
			return s.cborTagged(t, tag)
		}
		if tags++; tags > maxTags {
			return errDepth
		}
		if tag != cborSelf {
			s.altered = true
		}
		tag = u
	}
}

// cborTagged applies the innermost tag.
func (s *scanner) cborTagged(t *token, tag uint64) error {
	harmless := true
	switch tag {
	case cborSelf:
	case cborPosBig, cborNegBig:
		if t.kind != tokBinary {
			return errSyntax
		}
		return cborBig(t, tag == cborNegBig)
	case cborDate:
		harmless = t.kind == tokString && len(t.b) <= 64 && isDate(string(t.b))
	case cborEpoch:
		harmless = t.kind == tokInt && t.u < year10000 || t.kind == tokFloat && math.Abs(t.f) < year10000
	default:
		harmless = false
	}
	if !harmless {
		s.altered = true
	}
	return nil
}

func isDate(s string) bool {
	_, err := time.Parse(time.RFC3339Nano, s)
	return err == nil
}

func (s *scanner) cborHead() (major, info byte, u uint64, err error) {
	b, err := s.take(1)
	if err != nil {
		return 0, 0, 0, err
	}
	major, info = b[0]>>5, b[0]&31
	switch {
	case info < 24:
		u = uint64(info)
	case info < 28:
		u, err = s.bigEndian(1 << (info - 24))
	case info == 31 && major >= 2 && major <= 5:
		u = unknownCount
	default:
		err = errSyntax
	}
	if info != 31 && u == unknownCount && major >= 2 && major <= 5 {
		err = errSyntax // a length of 2^64-1 is never there
	}
	return major, info, u, err
}

func (s *scanner) cborItem(t *token, major, info byte, u uint64) (err error) {
	t.u = u
	switch major {
	case 0, 1:
		t.kind, t.neg = tokInt, major == 1
	case 2:
		t.kind = tokBinary
		t.b, err = s.cborBytes(2, u)
	case 3:
		t.kind = tokString
		if t.b, err = s.cborBytes(3, u); err == nil && !utf8.Valid(t.b) {
			t.kind, s.altered = tokBinary, true
		}
	case 4, 5:
		t.kind = tokArray
		if major == 5 {
			t.kind = tokMap
		}
		err = s.count(t)
	case 7:
		err = s.cborSimple(t, info)
	}
	return err
}

// cborBytes reads a string, joining the chunks of one without a length.
func (s *scanner) cborBytes(kind byte, n uint64) ([]byte, error) {
	if n != unknownCount {
		return s.take(n)
	}
	s.altered = true
	s.buf = s.buf[:0]
	for {
		if s.i < len(s.b) && s.b[s.i] == cborBreak {
			s.i++
			return s.buf, nil
		}
		major, _, u, err := s.cborHead()
		if err != nil {
			return nil, err
		}
		if major != kind || u == unknownCount {
			return nil, errSyntax
		}
		chunk, err := s.take(u)
		if err != nil {
			return nil, err
		}
		s.buf = append(s.buf, chunk...)
	}
}

func (s *scanner) cborSimple(t *token, info byte) error {
	switch info {
	case 20, 21:
		t.kind, t.yes = tokBool, info == 21
	case 22, 23:
		t.kind = tokNull
	case 25:
		t.kind, t.f = tokFloat, halfFloat(uint16(t.u))
	case 26:
		t.kind, t.f = tokFloat, float64(math.Float32frombits(uint32(t.u)))
	case 27:
		t.kind, t.f = tokFloat, math.Float64frombits(t.u)
	default:
		return errSyntax // simple values nobody has given a meaning
	}
	return nil
}

// halfFloat: RFC 8949 appendix D.
func halfFloat(h uint16) float64 {
	exp, mant := int(h>>10)&31, float64(h&1023)
	var f float64
	switch exp {
	case 0:
		f = math.Ldexp(mant, -24)
	case 31:
		f = math.Inf(1)
		if mant != 0 {
			f = math.NaN()
		}
	default:
		f = math.Ldexp(mant+1024, exp-25)
	}
	if h&0x8000 != 0 {
		f = -f
	}
	return f
}

func cborBig(t *token, neg bool) error {
	b := bytes.TrimLeft(t.b, "\x00")
	if len(b) > maxBigBytes {
		return errNumber
	}
	t.neg = neg
	if len(b) > 8 {
		t.kind, t.b = tokBig, b
		return nil
	}
	t.kind, t.b, t.u = tokInt, nil, 0
	for _, c := range b {
		t.u = t.u<<8 | uint64(c)
	}
	return nil
}
