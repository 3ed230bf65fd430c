package json

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/subproto"
)

// fakeSession does what a test wants, where a hub would need luck.
type fakeSession struct {
	subproto.Session // of what this engine does not call, nothing

	result    msg.AttachResult // the epoch is E
	publish   func(m *msg.Message, done func(msg.Offset, error))
	subscribe func(s []msg.Subscription, done func([]msg.SubscribeResult))
	history   func(q msg.HistoryQuery, done func(msg.HistoryResult, error))

	mu         sync.Mutex
	deliveries []msg.Delivery
	congested  bool
	closed     bool
	how        msg.CloseHow
	peer       subproto.Peer
	gone       []msg.Filter // unsubscribed
	acked      []uint64
}

func (s *fakeSession) give(d msg.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliveries = append(s.deliveries, d)
}

func (s *fakeSession) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.deliveries)
}

func (s *fakeSession) attach(p subproto.Peer, _ *auth.Identity, _ msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
	s.peer = p
	s.result.Epoch = "E"
	done(s.result, nil)
	return s
}

func (s *fakeSession) ID() uint64 { return 7 }
func (s *fakeSession) Publish(m *msg.Message, done func(msg.Offset, error)) {
	s.publish(m, done)
}
func (s *fakeSession) Congested() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.congested
}
func (s *fakeSession) setCongested(c bool) {
	s.mu.Lock()
	s.congested = c
	s.mu.Unlock()
	s.peer.Wake()
}
func (s *fakeSession) Subscribe(subs []msg.Subscription, done func([]msg.SubscribeResult)) {
	if s.subscribe != nil {
		s.subscribe(subs, done)
		return
	}
	done([]msg.SubscribeResult{{}})
}
func (s *fakeSession) Unsubscribe(f []msg.Filter, done func([]error)) {
	s.gone = append(s.gone, f...)
	done(make([]error, len(f)))
}
func (s *fakeSession) History(q msg.HistoryQuery, done func(msg.HistoryResult, error)) {
	s.history(q, done)
}
func (s *fakeSession) Next(d *msg.Delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.deliveries) == 0 {
		return false
	}
	*d, s.deliveries = s.deliveries[0], s.deliveries[1:]
	return true
}
func (s *fakeSession) NextNotice(n *msg.Notice) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.deliveries) == 0 || s.deliveries[0].Notice == nil {
		return false
	}
	*n, s.deliveries = *s.deliveries[0].Notice, s.deliveries[1:]
	return true
}
func (s *fakeSession) Ack(ref uint64)                     { s.acked = append(s.acked, ref) }
func (s *fakeSession) SetWill(_ *msg.Will, _ func(error)) {}
func (s *fakeSession) Close(how msg.CloseHow)             { s.closed, s.how = true, how }

// TestErrorsComplete: every peer error has a row of its own meaning.
func TestErrorsComplete(t *testing.T) {
	for _, err := range msg.PeerErrors() {
		f, ok := failureOf(fmt.Errorf("wrapped: %w", err))
		if !ok {
			t.Errorf("%v has no row", err)
		}
		if c := f.reply.code; c < 100 || c > 112 && c < 400 || c > 1999 || f.reply.message == "" {
			t.Errorf("%v: error %d %q", err, c, f.reply.message)
		}
		if c := f.close; c != closeTooLarge && (c < 3000 || c > 4999) || f.reason == "" {
			t.Errorf("%v: close %d %q", err, c, f.reason)
		}
		if terminal := f.close >= 3500 && f.close < 4000 || f.close >= 4500; terminal && f.reply.temporary && !errors.Is(err, msg.ErrTimeout) {
			t.Errorf("%v: temporary as a reply, for good as a close", err)
		}
	}
	if f, ok := failureOf(io.ErrUnexpectedEOF); ok || f.reply.code != codeInternal || f.close != closeInternal {
		t.Error("foreign error:", f, ok)
	}
}

// TestPublishRefused: each refusal is answered with its code or ends the connection.
func TestPublishRefused(t *testing.T) {
	for _, refusal := range msg.PeerErrors() {
		f, _ := failureOf(refusal)
		s := &fakeSession{publish: func(_ *msg.Message, done func(msg.Offset, error)) { done(0, refusal) }}
		c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
		script := hello + `> {"id":2,"publish":{"channel":"a","data":1}}` + "\n"
		if f.ends {
			script += fmt.Sprintf("! %d %s", f.close, f.reason)
		} else {
			temporary := ""
			if f.reply.temporary {
				temporary = `,"temporary":true`
			}
			script += fmt.Sprintf(`< {"id":2,"error":{"code":%d,"message":%q%s}}`, f.reply.code, f.reply.message, temporary)
		}
		c.talk(script)
	}
}

// TestStorageFull: the one named code for it is temporary, and it recovers.
func TestStorageFull(t *testing.T) {
	full := true
	s := &fakeSession{publish: func(_ *msg.Message, done func(msg.Offset, error)) {
		if full {
			done(0, fmt.Errorf("commit: %w", msg.ErrStoreFull))
			return
		}
		done(5, nil)
	}}
	c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
	c.talk(hello + `
		> {"id":2,"publish":{"channel":"a","data":1}}
		< {"id":2,"error":{"code":1000,"message":"storage is full","temporary":true}}`)
	full = false
	c.talk(`
		> {"id":3,"publish":{"channel":"a","data":1}}
		< {"id":3,"publish":{"offset":5}}`)
}

// TestReplyAfterDone: nothing is acknowledged before the session says so.
func TestReplyAfterDone(t *testing.T) {
	var dones []func(msg.Offset, error)
	s := &fakeSession{publish: func(_ *msg.Message, done func(msg.Offset, error)) { dones = append(dones, done) }}
	c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
	c.talk(hello + `
		> {"id":2,"publish":{"channel":"a","data":1}}
		> {"id":3,"publish":{"channel":"a","data":1}}
		> {"id":4,"ping":{}}
		< {"id":4,"ping":{}}`)
	for i, done := range dones {
		done(msg.Offset(i+1), nil)
	}
	s.peer.Wake()
	c.talk(`
		< {"id":2,"publish":{"offset":1}}
		< {"id":3,"publish":{"offset":2}}`)
}

// TestReadingStops: while publishes wait, and while too many requests do.
func TestReadingStops(t *testing.T) {
	var mu sync.Mutex
	var dones []func(msg.Offset, error)
	s := &fakeSession{publish: func(_ *msg.Message, done func(msg.Offset, error)) {
		mu.Lock()
		dones = append(dones, done)
		mu.Unlock()
	}}
	c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
	c.talk(hello)
	reading := func() bool { _, _, r := c.c.State(); return r }
	s.mu.Lock()
	s.congested = true
	s.mu.Unlock()
	c.send(`{"id":2,"ping":{}}`)
	if reading() {
		t.Fatal("reads although congested")
	}
	s.setCongested(false)
	c.talk("< {\"id\":2,\"ping\":{}}\n> {\"id\":3,\"ping\":{}}\n< {\"id\":3,\"ping\":{}}")
	c.send(strings.Repeat(`{"id":9,"publish":{"channel":"a","data":1}}`+"\n", maxPending))
	if reading() {
		t.Fatal("reads with too many requests waiting")
	}
	mu.Lock()
	for _, done := range dones {
		done(1, nil)
	}
	mu.Unlock()
	s.peer.Wake()
	c.send(`{"id":4,"ping":{}}`) // waits until it is read
	for range maxPending {
		c.talk(`< {"id":9,"publish":{"offset":1}}`)
	}
	c.talk(`< {"id":4,"ping":{}}`)
}

// TestReplyBeforePush: a delivery that comes while the reply to its subscribe is
// still in the mailbox does not overtake it.
func TestReplyBeforePush(t *testing.T) {
	s := &fakeSession{}
	var done func([]msg.SubscribeResult)
	s.subscribe = func(subs []msg.Subscription, d func([]msg.SubscribeResult)) {
		sub := subs[0]
		done = d
		s.give(msg.Delivery{
			Message: &msg.Message{Topic: "a", Via: msg.ViaMQTT}, Matches: []*msg.Subscription{&sub},
		})
	}
	c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
	c.talk(hello)
	c.c.SetRoom(false)
	c.send(`{"id":2,"subscribe":{"channel":"a"}}`)
	done([]msg.SubscribeResult{{Start: 4}})
	c.c.SetRoom(true)
	c.talk(`
		< {"id":2,"subscribe":{"epoch":*,"offset":4,"positioned":true,"recoverable":true}}
		< {"push":{"channel":"a","pub":{"data":"","tags":{"topic":"a","via":"mqtt","encoding":"text"}}}}`)
}

// TestRoom: nothing is pulled while the peer reads too slowly.
func TestRoom(t *testing.T) {
	s := &fakeSession{}
	c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
	c.talk(hello + `
		> {"id":2,"subscribe":{"channel":"a"}}
		< {"id":2,"subscribe":{"epoch":*,"offset":0,"positioned":true,"recoverable":true}}`)
	c.c.SetRoom(false)
	s.give(msg.Delivery{
		Message: &msg.Message{Topic: "a", Via: msg.ViaWAMP, Payload: msg.Bytes([]byte("1"))},
		Matches: []*msg.Subscription{{Filter: msg.Filter{Pattern: "a"}, Handle: 1}},
	})
	c.talk("> {\"id\":3,\"ping\":{}}\n< {\"id\":3,\"ping\":{}}")
	if s.left() != 1 {
		t.Fatal("pulled without room")
	}
	c.c.SetRoom(true)
	c.talk(`< {"push":{"channel":"a","pub":{"data":1,"tags":{"topic":"a","via":"wamp"}}}}`)
}

// TestRoomWithinDelivery: a message that many subscriptions want is not more than
// the connection has room for; the rest of its pushes follow, before anything newer.
func TestRoomWithinDelivery(t *testing.T) {
	s := &fakeSession{}
	c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
	c.talk(hello)
	var all []*msg.Subscription
	for i, ch := range []string{"a", "+", "#"} {
		c.talk(fmt.Sprintf(`
			> {"id":%d,"subscribe":{"channel":%q}}
			< {"id":%d,"subscribe":{"epoch":*,"offset":0,"positioned":true,"recoverable":true}}`, i+2, ch, i+2))
		all = append(all, &msg.Subscription{Filter: msg.Filter{Pattern: ch}, Handle: uint64(i + 1)})
	}
	c.c.RoomFor(2)
	large := msg.Bytes([]byte(strings.Repeat("1", maxFrame)))
	s.give(msg.Delivery{Message: &msg.Message{Topic: "a", Payload: large}, Matches: all})
	s.give(msg.Delivery{Message: &msg.Message{Topic: "a", Payload: msg.Bytes([]byte("2"))}, Matches: all[:1]})
	c.c.Wake()
	expect := func(wants ...string) {
		for _, want := range wants {
			if got := c.next(); !strings.Contains(got, want) {
				t.Fatalf("got %.60s, want %s", got, want)
			}
		}
	}
	expect(`"channel":"a","pub":{"data":"1`, `"channel":"+","pub":{"data":"1`)
	c.send(`{"id":9,"ping":{}}`)
	expect(`{"id":9,"ping":{}}`) // answered although there is no room, and before the rest
	c.c.SetRoom(true)
	expect(`"channel":"#","pub":{"data":"1`, `"channel":"a","pub":{"data":2`)
}

// TestNotices: what happens to a session is told in the protocol's terms.
func TestNotices(t *testing.T) {
	sub := &msg.Subscription{Filter: msg.Filter{Pattern: "a"}, Handle: 1}
	for name, tc := range map[string]struct {
		n    msg.Notice
		want string
		how  msg.CloseHow
	}{
		"taken over": {msg.Notice{Kind: msg.NoticeTakenOver}, "! 4500 session taken over", msg.CloseLost},
		"draining":   {msg.Notice{Kind: msg.NoticeDraining}, "! 3001 shutdown", msg.CloseDrain},
		"revoked": {msg.Notice{Kind: msg.NoticeRevoked, Subscription: sub},
			`< {"push":{"channel":"a","unsubscribe":{"code":2000,"reason":"permission denied"}}}`, msg.CloseLost},
		"gap": {msg.Notice{Kind: msg.NoticeGap, Subscription: sub, First: 3, Last: 9, Count: 4, Reason: "age"},
			`< {"push":{"message":{"data":{"type":"gap","filter":"a","first":3,"last":9,"count":4,"reason":"age"}}}}
			 < {"push":{"channel":"a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`, msg.CloseLost},
	} {
		t.Run(name, func(t *testing.T) {
			s := &fakeSession{}
			c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
			c.talk(hello + `
				> {"id":2,"subscribe":{"channel":"a"}}
				< {"id":2,"subscribe":{"epoch":*,"offset":0,"positioned":true,"recoverable":true}}`)
			c.c.SetRoom(false)
			s.give(msg.Delivery{Notice: &tc.n})
			c.c.SetRoom(true)
			c.talk(tc.want)
			c.c.Drop(io.EOF)
			if !s.closed || s.how != tc.how {
				t.Fatal("session closed", s.closed, s.how)
			}
		})
	}
}

// TestDraining: what is outstanding is answered before the close.
func TestDraining(t *testing.T) {
	var done func(msg.Offset, error)
	s := &fakeSession{publish: func(_ *msg.Message, d func(msg.Offset, error)) { done = d }}
	c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
	c.talk(hello + `> {"id":2,"publish":{"channel":"a","data":1}}`)
	c.c.SetRoom(false)
	s.give(msg.Delivery{Notice: &msg.Notice{Kind: msg.NoticeDraining}})
	c.c.SetRoom(true)
	if _, _, reading := c.c.State(); reading {
		t.Fatal("reads on")
	}
	done(3, nil)
	s.peer.Wake()
	c.talk(`
		< {"id":2,"publish":{"offset":3}}
		! 3001 shutdown`)
}

// TestForeignError: what is no peer error is an internal one to the client.
func TestForeignError(t *testing.T) {
	s := &fakeSession{publish: func(_ *msg.Message, done func(msg.Offset, error)) { done(0, io.ErrShortWrite) }}
	e := New(Options{Attach: s.attach})
	open(t, e, subproto.Info{}).talk(hello + `
		> {"id":2,"publish":{"channel":"a","data":1}}
		< {"id":2,"error":{"code":100,"message":"internal server error","temporary":true}}`)
	refuse := func(_ subproto.Peer, _ *auth.Identity, _ msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
		done(msg.AttachResult{}, io.ErrShortWrite)
		return s
	}
	open(t, New(Options{Attach: refuse}), subproto.Info{}).talk(`
		> {"id":1,"connect":{}}
		! 3004 internal server error`)
}

// TestPing: {} every interval; a client that does not answer is sent away, one
// that is not read is not.
func TestPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSession{}
		c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
		c.talk(hello)
		start := time.Now()
		at := func(want time.Duration) {
			t.Helper()
			if got := time.Since(start); got != want {
				t.Fatalf("after %v, want %v", got, want)
			}
		}
		for i := range 3 {
			c.talk("< {}\n> {}")
			at(time.Duration(i+1) * 25 * time.Second)
		}
		c.talk("< {}")
		at(100 * time.Second)
		s.mu.Lock()
		s.congested = true
		s.mu.Unlock()
		s.peer.Wake() // stops reading
		time.Sleep(20 * time.Second)
		s.setCongested(false)
		synctest.Wait()
		c.talk("! 3012 no pong")
		at(128 * time.Second)
		c.c.Drop(nil)
	})
}
