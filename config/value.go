package config

import (
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// value is the type of a key, bound to the field it sets. set checks a node
// against the rule and stores it; what is wrong it reports, and then the field
// is as before.
type value interface {
	set(n *yaml.Node, report reporter)
	text() string // the field as it would be written in YAML on one line
	kind() string // "duration", "size", …
	rule() string // completes "give …"
}

// scalar is a value written as one word: the common part of most kinds.
type scalar struct {
	name  string
	want  string // the rule
	parse func(s string) error
	show  func() string
}

func (v *scalar) kind() string { return v.name }
func (v *scalar) rule() string { return v.want }
func (v *scalar) text() string { return v.show() }

func (v *scalar) set(n *yaml.Node, report reporter) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || v.parse(n.Value) != nil {
		report(n, "", notAllowed(show(n), v.want))
	}
}

// errRule says that a value breaks its rule; the rule itself is the message.
var errRule = fmt.Errorf("breaks the rule")

func boolean(p *bool) value {
	return &scalar{
		name: "boolean", want: "true or false",
		parse: func(s string) error {
			if s != "true" && s != "false" {
				return errRule
			}
			*p = s == "true"
			return nil
		},
		show: func() string { return strconv.FormatBool(*p) },
	}
}

func number(p *int, low, high int) value {
	return &scalar{
		name: "number", want: fmt.Sprintf("a number from %s to %s", commas(int64(low)), commas(int64(high))),
		parse: func(s string) error {
			n, err := strconv.Atoi(s)
			if err != nil || n < low || n > high {
				return errRule
			}
			*p = n
			return nil
		},
		show: func() string { return strconv.Itoa(*p) },
	}
}

func decimal(p *float64, low, high float64) value {
	return &scalar{
		name: "number", want: fmt.Sprintf("a number from %g to %s", low, commas(int64(high))),
		parse: func(s string) error {
			n, err := strconv.ParseFloat(s, 64)
			if err != nil || math.IsNaN(n) || n < low || n > high {
				return errRule
			}
			*p = n
			return nil
		},
		show: func() string { return strconv.FormatFloat(*p, 'f', -1, 64) },
	}
}

// commas writes a number with separators, as the messages do.
func commas(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func duration(p *time.Duration, low, high time.Duration) value {
	return &scalar{
		name: "duration", want: fmt.Sprintf("a duration from %s to %s, such as 10s or 1m30s", shortDuration(low), shortDuration(high)),
		parse: func(s string) error {
			d, err := time.ParseDuration(s)
			if err != nil || d < low || d > high {
				return errRule
			}
			*p = d
			return nil
		},
		show: func() string { return shortDuration(*p) },
	}
}

// shortDuration drops the zero parts that Duration.String leaves: 1h0m0s is 1h.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func size(p *int64, low, high int64) value {
	return &scalar{
		name: "size", want: fmt.Sprintf("a size from %s to %s, such as 64KiB or 1MiB", shortSize(low), shortSize(high)),
		parse: func(s string) error {
			n, ok := parseSize(s)
			if !ok || n < low || n > high {
				return errRule
			}
			*p = n
			return nil
		},
		show: func() string { return shortSize(*p) },
	}
}

// Units of sizes, the larger of equal suffixes first.
func sizeUnits() []struct {
	suffix string
	bytes  int64
} {
	return []struct {
		suffix string
		bytes  int64
	}{
		{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1},
	}
}

func parseSize(s string) (int64, bool) {
	unit := int64(1)
	for _, u := range sizeUnits() {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			s, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
}

func shortSize(n int64) string {
	for _, u := range sizeUnits() {
		if n >= u.bytes && n%u.bytes == 0 && u.bytes > 1 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

// word is a string that check accepts (nil: any); want completes "give …".
func word(p *string, want string, check func(string) bool) value {
	return &scalar{
		name: "string", want: want,
		parse: func(s string) error {
			if check != nil && !check(s) || !printable(s) {
				return errRule
			}
			*p = s
			return nil
		},
		show: func() string { return quote(*p) },
	}
}

// choice is one of a few words.
func choice(p *string, words ...string) value {
	v := word(p, "one of "+strings.Join(words, ", "), func(s string) bool { return slices.Contains(words, s) }).(*scalar)
	v.name = "choice"
	return v
}

// mapped is a choice of words that stand for other values.
func mapped[T comparable](p *T, words []string, values []T) value {
	return &scalar{
		name: "choice", want: "one of " + strings.Join(words, ", "),
		parse: func(s string) error {
			i := slices.Index(words, s)
			if i < 0 {
				return errRule
			}
			*p = values[i]
			return nil
		},
		show: func() string { return words[slices.Index(values, *p)] },
	}
}

// address is a host:port to listen on. host is put in where only :port is
// given; optional allows "" for no listener.
func address(p *string, host string, optional bool) value {
	want := "host:port with a port from 0 to 65535, such as 127.0.0.1:8080"
	if optional {
		want += `, or "" for none`
	}
	return &scalar{
		name: "address", want: want,
		parse: func(s string) error {
			if s == "" && optional {
				*p = ""
				return nil
			}
			h, port, err := net.SplitHostPort(s)
			if err != nil || strings.ContainsAny(h, " \t/") || !printable(h) {
				return errRule
			}
			if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
				return errRule
			}
			if h == "" {
				h = host
			}
			*p = net.JoinHostPort(h, port)
			return nil
		},
		show: func() string { return quote(*p) },
	}
}

// quote writes a string so that YAML reads the same string.
func quote(s string) string {
	out, err := yaml.Marshal(s)
	if one := strings.TrimSuffix(string(out), "\n"); err == nil && !strings.Contains(one, "\n") && s != "" {
		return one
	}
	return strconv.Quote(s)
}

// words is a list of strings, each of which check accepts; in the environment
// and as one scalar they are separated by commas.
type words struct {
	p     *[]string
	want  string
	check func(string) bool
}

func (v *words) kind() string { return "list" }
func (v *words) rule() string { return "a list, each " + v.want }
func (v *words) text() string { return flowWords(*v.p) }

func flowWords(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func (v *words) set(n *yaml.Node, report reporter) {
	if list, ok := takeWords(n, "", v.want, v.check, report); ok {
		*v.p = list
	}
}

func takeWords(n *yaml.Node, sub, want string, check func(string) bool, report reporter) ([]string, bool) {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		n = splitWords(n)
	}
	if n.Kind != yaml.SequenceNode {
		report(n, sub, notAllowed(show(n), "a list, each "+want))
		return nil, false
	}
	list, ok := []string{}, true
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", sub, i)
		switch {
		case item.Kind != yaml.ScalarNode || item.Tag == "!!null" || !printable(item.Value) || !check(item.Value):
			report(item, at, notAllowed(show(item), want))
			ok = false
		case slices.Contains(list, item.Value):
			report(item, at, show(item)+" is there twice; remove one")
			ok = false
		}
		list = append(list, item.Value)
	}
	return list, ok
}

// splitWords makes a list of a scalar with commas; "" is the empty list.
func splitWords(n *yaml.Node) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode, Line: n.Line, Column: n.Column}
	if strings.TrimSpace(n.Value) == "" {
		return list
	}
	for part := range strings.SplitSeq(n.Value, ",") {
		list.Content = append(list.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.TrimSpace(part), Line: n.Line, Column: n.Column})
	}
	return list
}

// dict is a mapping of words to words.
type dict struct {
	p         *map[string]string
	wantKey   string
	checkKey  func(string) bool
	wantValue string
	check     func(string) bool
}

func (v *dict) kind() string { return "mapping" }
func (v *dict) rule() string { return "a mapping of " + v.wantKey + " to " + v.wantValue }

func (v *dict) text() string {
	var parts []string
	for k, s := range *v.p {
		parts = append(parts, quote(k)+": "+quote(s))
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ", ") + "}"
}

func (v *dict) set(n *yaml.Node, report reporter) {
	if n.Kind != yaml.MappingNode {
		report(n, "", notAllowed(show(n), v.rule()))
		return
	}
	m, ok := map[string]string{}, true
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, s := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || !v.checkKey(k.Value) {
			report(k, "", notAllowed(show(k), v.wantKey))
			ok = false
			continue
		}
		if _, twice := m[k.Value]; twice {
			report(k, "", show(k)+" is there twice; remove one")
			ok = false
		}
		if s.Kind != yaml.ScalarNode || !v.check(s.Value) {
			report(s, "."+k.Value, notAllowed(show(s), v.wantValue))
			ok = false
		}
		m[k.Value] = s.Value
	}
	if ok {
		*v.p = m
	}
}
