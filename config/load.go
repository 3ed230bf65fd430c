package config

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Sources is where the values come from, in rising precedence.
type Sources struct {
	File  string            // path of the YAML file; "" = PARLEY_CONFIG of Env, else none
	Env   []string          // NAME=value, as os.Environ returns
	Flags map[string]string // path of a key -> value as given
}

// Loaded is a checked configuration and where its values came from.
type Loaded struct {
	*Config
	File     string            // the file read; "" = none
	Origins  map[string]string // path of a key -> "default", "parley.yaml:3", "PARLEY_LISTEN", "--listen"
	Warnings []string          // what is legal but probably not meant
}

// maxFile bounds the file; a configuration of this size is a mistake.
const maxFile = 4 << 20

// Load reads, merges and checks. The error is Problems, or one of reading the
// file. It does not open anything but the file.
func Load(s Sources) (*Loaded, error) {
	l := &loader{out: &Loaded{Config: &Config{}, Origins: map[string]string{}}}
	l.keys = table(l.out.Config)
	l.defaults()
	env := environment(s.Env)
	if l.out.File = s.File; l.out.File == "" {
		l.out.File = env[envConfig]
	}
	if l.out.File != "" {
		if err := l.readFile(l.out.File); err != nil {
			return nil, err
		}
	}
	l.readEnv(env)
	l.readFlags(s.Flags)
	if len(l.problems) == 0 {
		l.settle()
	}
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	return l.out, nil
}

type loader struct {
	out      *Loaded
	keys     []key
	problems Problems
}

func (l *loader) add(place, path, what string) {
	l.problems = append(l.problems, Problem{place, path, what})
}

func (l *loader) find(path string) *key {
	i := slices.IndexFunc(l.keys, func(k key) bool { return k.path == path })
	if i < 0 {
		return nil
	}
	return &l.keys[i]
}

func (l *loader) paths() []string {
	out := make([]string, len(l.keys))
	for i := range l.keys {
		out[i] = l.keys[i].path
	}
	return out
}

func (l *loader) defaults() {
	for i := range l.keys {
		l.setText(&l.keys[i], "default", l.keys[i].fallback)
	}
}

// setText sets a key from what an environment variable or a flag holds.
func (l *loader) setText(k *key, origin, text string) {
	node, err := textNode(k.val, text)
	if err != nil {
		l.add(origin, k.path, notAllowed(fmt.Sprintf("%.60q", text), k.val.rule()))
		return
	}
	l.set(k, node, origin, func(*yaml.Node) string { return origin })
}

// textNode makes a node of text. Only what cannot be written as one word is
// read as YAML, so that nothing needs quotes in the environment.
func textNode(v value, text string) (*yaml.Node, error) {
	_, isScalar := v.(*scalar)
	structured := strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{") || strings.Contains(text, "\n")
	if isScalar && text == `""` {
		text = ""
	}
	if isScalar || !structured {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}, nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	return doc.Content[0], nil
}

func (l *loader) set(k *key, n *yaml.Node, origin string, place func(*yaml.Node) string) {
	ok := true
	k.val.set(n, func(n *yaml.Node, sub, what string) {
		ok = false
		l.add(place(n), k.path+sub, what)
	})
	if ok {
		l.out.Origins[k.path] = origin
	}
}

func (l *loader) readFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if len(data) > maxFile {
		return fmt.Errorf("read configuration: %s: larger than %s", name, shortSize(maxFile))
	}
	l.readYAML(name, data)
	return nil
}

const envConfig = envPrefix + "CONFIG"

// clientEnv are variables of the commands pub, sub, call and health.
func clientEnv() []string {
	return []string{envConfig, "PARLEY_URL", "PARLEY_PROTOCOL", "PARLEY_USER", "PARLEY_PASSWORD", "PARLEY_TOKEN", "PARLEY_REALM"}
}

// environment picks the variables that are the broker's.
func environment(env []string) map[string]string {
	m := map[string]string{}
	for _, e := range env {
		if name, text, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, envPrefix) {
			m[name] = text
		}
	}
	return m
}

func (l *loader) readEnv(env map[string]string) {
	names := clientEnv()
	for i := range l.keys {
		k := &l.keys[i]
		names = append(names, k.env())
		if text, ok := env[k.env()]; ok {
			l.setText(k, k.env(), text)
		}
	}
	// Not an error: orchestrators invent variables after the names of services.
	for name := range env {
		if !slices.Contains(names, name) {
			hint := ""
			if near := nearest(name, names); near != "" {
				hint = "; did you mean " + near + "?"
			}
			l.out.Warnings = append(l.out.Warnings, "environment variable "+name+" is no key and was ignored"+hint)
		}
	}
	slices.Sort(l.out.Warnings)
}

func (l *loader) readFlags(flags map[string]string) {
	paths := make([]string, 0, len(flags))
	for path := range flags {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		k := l.find(path)
		if k == nil {
			l.add("--set", path, "unknown key; "+didYouMean(path, l.paths()))
			continue
		}
		origin := "--set " + path
		if k.flag != "" {
			origin = "--" + k.flag
		}
		l.setText(k, origin, flags[path])
	}
}
