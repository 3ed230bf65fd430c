package hub

import (
	"strings"
	"sync"
	"sync/atomic"

	"parley/msg"
)

// index finds the registrations whose filters match a topic: exact topics by
// hash, level filters by a tree of levels, prefixes by a radix tree. Cost of
// match is independent of the number of filters that do not match (but for the
// branches that share the topic's levels).
type index struct {
	mu       sync.Mutex
	version  uint64        // changes with every add and remove
	handled  atomic.Uint64 // last stored message that was given to the shard's sessions
	exact    map[string]*bucket
	root     levelNode
	prefixes prefixNode
}

// bucket is the registrations of one pattern.
type bucket struct{ regs []*registration }

type levelNode struct {
	children map[string]*levelNode // "+" is a child of that name
	here     bucket                // filter ends here
	below    bucket                // filter ends with "#" below here
}

func (b *bucket) add(r *registration) {
	r.pos = len(b.regs)
	b.regs = append(b.regs, r)
}

func (b *bucket) remove(r *registration) {
	last := b.regs[len(b.regs)-1]
	b.regs[r.pos] = last
	last.pos = r.pos
	b.regs[len(b.regs)-1] = nil
	b.regs = b.regs[:len(b.regs)-1]
	r.pos = notIndexed
}

// notIndexed is the position of a registration that no bucket holds.
const notIndexed = -1

func hasWildcard(pattern string) bool { return strings.ContainsAny(pattern, "+#") }

func (x *index) add(r *registration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.version++
	f := r.filter
	switch {
	case f.Kind == msg.FilterPrefix:
		x.prefixes.bucket(f.Pattern).add(r)
	case !hasWildcard(f.Pattern):
		if x.exact == nil {
			x.exact = map[string]*bucket{}
		}
		if x.exact[f.Pattern] == nil {
			x.exact[f.Pattern] = &bucket{}
		}
		x.exact[f.Pattern].add(r)
	default:
		x.treeBucket(f.Pattern).add(r)
	}
}

// treeBucket finds or makes the bucket of a pattern with wildcards.
func (x *index) treeBucket(pattern string) *bucket {
	n := &x.root
	for level := range strings.SplitSeq(pattern, "/") {
		if level == "#" {
			return &n.below
		}
		c := n.children[level]
		if c == nil {
			c = &levelNode{}
			if n.children == nil {
				n.children = map[string]*levelNode{}
			}
			n.children[level] = c
		}
		n = c
	}
	return &n.here
}

// remove takes out a registration, if it is there.
func (x *index) remove(r *registration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if r.pos == notIndexed {
		return
	}
	x.version++
	f := r.filter
	switch {
	case f.Kind == msg.FilterPrefix:
		x.prefixes.bucket(f.Pattern).remove(r)
		x.prefixes.prune(f.Pattern)
	case !hasWildcard(f.Pattern):
		b := x.exact[f.Pattern]
		if b.remove(r); len(b.regs) == 0 {
			delete(x.exact, f.Pattern)
		}
	default:
		x.treeBucket(f.Pattern).remove(r)
		x.root.prune(strings.Split(f.Pattern, "/"))
	}
}

// prune drops the empty nodes along a path and reports whether n is empty.
func (n *levelNode) prune(path []string) bool {
	if len(path) > 0 && path[0] != "#" {
		if c := n.children[path[0]]; c != nil && c.prune(path[1:]) {
			delete(n.children, path[0])
		}
	}
	return len(n.children) == 0 && len(n.here.regs) == 0 && len(n.below.regs) == 0
}

// match appends the registrations for topic to into. x.mu is held.
func (x *index) match(topic string, into []*registration) []*registration {
	if b := x.exact[topic]; b != nil {
		into = append(into, b.regs...)
	}
	into = x.prefixes.match(topic, into)
	if len(x.root.children) > 0 || len(x.root.below.regs) > 0 {
		into = x.root.match(topic, true, reservedLevel(topic), into)
	}
	return into
}

// match walks the levels of topic that are left. reserved: the topic's first
// level is not reached by leading wildcards ([MQTT-4.7.2-1]).
func (n *levelNode) match(rest string, first, reserved bool, into []*registration) []*registration {
	if !first || !reserved {
		into = append(into, n.below.regs...)
	}
	level, more, isMore := strings.Cut(rest, "/")
	if c := n.children[level]; c != nil {
		into = c.step(more, isMore, into)
	}
	if !first || !reserved {
		if c := n.children["+"]; c != nil {
			into = c.step(more, isMore, into)
		}
	}
	return into
}

func (n *levelNode) step(rest string, isMore bool, into []*registration) []*registration {
	if isMore {
		return n.match(rest, false, false, into)
	}
	into = append(into, n.here.regs...)
	return append(into, n.below.regs...) // a/# matches a
}

// reservedLevel tells whether leading wildcards do not reach the topic.
func reservedLevel(topic string) bool {
	first, _, _ := strings.Cut(topic, "/")
	return strings.HasPrefix(first, "$") || first == "wamp" || first == "parley"
}
