package msg

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// emptyLevel is the URI component of an empty topic level: WAMP URIs have no
// empty components, and U+0000 never occurs in a topic, so it is free.
const emptyLevel = "%00"

const upperHex = "0123456789ABCDEF"

// URI translates a valid topic to its WAMP URI: levels become components joined
// by ".", and what a component cannot hold (".", "%", spaces, control
// characters) becomes %XX for each of its UTF-8 bytes. An empty level is "%00".
// Different topics have different URIs.
func URI(topic string) string {
	if !needsEscape(topic) {
		return strings.ReplaceAll(topic, "/", ".")
	}
	b := make([]byte, 0, len(topic)+16)
	for level, rest, more := "", topic, true; more; {
		level, rest, more = strings.Cut(rest, "/")
		if level == "" {
			b = append(b, emptyLevel...)
		}
		for i, r := range level {
			n := utf8.RuneLen(r)
			if r == utf8.RuneError {
				_, n = utf8.DecodeRuneInString(level[i:])
			}
			if !escaped(r) {
				b = append(b, level[i:i+n]...)
				continue
			}
			for _, c := range []byte(level[i : i+n]) {
				b = append(b, '%', upperHex[c>>4], upperHex[c&15])
			}
		}
		if more {
			b = append(b, '.')
		}
	}
	return string(b)
}

// TopicOfURI is the inverse of URI: it accepts exactly its image, so a needless
// or lower-case escape, an empty component, a raw "/", "+" or "#" is refused.
// The error wraps ErrInvalidURI.
func TopicOfURI(uri string) (string, error) {
	t, err := decodeURI(uri, wholeURI)
	if err != nil {
		return "", err
	}
	if err := ValidTopic(t); err != nil {
		return "", invalidURI(uri, err.Error())
	}
	return t, nil
}

// FilterOfURI translates the URI of a WAMP SUBSCRIBE and its match option ("",
// "exact", "prefix", "wildcard"; others are ErrNotSupported).
//
// A prefix may be cut between any two characters (not within an escape) and may
// end with "."; a topic matches it exactly if its URI begins with it. As "%00"
// is not the beginning of anything else, a prefix that ends with it is no
// character prefix of topics and is refused. An empty prefix matches all topics that are
// not reserved. Empty components of a wildcard pattern match any one level. The
// error wraps ErrInvalidURI.
func FilterOfURI(uri, match string) (Filter, error) {
	var f Filter
	form := wholeURI
	switch match {
	case "", "exact":
	case "prefix":
		f.Kind, form = FilterPrefix, prefixURI
	case "wildcard":
		f.Kind, form = FilterWildcard, wildcardURI
	default:
		return Filter{}, fmt.Errorf("%w: match %q", ErrNotSupported, match)
	}
	p, err := decodeURI(uri, form)
	if err != nil {
		return Filter{}, err
	}
	f.Pattern = p
	if err := f.Validate(); err != nil {
		return Filter{}, invalidURI(uri, err.Error())
	}
	return f, nil
}

// uriForm is what decodeURI accepts besides components of topics.
type uriForm uint8

const (
	wholeURI    uriForm = iota
	prefixURI           // the last component may be cut off anywhere
	wildcardURI         // empty components are "+"
)

func decodeURI(uri string, form uriForm) (string, error) {
	if len(uri) > 3*maxTopicBytes {
		return "", fmt.Errorf("%w: too long", ErrInvalidURI)
	}
	b := make([]byte, 0, len(uri)+8)
	for c, rest, more := "", uri, true; more; {
		c, rest, more = strings.Cut(rest, ".")
		switch {
		case c == "" && form == wildcardURI:
			b = append(b, '+')
		case c == "" && (form != prefixURI || more):
			return "", invalidURI(uri, "empty component")
		case c == emptyLevel && form == prefixURI && !more:
			return "", invalidURI(uri, "the prefix ends with an empty level")
		case c != emptyLevel:
			var why string
			if b, why = decodeComponent(b, c); why != "" {
				return "", invalidURI(uri, why)
			}
		}
		if more {
			b = append(b, '/')
		}
	}
	return string(b), nil
}

// decodeComponent appends one level. Only canonical escapes pass: upper-case,
// whole characters, and such as need to be escaped.
func decodeComponent(b []byte, c string) (_ []byte, why string) {
	for i := 0; i < len(c); {
		if c[i] != '%' {
			r, n := utf8.DecodeRuneInString(c[i:])
			switch {
			case escaped(r):
				return b, "character that must be escaped"
			case r == '/' || r == '+' || r == '#':
				return b, "character that no topic level holds"
			}
			b = append(b, c[i:i+n]...)
			i += n
			continue
		}
		var enc [utf8.UTFMax]byte
		n := 0
		for n < len(enc) && i+3*n+2 < len(c) && c[i+3*n] == '%' {
			hi, lo := strings.IndexByte(upperHex, c[i+3*n+1]), strings.IndexByte(upperHex, c[i+3*n+2])
			if hi < 0 || lo < 0 {
				break
			}
			enc[n] = byte(hi<<4 | lo)
			n++
			if utf8.FullRune(enc[:n]) {
				break
			}
		}
		r, size := utf8.DecodeRune(enc[:n])
		if n == 0 || size != n || r == utf8.RuneError && n == 1 || r == 0 || !escaped(r) {
			return b, "escape that is not canonical"
		}
		b = append(b, enc[:n]...)
		i += 3 * n
	}
	return b, ""
}

func needsEscape(topic string) bool {
	if topic == "" || topic[0] == '/' || topic[len(topic)-1] == '/' || strings.Contains(topic, "//") {
		return true
	}
	for i := 0; i < len(topic); i++ {
		if c := topic[i]; c >= utf8.RuneSelf {
			return strings.IndexFunc(topic[i:], escaped) >= 0
		} else if escaped(rune(c)) {
			return true
		}
	}
	return false
}

func escaped(r rune) bool {
	return r == '.' || r == '%' || unicode.IsSpace(r) || unicode.IsControl(r)
}

func invalidURI(uri, why string) error {
	if len(uri) > 128 {
		uri = uri[:128]
	}
	return fmt.Errorf("%w %q: %s", ErrInvalidURI, uri, why)
}
