package msg

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// looseURI is the loose URI pattern of the WAMP specification, section "Loose
// URIs", for URIs without empty components.
var looseURI = regexp.MustCompile(`^([^\s\.#]+\.)*([^\s\.#]+)$`)

func TestURITable(t *testing.T) {
	for topic, uri := range map[string]string{
		"a":                    "a",
		"a/b/c":                "a.b.c",
		"a.b/c":                "a%2Eb.c",
		"a%b":                  "a%25b",
		"a b":                  "a%20b",
		"a\u00a0b":             "a%C2%A0b",
		"\u2028":               "%E2%80%A8",
		"\u3000":               "%E3%80%80",
		"/":                    "%00.%00",
		"/a":                   "%00.a",
		"a/":                   "a.%00",
		"a//b":                 "a.%00.b",
		"ü/日本/x":               "ü.日本.x",
		"a b/c.d/%/\U0001F600": "a%20b.c%2Ed.%25.\U0001F600",
		"$SYS/x":               "$SYS.x",
	} {
		if got := URI(topic); got != uri {
			t.Errorf("URI(%q) = %q, want %q", topic, got, uri)
		}
		if !looseURI.MatchString(uri) {
			t.Errorf("%q is no loose URI", uri)
		}
		if got, err := TopicOfURI(uri); err != nil || got != topic {
			t.Errorf("TopicOfURI(%q) = %q, %v", uri, got, err)
		}
	}
}

func TestTopicOfURIRefuses(t *testing.T) {
	for _, uri := range []string{
		"", ".", "a.", ".a", "a..b", "a/b", "a b", "a#", "a+b", "+", "a\n", "a\x00", "\xff", "a.\xc3",
		"%2e", "%41", "%2F", "%2B", "%23", "%", "%2", "a%", "%zz", "%2G", "%00a", "a%00", "%00%00", "%0A", "%C2%85",
		"%C2", "%C2%", "%C2%A", "%C2.%A0", "%c2%a0", "%C3%BC", "%C2%A0%", "%ED%A0%80", "%FF", "%C0%AE", "%E0%80%AE", "\u00a0",
		"%EF%BF%BE", "\ufffe", "%EF%BF%BD",
		strings.Repeat("a", 65536), strings.Repeat("a.", 128) + "a", strings.Repeat("%20", 100000),
	} {
		if got, err := TopicOfURI(uri); !errors.Is(err, ErrInvalidURI) {
			t.Errorf("%.40q: %q, %v", uri, got, err)
		}
	}
}

func TestFilterOfURI(t *testing.T) {
	for _, c := range []struct {
		uri, match string
		want       Filter
	}{
		{"a.b", "", Filter{Pattern: "a/b"}},
		{"a.%00", "exact", Filter{Pattern: "a/"}},
		{"a.b", "prefix", Filter{Kind: FilterPrefix, Pattern: "a/b"}},
		{"a.", "prefix", Filter{Kind: FilterPrefix, Pattern: "a/"}},
		{"", "prefix", Filter{Kind: FilterPrefix}},
		{"a.%00.", "prefix", Filter{Kind: FilterPrefix, Pattern: "a//"}},
		{"%00.", "prefix", Filter{Kind: FilterPrefix, Pattern: "/"}},
		{"a%2E", "prefix", Filter{Kind: FilterPrefix, Pattern: "a."}},
		{"wamp.", "prefix", Filter{Kind: FilterPrefix, Pattern: "wamp/"}},
		{"a..c", "wildcard", Filter{Kind: FilterWildcard, Pattern: "a/+/c"}},
		{".a.", "wildcard", Filter{Kind: FilterWildcard, Pattern: "+/a/+"}},
		{"", "wildcard", Filter{Kind: FilterWildcard, Pattern: "+"}},
		{"a.%00", "wildcard", Filter{Kind: FilterWildcard, Pattern: "a/"}},
	} {
		if got, err := FilterOfURI(c.uri, c.match); err != nil || got != c.want {
			t.Errorf("%q %s: %#v, %v", c.uri, c.match, got, err)
		}
	}
	for _, c := range []struct {
		uri, match string
		want       error
	}{
		{"a", "regex", ErrNotSupported},
		{"", "exact", ErrInvalidURI},
		{"a.", "exact", ErrInvalidURI},
		{"+", "wildcard", ErrInvalidURI},
		{"a.#", "wildcard", ErrInvalidURI},
		{"a/", "prefix", ErrInvalidURI},
		{".", "prefix", ErrInvalidURI},
		{".a", "prefix", ErrInvalidURI},
		{"a..", "prefix", ErrInvalidURI},
		{"a..b", "prefix", ErrInvalidURI},
		{"%00", "prefix", ErrInvalidURI},
		{"a.%00", "prefix", ErrInvalidURI},
		{"a%", "prefix", ErrInvalidURI},
		{"a%2", "prefix", ErrInvalidURI},
		{"%C2", "prefix", ErrInvalidURI},
		{"%E2%80", "prefix", ErrInvalidURI},
		{"+", "prefix", ErrInvalidURI},
		{strings.Repeat(".", 128), "wildcard", ErrInvalidURI},
	} {
		if got, err := FilterOfURI(c.uri, c.match); !errors.Is(err, c.want) {
			t.Errorf("%q %s: %#v, %v", c.uri, c.match, got, err)
		}
	}
}

// pieces of which the exhaustive tests build all short topics and URIs.
var topicPieces = []string{"/", "a", ".", "%", "0", "2", "E", " ", "\u00a0", "ü", "A"}
var uriPieces = []string{".", "a", "%", "%2", "%2E", "%00", "%20", "%25", "%C2%A0", "%C2", "ü", "0", "%2e", "+"}

func words(pieces []string, n int) []string {
	out, last := []string{""}, []string{""}
	for range n {
		var next []string
		for _, w := range last {
			for _, p := range pieces {
				next = append(next, w+p)
			}
		}
		out, last = append(out, next...), next
	}
	return out
}

// TestURIRoundTrips: topic -> URI -> topic is the identity on all valid topics,
// URI -> topic -> URI on everything TopicOfURI accepts; so it accepts exactly
// the image.
func TestURIRoundTrips(t *testing.T) {
	seen := map[string]string{}
	for _, topic := range words(topicPieces, 4) {
		if ValidTopic(topic) != nil {
			continue
		}
		uri := URI(topic)
		if other, ok := seen[uri]; ok {
			t.Fatalf("%q and %q are both %q", topic, other, uri)
		}
		seen[uri] = topic
		if back, err := TopicOfURI(uri); err != nil || back != topic {
			t.Fatalf("%q -> %q -> %q, %v", topic, uri, back, err)
		}
	}
	accepted := 0
	for _, uri := range words(uriPieces, 4) {
		topic, err := TopicOfURI(uri)
		if err != nil {
			continue
		}
		accepted++
		if URI(topic) != uri {
			t.Fatalf("%q was accepted as %q, whose URI is %q", uri, topic, URI(topic))
		}
	}
	if accepted < 100 {
		t.Errorf("only %d URIs were accepted", accepted)
	}
}

// TestPrefixByCharacters: a topic matches a prefix filter exactly if its URI
// begins with the prefix, but for the reserved topics.
func TestPrefixByCharacters(t *testing.T) {
	var topics []string
	for _, topic := range words([]string{"/", "a", ".", "\u00a0", "%", "0"}, 4) {
		if ValidTopic(topic) == nil {
			topics = append(topics, topic)
		}
	}
	accepted := 0
	for _, prefix := range words([]string{".", "a", "%2E", "%00", "%25", "%C2%A0", "%", "0"}, 3) {
		f, err := FilterOfURI(prefix, "prefix")
		if err != nil {
			continue
		}
		accepted++
		for _, topic := range topics {
			if got, want := f.Matches(topic), strings.HasPrefix(URI(topic), prefix); got != want {
				t.Fatalf("prefix %q (%q): %q (%q) %v", prefix, f.Pattern, topic, URI(topic), got)
			}
		}
	}
	if accepted < 50 {
		t.Errorf("only %d prefixes were accepted", accepted)
	}
}

func TestURIDoesNotAllocateMuch(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { URI("a/b/c") }); n > 2 {
		t.Errorf("URI: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = TopicOfURI("a.b.c") }); n > 2 {
		t.Errorf("TopicOfURI: %v allocations", n)
	}
}

func FuzzURI(f *testing.F) {
	for _, s := range []string{"a/b", "a.b", "%00", "a%2Eb", "\u00a0/", "%C2%A0.", "wamp.x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if ValidTopic(s) == nil {
			uri := URI(s)
			if !utf8.ValidString(uri) || !looseURI.MatchString(uri) {
				t.Fatalf("%q -> %q", s, uri)
			}
			if back, err := TopicOfURI(uri); err != nil || back != s {
				t.Fatalf("%q -> %q -> %q, %v", s, uri, back, err)
			}
		} else {
			_ = URI(s)
		}
		if topic, err := TopicOfURI(s); err == nil && (URI(topic) != s || ValidTopic(topic) != nil) {
			t.Fatalf("%q accepted as %q", s, topic)
		}
		for _, match := range []string{"exact", "prefix", "wildcard"} {
			if f, err := FilterOfURI(s, match); err == nil && f.Validate() != nil {
				t.Fatalf("%q %s: invalid %v", s, match, f)
			}
		}
	})
}
