package auth

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// File is the content of a file of users and tokens. It is immutable.
//
//	users:
//	  - name: alice
//	    password: $argon2id$v=19$m=19456,t=2,p=1$…   # broker passwd
//	    roles: [operator]       # may be missing
//	    namespace: default      # missing: any that is asked for
//	tokens:
//	  - name: sensor-7
//	    hash: sha256:…          # broker token create
//	    user: sensor-7          # missing: the token's name
//	    roles: [device]         # missing: those of the user of this name, if there is one
//	    namespace: default      # likewise
//	    expires: 2027-01-31     # missing: never; or 2027-01-31T12:00:00Z
type File struct {
	users  map[string]*user
	tokens map[string]*token
	// decoy is verified for unknown users, so that they cost what known ones do.
	decoy *passwordHash
}

type user struct {
	hash *passwordHash
	id   *Identity
}

type token struct {
	sum     [sha256.Size]byte
	expires time.Time // zero = never
	id      *Identity
}

// Users and Tokens are how many there are.
func (f *File) Users() int  { return len(f.users) }
func (f *File) Tokens() int { return len(f.tokens) }

// providerStatic is the Identity.Provider of users and tokens of a file.
const providerStatic = "static"

// maxUser is the longest user name in bytes.
const maxUser = 256

// LoadFile reads a file of users and tokens. The error lists everything that is
// wrong, a line each: file:line: key: rule.
func LoadFile(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	return ParseFile(path, data)
}

// ParseFile is LoadFile of data; name stands for the file in errors.
func ParseFile(name string, data []byte) (*File, error) {
	root, err := parseYAML(name, data)
	if err != nil {
		return nil, err
	}
	r := &fileReader{name: name, file: &File{users: map[string]*user{}, tokens: map[string]*token{}}}
	r.read(root)
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	return r.file, nil
}

// parseYAML returns the one document's root mapping, nil if it is empty.
func parseYAML(name string, data []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, yamlError(name, err)
	}
	if err := d.Decode(&second); err == nil {
		return nil, fmt.Errorf("%s:%d: only one document is allowed", name, second.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(name, err)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	return root, nil
}

// yamlError turns the library's "yaml: line 3: …" into file:3: …; it leaves the
// number out for the first line.
func yamlError(name string, err error) error {
	what := strings.TrimPrefix(err.Error(), "yaml: ")
	line := "1"
	if rest, ok := strings.CutPrefix(what, "line "); ok {
		line, what, _ = strings.Cut(rest, ": ")
	}
	return fmt.Errorf("%s:%s: %s", name, line, what)
}

// fileReader walks the document and collects what is wrong.
type fileReader struct {
	name string
	file *File
	errs []error
}

func (r *fileReader) fail(n *yaml.Node, key, rule string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s:%d: %s: %s", r.name, n.Line, key, fmt.Sprintf(rule, args...)))
}

func (r *fileReader) read(root *yaml.Node) {
	if root == nil {
		return
	}
	parts := r.mapping(root, "file", "users", "tokens")
	if parts == nil {
		return
	}
	for i, n := range r.list(parts["users"], "users") {
		r.readUser(n, fmt.Sprintf("users[%d]", i))
	}
	for i, n := range r.list(parts["tokens"], "tokens") {
		r.readToken(n, fmt.Sprintf("tokens[%d]", i))
	}
}

func (r *fileReader) readUser(n *yaml.Node, key string) {
	m := r.mapping(n, key, "name", "password", "roles", "namespace")
	if m == nil {
		return
	}
	name := r.text(n, m, key, "name", true)
	if m["name"] != nil && name != "" && !validUser(name) {
		r.fail(m["name"], key+".name", "must be 1 to %d bytes of UTF-8 without control characters", maxUser)
	}
	if name != "" && r.file.users[name] != nil {
		r.fail(m["name"], key+".name", "%q exists already", name)
	}
	u := &user{id: &Identity{User: name, Roles: r.roles(m["roles"], key+".roles"),
		Namespace: r.text(n, m, key, "namespace", false), Method: "password", Provider: providerStatic}}
	if s := r.text(n, m, key, "password", true); s != "" {
		var err error
		if u.hash, err = parseHash(s); err != nil {
			r.fail(m["password"], key+".password", "%v", err)
			return
		}
	}
	if r.file.decoy == nil {
		r.file.decoy = u.hash
	}
	r.file.users[name] = u
}

func (r *fileReader) readToken(n *yaml.Node, key string) {
	m := r.mapping(n, key, "name", "hash", "user", "roles", "namespace", "expires")
	if m == nil {
		return
	}
	name := r.text(n, m, key, "name", true)
	if m["name"] != nil && name != "" && !validName(name) {
		r.fail(m["name"], key+".name", "must be 1 to %d letters, digits, '-', '.' or '_'", maxName)
	}
	if name != "" && r.file.tokens[name] != nil {
		r.fail(m["name"], key+".name", "%q exists already", name)
	}
	id := &Identity{User: r.text(n, m, key, "user", false), Method: "token", Provider: providerStatic,
		Roles: r.roles(m["roles"], key+".roles"), Namespace: r.text(n, m, key, "namespace", false)}
	if id.User == "" {
		id.User = name
	} else if !validUser(id.User) {
		r.fail(m["user"], key+".user", "must be 1 to %d bytes of UTF-8 without control characters", maxUser)
	}
	if u := r.file.users[id.User]; u != nil {
		if m["roles"] == nil {
			id.Roles = u.id.Roles
		}
		if m["namespace"] == nil {
			id.Namespace = u.id.Namespace
		}
	}
	t := &token{id: id}
	var err error
	if s := r.text(n, m, key, "hash", true); s != "" {
		if t.sum, err = parseTokenHash(s); err != nil {
			r.fail(m["hash"], key+".hash", "%v", err)
		}
	}
	if s := r.text(n, m, key, "expires", false); s != "" {
		if t.expires, err = parseTime(s); err != nil {
			r.fail(m["expires"], key+".expires", "must be a date (2027-01-31) or a time (2027-01-31T12:00:00Z)")
		}
	}
	r.file.tokens[name] = t
}

// mapping checks n to be a mapping with known keys only, each once.
func (r *fileReader) mapping(n *yaml.Node, key string, known ...string) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		r.fail(n, key, "must be a mapping with the keys %s", strings.Join(known, ", "))
		return nil
	}
	m := make(map[string]*yaml.Node, len(known))
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case !slices.Contains(known, k.Value):
			r.fail(k, key, "unknown key %q; known are %s", k.Value, strings.Join(known, ", "))
		case m[k.Value] != nil:
			r.fail(k, key, "key %q occurs twice", k.Value)
		default:
			m[k.Value] = v
		}
	}
	return m
}

func (r *fileReader) list(n *yaml.Node, key string) []*yaml.Node {
	switch {
	case n == nil || isNull(n):
		return nil
	case n.Kind != yaml.SequenceNode:
		r.fail(n, key, "must be a list")
		return nil
	}
	return n.Content
}

func (r *fileReader) text(parent *yaml.Node, m map[string]*yaml.Node, key, name string, required bool) string {
	n := m[name]
	switch {
	case n == nil && required:
		r.fail(parent, key, "%s is missing", name)
	case n == nil:
	case n.Kind != yaml.ScalarNode || isNull(n) || n.Value == "":
		r.fail(n, key+"."+name, "must be text that is not empty")
	default:
		return n.Value
	}
	return ""
}

func (r *fileReader) roles(n *yaml.Node, key string) []string {
	var roles []string
	for i, item := range r.list(n, key) {
		role := item.Value
		switch {
		case item.Kind != yaml.ScalarNode || isNull(item) || !validUser(role):
			r.fail(item, fmt.Sprintf("%s[%d]", key, i), "must be 1 to %d bytes of UTF-8 without control characters", maxUser)
		case role == RoleAnonymous || role == RoleAuthenticated:
			r.fail(item, fmt.Sprintf("%s[%d]", key, i), "%q is given by the broker, not by the file", role)
		default:
			roles = append(roles, role)
		}
	}
	return roles
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func validUser(s string) bool {
	return s != "" && len(s) <= maxUser && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

func parseTime(s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	return time.Parse(time.DateOnly, s)
}
