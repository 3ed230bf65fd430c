package auth

import (
	"errors"
	"strings"
	"testing"

	"parley/msg"
)

func filter(t testing.TB, s string) msg.Filter {
	t.Helper()
	if p, ok := strings.CutPrefix(s, "prefix:"); ok {
		return msg.Filter{Kind: msg.FilterPrefix, Pattern: p}
	}
	if p, ok := strings.CutPrefix(s, "wildcard:"); ok {
		return msg.Filter{Kind: msg.FilterWildcard, Pattern: p}
	}
	f, err := msg.ParseFilter(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var (
	nobody *Identity
	anon   = &Identity{Method: "anonymous"}
	alice  = &Identity{User: "alice", Roles: []string{"operator", "dev"}}
	slash  = &Identity{User: "a/b"}
	plus   = &Identity{User: "+"}
	wamp   = &Identity{User: "wamp"}
)

func TestRules(t *testing.T) {
	p, err := NewRules([]Rule{
		{Name: "secrets", Effect: Deny, Topics: []string{"secret/#", "a/hidden"}},
		{Effect: Allow, Users: []string{"alice"}, Actions: []Action{Publish}, Topics: []string{"by/alice/only"}},
		{Effect: Allow, Roles: []string{"operator"}, Actions: []Action{Call, Register}, Topics: []string{"ops/#"}},
		{Effect: Allow, Namespaces: []string{"lab"}, Topics: []string{"#"}},
		{Effect: Allow, Actions: []Action{Publish, Subscribe}, Topics: []string{"own/%u/#", "%u/x"}},
		{Effect: Allow, Roles: []string{RoleAnonymous}, Actions: []Action{Subscribe}, Topics: []string{"public/#"}},
		{Effect: Allow, Roles: []string{RoleAuthenticated}, Actions: []Action{Subscribe}, Topics: []string{"members/+"}},
		{Effect: Deny, Users: []string{"alice"}, Actions: []Action{Publish}, Topics: []string{"late/%u"}},
		{Effect: Allow, Actions: []Action{Publish}, Topics: []string{"late/+"}},
	}, Deny)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id     *Identity
		ns     string
		action Action
		what   string
		ok     bool
	}{
		{alice, "d", Publish, "by/alice/only", true},
		{alice, "d", Subscribe, "by/alice/only", false},
		{slash, "d", Publish, "by/alice/only", false},
		{anon, "d", Publish, "by/alice/only", false},
		{nobody, "d", Publish, "by/alice/only", false},

		{alice, "d", Call, "ops/restart", true},
		{alice, "d", Register, "ops/restart", true},
		{slash, "d", Call, "ops/restart", false},
		{alice, "d", Publish, "$rpc/ops/restart", true}, // operations, see Rules
		{alice, "d", Publish, "$rpc/other", false},
		{alice, "d", Publish, "$rpc", false},
		{alice, "d", Publish, "$rpc/", false},
		{alice, "d", Subscribe, "$callee/ops/restart", true},
		{alice, "d", Subscribe, "$callee/ops/#", true},
		{alice, "d", Subscribe, "$callee/#", false},
		{alice, "d", Subscribe, "prefix:$callee/ops/", false},
		{slash, "d", Subscribe, "$callee/ops/restart", false},
		{alice, "d", Register, "$rpc/ops/x", false}, // a procedure's name is no operation

		{anon, "lab", Publish, "anything", true},
		{anon, "lab", Subscribe, "#", false}, // overlaps secret/#
		{anon, "lab", Subscribe, "a/#", false},
		{anon, "lab", Subscribe, "a/b/#", true},
		{anon, "lab", Publish, "$SYS/x", false}, // # does not select it
		{anon, "lab", Subscribe, "$SYS/x", false},
		{anon, "lab", Call, "wamp/session/kill", false},
		{anon, "lab", Publish, "secret/x", false},
		{anon, "lab", Publish, "secret", false},
		{anon, "lab", Publish, "a/hidden", false},
		{anon, "d", Publish, "anything", false},

		{alice, "d", Publish, "own/alice/x", true},
		{alice, "d", Publish, "own/alice", true},
		{alice, "d", Publish, "own/bob/x", false},
		{alice, "d", Subscribe, "own/alice/#", true},
		{alice, "d", Subscribe, "own/+/#", false},
		{alice, "d", Subscribe, "prefix:own/alice/", true},
		{alice, "d", Subscribe, "prefix:own/alice", false}, // would select own/alice2
		{alice, "d", Publish, "alice/x", true},
		{anon, "d", Publish, "own//x", false},
		{nobody, "d", Publish, "own//x", false},
		{slash, "d", Publish, "own/a/b/x", false},
		{plus, "d", Subscribe, "own/+/x", false}, // literally, and "+" is no level's name
		{plus, "d", Subscribe, "own/alice/x", false},
		{wamp, "d", Subscribe, "wamp/x", false}, // a name must not open reserved topics
		{wamp, "d", Subscribe, "own/wamp/x", true},

		{anon, "d", Subscribe, "public/a", true},
		{nobody, "d", Subscribe, "public/#", true},
		{alice, "d", Subscribe, "public/a", false},
		{anon, "d", Subscribe, "$share/g/public/#", true},
		{anon, "d", Subscribe, "$share/g/members/a", false},
		{anon, "d", Subscribe, "$replay/earliest/public/#", true},
		{anon, "d", Subscribe, "$replay/earliest/members/a", false},
		{anon, "d", Subscribe, "$share/g/$replay/earliest/public/a", true},
		{anon, "d", Subscribe, "$replay/earliest/$share/g/public/a", true},
		{anon, "d", Subscribe, "$replay/earliest/$rpc/public/a", false}, // a call, which is not allowed
		{anon, "d", Subscribe, "$replay/earliest", false},
		{anon, "d", Subscribe, "$replay/earliest/", false},
		{anon, "d", Subscribe, "$replay", false},
		{anon, "d", Subscribe, "$gap/x", true},
		{anon, "d", Publish, "$gap/x", false},
		{alice, "d", Subscribe, "members/+", true},
		{alice, "d", Subscribe, "wildcard:members/+", true},
		{alice, "d", Subscribe, "members/#", false},
		{alice, "d", Subscribe, "prefix:members/", false}, // also members/a/b
		{anon, "d", Subscribe, "members/a", false},

		{alice, "d", Publish, "late/alice", false},
		{alice, "d", Publish, "late/bob", true},
		{slash, "d", Publish, "late/alice", true},
	} {
		var err error
		if c.action == Subscribe {
			err = p.Filter(c.id, c.ns, filter(t, c.what))
		} else {
			err = p.Topic(c.id, c.ns, c.action, c.what)
		}
		if (err == nil) != c.ok || err != nil && !errors.Is(err, msg.ErrNotAuthorized) {
			t.Errorf("%+v in %s: %v %s: %v", c.id, c.ns, c.action, c.what, err)
		}
	}
	if err := p.Topic(alice, "d", Publish, "secret/x"); err.Error() != "not authorized: rules[0] (secrets)" {
		t.Error(err)
	}
	if err := p.Topic(alice, "d", Publish, "late/alice"); err.Error() != "not authorized: rules[7]" {
		t.Error(err)
	}
	if err := p.Topic(anon, "d", Publish, "x"); err.Error() != "not authorized: no rule allows it" {
		t.Error(err)
	}
	if err := p.Topic(anon, "d", Subscribe, "public/x"); err != nil {
		t.Error(err)
	}
}

func TestRulesDefault(t *testing.T) {
	open, err := NewRules([]Rule{{Effect: Deny, Topics: []string{"a/b"}}}, Allow)
	if err != nil {
		t.Fatal(err)
	}
	for f, ok := range map[string]bool{"x": true, "a/b": false, "a/+": false, "#": false, "prefix:a": false, "prefix:a/bc": true, "b/#": true} {
		if err := open.Filter(anon, "", filter(t, f)); (err == nil) != ok {
			t.Errorf("%s: %v", f, err)
		}
	}
	closed, err := NewRules(nil, Deny)
	if err != nil {
		t.Fatal(err)
	}
	// STYLE: every request type without a rule is refused.
	for _, a := range []Action{Publish, Subscribe, Call, Register} {
		if err := closed.Topic(alice, "", a, "x"); !errors.Is(err, msg.ErrNotAuthorized) {
			t.Errorf("%v: %v", a, err)
		}
		if err := (AllowAll{}).Topic(nil, "", a, "x"); err != nil {
			t.Error(err)
		}
	}
	if err := (AllowAll{}).Filter(nil, "", filter(t, "#")); err != nil {
		t.Error(err)
	}
}

func TestRulesErrors(t *testing.T) {
	_, err := NewRules([]Rule{
		{Effect: 7},
		{Topics: []string{"ok", "a/#/b", "$share/g/a"}},
		{Users: []string{""}},
		{Actions: []Action{9}},
		{Topics: []string{"%u+"}},
	}, Deny)
	want := []string{
		`rules[0].effect: must be allow or deny`,
		`rules[1].topics[1]: "a/#/b": topic filter invalid: # is not the last level`,
		`rules[1].topics[2]: "$share/g/a": a shared subscription is decided by its inner filter; write that`,
		`rules[2].users: must not hold an empty name`,
		`rules[3].actions[0]: must be publish, subscribe, call or register`,
		`rules[4].topics[0]: "%u+": topic filter invalid: a wildcard is not alone in its level`,
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("%v", err)
	}
}

func TestRulesDoNotAllocate(t *testing.T) {
	p, err := NewRules([]Rule{
		{Effect: Deny, Topics: []string{"secret/#"}},
		{Effect: Allow, Roles: []string{"dev"}, Namespaces: []string{"d"}, Topics: []string{"a/+/c", "b/#"}},
	}, Deny)
	if err != nil {
		t.Fatal(err)
	}
	sub := filter(t, "b/+")
	if n := testing.AllocsPerRun(100, func() {
		_ = p.Topic(alice, "d", Publish, "a/b/c")
		_ = p.Topic(alice, "d", Publish, "$rpc/b/x")
		_ = p.Topic(anon, "d", Publish, "a/b/c")
		_ = p.Filter(alice, "d", sub)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRules(f *testing.F) {
	f.Add("own/%u/#", "alice", "own/alice/x")
	f.Add("%u/#", "$SYS", "$SYS/x")
	f.Add("#", "u", "$rpc/$rpc/x")
	f.Fuzz(func(t *testing.T, allowed, user, asked string) {
		p, err := NewRules([]Rule{{Effect: Allow, Topics: []string{allowed}}}, Deny)
		if err != nil {
			return
		}
		id := &Identity{User: user}
		if msg.ValidTopic(asked) == nil {
			for _, a := range []Action{Publish, Subscribe, Call, Register} {
				_ = p.Topic(id, "", a, asked)
			}
		}
		fl, err := msg.ParseFilter(asked)
		if err != nil || strings.HasPrefix(fl.Pattern, "$") || p.Filter(id, "", fl) != nil {
			return
		}
		own, err := msg.ParseFilter(strings.ReplaceAll(allowed, "%u", user))
		if err != nil || !own.Covers(fl) {
			t.Errorf("%q of %q allows %q", allowed, user, asked)
		}
	})
}

// BenchmarkTopic: a publish against ten rules of which the last decides.
func BenchmarkTopic(b *testing.B) {
	rules := make([]Rule, 10)
	for i := range rules {
		rules[i] = Rule{Effect: Allow, Topics: []string{"other/+/x", "site/" + string(rune('a'+i)) + "/#"}}
	}
	p, err := NewRules(rules, Deny)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = p.Topic(alice, "d", Publish, "site/j/temperature")
	}
}
