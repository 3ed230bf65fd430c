package json

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep arrays and objects of a command may nest.
const maxDepth = 256

// scanner steps over JSON text (RFC 8259) without building values. Methods
// return false at the first octet that does not fit; UTF-8 is the gateway's
// concern.
type scanner struct {
	b     []byte
	i     int
	depth int
}

// space skips insignificant whitespace.
func (s *scanner) space() {
	for s.i < len(s.b) && isSpace(s.b[s.i]) {
		s.i++
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func (s *scanner) eat(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// value steps over one value at the current position, which is not space.
func (s *scanner) value() bool {
	if s.i >= len(s.b) {
		return false
	}
	switch c := s.b[s.i]; c {
	case '{', '[':
		return s.nested(c)
	case '"':
		return s.str()
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

func (s *scanner) literal(l string) bool {
	if len(s.b)-s.i < len(l) || string(s.b[s.i:s.i+len(l)]) != l {
		return false
	}
	s.i += len(l)
	return true
}

// nested steps over an array or object that begins with open.
func (s *scanner) nested(open byte) bool {
	if s.depth++; s.depth > maxDepth {
		return false
	}
	s.i++
	end := open + 2 // ']' after '[', '}' after '{'
	s.space()
	if s.eat(end) {
		s.depth--
		return true
	}
	for {
		if open == '{' && !s.key() {
			return false
		}
		if !s.value() {
			return false
		}
		s.space()
		if s.eat(end) {
			s.depth--
			return true
		}
		if !s.eat(',') {
			return false
		}
		s.space()
	}
}

// key steps over a member's name, the colon and the space after it.
func (s *scanner) key() bool {
	if s.i >= len(s.b) || s.b[s.i] != '"' || !s.str() {
		return false
	}
	s.space()
	if !s.eat(':') {
		return false
	}
	s.space()
	return true
}

// str steps over a string that begins here.
func (s *scanner) str() bool {
	for s.i++; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return true
		case c < 0x20:
			return false
		case c == '\\':
			s.i++
			if !s.escape() {
				return false
			}
		}
	}
	return false
}

// escape checks what follows a backslash and stops on its last octet.
func (s *scanner) escape() bool {
	if s.i >= len(s.b) {
		return false
	}
	switch s.b[s.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		_, ok := hex4(s.b[s.i+1:])
		s.i += 4
		return ok
	}
	return false
}

func (s *scanner) number() bool {
	s.eat('-')
	if !s.eat('0') && !s.digits() {
		return false
	}
	if s.eat('.') && !s.digits() {
		return false
	}
	if s.eat('e') || s.eat('E') {
		if !s.eat('+') {
			s.eat('-')
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	from := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > from
}

// members calls f with the name (unquoted) and the text of each member of an
// object that a scanner has stepped over; both are lent. It returns false if obj
// is no object or f refuses; names with a lone surrogate are passed over.
func members(obj []byte, f func(name, value []byte) bool) bool {
	if len(obj) == 0 || obj[0] != '{' {
		return false
	}
	s := scanner{b: obj, i: 1}
	s.space()
	for !s.eat('}') {
		from := s.i
		if !s.str() {
			return false
		}
		name, named := unquoted(obj[from:s.i])
		s.space()
		s.eat(':')
		s.space()
		from = s.i
		if !s.value() {
			return false
		}
		if named && !f(name, obj[from:s.i]) {
			return false
		}
		s.space()
		s.eat(',')
		s.space()
	}
	return true
}

// isNull tells whether v is the literal null.
func isNull(v []byte) bool { return len(v) == 4 && v[0] == 'n' }

// compact returns a copy of the value v without insignificant whitespace. Text
// inside of strings and numbers stays as it is.
func compact(v []byte) []byte {
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); {
		from := i
		if v[i] == '"' {
			s := scanner{b: v, i: i}
			s.str()
			i = s.i
		} else {
			for i < len(v) && v[i] != '"' && !isSpace(v[i]) {
				i++
			}
		}
		out = append(out, v[from:i]...)
		for i < len(v) && isSpace(v[i]) {
			i++
		}
	}
	return out
}

// unquote decodes the string literal q. It fails if q is not a string or has a
// lone surrogate, which no UTF-8 text can carry.
func unquote(q []byte) (string, bool) {
	b, ok := unquoted(q)
	return string(b), ok
}

// unquoted is unquote without a copy where none is needed.
func unquoted(q []byte) ([]byte, bool) {
	if len(q) < 2 || q[0] != '"' {
		return nil, false
	}
	q = q[1 : len(q)-1]
	i := bytes.IndexByte(q, '\\')
	if i < 0 {
		return q, true
	}
	out := append(make([]byte, 0, len(q)), q[:i]...)
	for i < len(q) {
		c := q[i]
		if c != '\\' {
			out = append(out, c)
			i++
			continue
		}
		c = q[i+1]
		i += 2
		if c != 'u' {
			out = append(out, unescape(c))
			continue
		}
		r, n := unicodeEscape(q[i:])
		if n == 0 {
			return nil, false
		}
		out = utf8.AppendRune(out, r)
		i += n
	}
	return out, true
}

func unescape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// unicodeEscape decodes what follows \u: four hexadecimal digits, or two such
// escapes that are a surrogate pair. n is how much was used; 0: lone surrogate.
func unicodeEscape(b []byte) (r rune, n int) {
	r, _ = hex4(b)
	if !utf16.IsSurrogate(r) {
		return r, 4
	}
	if len(b) < 10 || b[4] != '\\' || b[5] != 'u' {
		return 0, 0
	}
	low, _ := hex4(b[6:])
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, 0
	}
	return r, 10
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
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
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendQuoted appends s as a string literal. Octets that are not UTF-8 become
// U+FFFD.
func appendQuoted(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[from:i]...)
			if c >= 0x20 {
				dst = append(dst, '\\', c)
			} else {
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, s[from:i]...)
			dst = append(dst, `\ufffd`...)
			from = i + 1
		}
		i += n
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

// elements calls f with the text of each element of the array that arr begins
// with, until f refuses. It returns false if arr is no such array, has more after it, or f
// refuses.
func elements(arr []byte, f func(value []byte) bool) bool {
	if len(arr) == 0 || arr[0] != '[' {
		return false
	}
	check := scanner{b: arr}
	if !check.value() || check.i != len(arr) {
		return false
	}
	s := scanner{b: arr, i: 1}
	s.space()
	for !s.eat(']') {
		from := s.i
		s.value()
		if !f(arr[from:s.i]) {
			return false
		}
		s.space()
		s.eat(',')
		s.space()
	}
	return true
}
