package wamp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	nexus "github.com/gammazero/nexus/v3/client"
	"github.com/gammazero/nexus/v3/transport/serialize"
	"github.com/gammazero/nexus/v3/wamp"

	"parley/auth"
	"parley/msg"
	"parley/subproto"
)

func TestCancelModes(t *testing.T) {
	b := start(t, nil)
	s, c := b.session("wamp.2.json"), b.session("wamp.2.cbor")
	s.send(`[64,1,{},"c.p"]`)
	s.expect(`[65,1,*]`)
	for i, mode := range []string{`{"mode":"skip"}`, `{"mode":"killnowait"}`, `{}`} {
		id := fmt.Sprint(i + 1)
		c.send(`[48,` + id + `,{},"c.p"]`)
		inv := s.expect(`[68,*,*,{}]`)[0]
		c.send(`[49,` + id + `,` + mode + `]`)
		c.expect(`[8,48,` + id + `,{},"wamp.error.canceled"]`)
		if !strings.Contains(mode, "skip") {
			if got := s.next(); !strings.HasPrefix(got, `[69,`+inv+`,`) {
				t.Errorf("no INTERRUPT but %s", got)
			}
		}
		s.send(`[70,` + inv + `,{}]`) // too late, goes nowhere
	}
	c.send(`[48,7,{},"c.p"]`)
	inv := s.expect(`[68,*,*,{}]`)[0]
	c.send(`[49,7,{"mode":"kill"}]`)
	s.next()
	s.send(`[8,68,` + inv + `,{},"wamp.error.canceled",["by kill"]]`)
	c.expect(`[8,48,7,{},"wamp.error.canceled",["by kill"]]`)

	c.send(`[48,8,{},"c.p"]`)
	s.expect(`[68,*,*,{}]`)
	c.send(`[49,8,{"mode":"bogus"}]`)
	c.expect(`[8,49,8,{},"wamp.error.invalid_argument",["unknown cancel mode"]]`)
	c.send(`[49,99,{}]`) // not open: nothing to answer
	c.send(`[48,9,{},"a..b"]`)
	c.expect(`[8,48,9,{},"wamp.error.invalid_uri",["invalid URI"]]`)
}

func TestCalleeThatLeavesAnswersItsCallers(t *testing.T) {
	b := start(t, nil)
	s, c := b.session("wamp.2.json"), b.session("wamp.2.json")
	s.send(`[64,1,{},"l.p"]`)
	s.expect(`[65,1,*]`)
	c.send(`[48,1,{},"l.p"]`)
	s.expect(`[68,*,*,{}]`)
	s.Drop(io.EOF)
	c.expect(`[8,48,1,{},"wamp.error.canceled",["callee gone"]]`)
	c.send(`[48,2,{},"l.p"]`)
	c.expect(`[8,48,2,{},"wamp.error.no_such_procedure"]`)
}

func TestProgressiveResultsAndCallerIdentification(t *testing.T) {
	b := start(t, nil)
	s := b.dial("wamp.2.json")
	s.welcome(`[1,"realm1",{"roles":{"callee":{"features":{"progressive_call_results":true,"call_canceling":true,"caller_identification":true}}}}]`)
	c := b.dialAs(subproto.Info{Protocol: "wamp.2.msgpack", Identity: &auth.Identity{User: "u", Roles: []string{"staff"}}})
	id := c.join()
	s.send(`[64,1,{"disclose_caller":true},"p.p"]`)
	s.expect(`[65,1,*]`)
	c.send(`[48,1,{"receive_progress":true},"p.p"]`)
	inv := s.expect(`[68,*,*,{"caller":` + id + `,"caller_authid":"u","caller_authrole":"staff","receive_progress":true}]`)[0]
	for i := range 3 {
		s.send(`[70,` + inv + `,{"progress":true},[` + fmt.Sprint(i) + `]]`)
		c.expect(`[50,1,{"progress":true},[` + fmt.Sprint(i) + `]]`)
	}
	s.send(`[70,` + inv + `,{},["end"]]`)
	c.expect(`[50,1,{},["end"]]`)
}

// The broker's own session, through which other engines call, is nobody's
// business.
func TestOwnSessionIsNotShown(t *testing.T) {
	b := start(t, nil)
	c := b.dial("wamp.2.json")
	id := c.join()
	if r := b.call(t, "wamp.session.list", `[[]]`); string(r.Payload.Data) != `[[[`+id+`]]]` {
		t.Errorf("list: %s", r.Payload.Data)
	}
	if r := b.call(t, "wamp.session.count", `[[]]`); string(r.Payload.Data) != `[[1]]` {
		t.Errorf("count: %s", r.Payload.Data)
	}
	c.send(`[48,1,{},"wamp.session.list"]`)
	c.expect(`[50,1,{},[[` + id + `]]]`)
	c.send(`[48,2,{},"wamp.session.count"]`)
	c.expect(`[50,2,{},[1]]`)
}

// call calls through the Caller interface and waits.
func (b *broker) call(t testing.TB, procedure, args string) subproto.CallResult {
	t.Helper()
	done := make(chan subproto.CallResult, 2)
	b.Call(subproto.Call{Namespace: "default", Procedure: procedure, Args: jsonArgs(args)}, func(r subproto.CallResult) { done <- r })
	select {
	case r := <-done:
		return r
	case <-time.After(patience):
		t.Fatal("no answer")
		panic("")
	}
}

func jsonArgs(args string) msg.Payload {
	return msg.Payload{Form: msg.FormArgs, Codec: msg.CodecJSON, Data: []byte(args)}
}

func TestCaller(t *testing.T) {
	b := start(t, nil)
	s := b.dial("wamp.2.cbor")
	s.welcome(`[1,"realm1",{"roles":{"callee":{"features":{"call_canceling":true,"caller_identification":true}}}}]`)
	s.send(`[64,1,{"disclose_caller":true},"x.p"]`)
	s.expect(`[65,1,*]`)
	done := make(chan subproto.CallResult, 1)
	b.Call(subproto.Call{
		Namespace: "default", Procedure: "x.p", Session: 77, Identity: &auth.Identity{User: "u", Roles: []string{"r"}},
		Args: jsonArgs(`[[9007199254740993,"x"],{"k":[true]}]`),
	}, func(r subproto.CallResult) { done <- r })
	inv := s.expect(`[68,*,*,{"caller":77,"caller_authid":"u","caller_authrole":"r"},[9007199254740993,"x"],{"k":[true]}]`)[0]
	s.send(`[70,` + inv + `,{},["\u0000AAEC"],{"n":18446744073709551615}]`)
	r := <-done
	if args, kwargs := r.Payload.ArgsView(msg.CodecJSON); r.Err != nil || r.ErrorURI != "" ||
		string(args) != `["\u0000AAEC"]` || string(kwargs) != `{"n":18446744073709551615}` {
		t.Errorf("%+v: %s %s", r, args, kwargs)
	}

	b.Call(subproto.Call{Namespace: "default", Procedure: "x.p", Args: jsonArgs(`[[]]`)}, func(r subproto.CallResult) { done <- r })
	inv = s.expect(`[68,*,*,{"caller":0,"caller_authid":"","caller_authrole":"anonymous"}]`)[0]
	s.send(`[8,68,` + inv + `,{},"app.error",["why"]]`)
	if r := <-done; r.ErrorURI != "app.error" || r.Err != nil || r.Payload.Codec != msg.CodecCBOR {
		t.Errorf("%+v", r)
	}
	for procedure, want := range map[string]error{
		"nobody.there": msg.ErrNoProcedure, "a..b": msg.ErrInvalidURI, "wamp.subscription.list": msg.ErrNoProcedure,
	} {
		if r := b.call(t, procedure, `[[]]`); r.Err != want || r.ErrorURI != "" {
			t.Errorf("%s: %+v", procedure, r)
		}
	}
	if r := b.call(t, "wamp.session.get", `[[5]]`); r.ErrorURI != "wamp.error.no_such_session" {
		t.Errorf("%+v", r)
	}
	b.Call(subproto.Call{Namespace: "nowhere", Procedure: "x.p"}, func(r subproto.CallResult) { done <- r })
	if r := <-done; r.Err != msg.ErrNoNamespace {
		t.Errorf("%+v", r)
	}
}

// Calls of one caller keep their order.
func TestCallerKeepsOrder(t *testing.T) {
	b := start(t, nil)
	s := b.session("wamp.2.json")
	s.send(`[64,1,{},"o.p"]`)
	s.expect(`[65,1,*]`)
	for i := range 200 {
		b.Call(subproto.Call{Namespace: "default", Procedure: "o.p", Args: jsonArgs(fmt.Sprintf(`[[%d]]`, i))}, func(subproto.CallResult) {})
	}
	for i := range 200 {
		s.expect(`[68,*,*,{},[` + fmt.Sprint(i) + `]]`)
	}
}

func TestCallerTimeoutAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		s := b.session("wamp.2.json")
		s.send(`[64,1,{},"t.p"]`)
		s.expect(`[65,1,*]`)
		done := make(chan subproto.CallResult, 2)
		call := func(timeout time.Duration) func() {
			return b.Call(subproto.Call{Namespace: "default", Procedure: "t.p", Args: jsonArgs(`[[]]`), Timeout: timeout},
				func(r subproto.CallResult) { done <- r })
		}
		begin := time.Now()
		call(3 * time.Second)
		inv := s.expect(`[68,*,*,{}]`)[0]
		if r := <-done; r.Err != msg.ErrTimeout || time.Since(begin) != 3*time.Second {
			t.Errorf("%+v after %v", r, time.Since(begin))
		}
		if got := s.next(); !strings.HasPrefix(got, `[69,`+inv+`,`) {
			t.Errorf("no INTERRUPT but %s", got)
		}
		cancel := call(0)
		s.expect(`[68,*,*,{}]`)
		cancel()
		cancel()
		if got := s.next(); !strings.HasPrefix(got, `[69,`) {
			t.Errorf("no INTERRUPT but %s", got)
		}
		// The broker stops with a call open, and after.
		call(0)
		s.expect(`[68,*,*,{}]`)
		b.stop()
		if r := <-done; r.Err != msg.ErrDraining {
			t.Errorf("%+v", r)
		}
		call(0)
		if r := <-done; r.Err != msg.ErrDraining {
			t.Errorf("%+v", r)
		}
		synctest.Wait()
		if len(done) > 0 {
			t.Errorf("answered after cancel: %+v", <-done)
		}
	})
}

// wirePeer is nexus' client's end of a connection to the engine.
type wirePeer struct {
	c    *client
	ser  serialize.Serializer
	in   chan wamp.Message
	out  chan wamp.Message
	stop chan struct{}
}

func (b *broker) nexusClient(t *testing.T, protocol string) *nexus.Client {
	t.Helper()
	p := &wirePeer{b.with(t).dial(protocol), serializer(protocol), make(chan wamp.Message), make(chan wamp.Message), make(chan struct{})}
	go func() {
		defer close(p.in)
		for {
			f, ok := p.c.Next()
			if !ok {
				return
			}
			m, err := p.ser.Deserialize(f.Data)
			if err != nil {
				t.Errorf("%s: %v in %q", protocol, err, f.Data)
				return
			}
			select {
			case p.in <- m:
			case <-p.stop:
				return
			}
		}
	}()
	go func() {
		for m := range p.out {
			data, err := p.ser.Serialize(m)
			if err != nil {
				t.Error(err)
			}
			p.c.Feed(p.c.w.frame(), data)
		}
	}()
	c, err := nexus.NewClient(p, nexus.Config{
		Realm: "realm1", Logger: nexusLog{slog.New(slog.DiscardHandler)}, ResponseTimeout: patience,
		HelloDetails: wamp.Dict{"authid": "u"},
		AuthHandlers: map[string]nexus.AuthFunc{"ticket": func(*wamp.Challenge) (string, wamp.Dict) { return "p", nil }},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); close(p.stop); close(p.out) })
	return c
}

func (p *wirePeer) Close()                    { p.c.Drop(io.EOF) }
func (p *wirePeer) IsLocal() bool             { return false }
func (p *wirePeer) Recv() <-chan wamp.Message { return p.in }
func (p *wirePeer) Send() chan<- wamp.Message { return p.out }

// A client others wrote, in each serialization, towards each.
func TestNexusClients(t *testing.T) {
	b := start(t, nil)
	for _, from := range protocols {
		for _, to := range protocols {
			t.Run(from+" to "+to, func(t *testing.T) {
				a, s := b.nexusClient(t, from), b.nexusClient(t, to)
				events := make(chan *wamp.Event, 600)
				if err := s.SubscribeChan("n.t", events, nil); err != nil {
					t.Fatal(err)
				}
				const n = 500
				for i := range n {
					if err := a.Publish("n.t", wamp.Dict{"acknowledge": i%10 == 0}, wamp.List{i}, wamp.Dict{"k": "v"}); err != nil {
						t.Fatal(err)
					}
				}
				for i := range n {
					e := <-events
					if got, _ := wamp.AsInt64(e.Arguments[0]); got != int64(i) || e.ArgumentsKw["k"] != "v" {
						t.Fatalf("event %d is %v", i, e)
					}
				}
				err := s.Register("n.p", func(_ context.Context, inv *wamp.Invocation) nexus.InvokeResult {
					return nexus.InvokeResult{Args: append(inv.Arguments, "done")}
				}, nil)
				if err != nil {
					t.Fatal(err)
				}
				r, err := a.Call(t.Context(), "n.p", nil, wamp.List{"x"}, nil, nil)
				if err != nil || len(r.Arguments) != 2 || r.Arguments[1] != "done" {
					t.Fatalf("%v, %v", r, err)
				}
				if err := s.Unregister("n.p"); err != nil {
					t.Error(err)
				}
				if err := s.Unsubscribe("n.t"); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
