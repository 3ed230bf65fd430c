package msg

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// universe is every topic of up to three levels over a small alphabet that has
// the interesting levels: empty, one the beginning of another, reserved ones.
func universe() []string {
	alphabet := []string{"", "a", "ab", "b", "$", "$S", "wamp", "wampx", "w", "parley", "parleys", "abc"}
	var all []string
	level := slices.Clone(alphabet)
	all = append(all, level...)
	for range 2 {
		var deeper []string
		for _, t := range level {
			for _, a := range alphabet {
				deeper = append(deeper, t+"/"+a)
			}
		}
		all, level = append(all, deeper...), deeper
	}
	valid := all[:0:0]
	for _, t := range all {
		if ValidTopic(t) == nil {
			valid = append(valid, t)
		}
	}
	return valid
}

// patterns is every pattern of up to two levels over the alphabet with
// wildcards, plus "#" behind them, and every prefix of a topic of two levels.
func patterns(t *testing.T) []Filter {
	alphabet := []string{"", "a", "ab", "+", "$", "$S", "wamp", "w", "parley"}
	var out []Filter
	add := func(f Filter) {
		if f.Validate() == nil {
			out = append(out, f)
		}
	}
	add(Filter{Pattern: "#"})
	add(Filter{Kind: FilterPrefix})
	for _, a := range alphabet {
		add(Filter{Pattern: a})
		add(Filter{Kind: FilterWildcard, Pattern: a})
		add(Filter{Pattern: a + "/#"})
		add(Filter{Pattern: a + "/+/#"})
		add(Filter{Kind: FilterPrefix, Pattern: a})
		for _, b := range alphabet {
			add(Filter{Pattern: a + "/" + b})
			add(Filter{Kind: FilterPrefix, Pattern: a + "/" + b})
		}
	}
	if len(out) < 150 {
		t.Fatalf("only %d patterns", len(out))
	}
	return out
}

// slowMatch is the rule of docs/adr/0003-topic-mapping.md written down as plainly as possible.
func slowMatch(f Filter, topic string) bool {
	first := strings.Split(topic, "/")[0]
	reserved := strings.HasPrefix(first, "$") || first == "wamp" || first == "parley"
	if f.Kind == FilterPrefix {
		if reserved && !strings.Contains(f.Pattern, "/") {
			return false
		}
		return strings.HasPrefix(topic, f.Pattern)
	}
	p, t := strings.Split(f.Pattern, "/"), strings.Split(topic, "/")
	if reserved && (p[0] == "+" || p[0] == "#") {
		return false
	}
	for i := range p {
		switch {
		case p[i] == "#":
			return true
		case i >= len(t):
			return false
		case p[i] != "+" && p[i] != t[i]:
			return false
		}
	}
	return len(p) == len(t)
}

func TestMatchesAgainstPlainRule(t *testing.T) {
	topics := universe()
	for _, f := range patterns(t) {
		for _, topic := range topics {
			if got, want := f.Matches(topic), slowMatch(f, topic); got != want {
				t.Fatalf("%v matches %q = %v, want %v", f, topic, got, want)
			}
		}
	}
}

// TestCoversAndOverlapsAgainstMatches compares the algebra with counting in a
// universe one level deeper than the patterns.
func TestCoversAndOverlapsAgainstMatches(t *testing.T) {
	topics, filters := universe(), patterns(t)
	sets := make([][]bool, len(filters))
	for i, f := range filters {
		sets[i] = make([]bool, len(topics))
		for j, topic := range topics {
			sets[i][j] = f.Matches(topic)
		}
	}
	for i, f := range filters {
		for k, g := range filters {
			covers, overlaps, empty := true, false, true
			for j := range topics {
				covers = covers && (sets[i][j] || !sets[k][j])
				overlaps = overlaps || sets[i][j] && sets[k][j]
				empty = empty && !sets[k][j]
			}
			if got := f.Covers(g); got != covers && !empty {
				t.Errorf("%v covers %v = %v, want %v", f, g, got, covers)
			}
			if got := f.Overlaps(g); got != overlaps {
				t.Errorf("%v overlaps %v = %v, want %v", f, g, got, overlaps)
			}
		}
	}
}

func TestMatchesTable(t *testing.T) {
	for _, c := range []struct {
		kind    FilterKind
		pattern string
		topic   string
		want    bool
	}{
		{FilterLevels, "sport/tennis/player1/#", "sport/tennis/player1", true}, // MQTT 5 section 4.7.1.2
		{FilterLevels, "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{FilterLevels, "sport/+", "sport", false}, // MQTT 5 section 4.7.1.3
		{FilterLevels, "sport/+", "sport/", true},
		{FilterLevels, "+/+", "/finance", true},
		{FilterLevels, "/+", "/finance", true},
		{FilterLevels, "+", "/finance", false},
		{FilterLevels, "#", "$SYS/x", false}, // [MQTT-4.7.2-1]
		{FilterLevels, "+/monitor/Clients", "$SYS/monitor/Clients", false},
		{FilterLevels, "$SYS/#", "$SYS/x", true},
		{FilterLevels, "$SYS/#", "$SYS", true},
		{FilterLevels, "#", "wamp/session/on_join", false},
		{FilterLevels, "#", "wamper", true},
		{FilterLevels, "+/x", "parley/x", false},
		{FilterLevels, "wamp/#", "wamp/x", true},
		{FilterPrefix, "a/b", "a/bc", true},
		{FilterPrefix, "a/b", "a/b/c", true},
		{FilterPrefix, "a/b", "a/c", false},
		{FilterPrefix, "", "a", true},
		{FilterPrefix, "", "$x", false},
		{FilterPrefix, "wamp", "wamp/x", false},
		{FilterPrefix, "wamp", "wampum/x", true},
		{FilterPrefix, "wamp/", "wamp/x", true},
		{FilterPrefix, "par", "parley", false},
		{FilterPrefix, "$SYS/", "$SYS/x", true},
		{FilterPrefix, "$SYS", "$SYS/x", false},
		{FilterWildcard, "+/b", "a/b", true},
		{FilterWildcard, "+/b", "wamp/b", false},
		{FilterWildcard, "a/+", "a/b/c", false},
	} {
		f := Filter{Kind: c.kind, Pattern: c.pattern, Group: "g"}
		if got := f.Matches(c.topic); got != c.want {
			t.Errorf("%v matches %q = %v", f, c.topic, got)
		}
	}
}

func TestMatchesDoesNotAllocate(t *testing.T) {
	f := Filter{Pattern: "a/+/c/#"}
	if n := testing.AllocsPerRun(100, func() { f.Matches("a/b/c/d/e") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzFilters(f *testing.F) {
	f.Add("$share/g/a/+/#", "a/b", "a/#")
	f.Add("+/#", "#", "$S")
	f.Add("wamp/#", "wamp/x", "#")
	f.Fuzz(func(t *testing.T, p, q, topic string) {
		a, errA := ParseFilter(p)
		b, errB := ParseFilter(q)
		if errA != nil || errB != nil {
			return
		}
		if back, err := ParseFilter(a.String()); err != nil || back != a {
			t.Fatalf("%q: read back %v, %v", p, back, err)
		}
		for _, f := range []Filter{a, b, {Kind: FilterPrefix, Pattern: topic}} {
			for _, g := range []Filter{a, b, {Kind: FilterPrefix, Pattern: topic}} {
				if f.Validate() != nil || g.Validate() != nil {
					continue
				}
				if f.Overlaps(g) != g.Overlaps(f) {
					t.Fatalf("overlap of %v and %v is not symmetric", f, g)
				}
				if ValidTopic(topic) != nil {
					continue
				}
				mf, mg := f.Matches(topic), g.Matches(topic)
				if mf != slowMatch(f, topic) {
					t.Fatalf("%v matches %q = %v", f, topic, mf)
				}
				if mg && !mf && f.Covers(g) {
					t.Fatalf("%v covers %v but not %q", f, g, topic)
				}
				if mf && mg && !f.Overlaps(g) {
					t.Fatalf("%v and %v share %q but do not overlap", f, g, topic)
				}
			}
		}
	})
}

// BenchmarkMatches: the cost of one match without an index.
func BenchmarkMatches(b *testing.B) {
	f := Filter{Pattern: "site/+/sensor/+/temperature/#"}
	topics := []string{"site/1/sensor/22/temperature", "site/1/sensor/22/humidity"}
	b.ReportAllocs()
	for b.Loop() {
		f.Matches(topics[rand.IntN(2)])
	}
}
