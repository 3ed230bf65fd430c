package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"
)

// The functions of this file change a file of users and tokens for the command
// line. What they do not touch stays as it is, comments included. A file that
// does not exist is made; one that is not valid is not touched. The new content
// replaces the old one atomically, with mode 0600. Two processes that change the file at
// the same moment are not kept apart: the later one wins.

// UserChange is what SetUser sets; nil fields keep what the file has.
type UserChange struct {
	Name      string
	Password  string // plain; "" keeps the old one
	Roles     *[]string
	Namespace *string // "" removes the binding
	Hash      HashParams
}

// NewToken is what CreateToken adds.
type NewToken struct {
	Name      string
	User      string    // "" = Name
	Roles     []string  // nil = those of the user
	Namespace string    // "" = the user's
	Expires   time.Time // zero = never
}

// ErrNoEntry is returned for a user or token that the file does not have, and
// ErrEntryExists for a token that it has already.
var (
	ErrNoEntry     = errors.New("no such entry")
	ErrEntryExists = errors.New("entry exists already")
)

// SetUser adds a user, which needs a password, or changes one.
func SetUser(path string, c UserChange) (created bool, err error) {
	hash := ""
	if c.Password != "" {
		if hash, err = HashPassword(c.Password, c.Hash); err != nil {
			return false, err
		}
	}
	err = edit(path, func(root *yaml.Node) error {
		list := section(root, "users")
		_, entry := find(list, c.Name)
		if created = entry == nil; created {
			if hash == "" {
				return fmt.Errorf("user %q is new and needs a password", c.Name)
			}
			entry = newEntry(list, c.Name)
		}
		if hash != "" {
			setKey(entry, "password", scalar(hash))
		}
		if c.Roles != nil {
			setKey(entry, "roles", flow(*c.Roles))
		}
		if c.Namespace != nil {
			setKey(entry, "namespace", scalar(*c.Namespace))
		}
		return nil
	})
	return created && err == nil, err
}

// CreateToken adds a token and returns it. It is not stored and cannot be shown
// again.
func CreateToken(path string, t NewToken) (string, error) {
	secret := newToken(t.Name)
	err := edit(path, func(root *yaml.Node) error {
		list := section(root, "tokens")
		if _, old := find(list, t.Name); old != nil {
			return fmt.Errorf("token %q: %w", t.Name, ErrEntryExists)
		}
		entry := newEntry(list, t.Name)
		setKey(entry, "hash", scalar(hashToken(secret)))
		setKey(entry, "user", scalar(t.User))
		if t.Roles != nil {
			setKey(entry, "roles", flow(t.Roles))
		}
		setKey(entry, "namespace", scalar(t.Namespace))
		if !t.Expires.IsZero() {
			setKey(entry, "expires", scalar(t.Expires.UTC().Format(time.RFC3339)))
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// RemoveUser and RemoveToken take an entry out; ErrNoEntry if it is not there.
func RemoveUser(path, name string) error  { return remove(path, "users", name) }
func RemoveToken(path, name string) error { return remove(path, "tokens", name) }

func remove(path, key, name string) error {
	return edit(path, func(root *yaml.Node) error {
		list := section(root, key)
		i, entry := find(list, name)
		if entry == nil {
			return fmt.Errorf("%s: %q: %w", key, name, ErrNoEntry)
		}
		list.Content = append(list.Content[:i], list.Content[i+1:]...)
		return nil
	})
}

// edit reads, changes, checks and replaces the file.
func edit(path string, change func(root *yaml.Node) error) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // a rename would replace the link
	}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read users: %w", err)
	}
	if _, err := ParseFile(path, data); err != nil {
		return err
	}
	doc, root, err := document(path, data)
	if err != nil {
		return err
	}
	if err := change(root); err != nil {
		return err
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(doc), e.Close()); err != nil {
		return fmt.Errorf("write users: %w", err)
	}
	if _, err := ParseFile("new content", out.Bytes()); err != nil {
		return err // e.g. a name with characters that no name may have
	}
	return replaceFile(path, out.Bytes())
}

// document returns the document and its root mapping, making what is missing.
func document(path string, data []byte) (doc, root *yaml.Node, err error) {
	doc = &yaml.Node{}
	if err := yaml.Unmarshal(data, doc); err != nil {
		return nil, nil, yamlError(path, err)
	}
	if len(doc.Content) == 1 && doc.Content[0].Kind == yaml.MappingNode {
		return doc, doc.Content[0], nil
	}
	root = &yaml.Node{Kind: yaml.MappingNode}
	if len(doc.Content) == 0 { // nothing but comments: they would be lost
		root.HeadComment = string(bytes.TrimSpace(data))
	}
	return &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{root}, HeadComment: doc.HeadComment}, root, nil
}

func section(root *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value != key {
			continue
		}
		n := root.Content[i+1]
		if n.Kind != yaml.SequenceNode { // ParseFile lets only null through
			*n = yaml.Node{Kind: yaml.SequenceNode, HeadComment: n.HeadComment, LineComment: n.LineComment, FootComment: n.FootComment}
		}
		return n
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	root.Content = append(root.Content, scalar(key), n)
	return n
}

func find(list *yaml.Node, name string) (int, *yaml.Node) {
	for i, entry := range list.Content {
		for j := 0; j+1 < len(entry.Content); j += 2 {
			if entry.Content[j].Value == "name" && entry.Content[j+1].Value == name {
				return i, entry
			}
		}
	}
	return 0, nil
}

func newEntry(list *yaml.Node, name string) *yaml.Node {
	entry := &yaml.Node{Kind: yaml.MappingNode}
	setKey(entry, "name", scalar(name))
	list.Content = append(list.Content, entry)
	list.Style = 0 // "[]" would stay on one line
	return entry
}

// setKey sets a key, or takes it out if the value is an empty text.
func setKey(entry *yaml.Node, key string, value *yaml.Node) {
	empty := value.Kind == yaml.ScalarNode && value.Value == ""
	for i := 0; i+1 < len(entry.Content); i += 2 {
		if entry.Content[i].Value != key {
			continue
		}
		if empty {
			entry.Content = append(entry.Content[:i], entry.Content[i+2:]...)
			return
		}
		value.LineComment = entry.Content[i+1].LineComment
		entry.Content[i+1] = value
		return
	}
	if !empty {
		entry.Content = append(entry.Content, scalar(key), value)
	}
}

// scalar is a text; the encoder quotes what would be read as something else.
func scalar(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

func flow(list []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, s := range list {
		n.Content = append(n.Content, scalar(s))
	}
	return n
}

// replaceFile makes the new content durable before the old one is gone.
func replaceFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("write users: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
			err = fmt.Errorf("write users: %w", err)
		}
	}()
	if _, err = tmp.Write(data); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	syncDir(dir)
	return nil
}

// syncDir makes a rename durable, where the file system can do that.
func syncDir(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	_ = d.Sync()
	_ = d.Close()
}
