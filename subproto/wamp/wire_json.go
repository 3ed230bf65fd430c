package wamp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"parley/msg"
	"parley/subproto"
)

// jsonWire reads wamp.2.json (RFC 8259). A string that begins with U+0000 is
// binary in base64 (WAMP basic profile, section 4.1.1).
type jsonWire struct{}

func (jsonWire) codec() msg.Codec     { return msg.CodecJSON }
func (jsonWire) frame() subproto.Kind { return subproto.Text }

func (jsonWire) check(frame []byte) error {
	if !utf8.Valid(frame) {
		return errMalformed
	}
	return nil
}

// space is the length of the white space that b begins with.
func space(b []byte) int {
	for i, c := range b {
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return i
		}
	}
	return len(b)
}

func (w jsonWire) size(b []byte, depth int) (int, error) {
	if len(b) == 0 {
		return 0, errTruncated
	}
	switch c := b[0]; {
	case c == '"':
		return jsonString(b)
	case c == '{' || c == '[':
		return w.group(b, depth, nil)
	case c == '-' || c >= '0' && c <= '9':
		return jsonNumber(b)
	}
	for _, lit := range [...]string{"true", "false", "null"} {
		if len(b) >= len(lit) && string(b[:len(lit)]) == lit {
			return len(lit), nil
		}
	}
	return 0, errMalformed
}

// group walks a list or dictionary. each gets the key's span too (empty in a
// list); it may be nil.
func (w jsonWire) group(b []byte, depth int, each func(key, item []byte) error) (int, error) {
	if depth <= 0 {
		return 0, errTooDeep
	}
	isDict, end := b[0] == '{', byte(']')
	if isDict {
		end = '}'
	}
	i := 1 + space(b[1:])
	if i < len(b) && b[i] == end {
		return i + 1, nil
	}
	for {
		var key []byte
		if isDict {
			if i >= len(b) || b[i] != '"' {
				return 0, errMalformed
			}
			n, err := jsonString(b[i:])
			if err != nil {
				return 0, err
			}
			key = b[i : i+n]
			i += n
			i += space(b[i:])
			if i >= len(b) || b[i] != ':' {
				return 0, errMalformed
			}
			i++
			i += space(b[i:])
		}
		n, err := w.size(b[i:], depth-1)
		if err != nil {
			return 0, err
		}
		if each != nil {
			if err := each(key, b[i:i+n]); err != nil {
				return 0, err
			}
		}
		i += n
		i += space(b[i:])
		if i >= len(b) {
			return 0, errTruncated
		}
		if b[i] == end {
			return i + 1, nil
		}
		if b[i] != ',' {
			return 0, errMalformed
		}
		i++
		i += space(b[i:])
	}
}

// jsonString is the length of the string literal that b begins with.
func jsonString(b []byte) (int, error) {
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1, nil
		case c < 0x20:
			return 0, errMalformed
		case c == '\\':
			i++
			if i >= len(b) {
				return 0, errTruncated
			}
			if b[i] == 'u' {
				if i+4 >= len(b) {
					return 0, errTruncated
				}
				for _, h := range b[i+1 : i+5] {
					if !isHex(h) {
						return 0, errMalformed
					}
				}
				i += 4
			} else if strings.IndexByte(`"\/bfnrt`, b[i]) < 0 {
				return 0, errMalformed
			}
		}
	}
	return 0, errTruncated
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// jsonNumber is the length of the number that b begins with.
func jsonNumber(b []byte) (int, error) {
	i := 0
	if b[i] == '-' {
		i++
	}
	digits := func() bool {
		from := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return 0, errMalformed
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return 0, errMalformed
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return 0, errMalformed
		}
	}
	return i, nil
}

func (jsonWire) shape(v []byte) shape {
	switch v[0] {
	case '"':
		return shapeText
	case '[':
		return shapeList
	case '{':
		return shapeDict
	case 't', 'f':
		return shapeBool
	case 'n':
		return shapeNull
	}
	return shapeNumber
}

func (w jsonWire) list(b []byte, depth int, each func(item []byte) error) (int, error) {
	s := space(b)
	if s == len(b) || b[s] != '[' {
		return 0, errType
	}
	n, err := w.group(b[s:], depth, func(_, item []byte) error { return each(item) })
	return s + n, err
}

func (w jsonWire) dict(b []byte, depth int, each func(key string, item []byte) error) (int, error) {
	s := space(b)
	if s == len(b) || b[s] != '{' {
		return 0, errType
	}
	n, err := w.group(b[s:], depth, func(key, item []byte) error {
		k, _ := w.str(key)
		return each(k, item)
	})
	return s + n, err
}

func (jsonWire) str(v []byte) (string, bool) {
	if v[0] != '"' {
		return "", false
	}
	if body := v[1 : len(v)-1]; bytes.IndexByte(body, '\\') < 0 {
		return string(body), true
	}
	var s string
	err := json.Unmarshal(v, &s)
	return s, err == nil
}

func (w jsonWire) bytes(v []byte) ([]byte, bool) {
	s, ok := w.str(v)
	if !ok || s == "" || s[0] != 0 {
		return nil, false
	}
	b, err := base64.StdEncoding.DecodeString(s[1:])
	return b, err == nil
}

func (jsonWire) boolean(v []byte) (t, ok bool) {
	return v[0] == 't', v[0] == 't' || v[0] == 'f'
}

func (jsonWire) id(v []byte) (uint64, bool) {
	if c := v[0]; c != '-' && (c < '0' || c > '9') {
		return 0, false
	}
	if n, err := strconv.ParseUint(string(v), 10, 64); err == nil {
		return n, n <= maxID
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return 0, false
	}
	return wholeFloat(f)
}
