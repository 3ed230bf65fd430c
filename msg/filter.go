package msg

// FilterKind says how a Filter's pattern selects topics.
type FilterKind uint8

const (
	// FilterLevels is an MQTT topic filter: "+" matches one level, a last "#"
	// any number of levels including none. Without wildcards it is one topic.
	FilterLevels FilterKind = iota
	// FilterPrefix matches topics that begin with the pattern, character by
	// character (WAMP prefix matching: a/b matches a/bc and a/b/c).
	FilterPrefix
	// FilterWildcard is a WAMP wildcard pattern, written with "+" for its empty
	// components. It matches like FilterLevels and is only another identity.
	FilterWildcard
)

// Filter selects topics. Filters are comparable: two are the same subscription
// of one session if they are equal.
type Filter struct {
	Kind    FilterKind
	Pattern string // canonical: levels joined by "/"
	Group   string // shared group's name; "" = not shared
}
