package auth

import "parley/msg"

// Namespaces resolves which namespace a connection belongs to. It is immutable.
type Namespaces struct {
	Default string            // for who asks for none
	Names   []string          // all that exist, Default included
	Aliases map[string]string // other names, e.g. WAMP realms: realm1 -> default
}

// Resolve picks the namespace: the identity's own, else the one asked for (a WAMP
// realm), else the one mapped from host or path, else the default. Asking for
// another than the identity's own, or for an unknown one, is msg.ErrNoNamespace.
func (n *Namespaces) Resolve(id *Identity, asked, mapped string) (string, error) {
	want := asked
	if want == "" {
		want = mapped
	}
	if a, ok := n.Aliases[want]; ok {
		want = a
	}
	if id != nil && id.Namespace != "" {
		if want != "" && want != id.Namespace && asked != "" {
			return "", msg.ErrNoNamespace
		}
		want = id.Namespace
	}
	if want == "" {
		want = n.Default
	}
	for _, name := range n.Names {
		if name == want {
			return want, nil
		}
	}
	return "", msg.ErrNoNamespace
}
