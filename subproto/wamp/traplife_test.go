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

// Traps of nexus that have to do with time: timers, ends and slow peers.

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
