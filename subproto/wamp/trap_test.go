package wamp

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gammazero/nexus/v3/wamp"

	"parley/msg"
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
		`[70,1,{"ppt_cipher":null}]`, `[16,1,{"ppt_keyid":[]},"a.b"]`,
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
		"wamp.subscription.get_events", "wamp.session.add_testament", "wamp.session.flush_testaments",
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

// A callee that dies after CANCEL in mode kill leaves the caller unanswered in
// nexus; so does one that ignores the INTERRUPT. Timers are ours.
func TestTrapDeadCalleeAfterCancelKill(t *testing.T) {
	for _, dies := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, nil)
			s, c := b.session("wamp.2.json"), b.session("wamp.2.json")
			s.send(`[64,1,{},"dead.p"]`)
			s.expect(`[65,1,*]`)
			c.send(`[48,1,{},"dead.p"]`)
			s.expect(`[68,*,*,{}]`)
			c.send(`[49,1,{"mode":"kill"}]`)
			if got := s.next(); !strings.HasPrefix(got, `[69,`) {
				t.Fatalf("no INTERRUPT but %s", got)
			}
			if dies {
				s.Drop(msg.ErrTimeout)
			}
			begin := time.Now()
			c.expect(`[8,48,1,{},"wamp.error.canceled"]`)
			if took := time.Since(begin); took != 10*time.Second {
				t.Errorf("took %v", took)
			}
			c.send(`[48,2,{},"nobody.there"]`)
			c.expect(`[8,48,2,{},"wamp.error.no_such_procedure"]`)
			b.stop()
		})
	}
}

// CALL's timeout: answered by us, even if the callee never does. Nexus' own
// timers would still fire after its router closed, and panic.
func TestTrapCallTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		s, c := b.session("wamp.2.json"), b.session("wamp.2.json")
		s.send(`[64,1,{},"slow.p"]`)
		s.expect(`[65,1,*]`)
		begin := time.Now()
		c.send(`[48,1,{"timeout":1500},"slow.p"]`)
		inv := s.expect(`[68,*,*,{}]`)[0]
		c.expect(`[8,48,1,{},"wamp.error.timeout"]`)
		if took := time.Since(begin); took != 1500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if got := s.next(); !strings.HasPrefix(got, `[69,`+inv) {
			t.Fatalf("no INTERRUPT but %s", got)
		}
		s.send(`[70,` + inv + `,{},["late"]]`)
		c.send(`[48,2,{"timeout":60000},"slow.p"]`)
		s.expect(`[68,*,*,{}]`)
		b.stop()
		time.Sleep(2 * time.Minute) // the bubble's clock: no timer is left that could panic
	})
}

// A session that attaches while the router closes makes nexus panic.
func TestTrapAttachWhileClosing(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, nil)
			conns := make([]*client, 30)
			for i := range conns {
				conns[i] = b.dial("wamp.2.json")
			}
			go b.stop()
			for _, c := range conns {
				c.send(helloWith(""))
			}
			for _, c := range conns {
				c.closed(subproto.CloseGoingAway)
			}
			synctest.Wait()
		})
	}
}

// HELLO before Run has begun waits for it.
func TestTrapHelloBeforeRun(t *testing.T) {
	b := prepare(t, nil)
	c := b.dial("wamp.2.json")
	c.send(helloWith(""))
	gone := b.dial("wamp.2.json")
	gone.send(helloWith(""))
	gone.Drop(msg.ErrTimeout)
	b.run()
	c.details(c.next())
}

// A send by the router to a session whose peer has closed must neither panic
// (closed channel) nor block.
func TestTrapSendAfterClose(t *testing.T) {
	var got []wamp.Message
	p := newPeer(func(m wamp.Message) { got = append(got, m) }, func() {})
	p.Send() <- &wamp.Welcome{}
	p.Close()
	p.Close()
	for p.submit(&wamp.Goodbye{}) { // one finds place, the next has nobody to wait for
	}
	p.leave()
	p.leave()
	p.Send() <- &wamp.Welcome{}
	for range 1000 {
		select {
		case p.Send() <- &wamp.Registered{}:
		default:
			t.Fatal("a message was dropped")
		}
	}
	p.mu.Lock()
	for p.expected > 0 {
		p.drained.Wait()
	}
	p.mu.Unlock()
	if len(got) != 1002 {
		t.Errorf("%d messages arrived", len(got))
	}
}

// A router that stops says GOODBYE to those still attached.
func TestTrapRouterStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		c := b.session("wamp.2.json")
		b.stop()
		c.expect(`[6,{"message":"server shutting down"},"wamp.close.system_shutdown"]`)
		c.closed(subproto.CloseGoingAway)
	})
}

// A callee that does not read is refused further calls (its callers hear of
// it); a caller that does not read its results is ended. Nobody else waits.
func TestTrapSlowCallee(t *testing.T) {
	b := start(t, func(o *Options) { o.MaxQueue = 64 << 10 })
	s, c := b.session("wamp.2.json"), b.session("wamp.2.json")
	s.send(`[64,1,{},"slow.p"]`)
	s.expect(`[65,1,*]`)
	s.SetRoom(false)
	big := strings.Repeat("x", 1000)
	for i := 1; ; i++ {
		if i > 500 {
			t.Fatal("the callee is still called")
		}
		c.send(`[48,` + strconv.Itoa(i) + `,{},"slow.p",["` + big + `"]]`)
		// A marker call tells when the first has been handled.
		c.send(`[48,` + strconv.Itoa(100000+i) + `,{},"nobody.there"]`)
		if got := c.next(); strings.Contains(got, "network_failure") {
			break
		}
	}
	b.alive()
	s.SetRoom(true)
	s.expect(`[68,1,*,{},["` + big + `"]]`)
	b.alive()
}

func TestTrapSlowCaller(t *testing.T) {
	b := start(t, func(o *Options) { o.MaxQueue = 64 << 10 })
	s, c := b.session("wamp.2.json"), b.session("wamp.2.json")
	s.send(`[64,1,{},"big.p"]`)
	s.expect(`[65,1,*]`)
	c.SetRoom(false)
	for i := range 10 {
		c.send(`[48,` + strconv.Itoa(i+1) + `,{},"big.p"]`)
	}
	big := strings.Repeat("x", 10000)
	for range 10 {
		inv := s.expect(`[68,*,*,{}]`)[0]
		s.send(`[70,` + inv + `,{},["` + big + `"]]`)
	}
	if code, reason := c.WaitClose(); code != subproto.ClosePolicy || reason != uriTooSlow {
		t.Errorf("closed with %d %s", code, reason)
	}
	b.alive()
}

// A peer that has half of its queue waiting is not read until it takes it.
func TestTrapBacklogStopsReading(t *testing.T) {
	b := start(t, func(o *Options) { o.MaxQueue = 64 << 10 })
	s, c := b.session("wamp.2.json"), b.session("wamp.2.json")
	s.send(`[64,1,{},"big.p"]`)
	s.expect(`[65,1,*]`)
	c.SetRoom(false)
	for i := range 5 {
		c.send(`[48,` + strconv.Itoa(i+1) + `,{},"big.p"]`)
	}
	big := strings.Repeat("x", 9000)
	for range 5 {
		inv := s.expect(`[68,*,*,{}]`)[0]
		s.send(`[70,` + inv + `,{},["` + big + `"]]`)
	}
	c.waitReading(false)
	c.SetRoom(true)
	for i := range 5 {
		c.expect(`[50,` + strconv.Itoa(i+1) + `,{},["` + big + `"]]`)
	}
	c.waitReading(true)
	c.send(`[32,9,{},"a.b"]`)
	c.expect(`[33,9,*]`)
}

// Calls and registrations of one session are bounded.
func TestTrapTooManyCallsAndRegistrations(t *testing.T) {
	b := start(t, func(o *Options) { o.MaxCalls, o.MaxRegistrations = 3, 2 })
	s, c := b.session("wamp.2.json"), b.session("wamp.2.json")
	for i := range 2 {
		s.send(`[64,` + strconv.Itoa(i+1) + `,{},"p.` + strconv.Itoa(i) + `"]`)
		s.expect(`[65,*,*]`)
	}
	s.send(`[64,3,{},"p.3"]`)
	s.expect(`[8,64,3,{},"parley.error.quota_exceeded",["too many registrations"]]`)
	var inv string
	for i := range 3 {
		c.send(`[48,` + strconv.Itoa(i+1) + `,{},"p.0"]`)
		inv = s.expect(`[68,*,*,{}]`)[0]
	}
	c.send(`[48,4,{},"p.0"]`)
	c.expect(`[8,48,4,{},"parley.error.quota_exceeded",["too many open calls"]]`)
	s.send(`[70,` + inv + `,{}]`)
	c.expect(`[50,3,{}]`)
	c.send(`[48,5,{},"p.0"]`)
	s.expect(`[68,*,*,{}]`)
}

// waitReading waits until the connection is read, or is not.
func (c *client) waitReading(want bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for ctx.Err() == nil {
		if _, _, reading := c.State(); reading == want {
			return
		}
		runtime.Gosched()
	}
	c.t.Fatalf("reading is not %v", want)
}
