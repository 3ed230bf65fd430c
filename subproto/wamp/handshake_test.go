package wamp

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"parley/auth"
	"parley/msg"
	"parley/subproto"
)

// welcome joins and returns WELCOME's details.
func (c *client) welcome(hello string) map[string]any {
	c.t.Helper()
	c.send(hello)
	return c.details(c.next())
}

func (c *client) details(welcome string) map[string]any {
	c.t.Helper()
	var m []any
	if err := json.Unmarshal([]byte(welcome), &m); err != nil || len(m) != 3 || m[0] != 2.0 {
		c.t.Fatalf("no WELCOME but %s", welcome)
	}
	return m[2].(map[string]any)
}

func helloWith(details string) string { return `[1,"realm1",{"roles":` + allRoles + details + `}]` }

func TestWelcomeSaysWhoAndWhatIsTrue(t *testing.T) {
	b := start(t, nil)
	c := b.dial("wamp.2.json")
	d := c.welcome(helloWith(`,"authid":"admin","authrole":"trusted","authprovider":"me","authextra":{"a":1}`))
	if d["authrole"] != "anonymous" || d["authmethod"] != "anonymous" || d["authprovider"] != "parley" ||
		!strings.HasPrefix(d["authid"].(string), "anonymous-") || len(d["authextra"].(map[string]any)) != 0 || d["realm"] != "realm1" {
		t.Errorf("details %v", d)
	}
	roles := d["roles"].(map[string]any)
	features := func(role string) map[string]any { return roles[role].(map[string]any)["features"].(map[string]any) }
	for _, f := range []string{"subscription_meta_api", "payload_passthru_mode", "session_meta_api"} {
		if features("broker")[f] != nil {
			t.Errorf("broker announces %s", f)
		}
	}
	for _, f := range []string{"testament_meta_api", "pattern_based_registration", "progressive_call_invocations"} {
		if features("dealer")[f] != nil {
			t.Errorf("dealer announces %s", f)
		}
	}
	if features("broker")["event_retention"] != true || features("broker")["event_history"] != true || features("dealer")["call_canceling"] != true {
		t.Errorf("roles %v", roles)
	}
	if ready, ping, _ := c.State(); !ready || !ping {
		t.Errorf("ready %v, ping %v", ready, ping)
	}
}

func TestTicketAuthentication(t *testing.T) {
	b := start(t, func(o *Options) { o.Auth = doors{closed: true} })
	for _, c := range []struct {
		name, details, ticket string
		authid, method, abort string
		code                  int
	}{
		{name: "password", details: `,"authid":"u","authmethods":["ticket"]`, ticket: "p", authid: "u", method: "ticket"},
		{name: "token", details: `,"authmethods":["ticket"]`, ticket: "t", authid: "u", method: "ticket"},
		{name: "token with empty authid", details: `,"authid":"","authmethods":["wampcra","ticket"]`, ticket: "t", authid: "u", method: "ticket"},
		{name: "token with null authid", details: `,"authid":null,"authmethods":["ticket"]`, ticket: "t", authid: "u", method: "ticket"},
		{name: "anonymous first", details: `,"authid":"u","authmethods":["anonymous","ticket"]`, ticket: "p", authid: "u", method: "ticket"},
		{name: "wrong password", details: `,"authid":"u","authmethods":["ticket"]`, ticket: "x", abort: "wamp.error.authentication_denied", code: 1008},
		{name: "unknown user", details: `,"authid":"v","authmethods":["ticket"]`, ticket: "p", abort: "wamp.error.authentication_denied", code: 1008},
		{name: "nothing", details: `,"authmethods":["ticket"]`, ticket: "", abort: "wamp.error.authentication_denied", code: 1008},
		{name: "unavailable", details: `,"authid":"slow","authmethods":["ticket"]`, ticket: "p", abort: "wamp.error.authentication_failed", code: 1013},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := b.with(t).dial("wamp.2.json")
			p.send(helloWith(c.details))
			p.expect(`[4,"ticket",{}]`)
			p.send(`[5,"` + c.ticket + `",{}]`)
			if c.abort != "" {
				if got := p.next(); !strings.HasPrefix(got, "[3,") || !strings.HasSuffix(got, `"`+c.abort+`"]`) {
					t.Fatalf("got %s", got)
				}
				p.closed(c.code)
				return
			}
			if d := p.details(p.next()); d["authid"] != c.authid || d["authmethod"] != c.method || d["authprovider"] != "static" {
				t.Errorf("details %v", d)
			}
		})
	}
}

func TestAnonymousIsRefusedWhereItIsNotAllowed(t *testing.T) {
	b := start(t, func(o *Options) { o.Auth = doors{closed: true} })
	c := b.dial("wamp.2.cbor")
	c.send(helloWith(""))
	c.expect(`[3,{"message":"not authorized"},"wamp.error.authentication_required"]`)
	c.closed(subproto.ClosePolicy)

	c = b.dial("wamp.2.json")
	c.send(helloWith(`,"authmethods":["wampcra","cryptosign"]`))
	if got := c.next(); !strings.HasSuffix(got, `"wamp.error.no_matching_auth_method"]`) {
		t.Errorf("got %s", got)
	}
	c.closed(subproto.ClosePolicy)
}

// An identity that HTTP proved is enough; a client that insists on a ticket is
// asked for it.
func TestIdentityOfHTTP(t *testing.T) {
	b := start(t, func(o *Options) { o.Auth = doors{closed: true} })
	info := subproto.Info{Protocol: "wamp.2.json", Identity: &auth.Identity{User: "web", Roles: []string{"r"}, Method: "password", Provider: "static"}}
	d := b.dialAs(info).welcome(helloWith(""))
	if d["authid"] != "web" || d["authrole"] != "r" || d["authmethod"] != "password" {
		t.Errorf("details %v", d)
	}
	c := b.dialAs(info)
	c.send(helloWith(`,"authid":"u","authmethods":["ticket"]`))
	c.expect(`[4,"ticket",{}]`)
	c.send(`[5,"p",{}]`)
	if d := c.details(c.next()); d["authid"] != "u" {
		t.Errorf("details %v", d)
	}
}

func TestRealms(t *testing.T) {
	b := start(t, nil)
	c := b.dial("wamp.2.json")
	c.send(`[1,"nowhere",{"roles":` + allRoles + `}]`)
	c.expect(`[3,{"message":"no such namespace"},"wamp.error.no_such_realm"]`)
	c.closed(subproto.ClosePolicy)

	// An empty realm is the connection's own; namespaces do not see each other.
	other := b.dialAs(subproto.Info{Protocol: "wamp.2.json", Namespace: "other"})
	if d := other.welcome(`[1,"",{"roles":` + allRoles + `}]`); d["realm"] != "other" {
		t.Errorf("details %v", d)
	}
	own := b.session("wamp.2.json")
	for _, c := range []*client{other, own} {
		c.send(`[32,1,{},"a.b"]`)
		c.expect(`[33,1,*]`)
		c.send(`[64,1,{},"a.p"]`)
		c.expect(`[65,1,*]`)
	}
	other.send(`[16,2,{"acknowledge":true,"exclude_me":false},"a.b",["other"]]`)
	other.expect(`[17,2,*]`)
	own.send(`[16,2,{"exclude_me":false},"a.b",["own"]]`)
	own.expect(`[36,*,*,{"_parley_via":"wamp"},["own"]]`)
	other.expect(`[36,*,*,{"_parley_offset":*,"_parley_via":"wamp"},["other"]]`)
}

// Basic profile section 4.3: what may not come now is a protocol violation, and
// what is no message too.
func TestProtocolViolations(t *testing.T) {
	b := start(t, nil)
	for _, c := range []struct{ name, before, frame string }{
		{"SUBSCRIBE before HELLO", "", `[32,1,{},"a"]`},
		{"AUTHENTICATE unasked", "", `[5,"x",{}]`},
		{"no list", "", `{}`},
		{"empty list", "", `[]`},
		{"type is text", "", `["1","realm1",{}]`},
		{"HELLO without details", "", `[1,"realm1"]`},
		{"HELLO without roles", "", `[1,"realm1",{}]`},
		{"HELLO with foreign roles only", "", `[1,"realm1",{"roles":{"broker":{}}}]`},
		{"roles are a list", "", `[1,"realm1",{"roles":[]}]`},
		{"a role is text", "", `[1,"realm1",{"roles":{"caller":"x"}}]`},
		{"features are a number", "", `[1,"realm1",{"roles":{"caller":{"features":1}}}]`},
		{"realm is a number", "", `[1,5,{"roles":{"caller":{}}}]`},
		{"authid is a number", "", helloWith(`,"authid":5`)},
		{"authmethods is text", "", helloWith(`,"authmethods":"ticket"`)},
		{"HELLO instead of AUTHENTICATE", helloWith(`,"authmethods":["ticket"]`), helloWith("")},
		{"second HELLO", "open", helloWith("")},
		{"WELCOME from a client", "open", `[2,1,{}]`},
		{"EVENT from a client", "open", `[36,1,1,{}]`},
		{"unknown type", "open", `[99,1]`},
		{"type is negative", "open", `[-1,1]`},
		{"SUBSCRIBE without topic", "open", `[32,1,{}]`},
		{"options are a list", "open", `[32,1,[],"a"]`},
		{"request id 0", "open", `[32,0,{},"a"]`},
		{"request id above 2^53", "open", `[32,9007199254740993,{},"a"]`},
		{"request id is text", "open", `[32,"1",{},"a"]`},
		{"match is a number", "open", `[32,1,{"match":1},"a"]`},
		{"acknowledge is a number", "open", `[16,1,{"acknowledge":1},"a"]`},
		{"exclude is a number", "open", `[16,1,{"exclude":1},"a"]`},
		{"exclude holds text", "open", `[16,1,{"exclude":["x"]},"a"]`},
		{"eligible_authid holds a number", "open", `[16,1,{"eligible_authid":[1]},"a"]`},
		{"arguments are a dictionary", "open", `[16,1,{},"a",{}]`},
		{"keyword arguments are a list", "open", `[16,1,{},"a",[],[]]`},
		{"user properties are no pairs", "open", `[16,1,{"_parley_user":[["a"]]},"a"]`},
		{"timeout is text", "open", `[48,1,{"timeout":"x"},"a"]`},
		{"ERROR for a CALL from a client", "open", `[8,48,1,{},"a.b"]`},
		{"ERROR without URI", "open", `[8,68,1,{}]`},
		{"UNSUBSCRIBE without id", "open", `[34,1]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := b.with(t).dial("wamp.2.json")
			switch c.before {
			case "":
			case "open":
				p.join()
			default:
				p.send(c.before)
				p.next()
			}
			p.send(c.frame)
			if got := p.next(); !strings.HasPrefix(got, `[3,`) || !strings.HasSuffix(got, `"wamp.error.protocol_violation"]`) {
				t.Errorf("got %s", got)
			}
			p.closed(subproto.CloseProtocol)
		})
	}
}

// In the binary serializations too, and keys of dictionaries have to be text.
func TestProtocolViolationsInBinary(t *testing.T) {
	b := start(t, nil)
	for _, c := range []struct{ protocol, frame string }{
		{"wamp.2.msgpack", "\xc1"}, {"wamp.2.msgpack", "\x94\x20\x01\x81\x01\x02\xa1a"}, {"wamp.2.msgpack", "\x94\x20\x01\x80\xa1\xff"},
		{"wamp.2.msgpack", "\x96\x10\x01\x80\xa1a\x90\x81\x01\x02"}, {"wamp.2.msgpack", ""},
		{"wamp.2.cbor", "\x1c"}, {"wamp.2.cbor", "\x84\x18\x20\x01\xa1\x01\x02\x61a"}, {"wamp.2.cbor", "\x84\x18\x20\x01\xa0\x61\xff"},
		{"wamp.2.cbor", "\x86\x10\x01\xa0\x61a\x80\xa1\x01\x02"},
	} {
		p := b.session(c.protocol)
		p.Feed(subproto.Binary, []byte(c.frame))
		if got := p.next(); !strings.HasSuffix(got, `"wamp.error.protocol_violation"]`) {
			t.Errorf("%s %x: got %s", c.protocol, c.frame, got)
		}
		p.closed(subproto.CloseProtocol)
	}
}

// RFC 6455 section 7.4.1: 1003 for a kind of frame that cannot be accepted.
func TestWrongKindOfFrame(t *testing.T) {
	b := start(t, nil)
	c := b.session("wamp.2.json")
	c.Feed(subproto.Binary, []byte(`[32,1,{},"a"]`))
	c.closed(subproto.CloseUnsupported)
	c = b.session("wamp.2.cbor")
	c.Feed(subproto.Text, []byte("\x80"))
	c.closed(subproto.CloseUnsupported)
}

func TestGoodbye(t *testing.T) {
	b := start(t, nil)
	c := b.session("wamp.2.msgpack")
	c.send(`[6,{},"wamp.close.close_realm"]`)
	c.expect(`[6,{},"wamp.close.goodbye_and_out"]`)
	c.closed(subproto.CloseNormal)
	if c.Feed(subproto.Binary, []byte("\x90")) {
		t.Error("read after GOODBYE")
	}
}

// A client that gives up the handshake is not argued with.
func TestClientAbortsHandshake(t *testing.T) {
	b := start(t, nil)
	c := b.dial("wamp.2.json")
	c.send(helloWith(`,"authmethods":["ticket"]`))
	c.expect(`[4,"ticket",{}]`)
	c.send(`[3,{},"wamp.error.cannot_authenticate"]`)
	c.closed(subproto.CloseNormal)
}

func TestDrainSaysGoodbye(t *testing.T) {
	b := start(t, nil)
	c := b.session("wamp.2.json")
	if err := b.hub.Drain(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	c.expect(`[6,{"message":"server shutting down"},"wamp.close.system_shutdown"]`)
	c.closed(subproto.CloseGoingAway)

	late := b.dial("wamp.2.json")
	late.send(helloWith(""))
	late.expect(`[3,{"message":"server shutting down"},"wamp.close.system_shutdown"]`)
	late.closed(subproto.CloseGoingAway)
}

func TestConnectionThatEndsDuringTheHandshake(t *testing.T) {
	b := start(t, nil)
	for range 50 {
		c := b.dial("wamp.2.json")
		c.send(helloWith(""))
		c.Drop(msg.ErrTimeout)
	}
	b.session("wamp.2.json")
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no Attach, and no error")
	}
	b := start(t, nil)
	b.session("wamp.2.json") // Run has begun
	e := b.Engine
	if err := e.Run(t.Context()); err == nil {
		t.Error("Run twice, and no error")
	}
	if _, err := e.Open(nopConn{}); err == nil || errors.Is(err, errMalformed) {
		t.Errorf("opened mqtt: %v", err)
	}
}

type nopConn struct{ subproto.Conn }

func (nopConn) Info() *subproto.Info { return &subproto.Info{Protocol: "mqtt"} }
