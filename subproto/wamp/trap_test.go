package wamp

import (
	"strings"
	"testing"

	"parley/subproto"
)

// The tests of this file are named after what made nexus' router crash, hang or
// lie when its own transports drove it. After each the broker must still serve.

// alive proves that the dealer still works.
func (b *broker) alive() {
	b.t.Helper()
	c := b.session("wamp.2.json")
	c.send(`[64,1,{},"alive.p"]`)
	reg := c.expect(`[65,1,*]`)[0]
	c.send(`[48,2,{},"alive.p"]`)
	inv := c.expect(`[68,*,*,{}]`)[0]
	c.send(`[70,` + inv + `,{}]`)
	c.expect(`[50,2,{}]`)
	c.send(`[66,3,` + reg + `]`)
	c.expect(`[67,3]`)
}

// A ppt_* option that is no string panics in nexus.
func TestTrapPassthruOptionIsNoString(t *testing.T) {
	b := start(t, nil)
	for _, frame := range []string{
		`[48,1,{"ppt_scheme":"mqtt","ppt_serializer":5},"a.b",["x"]]`, `[48,1,{"ppt_scheme":5},"a.b"]`,
		`[70,1,{"ppt_cipher":false}]`, `[16,1,{"ppt_keyid":[]},"a.b"]`,
	} {
		c := b.session("wamp.2.json")
		c.send(frame)
		if got := c.next(); !strings.HasSuffix(got, `"wamp.error.protocol_violation"]`) {
			t.Errorf("%s: got %s", frame, got)
		}
		c.closed(subproto.CloseProtocol)
	}
	b.alive()
}

// A client that did not announce payload passthru and uses it is thrown out by
// nexus, and nobody else notices.
func TestTrapPassthruNotAnnounced(t *testing.T) {
	b := start(t, nil)
	s, c := b.session("wamp.2.json"), b.session("wamp.2.json")
	s.send(`[64,1,{},"ppt.p"]`)
	s.expect(`[65,1,*]`)
	c.send(`[48,1,{"ppt_scheme":"mqtt"},"ppt.p",["x"]]`)
	c.expect(`[3,{},"wamp.error.protocol_violation"]`)
	c.closed(subproto.CloseProtocol)
	b.alive()
}

// One session twice in a shared registration leaves a dead callee behind, and
// nexus panics when it goes.
func TestTrapSharedRegistrationTwice(t *testing.T) {
	b := start(t, nil)
	c := b.session("wamp.2.json")
	c.send(`[64,1,{"invoke":"roundrobin"},"shared.p"]`)
	c.send(`[64,2,{"invoke":"roundrobin"},"shared.p"]`)
	var refused, registered int
	var reg string
	for range 2 {
		got := c.next()
		if v, ok := like(`[65,1,*]`, got); ok {
			registered, reg = registered+1, v[0]
		} else if got == `[8,64,2,{},"wamp.error.procedure_already_exists"]` {
			refused++
		} else {
			t.Fatalf("got %s", got)
		}
	}
	if refused != 1 || registered != 1 {
		t.Fatalf("refused %d, registered %d", refused, registered)
	}
	// Another session may share it, and gets the calls when the first has left.
	other := b.session("wamp.2.cbor")
	other.send(`[64,1,{"invoke":"roundrobin"},"shared.p"]`)
	other.expect(`[65,1,` + reg + `]`)
	c.send(`[6,{},"wamp.close.normal"]`)
	c.closed(subproto.CloseNormal)
	caller := b.session("wamp.2.json")
	for got := ""; got != `[50,9,{},[1]]`; got = caller.next() { // until nexus has noticed
		caller.send(`[48,9,{},"wamp.registration.count_callees",[` + reg + `]]`)
	}
	for i := range 3 {
		caller.send(`[48,` + string(rune('1'+i)) + `,{},"shared.p"]`)
		inv := other.expect(`[68,*,` + reg + `,{}]`)[0]
		other.send(`[70,` + inv + `,{}]`)
		caller.expect(`[50,` + string(rune('1'+i)) + `,{}]`)
	}
	// Unregistered, it may be registered again.
	other.send(`[66,2,` + reg + `]`)
	other.expect(`[67,2]`)
	other.send(`[64,3,{},"shared.p"]`)
	other.expect(`[65,3,*]`)
	b.alive()
}

// An invocation policy that nexus does not know makes it panic at the second
// callee's first call.
func TestTrapUnknownInvocationPolicy(t *testing.T) {
	b := start(t, nil)
	c := b.session("wamp.2.json")
	c.send(`[64,1,{"invoke":"bogus"},"policy.p"]`)
	c.expect(`[8,64,1,{},"wamp.error.invalid_argument",["unknown invocation policy"]]`)
	b.alive()
}

// UNREGISTER of a foreign id takes the registration apart in nexus.
func TestTrapUnregisterOfForeignID(t *testing.T) {
	b := start(t, nil)
	owner, thief := b.session("wamp.2.json"), b.session("wamp.2.json")
	owner.send(`[64,1,{},"mine.p"]`)
	reg := owner.expect(`[65,1,*]`)[0]
	for _, id := range []string{reg, "1", "9007199254740992"} { // 1 and on are the meta procedures'
		thief.send(`[66,1,` + id + `]`)
		thief.expect(`[8,66,1,{},"wamp.error.no_such_registration"]`)
	}
	thief.send(`[48,2,{},"mine.p"]`)
	inv := owner.expect(`[68,*,` + reg + `,{}]`)[0]
	owner.send(`[70,` + inv + `,{}]`)
	thief.expect(`[50,2,{}]`)
	thief.send(`[48,3,{},"wamp.session.count"]`)
	thief.expect(`[50,3,{},[2]]`)
	owner.send(`[66,2,` + reg + `]`)
	owner.expect(`[67,2]`)
	owner.send(`[66,3,` + reg + `]`)
	owner.expect(`[8,66,3,{},"wamp.error.no_such_registration"]`)
	b.alive()
}

// A repeated request id of an open CALL is a progressive call to nexus.
func TestTrapRepeatedRequestID(t *testing.T) {
	b := start(t, nil)
	s, c := b.session("wamp.2.json"), b.session("wamp.2.json")
	s.send(`[64,1,{},"twice.p"]`)
	s.expect(`[65,1,*]`)
	c.send(`[48,1,{},"twice.p"]`)
	c.send(`[48,1,{},"twice.p"]`)
	c.expect(`[3,{"message":"request id is in use"},"wamp.error.protocol_violation"]`)
	c.closed(subproto.CloseProtocol)
	b.alive()
}

// CALLs refused after they were half entered stay in nexus' tables for as long
// as the session: calls with progress are refused before.
func TestTrapProgressiveInvocationsAreRefused(t *testing.T) {
	b := start(t, nil)
	c := b.session("wamp.2.json")
	c.send(`[48,1,{"progress":true},"a.b"]`)
	c.expect(`[8,48,1,{},"wamp.error.feature_not_supported",["not supported"]]`)
	b.alive()
}

// Nobody becomes "trusted" by calling itself local, and nothing a client says
// of itself is believed or shown.
func TestTrapNothingOfHelloIsBelieved(t *testing.T) {
	b := start(t, nil)
	c := b.dial("wamp.2.json")
	c.send(helloWith(`,"authid":"root","authrole":"trusted","authmethod":"local","authprovider":"x","authextra":{"x":1},` +
		`"transport":{"auth":{"credentials":1},"peer":"fake"},"session":1,"evil":true`))
	id, _, _ := strings.Cut(c.next()[3:], ",")
	c.send(`[48,1,{},"wamp.session.get",[` + id + `]]`)
	got := c.next()
	for _, word := range []string{"root", "trusted", "local", "fake", "evil", "credentials", `"x"`} {
		if strings.Contains(got, word) {
			t.Errorf("session details show %q: %s", word, got)
		}
	}
	if !strings.Contains(got, `"authrole":"anonymous"`) || !strings.Contains(got, `"session":`+id) {
		t.Errorf("session details %s", got)
	}
	c.send(`[48,2,{},"secret.p"]`)
	c.expect(`[8,48,2,{},"wamp.error.not_authorized"]`)
}

// Every request type is decided: the user "nobody" is refused all of them.
func TestTrapEveryRequestIsDecided(t *testing.T) {
	b := start(t, nil)
	c := b.dial("wamp.2.json")
	c.send(helloWith(`,"authid":"nobody","authmethods":["ticket"]`))
	c.expect(`[4,"ticket",{}]`)
	c.send(`[5,"n",{}]`)
	c.details(c.next())
	for _, r := range []struct{ frame, kind string }{
		{`[16,1,{"acknowledge":true},"a.b"]`, "16"}, {`[32,1,{},"a.b"]`, "32"},
		{`[32,1,{"match":"prefix"},"a"]`, "32"}, {`[32,1,{"match":"wildcard"},"a..b"]`, "32"},
		{`[48,1,{},"a.b"]`, "48"}, {`[48,1,{},"wamp.session.list"]`, "48"}, {`[64,1,{},"a.b"]`, "64"},
	} {
		c.send(r.frame)
		if got := c.next(); !strings.HasPrefix(got, `[8,`+r.kind+`,1,{},"wamp.error.not_authorized"`) {
			t.Errorf("%s: got %s", r.frame, got)
		}
	}
}

// REGISTER below wamp, parley and $, and with a pattern that the policy cannot
// decide, is refused.
func TestTrapReservedProcedures(t *testing.T) {
	b := start(t, nil)
	c := b.session("wamp.2.json")
	for _, uri := range []string{"wamp.session.count", "wamp.x", "wamp", "parley.publish", "$rpc.x", "a..b", "a b", ""} {
		c.send(`[64,1,{},"` + uri + `"]`)
		if got := c.next(); !strings.HasPrefix(got, `[8,64,1,{},"wamp.error.invalid_uri"`) {
			t.Errorf("%q: got %s", uri, got)
		}
	}
	for _, match := range []string{"prefix", "wildcard", "bogus"} {
		c.send(`[64,1,{"match":"` + match + `"},"w"]`)
		c.expect(`[8,64,1,{},"wamp.error.feature_not_supported",["not supported"]]`)
	}
}

// Meta procedures that nexus would answer from its empty broker do not exist,
// under the right and the misspelt name of count_subscribers; nor do those that
// end or change sessions.
func TestTrapMetaProceduresThatWouldLie(t *testing.T) {
	b := start(t, nil)
	c := b.session("wamp.2.json")
	for _, uri := range []string{
		"wamp.subscription.count_subscribers", "wamp.subscription.count_suscribers", "wamp.subscription.list",
		"wamp.session.add_testament", "wamp.session.flush_testaments",
		"wamp.session.kill", "wamp.session.kill_all", "wamp.session.modify_details",
	} {
		c.send(`[48,1,{},"` + uri + `",[1,"a.b",[],{}]]`)
		if got := c.next(); !strings.HasPrefix(got, `[8,48,1,{},"wamp.error.no_such_procedure"`) {
			t.Errorf("%s: got %s", uri, got)
		}
	}
}

// Meta procedures get what they can misread: nothing panics.
func TestTrapMetaProcedureArguments(t *testing.T) {
	b := start(t, nil)
	c := b.session("wamp.2.msgpack")
	for _, uri := range []string{
		"wamp.session.count", "wamp.session.list", "wamp.session.get", "wamp.registration.lookup", "wamp.registration.match",
		"wamp.registration.get", "wamp.registration.list", "wamp.registration.list_callees", "wamp.registration.count_callees",
	} {
		for _, args := range []string{
			`[]`, `[null]`, `[[]]`, `[{}]`, `["x"]`, `[["x",1]]`, `[-1]`, `[1.5]`, `[12345678901234567890123]`,
			`["a",{"match":5}]`, `["a",[1]]`, `["\u0000AAEC"]`, `[1],{"a":[{}]}`,
		} {
			c.send(`[48,1,{},"` + uri + `",` + args + `]`)
			if got := c.next(); !strings.HasPrefix(got, `[50,1,`) && !strings.HasPrefix(got, `[8,48,1,`) {
				t.Errorf("%s %s: got %s", uri, args, got)
			}
		}
	}
	b.alive()
}
