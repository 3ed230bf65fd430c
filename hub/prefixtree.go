package hub

import "strings"

// prefixNode is a radix tree of prefix patterns: at most two nodes per pattern,
// whatever their length. The root has an empty label.
type prefixNode struct {
	label    string // never empty but for the root
	children map[byte]*prefixNode
	b        bucket
}

// bucket finds or makes the bucket of a pattern.
func (n *prefixNode) bucket(pattern string) *bucket {
	for pattern != "" {
		if n.children == nil {
			n.children = map[byte]*prefixNode{}
		}
		c := n.children[pattern[0]]
		if c == nil {
			c = &prefixNode{label: strings.Clone(pattern)}
			n.children[pattern[0]] = c
			return &c.b
		}
		same := common(c.label, pattern)
		if same < len(c.label) { // split: c moves below a new node
			up := &prefixNode{label: c.label[:same], children: map[byte]*prefixNode{c.label[same]: c}}
			c.label = c.label[same:]
			n.children[pattern[0]] = up
			c = up
		}
		n, pattern = c, pattern[same:]
	}
	return &n.b
}

func common(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}

// prune drops what is empty along a pattern's path, and reports whether n is.
func (n *prefixNode) prune(pattern string) bool {
	if pattern != "" {
		if c := n.children[pattern[0]]; c != nil && strings.HasPrefix(pattern, c.label) && c.prune(pattern[len(c.label):]) {
			delete(n.children, pattern[0])
		}
	}
	return len(n.children) == 0 && len(n.b.regs) == 0
}

// match appends the registrations of all patterns that begin topic. Whether a
// short prefix reaches a reserved first level is msg.Filter's rule.
func (n *prefixNode) match(topic string, into []*registration) []*registration {
	rest := topic
	for {
		if len(n.b.regs) > 0 && n.b.regs[0].filter.Matches(topic) {
			into = append(into, n.b.regs...)
		}
		if rest == "" {
			return into
		}
		c := n.children[rest[0]]
		if c == nil || !strings.HasPrefix(rest, c.label) {
			return into
		}
		n, rest = c, rest[len(c.label):]
	}
}
