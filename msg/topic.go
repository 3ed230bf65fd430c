package msg

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// maxTopicBytes is what an MQTT UTF-8 string can hold (MQTT 5 section 1.5.4).
	maxTopicBytes = 65535
	// maxLevels bounds the depth of the matching tree and the cost of a match.
	maxLevels = 128
	// sharePrefix begins a shared subscription's filter (MQTT 5 section 4.8.2).
	sharePrefix = "$share/"
)

// ValidTopic tells whether t is a canonical topic name: UTF-8, 1 to 65,535
// bytes, at most 128 levels (empty ones count), without the wildcards "+" and
// "#", without control characters (U+0000 to U+001F, U+007F to U+009F) and
// noncharacters, which MQTT 5 section 1.5.4 lets a receiver refuse. The error
// wraps ErrTopicInvalid.
func ValidTopic(t string) error {
	if t == "" {
		return fmt.Errorf("%w: empty", ErrTopicInvalid)
	}
	if why := checkText(t, false); why != "" {
		return fmt.Errorf("%w: %s", ErrTopicInvalid, why)
	}
	return nil
}

// Publishable tells whether clients may publish to the valid topic t: not if its
// first level begins with "$" or is exactly "wamp" or "parley". The error wraps
// ErrTopicReserved.
func Publishable(t string) error {
	if reservedTopic(t) {
		return fmt.Errorf("%w: %q", ErrTopicReserved, firstLevel(t))
	}
	return nil
}

// ParseFilter reads an MQTT topic filter (MQTT 5 sections 4.7 and 4.8.2),
// including $share/<group>/<filter>. The characters of ValidTopic apply. The
// error wraps ErrFilterInvalid.
func ParseFilter(s string) (Filter, error) {
	f := Filter{Pattern: s}
	if len(s) > maxTopicBytes {
		return Filter{}, fmt.Errorf("%w: longer than %d bytes", ErrFilterInvalid, maxTopicBytes)
	}
	if s == "$share" || strings.HasPrefix(s, sharePrefix) {
		group, inner, ok := strings.Cut(strings.TrimPrefix(s, sharePrefix), "/")
		if !ok || group == "" {
			return Filter{}, fmt.Errorf("%w: $share needs a group and a filter", ErrFilterInvalid) // [MQTT-4.8.2-1]
		}
		f.Group, f.Pattern = group, inner
	}
	if err := f.Validate(); err != nil {
		return Filter{}, err
	}
	return f, nil
}

// Validate checks a filter that was not made by ParseFilter or FilterOfURI. The
// error wraps ErrFilterInvalid.
func (f Filter) Validate() error {
	if f.Group != "" {
		if strings.ContainsAny(f.Group, "/+#") { // [MQTT-4.8.2-2]
			return fmt.Errorf("%w: group with /, + or #", ErrFilterInvalid)
		}
		if why := checkText(f.Group, false); why != "" {
			return fmt.Errorf("%w: group: %s", ErrFilterInvalid, why)
		}
		if f.Pattern == "$share" || strings.HasPrefix(f.Pattern, sharePrefix) {
			return fmt.Errorf("%w: $share within $share", ErrFilterInvalid)
		}
	}
	why := ""
	switch f.Kind {
	case FilterPrefix:
		why = checkText(f.Pattern, false)
	case FilterLevels, FilterWildcard:
		if f.Pattern == "" {
			why = "empty"
		} else {
			why = checkText(f.Pattern, true)
		}
		if why == "" {
			why = checkWildcards(f.Pattern, f.Kind == FilterLevels)
		}
	default:
		why = "unknown kind"
	}
	if why != "" {
		return fmt.Errorf("%w: %s", ErrFilterInvalid, why)
	}
	return nil
}

// String is the MQTT form of a FilterLevels (ParseFilter reads it back); the
// other kinds are shown as "prefix:a/b" and "wildcard:a/+", for people.
func (f Filter) String() string {
	s := f.Pattern
	switch f.Kind {
	case FilterPrefix:
		s = "prefix:" + s
	case FilterWildcard:
		s = "wildcard:" + s
	}
	if f.Group != "" {
		s = sharePrefix + f.Group + "/" + s
	}
	return s
}

// checkText says what is wrong with the characters, length or depth of a topic
// or pattern; "" is right.
func checkText(s string, wildcards bool) string {
	if len(s) > maxTopicBytes {
		return "longer than 65535 bytes"
	}
	levels := 1
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '/':
			levels++
		case c < 0x20 || c == 0x7f:
			return "control character"
		case (c == '+' || c == '#') && !wildcards:
			return "wildcard character"
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(s[i:])
			if why := checkRune(r, n); why != "" {
				return why
			}
			i += n
			continue
		}
		i++
	}
	if levels > maxLevels {
		return "more than 128 levels"
	}
	return ""
}

func checkRune(r rune, size int) string {
	switch {
	case r == utf8.RuneError && size <= 1:
		return "not UTF-8" // [MQTT-1.5.4-1]; surrogates are not UTF-8 either
	case r <= 0x9f:
		return "control character"
	case r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef:
		return "noncharacter"
	}
	return ""
}

// checkWildcards: each wildcard is a level of its own, "#" the last [MQTT-4.7.1-1, -2].
func checkWildcards(p string, many bool) string {
	for level, rest, more := "", p, true; more; {
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#" && !many:
			return "# in a wildcard pattern"
		case level == "#" && more:
			return "# is not the last level"
		case len(level) > 1 && strings.ContainsAny(level, "+#"):
			return "a wildcard is not alone in its level"
		}
	}
	return ""
}

func firstLevel(t string) string {
	first, _, _ := strings.Cut(t, "/")
	return first
}

// reservedTopic tells whether t's first level is reserved for the broker.
func reservedTopic(t string) bool {
	if t == "" {
		return false
	}
	switch t[0] {
	case '$':
		return true
	case 'w', 'p':
		return reservedLevel(firstLevel(t))
	}
	return false
}

func reservedLevel(l string) bool {
	return l == "wamp" || l == "parley" || l != "" && l[0] == '$'
}
