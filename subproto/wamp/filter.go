package wamp

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"

	"parley/msg"
)

// matchFilter is a value of SUBSCRIBE.Options.match of our own: the topic is an
// MQTT filter. A session may hold such filters from another protocol, and not
// all of them can be said as exact, prefix or wildcard.
const matchFilter = "_parley_filter"

// filterOf reads what a SUBSCRIBE names.
func filterOf(uri, match, group string) (msg.Filter, error) {
	var f msg.Filter
	var err error
	if match == matchFilter {
		f, err = msg.ParseFilter(uri)
	} else {
		f, err = msg.FilterOfURI(uri, match)
	}
	if err != nil || group == "" {
		return f, err
	}
	if f.Group != "" && f.Group != group {
		return msg.Filter{}, fmt.Errorf("%w: two groups", msg.ErrFilterInvalid)
	}
	f.Group = group
	return f, f.Validate()
}

// termsOf is the inverse: how a client would name f in a SUBSCRIBE, but for its
// group.
func termsOf(f msg.Filter) (uri, match string) {
	switch f.Kind {
	case msg.FilterPrefix:
		return uriOfPattern(f.Pattern, true), "prefix"
	case msg.FilterWildcard:
		return uriOfPattern(f.Pattern, false), "wildcard"
	}
	if strings.ContainsAny(f.Pattern, "+#") {
		return f.Pattern, matchFilter
	}
	return msg.URI(f.Pattern), "exact"
}

// uriOfPattern escapes a pattern level by level. "+" becomes an empty component;
// in a prefix, which has no wildcards, the last level may be empty as it is.
func uriOfPattern(pattern string, prefix bool) string {
	levels := strings.Split(pattern, "/")
	for i, l := range levels {
		switch {
		case l == "+" && !prefix:
			levels[i] = ""
		case l != "" || !prefix || i < len(levels)-1:
			levels[i] = msg.URI(l)
		}
	}
	return strings.Join(levels, ".")
}

// isPattern tells whether events of f name their topic.
func isPattern(f msg.Filter) bool {
	return f.Kind != msg.FilterLevels || strings.ContainsAny(f.Pattern, "+#")
}

// subscriptionID names a filter: the same number for all sessions of the broker,
// as ids of the router scope should be, without a table of them. Two filters of
// one session that come out equal (about one in 2^53) get neighbouring numbers.
func (h *handler) subscriptionID(f msg.Filter) uint64 {
	text := append([]byte{byte(f.Kind)}, f.Pattern...)
	if f.Group != "" {
		text = append(append(text, 0), f.Group...) // 0 is in no pattern
	}
	sum := sha256.Sum256(text)
	id := binary.BigEndian.Uint64(sum[:]) & (maxID - 1)
	for id == 0 || h.subs[id] != nil && h.subs[id].filter != f {
		id = (id + 1) & (maxID - 1)
	}
	return id
}
