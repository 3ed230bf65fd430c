package msg

import "errors"

// What keeps a value from being looked at. They stay inside the package: a view
// that meets one shows the payload as text or binary instead.
var (
	errSyntax    = errors.New("not well-formed")
	errDepth     = errors.New("nested too deeply")
	errKey       = errors.New("map key is not a string")
	errNumber    = errors.New("number that the target cannot hold")
	errSurrogate = errors.New("lone surrogate")
	errTrailing  = errors.New("bytes after the value")
)

const (
	// maxDepth is how deeply arrays and objects may nest in a view.
	maxDepth = 64
	// unknownCount marks a container whose end is found, not counted.
	unknownCount = ^uint64(0)
	// maxIntDigits is the length of the largest float64 (1.79e308): a number
	// beyond it ends the decoding of a whole frame in some clients.
	maxIntDigits = 309
)

type tokenKind uint8

const (
	tokNull tokenKind = iota
	tokBool
	tokInt
	tokBig
	tokFloat
	tokString
	tokBinary
	tokArray
	tokMap
)

// token is one value, or the head of an array or map. Its bytes are valid until
// the next call of scanner.next.
type token struct {
	kind    tokenKind
	neg     bool    // tokInt, tokBig: the value is -1-u, as in CBOR
	yes     bool    // tokBool
	decimal bool    // tokBig: b holds decimal digits of the absolute value, not the bytes of u
	escaped bool    // tokString of JSON: b is what stands between the quotes
	u       uint64  // tokInt; elements of tokArray, pairs of tokMap
	f       float64 // tokFloat
	b       []byte
}

// scanner reads values of one codec from b, one token at a time. It trusts
// nothing: no length is believed before the bytes are there.
type scanner struct {
	codec   Codec
	skim    bool // JSON: numbers are checked, their values are not wanted
	b       []byte
	i       int
	limit   int // deepest nesting allowed
	deepest int // nesting seen
	// altered: a client of the same codec must not get the bytes as they are;
	// re-encoding repairs it (text that is not UTF-8, strings in chunks).
	altered bool
	spaces  bool // JSON: whitespace between tokens
	buf     []byte
}

func (s *scanner) next(t *token) error {
	*t = token{}
	switch s.codec {
	case CodecJSON:
		return s.nextJSON(t)
	case CodecMsgpack:
		return s.nextMsgpack(t)
	default:
		return s.nextCBOR(t)
	}
}

// more tells whether container c, of which n elements were read, has another,
// and consumes what stands between elements or ends it.
func (s *scanner) more(c *token, n uint64) (bool, error) {
	switch {
	case s.codec == CodecJSON:
		return s.moreJSON(c, n)
	case c.u != unknownCount:
		return n < c.u, nil
	case s.i >= len(s.b):
		return false, errSyntax
	case s.b[s.i] == cborBreak:
		s.i++
		return false, nil
	}
	return true, nil
}

// value reads one value and writes it to e (nil: only checks it). depth is the
// nesting around it.
func (s *scanner) value(e *encoder, depth int) error {
	var t token
	if err := s.next(&t); err != nil {
		return err
	}
	if t.kind == tokArray || t.kind == tokMap {
		return s.container(&t, e, depth+1)
	}
	return e.scalar(&t)
}

func (s *scanner) container(t *token, e *encoder, depth int) error {
	if depth > s.limit {
		return errDepth
	}
	s.deepest = max(s.deepest, depth)
	isMap := t.kind == tokMap
	mark := e.open(isMap)
	n := uint64(0)
	for ; ; n++ {
		more, err := s.more(t, n)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		e.separate(n)
		if isMap {
			if err := s.key(e); err != nil {
				return err
			}
		}
		if err := s.value(e, depth); err != nil {
			return err
		}
	}
	e.close(isMap, mark, n)
	return nil
}

func (s *scanner) key(e *encoder) error {
	var k token
	if err := s.next(&k); err != nil {
		return err
	}
	if k.kind != tokString {
		return errKey
	}
	e.key(&k)
	if s.codec == CodecJSON {
		return s.colon()
	}
	return nil
}

// end checks that nothing follows.
func (s *scanner) end() error {
	if s.codec == CodecJSON {
		s.skipSpace()
	}
	if s.i != len(s.b) {
		return errTrailing
	}
	return nil
}

// start is where the next value begins.
func (s *scanner) start() int {
	if s.codec == CodecJSON {
		s.skipSpace()
	}
	return s.i
}

// take returns the next n bytes, as part of b.
func (s *scanner) take(n uint64) ([]byte, error) {
	if n > uint64(len(s.b)-s.i) {
		return nil, errSyntax
	}
	b := s.b[s.i : s.i+int(n)]
	s.i += int(n)
	return b, nil
}

// bigEndian reads an unsigned number of n bytes.
func (s *scanner) bigEndian(n uint64) (uint64, error) {
	b, err := s.take(n)
	if err != nil {
		return 0, err
	}
	u := uint64(0)
	for _, c := range b {
		u = u<<8 | uint64(c)
	}
	return u, nil
}

// count checks a container's announced number of elements against what is left:
// an element has at least one byte.
func (s *scanner) count(t *token) error {
	left := uint64(len(s.b) - s.i)
	if t.kind == tokMap {
		left /= 2
	}
	if t.u != unknownCount && t.u > left {
		return errSyntax
	}
	return nil
}
