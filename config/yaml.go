package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// readYAML sets the keys that a file holds.
func (l *loader) readYAML(name string, data []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return // empty, or comments only
	}
	if err != nil {
		place, what := yamlError(name, data, err)
		l.add(place, "", what)
		return
	}
	var second yaml.Node
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		l.add(fmt.Sprintf("%s:%d", name, max(second.Line, 1)), "", "a second document; give one configuration in a file")
	}
	w := walker{loader: l, name: name, seen: map[string]int{}}
	w.mapping(doc.Content[0], "")
}

// yamlError takes the line out of the parser's message ("yaml: line 3: …").
func yamlError(name string, data []byte, err error) (place, what string) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var line int
	if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
		_, text, _ = strings.Cut(text, ": ")
	} else {
		line = 1 + bytes.Count(data[:unplaced(data, text)], []byte("\n"))
	}
	return fmt.Sprintf("%s:%d", name, line), "not YAML: " + text
}

// unplaced finds where the mistake is that the parser names no line for: a byte that
// is not UTF-8, an alias without anchor, or something in the first line.
func unplaced(data []byte, text string) int {
	var anchor string
	if n, _ := fmt.Sscanf(text, "unknown anchor '%s", &anchor); n == 1 {
		return max(0, bytes.Index(data, []byte("*"+strings.TrimSuffix(anchor, "'"))))
	}
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return 0
}

type walker struct {
	*loader
	name string
	seen map[string]int // path -> line
}

func (w *walker) place(n *yaml.Node) string { return fmt.Sprintf("%s:%d", w.name, n.Line) }

// mapping sets what stands below prefix ("" or "gateway.limits.").
func (w *walker) mapping(n *yaml.Node, prefix string) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // a section with all of its keys commented out
	}
	if n.Kind != yaml.MappingNode {
		w.add(w.place(n), strings.TrimSuffix(prefix, "."), notAllowed(show(n), "a mapping of keys"))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		w.entry(n.Content[i], n.Content[i+1], prefix)
	}
}

func (w *walker) entry(k, v *yaml.Node, prefix string) {
	if k.Kind != yaml.ScalarNode {
		w.add(w.place(k), strings.TrimSuffix(prefix, "."), notAllowed(show(k)+" as a key", "a word"))
		return
	}
	path := prefix + k.Value
	if line, twice := w.seen[path]; twice {
		w.add(w.place(k), path, fmt.Sprintf("is already there in line %d; remove one", line))
		return
	}
	w.seen[path] = k.Line
	if known := w.find(path); known != nil {
		w.set(known, v, w.place(k), w.place)
		return
	}
	if slices.ContainsFunc(w.keys, func(k key) bool { return strings.HasPrefix(k.path, path+".") }) {
		w.mapping(v, path+".")
		return
	}
	w.add(w.place(k), path, "unknown key; "+w.suggest(path, prefix))
}

// suggest names the nearest key or section, or lists what stands at this level.
func (w *walker) suggest(path, prefix string) string {
	candidates := w.paths()
	var level []string
	for _, p := range w.paths() {
		rest, here := strings.CutPrefix(p, prefix)
		if !here {
			continue
		}
		name, _, deeper := strings.Cut(rest, ".")
		if !slices.Contains(level, name) {
			level = append(level, name)
		}
		if s := prefix + name; deeper && !slices.Contains(candidates, s) {
			candidates = append(candidates, s)
		}
	}
	if best := nearest(path, candidates); best != "" {
		return "did you mean " + best + "?"
	}
	return "known here are " + strings.Join(level, ", ")
}
