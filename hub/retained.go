package hub

import (
	"encoding/binary"
	"strings"

	"parley/msg"
)

// retained maps topics to the offset of their retained value, as a tree of
// levels so that a wildcard filter finds its topics without looking at all of
// them. The zero value is empty. Guarded by namespace.mu.
type retained struct {
	root  retainedNode
	count int
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
		n = path[i]
	}
	return true
}

// find lists the values whose topics f matches, in no order.
func (r *retained) find(f msg.Filter) []retainedTopic {
	var found []retainedTopic
	add := func(topic string, n *retainedNode) {
		if n.offset != 0 && f.Matches(topic) {
			found = append(found, retainedTopic{topic, n.offset})
		}
	}
	levels := strings.Split(f.Pattern, "/")
	if f.Kind == msg.FilterPrefix {
		r.root.prefix("", levels, add)
	} else {
		r.root.levels("", levels, add)
	}
	return found
}

func join(parent, level string, root bool) string {
	if root {
		return level
	}
	return parent + "/" + level
}

func (n *retainedNode) levels(path string, rest []string, add func(string, *retainedNode)) {
	n.walk(path, rest, true, add)
}

// walk follows a filter's levels; a "#" takes the node itself and all below.
func (n *retainedNode) walk(path string, rest []string, root bool, add func(string, *retainedNode)) {
	switch {
	case len(rest) == 0:
		add(path, n)
	case rest[0] == "#":
		n.all(path, root, add)
	case rest[0] == "+":
		for level, c := range n.children {
			c.walk(join(path, level, root), rest[1:], false, add)
		}
	default:
		if c := n.children[rest[0]]; c != nil {
			c.walk(join(path, rest[0], root), rest[1:], false, add)
		}
	}
}

// prefix follows whole levels and then takes the children that begin with the
// last one.
func (n *retainedNode) prefix(path string, rest []string, add func(string, *retainedNode)) {
	root := true
	for len(rest) > 1 {
		c := n.children[rest[0]]
		if c == nil {
			return
		}
		path, n, rest, root = join(path, rest[0], root), c, rest[1:], false
	}
	for level, c := range n.children {
		if strings.HasPrefix(level, rest[0]) {
			c.all(join(path, level, root), false, add)
		}
	}
}

func (n *retainedNode) all(path string, root bool, add func(string, *retainedNode)) {
	if !root {
		add(path, n)
	}
	for level, c := range n.children {
		c.all(join(path, level, root), false, add)
	}
}

const retainedPrefix = "r/"

func retainedKey(topic string) string { return retainedPrefix + topic }

func encodeOffset(o msg.Offset) []byte { return binary.BigEndian.AppendUint64(nil, uint64(o)) }
