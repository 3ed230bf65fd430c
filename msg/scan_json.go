package msg

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"unicode/utf8"
)

// nextJSON reads one token of RFC 8259 JSON. Beyond the grammar it refuses what
// breaks some clients: escapes that make a lone surrogate, and numbers above
// the largest float64.
func (s *scanner) nextJSON(t *token) error {
	s.skipSpace()
	if s.i >= len(s.b) {
		return errSyntax
	}
	switch c := s.b[s.i]; {
	case c == '"':
		t.kind = tokString
		return s.jsonString(t)
	case c == '{':
		t.kind = tokMap
		s.i++
	case c == '[':
		t.kind = tokArray
		s.i++
	case c == 't':
		t.kind, t.yes = tokBool, true
		return s.literal("true")
	case c == 'f':
		t.kind = tokBool
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	case c == '-' || c >= '0' && c <= '9':
		return s.jsonNumber(t)
	default:
		return errSyntax
	}
	return nil
}

func (s *scanner) skipSpace() {
	for s.i < len(s.b) && isJSONSpace(s.b[s.i]) {
		s.spaces = true
		s.i++
	}
}

func isJSONSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func (s *scanner) literal(word string) error {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return errSyntax
	}
	s.i += len(word)
	return nil
}

func (s *scanner) colon() error {
	s.skipSpace()
	if s.i >= len(s.b) || s.b[s.i] != ':' {
		return errSyntax
	}
	s.i++
	return nil
}

func (s *scanner) moreJSON(c *token, n uint64) (bool, error) {
	s.skipSpace()
	if s.i >= len(s.b) {
		return false, errSyntax
	}
	end := byte(']')
	if c.kind == tokMap {
		end = '}'
	}
	switch {
	case s.b[s.i] == end:
		s.i++
		return false, nil
	case n == 0:
		return true, nil
	case s.b[s.i] != ',':
		return false, errSyntax
	}
	s.i++
	return true, nil // an end that follows the comma is no value and no key
}

func (s *scanner) jsonString(t *token) error {
	s.i++
	from := s.i
	for {
		for s.i < len(s.b) && plain(s.b[s.i]) {
			s.i++
		}
		if s.i >= len(s.b) {
			return errSyntax
		}
		switch c := s.b[s.i]; {
		case c == '"':
			t.b = s.b[from:s.i]
			s.i++
			return nil
		case c == '\\':
			t.escaped = true
			if err := s.jsonEscape(); err != nil {
				return err
			}
		case c < 0x20:
			return errSyntax
		default:
			r, n := utf8.DecodeRune(s.b[s.i:])
			if r == utf8.RuneError && n == 1 {
				return errSyntax
			}
			s.i += n
		}
	}
}

// plain tells whether c is an ASCII character that stands for itself.
func plain(c byte) bool { return c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' }

func (s *scanner) jsonEscape() error {
	if s.i+1 >= len(s.b) {
		return errSyntax
	}
	switch s.b[s.i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i += 2
		return nil
	case 'u':
	default:
		return errSyntax
	}
	u, ok := hex4(s.b[s.i:])
	if !ok {
		return errSyntax
	}
	s.i += 6
	if u < 0xd800 || u > 0xdfff {
		return nil
	}
	low, ok := hex4(s.b[s.i:])
	if u >= 0xdc00 || !ok || low < 0xdc00 || low > 0xdfff {
		return errSurrogate
	}
	s.i += 6
	return nil
}

// hex4 reads \uXXXX at the beginning of b.
func hex4(b []byte) (uint32, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	u := uint32(0)
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		u = u<<4 | uint32(c)
	}
	return u, true
}

// jsonNumber: a number without fraction and exponent is an integer and keeps
// all its digits, but "-0", which only a float can hold.
func (s *scanner) jsonNumber(t *token) error {
	from := s.i
	if t.neg = s.b[s.i] == '-'; t.neg {
		s.i++
	}
	digits := s.digits()
	if len(digits) == 0 || digits[0] == '0' && len(digits) > 1 {
		return errSyntax
	}
	float := t.neg && digits[0] == '0'
	if s.i < len(s.b) && s.b[s.i] == '.' {
		float = true
		s.i++
		if len(s.digits()) == 0 {
			return errSyntax
		}
	}
	exponent := 0
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		float = true
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if exponent = len(s.digits()); exponent == 0 {
			return errSyntax
		}
	}
	if s.skim && len(digits) < 200 && exponent < 3 { // below 1e299
		t.kind = tokFloat
		return nil
	}
	if float {
		t.kind = tokFloat
		t.neg = false
		return parseFloat(s.b[from:s.i], &t.f)
	}
	return jsonInt(t, digits)
}

func (s *scanner) digits() []byte {
	from := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.b[from:s.i]
}

func parseFloat(b []byte, f *float64) (err error) {
	if *f, err = strconv.ParseFloat(string(b), 64); err != nil {
		return errNumber // above the largest float64; the syntax was checked
	}
	return nil
}

func jsonInt(t *token, digits []byte) error {
	t.kind = tokInt
	if len(digits) <= 20 {
		if u, err := strconv.ParseUint(string(digits), 10, 64); err == nil {
			if t.u = u; t.neg {
				t.u--
			}
			return nil
		}
	}
	if len(digits) >= maxIntDigits {
		var f float64
		if len(digits) > maxIntDigits || parseFloat(digits, &f) != nil {
			return errNumber
		}
	}
	t.kind, t.decimal, t.b = tokBig, true, digits
	return nil
}

// compact drops the whitespace between the tokens of valid JSON.
func compact(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); {
		switch {
		case isJSONSpace(b[i]):
			i++
		case b[i] == '"':
			from := i
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			i++
			out = append(out, b[from:i]...)
		default:
			out = append(out, b[i])
			i++
		}
	}
	return out
}

// unescape appends what the inside of a valid JSON string stands for.
func unescape(dst, b []byte) []byte {
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			return append(dst, b...)
		}
		dst = append(dst, b[:i]...)
		c := b[i+1]
		if c != 'u' {
			if j := bytes.IndexByte([]byte("bfnrt"), c); j >= 0 {
				c = "\b\f\n\r\t"[j]
			}
			dst, b = append(dst, c), b[i+2:]
			continue
		}
		u, _ := hex4(b[i:])
		b = b[i+6:]
		if u >= 0xd800 && u <= 0xdbff {
			low, _ := hex4(b)
			u = 0x10000 + (u-0xd800)<<10 + (low - 0xdc00)
			b = b[6:]
		}
		dst = utf8.AppendRune(dst, rune(u))
	}
}

// binaryOfString undoes WAMP's notation for binary in JSON: U+0000 and base64
// (WAMP section "Binary Conversion of JSON Strings"). A string that only looks
// like it stays a string.
func binaryOfString(s []byte) ([]byte, bool) {
	if len(s) == 0 || s[0] != 0 || bytes.ContainsAny(s, "\r\n") { // the decoder would skip newlines
		return nil, false
	}
	b, err := base64.StdEncoding.AppendDecode(nil, s[1:])
	return b, err == nil
}

// appendJSONString quotes valid UTF-8.
func appendJSONString(dst, s []byte) []byte {
	dst = append(dst, '"')
	from := 0
	for i, c := range s {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', upperHex[c>>4], upperHex[c&15])
		}
	}
	return append(append(dst, s[from:]...), '"')
}

// appendJSONBinary writes binary in WAMP's notation for JSON.
func appendJSONBinary(dst, b []byte) []byte {
	dst = append(dst, `"\u0000`...)
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}
