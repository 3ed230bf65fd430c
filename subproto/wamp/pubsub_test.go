package wamp

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"parley/auth"
	"parley/msg"
	"parley/subproto"
)

// publisher is a session of the message plane that no engine of ours serves.
type publisher struct{ subproto.Session }

func (publisher) Wake() {}

func (b *broker) publisher(protocol string) publisher {
	b.t.Helper()
	var p publisher
	p.Session = b.hub.Attach(p, &auth.Identity{}, msg.SessionParams{Namespace: "default", Protocol: protocol},
		func(_ msg.AttachResult, err error) {
			if err != nil {
				b.t.Error(err)
			}
		})
	b.t.Cleanup(func() { p.Close(msg.CloseGoodbye) })
	return p
}

func TestMatchPolicies(t *testing.T) {
	b := start(t, nil)
	p, s := b.session("wamp.2.json"), b.session("wamp.2.cbor")
	s.send(`[32,1,{"match":"exact"},"a.b"]`)
	exact := s.expect(`[33,1,*]`)[0]
	p.send(`[16,1,{},"a.b"]`)
	s.expect(`[36,` + exact + `,*,{"_parley_via":"wamp"}]`)
	s.send(`[34,2,` + exact + `]`)
	s.expect(`[35,2]`)

	s.send(`[32,3,{"match":"prefix"},"a.b"]`)
	prefix := s.expect(`[33,3,*]`)[0]
	p.send(`[16,2,{},"a.bc.d",[1]]`)
	s.expect(`[36,` + prefix + `,*,{"_parley_via":"wamp","topic":"a.bc.d"},[1]]`)
	s.send(`[34,4,` + prefix + `]`)
	s.expect(`[35,4]`)

	s.send(`[32,5,{"match":"wildcard"},"a..c"]`)
	wild := s.expect(`[33,5,*]`)[0]
	p.send(`[16,3,{},"a.x.c",[],{"k":1}]`)
	s.expect(`[36,` + wild + `,*,{"_parley_via":"wamp","topic":"a.x.c"},[],{"k":1}]`)

	s.send(`[32,6,{"match":"regex"},"a"]`)
	s.expect(`[8,32,6,{},"wamp.error.feature_not_supported",["not supported"]]`)
}

// The same filter has the same id for every session, and a second SUBSCRIBE of
// a session answers with it (advanced profile, subscription sharing).
func TestSubscriptionIDs(t *testing.T) {
	b := start(t, nil)
	a, c := b.session("wamp.2.json"), b.session("wamp.2.msgpack")
	a.send(`[32,1,{},"a.b"]`)
	id := a.expect(`[33,1,*]`)[0]
	a.send(`[32,2,{},"a.b"]`)
	a.expect(`[33,2,` + id + `]`)
	c.send(`[32,1,{},"a.b"]`)
	c.expect(`[33,1,` + id + `]`)
	a.send(`[32,3,{"match":"prefix"},"a.b"]`)
	if other := a.expect(`[33,3,*]`)[0]; other == id {
		t.Error("prefix and exact share an id")
	}
	c.send(`[16,2,{"acknowledge":true},"a.b",["once"]]`)
	pub := c.expect(`[17,2,*]`)[0]
	got := map[string]bool{a.next(): true, a.next(): true} // one EVENT per subscription, the same publication
	for m := range got {
		if !strings.Contains(m, ","+pub+",") {
			t.Errorf("got %s", m)
		}
	}
}

func TestUnsubscribeOfForeignID(t *testing.T) {
	b := start(t, nil)
	a, c := b.session("wamp.2.json"), b.session("wamp.2.json")
	a.send(`[32,1,{},"a.b"]`)
	id := a.expect(`[33,1,*]`)[0]
	c.send(`[34,1,` + id + `]`)
	c.expect(`[8,34,1,{},"wamp.error.no_such_subscription",["no such subscription"]]`)
	c.send(`[16,2,{},"a.b"]`)
	a.expect(`[36,` + id + `,*,{"_parley_via":"wamp"}]`)
	a.send(`[34,2,` + id + `]`)
	a.expect(`[35,2]`)
	a.send(`[34,3,` + id + `]`)
	a.expect(`[8,34,3,{},"wamp.error.no_such_subscription",["no such subscription"]]`)
}

func TestRefusedPublishes(t *testing.T) {
	b := start(t, nil)
	c := b.session("wamp.2.json")
	for _, r := range []struct{ options, uri, want string }{
		{"", "a..b", "wamp.error.invalid_uri"}, {"", "a b", "wamp.error.invalid_uri"}, {"", "", "wamp.error.invalid_uri"},
		{"", "wamp.session.on_join", "wamp.error.invalid_uri"}, {"", "parley.gap", "wamp.error.invalid_uri"},
		{"", "$SYS.x", "wamp.error.invalid_uri"}, {"", "wamp", "wamp.error.invalid_uri"},
		{"", "secret.x", "wamp.error.not_authorized"},
		{`,"ppt_scheme":"mqtt"`, "a.b", "wamp.error.feature_not_supported"},
		{`,"_parley_key":""`, "a.b", "wamp.error.invalid_argument"},
	} {
		c.send(`[16,7,{"acknowledge":true` + r.options + `},"` + r.uri + `",["x"]]`)
		if got := c.next(); !strings.HasPrefix(got, `[8,16,7,{},"`+r.want+`"`) {
			t.Errorf("%s: got %s", r.uri, got)
		}
		// Not acknowledged: errors are not reported.
		c.send(`[16,8,{"x":1` + r.options + `},"` + r.uri + `",["x"]]`)
	}
	c.send(`[32,9,{},"secret.x"]`)
	c.expect(`[8,32,9,{},"wamp.error.not_authorized",["not authorized"]]`)
	c.send(`[32,10,{},"a..b"]`)
	c.expect(`[8,32,10,{},"wamp.error.invalid_uri",["invalid URI"]]`)
}

// PUBLISHED leaves only after the commit: a store that is full is heard of.
func TestFullStore(t *testing.T) {
	b := start(t, func(o *Options) {
		attach := o.Attach
		o.Attach = func(p subproto.Peer, id *auth.Identity, params msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
			return full{attach(p, id, params, done)}
		}
	})
	c := b.session("wamp.2.json")
	c.send(`[16,1,{"acknowledge":true},"a.b"]`)
	c.expect(`[8,16,1,{},"parley.error.quota_exceeded",["storage is full"]]`)
}

type full struct{ subproto.Session }

func (full) Publish(_ *msg.Message, done func(msg.Offset, error)) { done(0, msg.ErrStoreFull) }

func TestRetained(t *testing.T) {
	b := start(t, nil)
	p := b.session("wamp.2.msgpack")
	p.send(`[16,1,{"acknowledge":true,"retain":true},"r.a",["kept"]]`)
	pub := p.expect(`[17,1,*]`)[0]
	s := b.session("wamp.2.json")
	s.send(`[32,1,{"get_retained":true},"r.a"]`)
	s.expect(`[33,1,*]`)
	s.expect(`[36,*,` + pub + `,{"_parley_offset":*,"_parley_via":"wamp","retained":true},["kept"]]`)
	s.send(`[32,2,{"get_retained":true,"match":"prefix"},"r"]`)
	s.expect(`[33,2,*]`)
	s.expect(`[36,*,` + pub + `,{"_parley_offset":*,"_parley_via":"wamp","retained":true,"topic":"r.a"},["kept"]]`)

	// Without get_retained there is none.
	n := b.session("wamp.2.json")
	n.send(`[32,1,{},"r.a"]`)
	n.expect(`[33,1,*]`)
	p.send(`[16,2,{},"r.a",["live"]]`)
	n.expect(`[36,*,*,{"_parley_via":"wamp"},["live"]]`)
}

// Advanced profile: publisher exclusion, black- and whitelisting, publisher
// identification.
func TestWhoReceives(t *testing.T) {
	b := start(t, nil)
	self := b.dial("wamp.2.json")
	selfID := self.join()
	user := b.dialAs(subproto.Info{Protocol: "wamp.2.json", Identity: &auth.Identity{User: "u", Roles: []string{"staff"}}})
	userID := user.join()
	other := b.dial("wamp.2.cbor")
	otherID := other.join()
	all := map[string]*client{"self": self, "user": user, "other": other}
	for _, c := range all {
		c.send(`[32,1,{},"a.b"]`)
		c.expect(`[33,1,*]`)
	}
	for _, r := range []struct{ options, receivers string }{
		{``, "user other"},
		{`"exclude_me":false`, "self user other"},
		{`"exclude":[` + userID + `]`, "other"},
		{`"eligible":[` + otherID + `,` + selfID + `]`, "other"},
		{`"eligible":[]`, ""},
		{`"exclude_authid":["u"]`, "other"},
		{`"eligible_authid":["u","x"]`, "user"},
		{`"exclude_authrole":["anonymous"]`, "user"},
		{`"eligible_authrole":["staff"]`, "user"},
		{`"eligible":null`, "user other"},
	} {
		self.send(`[16,2,{` + r.options + `},"a.b",["` + strings.ReplaceAll(r.options, `"`, "'") + `"]]`)
		self.send(`[16,3,{"exclude_me":false},"a.b",["end"]]`)
		for name, c := range all {
			got := c.next()
			if received := !strings.Contains(got, `["end"]`); received != strings.Contains(r.receivers, name) {
				t.Errorf("{%s}: %s got %s", r.options, name, got)
			} else if received {
				c.next()
			}
		}
	}
	user.send(`[16,4,{"disclose_me":true},"a.b"]`)
	other.expect(`[36,*,*,{"_parley_via":"wamp","publisher":` + userID + `,"publisher_authid":"u","publisher_authrole":"staff"}]`)
}

// MQTT 5 properties travel as details (docs/protocols.md, WAMP), and back.
func TestPropertiesOfMQTT(t *testing.T) {
	b := start(t, nil)
	for _, protocol := range protocols {
		b := b.with(t)
		s := b.session(protocol)
		s.send(`[32,1,{},"dev.1"]`)
		s.expect(`[33,1,*]`)
		b.publisher(msg.ViaMQTT).Publish(&msg.Message{
			Topic: "dev/1", Via: msg.ViaMQTT, QoS: 1, ResponseTopic: "dev/1/re", Correlation: []byte{0, 1, 2},
			Payload: msg.Payload{Data: []byte(`{"t": 21.5}`), ContentType: "application/json"},
			User:    []msg.Property{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}},
		}, nil)
		s.expect(`[36,*,*,{"_parley_content_type":"application/json","_parley_correlation":"\u0000AAEC",` +
			`"_parley_offset":*,"_parley_response_topic":"dev.1.re","_parley_user":[["a","1"],["a","2"]],"_parley_via":"mqtt"},[{"t":21.5}]]`)

		p := b.session(protocol)
		p.send(`[16,1,{"acknowledge":true,"_parley_user":[["a","1"],["a","2"]],"_parley_response_topic":"x.y","_parley_correlation":"\u0000AAEC"},"dev.1"]`)
		p.expect(`[17,1,*]`)
		s.expect(`[36,*,*,{"_parley_correlation":"\u0000AAEC","_parley_offset":*,"_parley_response_topic":"x.y",` +
			`"_parley_user":[["a","1"],["a","2"]],"_parley_via":"wamp"}]`)
	}
}

// The publication id leads back to the offset in the details.
func TestPublicationIDNamesTheOffset(t *testing.T) {
	b := start(t, nil)
	p, s := b.session("wamp.2.json"), b.session("wamp.2.json")
	s.send(`[32,1,{},"a.b"]`)
	s.expect(`[33,1,*]`)
	ids := map[string]bool{}
	for range 10 {
		p.send(`[16,1,{"acknowledge":true},"a.b"]`)
		published := p.expect(`[17,1,*]`)[0]
		event := s.expect(`[36,*,*,{"_parley_offset":*,"_parley_via":"wamp"}]`)
		if event[1] != published || ids[published] {
			t.Errorf("published %s, event %v", published, event)
		}
		ids[published] = true
	}
}

// Binary of any serialization arrives as binary in any other.
func TestBinaryCrossesSerializations(t *testing.T) {
	b := start(t, nil)
	for _, from := range protocols {
		for _, to := range protocols {
			p, s := b.session(from), b.session(to)
			s.send(`[32,1,{},"bin"]`)
			s.expect(`[33,1,*]`)
			p.send(`[16,1,{},"bin",["\u0000AAEC",-5,1.5,12345678901234567890],{"ü":["\u0000"]}]`)
			s.expect(`[36,*,*,{"_parley_via":"wamp"},["\u0000AAEC",-5,1.5,12345678901234567890],{"ü":["\u0000"]}]`)
		}
	}
}

// What was said in the frame is in the message: the frame's bytes are only lent.
func TestPayloadIsCopied(t *testing.T) {
	b := start(t, nil)
	p, s := b.session("wamp.2.json"), b.session("wamp.2.json")
	s.send(`[32,1,{},"a.b"]`)
	s.expect(`[33,1,*]`)
	for range 100 {
		p.send(`[16,1,{"_parley_correlation":"c"},"a.b",["` + strings.Repeat("x", 100) + `"]]`)
	}
	for range 100 {
		s.expect(`[36,*,*,{"_parley_correlation":"\u0000Yw==","_parley_via":"wamp"},["` + strings.Repeat("x", 100) + `"]]`)
	}
}

// A message that many subscriptions want is not more events than the connection
// has room for; the rest of them follow, before anything newer.
func TestRoomWithinDelivery(t *testing.T) {
	b := start(t, nil)
	p, s := b.session("wamp.2.json"), b.session("wamp.2.json")
	want := map[string]bool{}
	for i, uri := range []string{"a", "a.b", "a.b.c", "a.b.c.d"} {
		s.send(fmt.Sprintf(`[32,%d,{"match":"prefix"},%q]`, i+1, uri))
		want[s.expect(fmt.Sprintf(`[33,%d,*]`, i+1))[0]] = true
	}
	s.RoomFor(2)
	for r := 1; r <= 2; r++ {
		p.send(fmt.Sprintf(`[16,%d,{"acknowledge":true},"a.b.c.d",[%d]]`, r, r))
		p.expect(fmt.Sprintf(`[17,%d,*]`, r))
	}
	for r := 1; r <= 2; r++ {
		got := map[string]bool{}
		for i := range len(want) {
			if r == 1 && i == 2 {
				s.send(`[34,9,77]`) // answered although there is no room, and before the rest
				s.expect(`[8,34,9,{},"wamp.error.no_such_subscription",["no such subscription"]]`)
				s.SetRoom(true)
			}
			got[s.expect(fmt.Sprintf(`[36,*,*,{"_parley_offset":*,"_parley_via":"wamp","topic":"a.b.c.d"},[%d]]`, r))[0]] = true
		}
		if !maps.Equal(got, want) {
			t.Fatalf("event %d came for %v, want %v", r, got, want)
		}
	}
}

// A peer that does not read is not sent events; it gets them in order later.
func TestSlowSubscriberPulls(t *testing.T) {
	b := start(t, nil)
	p, s := b.session("wamp.2.json"), b.session("wamp.2.json")
	s.send(`[32,1,{},"a.b"]`)
	s.expect(`[33,1,*]`)
	s.SetRoom(false)
	for i := range 200 {
		p.send(`[16,1,{"acknowledge":true},"a.b",[` + string(rune('0'+i%10)) + `]]`)
		p.expect(`[17,1,*]`)
	}
	s.SetRoom(true)
	for i := range 200 {
		s.expect(`[36,*,*,{"_parley_offset":*,"_parley_via":"wamp"},[` + string(rune('0'+i%10)) + `]]`)
	}
}

// An option that is null, or undefined in CBOR, is as good as missing: that is
// how autobahn-js sends {match: undefined}.
func TestNullOptionsAreAbsent(t *testing.T) {
	b := start(t, nil)
	s := b.session("wamp.2.json")
	s.send(`[32,1,{"match":null,"get_retained":null},"a.b"]`)
	s.expect(`[33,1,*]`)
	s.send(`[16,2,{"acknowledge":true,"exclude_me":null,"eligible":null},"a.c",[1]]`)
	s.expect(`[17,2,*]`)
}
