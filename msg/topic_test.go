package msg

import (
	"errors"
	"strings"
	"testing"
)

func TestValidTopic(t *testing.T) {
	deep := strings.Repeat("/", 127)
	for topic, ok := range map[string]bool{
		"a": true, "a/b": true, "/": true, "//": true, " ": true, "a b": true, "a.b%": true, "$SYS/x": true,
		"ü/日本": true, "\u00a0": true, "\ufeff": true, "\ufffd": true, "\U0001F600": true, deep: true,
		strings.Repeat("a", 65535): true,

		"": false, "+": false, "a/#": false, "a+b": false, "a\x00": false, "a\n": false, "\x7f": false,
		"\u0085": false, "\u009f": false, "\ufffe": false, "\U0001ffff": false, "\ufdd0": false,
		"\xff": false, "a\xc3": false, "\xed\xa0\x80": false, deep + "/": false, strings.Repeat("a", 65536): false,
	} {
		err := ValidTopic(topic)
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrTopicInvalid) {
			t.Errorf("%.20q: %v", topic, err)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _ = ValidTopic("a/b/ü") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPublishable(t *testing.T) {
	for topic, ok := range map[string]bool{
		"a": true, "wampum": true, "wam": true, "a/wamp": true, "/wamp": true, "a/$x": true, "parleys/x": true, "p": true,
		"wamp": false, "wamp/x": false, "parley": false, "parley/x": false, "$": false, "$SYS": false, "$share/g/f": false,
	} {
		err := Publishable(topic)
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrTopicReserved) {
			t.Errorf("%q: %v", topic, err)
		}
	}
}

func TestParseFilter(t *testing.T) {
	for in, want := range map[string]Filter{
		"#":               {Pattern: "#"},
		"+":               {Pattern: "+"},
		"a/+/b":           {Pattern: "a/+/b"},
		"/":               {Pattern: "/"},
		"$SYS/#":          {Pattern: "$SYS/#"},
		"$share/g/a/+":    {Pattern: "a/+", Group: "g"},
		"$share/g//a":     {Pattern: "/a", Group: "g"},
		"$shared/g":       {Pattern: "$shared/g"},
		"$share/g/$SYS/x": {Pattern: "$SYS/x", Group: "g"},
	} {
		f, err := ParseFilter(in)
		if err != nil || f != want {
			t.Errorf("%q: %#v, %v", in, f, err)
		}
		if f.String() != in {
			t.Errorf("%q is shown as %q", in, f.String())
		}
	}
	for _, in := range []string{
		"", "a#", "#/a", "a/#/b", "+a", "a/b+", "##", "++", "a\x00", "\xff", "a\n", strings.Repeat("/", 128),
		strings.Repeat("a", 65536), "$share/g/" + strings.Repeat("a", 65530),
		"$share", "$share/", "$share/g", "$share//a", "$share/g/", "$share/+/a", "$share/g#/a", "$share/g/a#", // [MQTT-4.8.2-1, -2]
		"$share/g/$share/h/a", "$share/g/$share",
	} {
		if f, err := ParseFilter(in); !errors.Is(err, ErrFilterInvalid) {
			t.Errorf("%.20q: %v, %v", in, f, err)
		}
	}
}

func TestFilterValidate(t *testing.T) {
	for _, f := range []Filter{
		{Kind: FilterPrefix}, {Kind: FilterPrefix, Pattern: "a/"}, {Kind: FilterPrefix, Pattern: "/"},
		{Kind: FilterWildcard, Pattern: "+/a"}, {Kind: FilterWildcard, Pattern: "a"}, {Pattern: "a", Group: "g"},
	} {
		if err := f.Validate(); err != nil {
			t.Errorf("%v: %v", f, err)
		}
	}
	for _, f := range []Filter{
		{}, {Kind: FilterWildcard}, {Kind: FilterWildcard, Pattern: "a/#"}, {Kind: FilterPrefix, Pattern: "a/+"},
		{Kind: FilterPrefix, Pattern: "a/#"}, {Kind: 3, Pattern: "a"}, {Pattern: "a", Group: "a/b"}, {Pattern: "a", Group: "\xff"},
	} {
		if err := f.Validate(); !errors.Is(err, ErrFilterInvalid) {
			t.Errorf("%#v: %v", f, err)
		}
	}
	if got := (Filter{Kind: FilterPrefix, Pattern: "a", Group: "g"}).String(); got != "$share/g/prefix:a" {
		t.Error(got)
	}
	if got := (Filter{Kind: FilterWildcard, Pattern: "+"}).String(); got != "wildcard:+" {
		t.Error(got)
	}
}
