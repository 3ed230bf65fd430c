package config

import (
	"fmt"
	"strings"
)

// Doc describes one key, for the reference and for help texts.
type Doc struct {
	Path, Type, Default, Rule, Text, Example string
	Env                                      string
	Flag                                     string // without dashes; "" = --set only
}

// Keys lists every key, in the order of the example.
func Keys() []Doc {
	keys := table(&Config{})
	docs := make([]Doc, len(keys))
	for i, k := range keys {
		docs[i] = Doc{
			Path: k.path, Type: k.val.kind(), Default: k.fallback, Rule: k.val.rule(),
			Text: strings.ReplaceAll(k.doc, "\n", " "), Example: k.example, Env: k.env(), Flag: k.flag,
		}
	}
	return docs
}

// Texts returns the effective value of every key, as one would write it.
func (l *Loaded) Texts() map[string]string {
	m := map[string]string{}
	for _, k := range table(l.Config) {
		m[k.path] = k.val.text()
	}
	if l.Gateway.DefaultProtocol == "" {
		m["gateway.default_protocol"] = "none"
	}
	return m
}

// Example returns a commented file with every key: those whose default is worth
// showing with it, the others commented out (# without a space) with an example.
func Example() string {
	var b strings.Builder
	b.WriteString("# Configuration of parley. Every key may be left out; what is written here live\n" +
		"# is the default. broker check explains what is in effect.\n#\n" +
		"# Every key is also an environment variable, PARLEY_ and the path in capitals:\n" +
		"# gateway.limits.connections is PARLEY_GATEWAY_LIMITS_CONNECTIONS. Flags win over\n" +
		"# the environment, the environment over this file.\n")
	var open []string // sections that were begun
	for _, k := range table(&Config{}) {
		words := strings.Split(k.path, ".")
		parents, name := words[:len(words)-1], words[len(words)-1]
		open = openSections(&b, open, parents)
		indent := strings.Repeat("  ", len(parents))
		if len(parents) == 0 {
			b.WriteByte('\n')
		}
		for line := range strings.SplitSeq(k.doc, "\n") {
			fmt.Fprintf(&b, "%s# %s\n", indent, line)
		}
		if k.example != "" {
			fmt.Fprintf(&b, "%s#%s: %s\n", indent, name, k.example)
		} else {
			fmt.Fprintf(&b, "%s%s: %s\n", indent, name, k.fallback)
		}
	}
	return b.String()
}

// openSections writes the headings that parents needs beyond those already open.
func openSections(b *strings.Builder, open, parents []string) []string {
	same := 0
	for same < len(open) && same < len(parents) && open[same] == parents[same] {
		same++
	}
	for depth := same; depth < len(parents); depth++ {
		indent := strings.Repeat("  ", depth)
		if depth == 0 {
			b.WriteByte('\n')
			for _, s := range sections() {
				if s.name == parents[0] {
					fmt.Fprintf(b, "# %s\n", s.doc)
				}
			}
		}
		fmt.Fprintf(b, "%s%s:\n", indent, parents[depth])
	}
	return parents
}
