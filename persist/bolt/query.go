package bolt

import (
	"strings"

	"parley/msg"
)

// query is the filters of one Read or MayHold with what makes asking cheap.
type query struct {
	filters []msg.Filter
	probes  []bloomProbe
	topics  map[string]bool // answers so far
}

// rememberTopics bounds query.topics.
const rememberTopics = 4096

// bloomProbe is what must be in a block's Bloom filter if the filter matches
// something in the block: one of the hashes that are not zero; none: unknown.
type bloomProbe struct{ whole, beginning uint64 }

// newQuery returns nil if everything matches.
func newQuery(filters []msg.Filter) *query {
	if len(filters) == 0 {
		return nil
	}
	q := &query{filters: filters, topics: map[string]bool{}, probes: make([]bloomProbe, len(filters))}
	for i := range filters {
		q.probes[i] = probeOf(filters[i])
	}
	return q
}

func probeOf(f msg.Filter) bloomProbe {
	if f.Kind == msg.FilterPrefix {
		// Whatever begins with a/b, begins with the level a.
		levels := strings.Count(f.Pattern, "/")
		if levels == 0 {
			return bloomProbe{}
		}
		return bloomProbe{beginning: hashBeginning(firstLevels(f.Pattern, min(levels, hashedLevels)))}
	}
	var literal, rest string
	levels := 0
	for {
		level, _, more := strings.Cut(f.Pattern[offsetOf(f.Pattern, levels):], "/")
		if level == "+" || level == "#" {
			at := offsetOf(f.Pattern, levels)
			literal, rest = f.Pattern[:max(0, at-1)], f.Pattern[at:]
			break
		}
		levels++
		if !more {
			return bloomProbe{whole: hashWhole(f.Pattern)}
		}
	}
	if levels == 0 {
		return bloomProbe{}
	}
	p := bloomProbe{beginning: hashBeginning(firstLevels(literal, min(levels, hashedLevels)))}
	if rest == "#" { // a/# matches a
		p.whole = hashWhole(literal)
	}
	return p
}

// offsetOf is where in s its level number n begins.
func offsetOf(s string, n int) int {
	at := 0
	for range n {
		at += strings.IndexByte(s[at:], '/') + 1
	}
	return at
}

// matches tells whether a filter selects the topic.
func (q *query) matches(topic []byte) bool {
	m, ok := q.topics[string(topic)]
	if ok {
		return m
	}
	t := string(topic)
	for i := range q.filters {
		if q.filters[i].Matches(t) {
			m = true
			break
		}
	}
	if len(q.topics) >= rememberTopics {
		clear(q.topics)
	}
	q.topics[t] = m
	return m
}

// mayHold is false only if no message of the block matches.
func (q *query) mayHold(b *indexed) (bool, error) {
	switch b.kind {
	case kindBloom:
		if n := len(b.topics); n == 0 || n&(n-1) != 0 {
			return false, errIndex
		}
		return q.inBloom(b.topics), nil
	case kindList:
		d := numbers{rest: b.topics}
		for len(d.rest) > 0 {
			n := d.next()
			if d.bad || n > uint64(len(d.rest)) {
				return false, errIndex
			}
			if q.matches(d.rest[:n]) {
				return true, nil
			}
			d.rest = d.rest[n:]
		}
		return false, nil
	}
	return false, errIndex
}

// inBloom is false only if no filter matches something that was entered.
func (q *query) inBloom(bits []byte) bool {
	for _, p := range q.probes {
		if p.whole == 0 && p.beginning == 0 ||
			p.whole != 0 && inBloom(bits, p.whole) ||
			p.beginning != 0 && inBloom(bits, p.beginning) {
			return true
		}
	}
	return false
}

// mayHoldOpen is mayHold for a block that is still filled.
func (q *query) mayHoldOpen(b *block) bool {
	if b.bloom != nil {
		return q.inBloom(b.bloom.bits[:])
	}
	for t := range b.topics {
		if q.matches([]byte(t)) {
			return true
		}
	}
	return false
}
