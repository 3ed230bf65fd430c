package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"parley/msg"
)

// Effect is what a rule does.
type Effect uint8

const (
	Deny Effect = iota
	Allow
)

func (e Effect) String() string { return [...]string{"deny", "allow"}[e] }

// Roles that nobody is given: every identity has exactly one of them, besides
// its own.
const (
	RoleAnonymous     = "anonymous"
	RoleAuthenticated = "authenticated"
)

// Rule is one line of a policy. An empty list does not restrict; a rule applies
// if all of its lists do.
type Rule struct {
	Name       string // for the log, may be empty
	Effect     Effect
	Namespaces []string
	Users      []string
	Roles      []string // one of them is enough; also RoleAnonymous, RoleAuthenticated
	Actions    []Action
	// Topics are filters in MQTT syntax, matched as in a subscription: "#" does
	// not select what is below "$", "wamp" and "parley", "wamp/#" does. Procedures
	// are written in the same way: a/b for a.b. "%u" stands for the user's name,
	// literally; if that is not one valid topic level, or makes an allowing rule
	// begin with a reserved level, the filter selects nothing.
	Topics []string
}

// Rules is a Policy: the first rule that applies decides, else the default.
//
// A subscription asks for everything its filter can select: a rule that allows
// applies if one of its filters covers the whole of it, a rule that denies if
// one overlaps it.
//
// Operations written as topics are decided as what they do:
// $rpc/p as Call of p, $callee/p as Register of p, $share/g/f and $replay/x/f as
// Subscribe of f, and everybody may hear of his own gaps ($gap/…).
type Rules struct {
	rules   []rule
	def     Effect
	refusal error
}

type rule struct {
	Rule
	actions   uint // bit set; 0 = all
	filters   []msg.Filter
	templates []string // filters with %u
	refusal   error
}

const userMark = "%u"

// AllowAll is the Policy of a broker without rules.
type AllowAll struct{}

func (AllowAll) Topic(*Identity, string, Action, string) error { return nil }
func (AllowAll) Filter(*Identity, string, msg.Filter) error    { return nil }

// NewRules compiles a policy. def decides what no rule applies to. The error
// lists everything that is wrong, naming rule and key: rules[2].topics[0]: ….
func NewRules(rules []Rule, def Effect) (*Rules, error) {
	p := &Rules{def: def, refusal: fmt.Errorf("%w: no rule allows it", msg.ErrNotAuthorized)}
	var errs []error
	for i := range rules {
		r, err := compile(i, &rules[i])
		errs = append(errs, err...)
		p.rules = append(p.rules, r)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p, nil
}

func compile(i int, in *Rule) (r rule, errs []error) {
	fail := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("rules[%d]%s: %s", i, key, fmt.Sprintf(format, args...)))
	}
	r.Rule = *in
	name := ""
	if in.Name != "" {
		name = fmt.Sprintf(" (%s)", in.Name)
	}
	r.refusal = fmt.Errorf("%w: rules[%d]%s", msg.ErrNotAuthorized, i, name)
	if in.Effect > Allow {
		fail(".effect", "must be allow or deny")
	}
	for key, list := range map[string][]string{".namespaces": in.Namespaces, ".users": in.Users, ".roles": in.Roles} {
		if slices.Contains(list, "") {
			fail(key, "must not hold an empty name")
		}
	}
	for j, a := range in.Actions {
		if a > Register {
			fail(fmt.Sprintf(".actions[%d]", j), "must be publish, subscribe, call or register")
			continue
		}
		r.actions |= 1 << a
	}
	for j, t := range in.Topics {
		f, err := msg.ParseFilter(strings.ReplaceAll(t, userMark, "u"))
		switch {
		case err != nil:
			fail(fmt.Sprintf(".topics[%d]", j), "%q: %v", t, err)
		case f.Group != "":
			fail(fmt.Sprintf(".topics[%d]", j), "%q: a shared subscription is decided by its inner filter; write that", t)
		case strings.Contains(t, userMark):
			r.templates = append(r.templates, t)
		default:
			r.filters = append(r.filters, f)
		}
	}
	return r, errs
}

// Topic decides Publish, Call and Register; a Subscribe of one topic is decided
// as Filter does. It does not allocate unless a rule with %u applies.
func (p *Rules) Topic(id *Identity, namespace string, a Action, topic string) error {
	f := msg.Filter{Pattern: topic}
	if a == Subscribe {
		return p.Filter(id, namespace, f)
	}
	if a == Publish && strings.HasPrefix(topic, "$") {
		var ok bool
		if a, f, ok = operation(a, f); !ok {
			return p.refusal
		}
	}
	return p.decide(id, namespace, a, f)
}

// Filter decides Subscribe.
func (p *Rules) Filter(id *Identity, namespace string, f msg.Filter) error {
	f.Group = ""
	a := Subscribe
	if strings.HasPrefix(f.Pattern, "$") {
		if strings.HasPrefix(f.Pattern, "$gap/") {
			return nil
		}
		var ok bool
		if a, f, ok = operation(a, f); !ok {
			return p.refusal
		}
	}
	return p.decide(id, namespace, a, f)
}

// operation resolves a topic or filter below "$" to what it does; not ok if it
// names an operation but not completely.
func operation(a Action, f msg.Filter) (Action, msg.Filter, bool) {
	for {
		first, rest, more := strings.Cut(f.Pattern, "/")
		switch first {
		case "$rpc":
			a = Call
		case "$callee":
			a = Register
		case "$share", "$replay":
			_, rest, more = strings.Cut(rest, "/") // the group, the position
		default:
			return a, f, true
		}
		if !more || rest == "" || f.Kind == msg.FilterPrefix {
			return a, f, false // prefixes of operations mean nothing
		}
		f.Pattern = rest
		if first == "$rpc" || first == "$callee" {
			return a, f, true
		}
	}
}

// decide finds the first rule that applies. A single topic is a filter without
// wildcards: covering and overlapping it is matching it.
func (p *Rules) decide(id *Identity, namespace string, a Action, f msg.Filter) error {
	for i := range p.rules {
		r := &p.rules[i]
		if !r.about(id, namespace, a) || !r.selects(id, f) {
			continue
		}
		if r.Effect == Allow {
			return nil
		}
		return r.refusal
	}
	if p.def == Allow {
		return nil
	}
	return p.refusal
}

func (r *rule) about(id *Identity, namespace string, a Action) bool {
	return (r.actions == 0 || r.actions&(1<<a) != 0) &&
		(len(r.Namespaces) == 0 || slices.Contains(r.Namespaces, namespace)) &&
		(len(r.Users) == 0 || !id.Anonymous() && slices.Contains(r.Users, id.User)) &&
		(len(r.Roles) == 0 || r.hasRole(id))
}

func (r *rule) hasRole(id *Identity) bool {
	for _, role := range r.Roles {
		switch {
		case role == RoleAnonymous:
			if id.Anonymous() {
				return true
			}
		case role == RoleAuthenticated:
			if !id.Anonymous() {
				return true
			}
		case id != nil && slices.Contains(id.Roles, role):
			return true
		}
	}
	return false
}

func (r *rule) selects(id *Identity, f msg.Filter) bool {
	if len(r.Topics) == 0 {
		return true
	}
	for i := range r.filters {
		if r.hits(&r.filters[i], f) {
			return true
		}
	}
	if len(r.templates) == 0 || id.Anonymous() || !isLevel(id.User) {
		return false
	}
	for _, t := range r.templates {
		own := msg.Filter{Pattern: strings.ReplaceAll(t, userMark, id.User)}
		if r.Effect == Allow && userNamesReserved(t, own.Pattern) {
			continue
		}
		if r.hits(&own, f) {
			return true
		}
	}
	return false
}

func (r *rule) hits(own *msg.Filter, f msg.Filter) bool {
	if r.Effect == Allow {
		return own.Covers(f)
	}
	return own.Overlaps(f)
}

// isLevel tells whether a user's name can stand as one topic level.
func isLevel(user string) bool {
	return !strings.Contains(user, "/") && msg.ValidTopic(user) == nil
}

// userNamesReserved: by his choice of name a user "wamp" would reach the
// broker's own topics through "%u/#".
func userNamesReserved(template, own string) bool {
	first, _, _ := strings.Cut(template, "/")
	return strings.Contains(first, userMark) && msg.Publishable(own) != nil
}
