package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"parley/msg"
)

// objects is a list of mappings. Each element is made by item, which binds the
// fields of a new element to values.
type objects[T any] struct {
	p     *[]T
	what  string // completes "a list of …"
	item  func(*T) []field
	valid func(*T) string // what is wrong with the element as a whole; "" = nothing
	show  func(T) string
}

type field struct {
	name     string
	required bool
	val      value
}

func (v *objects[T]) kind() string { return "list" }
func (v *objects[T]) rule() string { return "a list of " + v.what }

func (v *objects[T]) text() string {
	parts := make([]string, len(*v.p))
	for i, o := range *v.p {
		parts[i] = v.show(o)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func (v *objects[T]) set(n *yaml.Node, report reporter) {
	if n.Kind != yaml.SequenceNode {
		report(n, "", notAllowed(show(n), v.rule()))
		return
	}
	list, good := []T{}, true
	for i, node := range n.Content {
		var o T
		at := fmt.Sprintf("[%d]", i)
		ok := true
		v.element(node, &o, func(n *yaml.Node, sub, what string) {
			ok = false
			report(n, at+sub, what)
		})
		if ok && v.valid != nil {
			if what := v.valid(&o); what != "" {
				ok = false
				report(node, at, what)
			}
		}
		good = good && ok
		list = append(list, o)
	}
	if good {
		*v.p = list
	}
}

func (v *objects[T]) element(n *yaml.Node, o *T, report reporter) {
	if n.Kind != yaml.MappingNode {
		report(n, "", notAllowed(show(n), "a mapping"))
		return
	}
	fields := v.item(o)
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	var seen []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		at := slices.Index(names, k.Value)
		switch {
		case k.Kind != yaml.ScalarNode || at < 0:
			report(k, "", "unknown key "+show(k)+"; "+didYouMean(k.Value, names))
		case slices.Contains(seen, k.Value):
			report(k, "."+k.Value, "is there twice; remove one")
		default:
			fields[at].val.set(n.Content[i+1], func(n *yaml.Node, sub, what string) { report(n, "."+k.Value+sub, what) })
		}
		seen = append(seen, k.Value)
	}
	for _, f := range fields {
		if f.required && !slices.Contains(seen, f.name) {
			report(n, "."+f.name, "is missing; give "+f.val.rule())
		}
	}
}

// isName accepts the names of namespaces, realms, users and roles.
func isName(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-@:", r)) {
			return false
		}
	}
	return true
}

const nameRule = "a name of 1 to 128 letters, digits and . _ - @ :"

func isPath(s string) bool {
	return strings.HasPrefix(s, "/") && len(s) <= 256 && !strings.ContainsAny(s, " ?#\\{}") && !strings.Contains(s, "//")
}

const pathRule = "a path that begins with /"

func isHost(s string) bool {
	return s != "" && len(s) <= 253 && strings.ToLower(s) == s && !strings.ContainsAny(s, "/ *?#")
}

const hostRule = "a host name in small letters, without a port"

func namespaces(p *[]Namespace) value {
	return &objects[Namespace]{
		p: p, what: "namespaces, each with name and, if needed, realms, hosts and paths",
		item: func(n *Namespace) []field {
			return []field{
				{"name", true, word(&n.Name, nameRule, isName)},
				{"realms", false, &words{&n.Realms, nameRule, isName}},
				{"hosts", false, &words{&n.Hosts, hostRule, isHost}},
				{"paths", false, &words{&n.Paths, pathRule, isPath}},
			}
		},
		show: func(n Namespace) string {
			return "{" + pairs("name", quote(n.Name), "realms", list(n.Realms), "hosts", list(n.Hosts), "paths", list(n.Paths)) + "}"
		},
	}
}

func list(l []string) string {
	if len(l) == 0 {
		return ""
	}
	return flowWords(l)
}

// pairs joins names and values, leaving out the empty ones.
func pairs(kv ...string) string {
	var parts []string
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i+1] != "" {
			parts = append(parts, kv[i]+": "+kv[i+1])
		}
	}
	return strings.Join(parts, ", ")
}

const filterRule = "a topic filter such as sensors/+/temperature or sensors/#"

// isRuleFilter accepts the filters of rules, where %u stands for a user's name.
func isRuleFilter(s string) bool {
	f, err := msg.ParseFilter(strings.ReplaceAll(s, "%u", "u"))
	return err == nil && f.Group == ""
}

// isPrincipal accepts the names of users and roles, as package auth does.
func isPrincipal(s string) bool {
	return s != "" && len(s) <= 256 && strings.IndexFunc(s, unicode.IsControl) < 0
}

const principalRule = "a name of 1 to 256 bytes"

func filter(p *msg.Filter) value {
	return &scalar{
		name: "filter", want: filterRule,
		parse: func(s string) (err error) {
			*p, err = msg.ParseFilter(s)
			return err
		},
		show: func() string { return quote(p.String()) },
	}
}

// maxAge bounds retention ages.
const maxAge = 100 * 365 * 24 * time.Hour

func storeTopics(p *[]StoreTopic) value {
	return &objects[StoreTopic]{
		p: p, what: "rules, each with filter and store",
		item: func(t *StoreTopic) []field {
			return []field{
				{"filter", true, filter(&t.Filter)},
				{"store", false, choice(&t.Store, "acknowledged", "all", "none")},
				{"age", false, duration(&t.Age, 0, maxAge)},
				{"bytes", false, size(&t.Bytes, 0, 1<<50)},
				{"count", false, number(&t.Count, 0, 1<<50)},
			}
		},
		valid: func(t *StoreTopic) string {
			if t.Filter.Group != "" {
				return notAllowed("a shared filter", filterRule)
			}
			if t.Store == "" {
				t.Store = "acknowledged"
			}
			return ""
		},
		show: func(t StoreTopic) string {
			words := []string{"filter", quote(t.Filter.String()), "store", t.Store}
			if t.Age > 0 {
				words = append(words, "age", shortDuration(t.Age))
			}
			if t.Bytes > 0 {
				words = append(words, "bytes", shortSize(t.Bytes))
			}
			if t.Count > 0 {
				words = append(words, "count", strconv.Itoa(t.Count))
			}
			return "{" + pairs(words...) + "}"
		},
	}
}

func isAction(s string) bool {
	return slices.Contains([]string{"publish", "subscribe", "call", "register"}, s)
}

const actionRule = "one of publish, subscribe, call, register"

func rules(p *[]Rule) value {
	return &objects[Rule]{
		p: p, what: "rules, each with allow or deny and, if needed, topics, users, roles and namespaces",
		item: func(r *Rule) []field {
			return []field{
				{"allow", false, &words{&r.Allow, actionRule, isAction}},
				{"deny", false, &words{&r.Deny, actionRule, isAction}},
				{"name", false, word(&r.Name, principalRule, isPrincipal)},
				{"topics", false, &words{&r.Topics, filterRule, isRuleFilter}},
				{"users", false, &words{&r.Users, principalRule, isPrincipal}},
				{"roles", false, &words{&r.Roles, principalRule, isPrincipal}},
				{"namespaces", false, &words{&r.Namespaces, nameRule, isName}},
			}
		},
		valid: func(r *Rule) string {
			if (len(r.Allow) == 0) == (len(r.Deny) == 0) {
				return "a rule says either allow or deny; give exactly one of them, with " + actionRule
			}
			return ""
		},
		show: func(r Rule) string {
			return "{" + pairs("name", listName(r.Name), "allow", list(r.Allow), "deny", list(r.Deny), "topics", list(r.Topics),
				"users", list(r.Users), "roles", list(r.Roles), "namespaces", list(r.Namespaces)) + "}"
		},
	}
}

// listName quotes a name for display; "" stays "" and is left out.
func listName(s string) string {
	if s == "" {
		return ""
	}
	return quote(s)
}
