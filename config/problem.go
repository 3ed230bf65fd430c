package config

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Place string // "parley.yaml:12", "PARLEY_LISTEN", "--listen"; "" = the configuration as a whole
	Path  string // the key's path; "" = none
	What  string // what is wrong, and the rule
}

func (p Problem) String() string {
	s := p.What
	if p.Path != "" {
		s = p.Path + ": " + s
	}
	if p.Place != "" {
		s = p.Place + ": " + s
	}
	return s
}

// Problems is the error of Load: everything that is wrong, one per line, in the
// order of the file.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// reporter takes what a value finds wrong: the node where it is, the path below
// the key ("" or like "[2].filter"), and the words.
type reporter func(n *yaml.Node, sub, what string)

// notAllowed is the form of all messages about a bad value: what was found, and
// what is wanted instead.
func notAllowed(found, rule string) string {
	return fmt.Sprintf("%s is not allowed; give %s", found, rule)
}

// show names the content of a node in a message.
func show(n *yaml.Node) string {
	switch n.Kind {
	case yaml.ScalarNode:
		switch {
		case n.Tag == "!!null":
			return "an empty value"
		case n.Value == "":
			return `""`
		case len(n.Value) > 60:
			return fmt.Sprintf("%.60q…", n.Value)
		case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 || strings.ContainsAny(n.Value, " \t\n\"") || !printable(n.Value):
			return fmt.Sprintf("%q", n.Value)
		}
		return n.Value
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias (*" + n.Value + ")"
	}
	return "nothing"
}

func printable(s string) bool {
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r == '\uFFFD' {
			return false
		}
	}
	return true
}
