package msg

import "strings"

// Wildcards at the head of a filter, and prefixes that do not spell out their
// first level up to the "/", never select reserved topics (first level "$…",
// "wamp" or "parley"); MQTT asks for it for "$" [MQTT-4.7.2-1]. Everything here
// keeps to that rule. Group plays no part: a shared filter selects what its
// inner filter selects.

// Matches tells whether f selects the valid topic. It does not allocate.
func (f Filter) Matches(topic string) bool {
	if f.Kind == FilterPrefix {
		return strings.HasPrefix(topic, f.Pattern) && (namesFirst(f.Pattern) || !reservedTopic(topic))
	}
	if leadingWildcard(f.Pattern) && reservedTopic(topic) {
		return false
	}
	p, t := levels{rest: f.Pattern}, levels{rest: topic}
	for {
		pl, pok := p.next()
		if pok && pl == "#" {
			return true // also zero levels: a/# selects a (MQTT 5 section 4.7.1.2)
		}
		tl, tok := t.next()
		if pok != tok {
			return false
		}
		if !pok {
			return true
		}
		if pl != "+" && pl != tl {
			return false
		}
	}
}

// Covers tells whether f selects every topic that g can select. It is exact but
// for a g that can select nothing (a prefix such as "$x", which does not spell
// out its first level): then it may be false.
func (f Filter) Covers(g Filter) bool {
	if f.skipsReserved() && reservedLevel(g.namedFirst()) {
		return false
	}
	switch {
	case f.Kind == FilterPrefix && g.Kind == FilterPrefix:
		return strings.HasPrefix(g.Pattern, f.Pattern)
	case f.Kind == FilterPrefix:
		return prefixCovers(f.Pattern, g.Pattern)
	case g.Kind == FilterPrefix:
		return coversPrefix(f.Pattern, g.Pattern)
	}
	return levelsCover(f.Pattern, g.Pattern)
}

// Overlaps tells whether some topic is selected by both f and g. It is exact.
func (f Filter) Overlaps(g Filter) bool {
	if f.skipsReserved() && reservedLevel(g.namedFirst()) || g.skipsReserved() && reservedLevel(f.namedFirst()) {
		return false
	}
	if f.selectsNothing() || g.selectsNothing() {
		return false
	}
	switch {
	case f.Kind == FilterPrefix && g.Kind == FilterPrefix:
		return strings.HasPrefix(g.Pattern, f.Pattern) || strings.HasPrefix(f.Pattern, g.Pattern)
	case f.Kind == FilterPrefix:
		return levelsOverlapPrefix(g.Pattern, f.Pattern)
	case g.Kind == FilterPrefix:
		return levelsOverlapPrefix(f.Pattern, g.Pattern)
	}
	return levelsOverlap(f.Pattern, g.Pattern)
}

// skipsReserved: f never selects a reserved topic, whatever else it selects.
func (f Filter) skipsReserved() bool {
	if f.Kind == FilterPrefix {
		return !namesFirst(f.Pattern)
	}
	return leadingWildcard(f.Pattern)
}

// namedFirst is the first level of all topics that f selects, "" if it leaves
// that open.
func (f Filter) namedFirst() string {
	if f.skipsReserved() {
		return ""
	}
	return firstLevel(f.Pattern)
}

func (f Filter) selectsNothing() bool {
	return f.Kind == FilterPrefix && !namesFirst(f.Pattern) && strings.HasPrefix(f.Pattern, "$")
}

func namesFirst(prefix string) bool { return strings.IndexByte(prefix, '/') >= 0 }

func leadingWildcard(p string) bool { return p != "" && (p[0] == '+' || p[0] == '#') }

// oneOrMore writes the two patterns whose "#" cannot stand for no level at all,
// because that would be the empty topic, as what they are.
func oneOrMore(p string) string {
	switch p {
	case "#":
		return "+/#"
	case "/#":
		return "/+/#"
	}
	return p
}

func levelsCover(f, g string) bool {
	fs, gs := levels{rest: f}, levels{rest: oneOrMore(g)}
	for {
		fl, fok := fs.next()
		if fok && fl == "#" {
			return true
		}
		gl, gok := gs.next()
		if fok != gok {
			return false
		}
		if !fok {
			return true
		}
		if gl == "#" || fl != "+" && fl != gl { // a literal f never equals g's "+"
			return false
		}
	}
}

// coversPrefix: the level pattern f selects everything that begins with prefix.
// Its last level is open: only "+/#" or "#" take all of its continuations.
func coversPrefix(f, prefix string) bool {
	fs, ps := levels{rest: f}, levels{rest: prefix}
	for {
		fl, fok := fs.next()
		pl, _ := ps.next()
		switch {
		case !fok:
			return false
		case fl == "#":
			return true
		case ps.done:
			return fl == "+" && fs.rest == "#" && !fs.done
		case fl != "+" && fl != pl:
			return false
		}
	}
}

// prefixCovers: everything the level pattern g selects begins with prefix.
func prefixCovers(prefix, g string) bool {
	if prefix == "" {
		return true
	}
	ps, gs := levels{rest: prefix}, levels{rest: oneOrMore(g)}
	for {
		pl, _ := ps.next()
		gl, gok := gs.next()
		switch {
		case !gok || gl == "#": // "#" may stand for no level at all, then the "/" before it is missing
			return false
		case ps.done && gl == "+":
			return pl == ""
		case ps.done:
			return strings.HasPrefix(gl, pl)
		case gl != pl:
			return false
		}
	}
}

func levelsOverlap(f, g string) bool {
	fs, gs := levels{rest: oneOrMore(f)}, levels{rest: oneOrMore(g)}
	for {
		fl, fok := fs.next()
		gl, gok := gs.next()
		if fok && fl == "#" || gok && gl == "#" {
			return true
		}
		if fok != gok {
			return false
		}
		if !fok {
			return true
		}
		if fl != "+" && gl != "+" && fl != gl {
			return false
		}
	}
}

func levelsOverlapPrefix(f, prefix string) bool {
	fs, ps := levels{rest: f}, levels{rest: prefix}
	for {
		fl, fok := fs.next()
		pl, _ := ps.next()
		switch {
		case !fok:
			return false
		case fl == "#":
			return true
		case ps.done:
			return fl == "+" || strings.HasPrefix(fl, pl)
		case fl != "+" && fl != pl:
			return false
		}
	}
}

// levels walks over the levels of a topic or pattern without allocating.
type levels struct {
	rest string
	done bool // the last level has been returned
}

func (l *levels) next() (string, bool) {
	if l.done {
		return "", false
	}
	i := strings.IndexByte(l.rest, '/')
	if i < 0 {
		l.done = true
		return l.rest, true
	}
	level := l.rest[:i]
	l.rest = l.rest[i+1:]
	return level, true
}
