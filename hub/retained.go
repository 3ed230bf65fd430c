package hub

import (
	"encoding/binary"
	"slices"
	"strings"

	"parley/msg"
)

// retained maps topics to the offset of their retained value, as a tree of
// levels so that a wildcard filter finds its topics without looking at all of
// them. The zero value is empty. Guarded by namespace.mu.
type retained struct {
	root  retainedNode
	count int
	nodes int // levels in the tree: what one filter looks at at most
}

type retainedNode struct {
	children map[string]*retainedNode
	offset   msg.Offset // 0 = no value at this topic
}

// retainedTopic is one value that a filter found.
type retainedTopic struct {
	topic  string
	offset msg.Offset
}

// set reports whether the topic is new.
func (r *retained) set(topic string, at msg.Offset) bool {
	n := &r.root
	for level := range strings.SplitSeq(topic, "/") {
		c := n.children[level]
		if c == nil {
			c = &retainedNode{}
			if n.children == nil {
				n.children = map[string]*retainedNode{}
			}
			n.children[strings.Clone(level)] = c
			r.nodes++
		}
		n = c
	}
	isNew := n.offset == 0
	n.offset = at
	if isNew {
		r.count++
	}
	return isNew
}

func (r *retained) get(topic string) msg.Offset {
	n := &r.root
	for level := range strings.SplitSeq(topic, "/") {
		if n = n.children[level]; n == nil {
			return 0
		}
	}
	return n.offset
}

// remove reports whether there was a value; empty branches go with it.
func (r *retained) remove(topic string) bool {
	levels := strings.Split(topic, "/")
	path := make([]*retainedNode, 0, len(levels)+1)
	n := &r.root
	for _, level := range levels {
		path = append(path, n)
		if n = n.children[level]; n == nil {
			return false
		}
	}
	if n.offset == 0 {
		return false
	}
	n.offset = 0
	r.count--
	for i := len(levels) - 1; i >= 0 && n.offset == 0 && len(n.children) == 0; i-- {
		delete(path[i].children, levels[i])
		r.nodes--
		n = path[i]
	}
	return true
}

// between lists the offsets of the values in [from, to], in order.
func (r *retained) between(from, to msg.Offset) (list []msg.Offset) {
	var walk func(n *retainedNode)
	walk = func(n *retainedNode) {
		if n.offset >= from && n.offset <= to && n.offset != 0 {
			list = append(list, n.offset)
		}
		for _, c := range n.children {
			walk(c)
		}
	}
	walk(&r.root)
	slices.Sort(list)
	return list
}

// search is one filter's way through the tree. It ends early when it has used
// up its steps (levels looked at) or has found more than limit.
type search struct {
	filter msg.Filter
	steps  int
	limit  int
	found  []retainedTopic
}

// find lists the values whose topics s.filter matches, in no order; false if it
// ended early.
func (r *retained) find(s *search) bool {
	levels := strings.Split(s.filter.Pattern, "/")
	if s.filter.Kind == msg.FilterPrefix {
		return r.root.prefix("", levels, s)
	}
	return r.root.walk("", levels, true, s)
}

// add takes the value at n, if there is one that the filter matches.
func (s *search) add(topic string, n *retainedNode) bool {
	if n.offset != 0 && s.filter.Matches(topic) {
		s.found = append(s.found, retainedTopic{topic, n.offset})
	}
	return len(s.found) <= s.limit
}

// step counts one level looked at.
func (s *search) step() bool {
	s.steps--
	return s.steps >= 0
}

func join(parent, level string, root bool) string {
	if root {
		return level
	}
	return parent + "/" + level
}

// walk follows a filter's levels; a "#" takes the node itself and all below.
func (n *retainedNode) walk(path string, rest []string, root bool, s *search) bool {
	if !s.step() {
		return false
	}
	switch {
	case len(rest) == 0:
		return s.add(path, n)
	case rest[0] == "#":
		return n.all(path, root, s)
	case rest[0] == "+":
		for level, c := range n.children {
			if !c.walk(join(path, level, root), rest[1:], false, s) {
				return false
			}
		}
	default:
		if c := n.children[rest[0]]; c != nil {
			return c.walk(join(path, rest[0], root), rest[1:], false, s)
		}
	}
	return true
}

// prefix follows whole levels and then takes the children that begin with the
// last one.
func (n *retainedNode) prefix(path string, rest []string, s *search) bool {
	root := true
	for len(rest) > 1 {
		c := n.children[rest[0]]
		if c == nil {
			return true
		}
		path, n, rest, root = join(path, rest[0], root), c, rest[1:], false
	}
	for level, c := range n.children {
		if !s.step() || strings.HasPrefix(level, rest[0]) && !c.all(join(path, level, root), false, s) {
			return false
		}
	}
	return true
}

func (n *retainedNode) all(path string, root bool, s *search) bool {
	if !s.step() || !root && !s.add(path, n) {
		return false
	}
	for level, c := range n.children {
		if !c.all(join(path, level, root), false, s) {
			return false
		}
	}
	return true
}

const retainedPrefix = "r/"

func retainedKey(topic string) string { return retainedPrefix + topic }

func encodeOffset(o msg.Offset) []byte { return binary.BigEndian.AppendUint64(nil, uint64(o)) }
