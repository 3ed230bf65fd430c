package wamp

import (
	"slices"
	"sync"
	"testing"

	"parley/auth"
	"parley/msg"
	"parley/subproto"
)

// scripted is a session of the message plane that does what a test says.
type scripted struct {
	subproto.Session
	peer   subproto.Peer
	params msg.SessionParams
	result msg.AttachResult // of Attach

	mu        sync.Mutex
	next      []msg.Delivery
	pulled    int // deliveries that Next gave out
	acked     []uint64
	gone      []msg.Filter
	published []*msg.Message
	history   []msg.HistoryQuery
	answer    func(msg.HistoryResult, error)
	congested bool
	how       []msg.CloseHow
	sub       msg.Subscription
	done      func([]msg.SubscribeResult)
}

func (s *scripted) Subscribe(subs []msg.Subscription, done func([]msg.SubscribeResult)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sub, s.done = subs[0], done
}

func (s *scripted) Next(d *msg.Delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.next) == 0 {
		return false
	}
	*d, s.next = s.next[0], s.next[1:]
	s.pulled++
	return true
}

func (s *scripted) NextNotice(n *msg.Notice) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.next {
		if s.next[i].Notice != nil {
			*n = *s.next[i].Notice
			s.next = slices.Delete(s.next, i, i+1)
			return true
		}
	}
	return false
}

func (s *scripted) Ack(ref uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = append(s.acked, ref)
}

func (s *scripted) Unsubscribe(f []msg.Filter, done func([]error)) {
	s.mu.Lock()
	s.gone = append(s.gone, f...)
	s.mu.Unlock()
	done(make([]error, len(f)))
}

func (s *scripted) History(q msg.HistoryQuery, done func(msg.HistoryResult, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history, s.answer = append(s.history, q), done
}

func (s *scripted) Congested() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.congested
}

func (s *scripted) Publish(m *msg.Message, done func(msg.Offset, error)) {
	s.mu.Lock()
	s.published = append(s.published, m)
	s.mu.Unlock()
	if done != nil {
		done(77, nil)
	}
}

func (s *scripted) Close(how msg.CloseHow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.how = append(s.how, how)
}

// change changes the script and wakes the connection.
func (s *scripted) change(f func()) {
	s.mu.Lock()
	f()
	s.mu.Unlock()
	s.peer.Wake()
}

func (s *scripted) deliver(d msg.Delivery) { s.change(func() { s.next = append(s.next, d) }) }

func scriptedSession(t *testing.T) (*scripted, *client) {
	s := &scripted{}
	c, _ := s.open(t, "wamp.2.json", "")
	return s, c
}

// open connects a client to s with further details of HELLO and returns those of
// WELCOME.
func (s *scripted) open(t *testing.T, protocol, details string) (*client, map[string]any) {
	s.result.Epoch = "e"
	b := start(t, func(o *Options) {
		o.Attach = func(p subproto.Peer, _ *auth.Identity, params msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
			s.peer, s.params = p, params
			done(s.result, nil)
			return s
		}
	})
	c := b.dial(protocol)
	return c, c.welcome(`[1,"realm1",{"roles":{"caller":{},"publisher":{},"subscriber":{"features":{"subscription_revocation":true}}}` + details + `}]`)
}

// subscribe has the session grant a subscription and returns its id.
func (s *scripted) subscribe(c *client, options, uri string) string {
	c.t.Helper()
	c.send(`[32,1,{` + options + `},"` + uri + `"]`)
	s.change(func() { s.done([]msg.SubscribeResult{{}}) })
	return c.expect(`[33,1,*]`)[0]
}

// event delivers a stored message that matches some filters, with ref = offset.
func (s *scripted) event(offset msg.Offset, change func(*msg.Delivery), filters ...msg.Filter) {
	d := msg.Delivery{Message: &msg.Message{Topic: "a/b", Offset: offset, QoS: 1}, QoS: 1, Ref: uint64(offset)}
	for _, f := range filters {
		m := &msg.Subscription{Filter: f, Handle: 1 + uint64(f.Kind)} // as another protocol's
		if f == s.sub.Filter {
			m.Handle = s.sub.Handle
		}
		d.Matches = append(d.Matches, m)
	}
	if change != nil {
		change(&d)
	}
	s.deliver(d)
}

// acks returns what was acknowledged since the last call. The client has been
// answered after it, so nothing is under way.
func (s *scripted) acks(c *client) []uint64 {
	c.barrier()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.acked
	s.acked = nil
	return got
}

// barrier returns when the connection has done everything it was woken for
// before, and answers nothing else.
func (c *client) barrier() {
	c.t.Helper()
	c.send(`[34,99,77]`)
	c.expect(`[8,34,99,{},"wamp.error.no_such_subscription",["no such subscription"]]`)
}

// No EVENT on an id before its SUBSCRIBED, even if the message plane is faster
// with the message than with the answer.
func TestNoEventBeforeSubscribed(t *testing.T) {
	s, c := scriptedSession(t)
	c.send(`[32,1,{},"a.b"]`)
	s.deliver(msg.Delivery{Message: &msg.Message{Topic: "a/b", Offset: 1}, Matches: []*msg.Subscription{&s.sub}})
	c.send(`[34,2,77]`) // the delivery has been looked at when this is answered
	c.expect(`[8,34,2,{},"wamp.error.no_such_subscription",["no such subscription"]]`)
	s.change(func() { s.done([]msg.SubscribeResult{{}}) })
	sub := c.expect(`[33,1,*]`)[0]
	c.expect(`[36,` + sub + `,*,{"_parley_offset":1},[""]]`)

	// A subscription that failed gets none at all.
	c.send(`[32,3,{},"c.d"]`)
	s.deliver(msg.Delivery{Message: &msg.Message{Topic: "c/d", Offset: 2}, Matches: []*msg.Subscription{&s.sub}})
	s.change(func() { s.done([]msg.SubscribeResult{{Err: msg.ErrTooManySubs}}) })
	c.expect(`[8,32,3,{},"parley.error.quota_exceeded",["too many subscriptions"]]`)
	c.send(`[34,4,77]`)
	c.expect(`[8,34,4,{},"wamp.error.no_such_subscription",["no such subscription"]]`)
}

func TestRevokedSubscription(t *testing.T) {
	s, c := scriptedSession(t)
	c.send(`[32,1,{},"a.b"]`)
	s.change(func() { s.done([]msg.SubscribeResult{{}}) })
	sub := c.expect(`[33,1,*]`)[0]
	s.deliver(msg.Delivery{Notice: &msg.Notice{Kind: msg.NoticeRevoked, Subscription: &s.sub}})
	c.expect(`[35,0,{"reason":"wamp.error.not_authorized","subscription":` + sub + `}]`)
	s.deliver(msg.Delivery{Message: &msg.Message{Topic: "a/b", Offset: 1}, Matches: []*msg.Subscription{&s.sub}})
	c.send(`[34,2,` + sub + `]`)
	c.expect(`[8,34,2,{},"wamp.error.no_such_subscription",["no such subscription"]]`)
}

func TestTakenOver(t *testing.T) {
	s, c := scriptedSession(t)
	s.deliver(msg.Delivery{Notice: &msg.Notice{Kind: msg.NoticeTakenOver}})
	c.expect(`[6,{"message":"session taken over"},"parley.close.taken_over"]`)
	c.closed(subproto.ClosePolicy)
}

// A publisher that is ahead of the disk is not read.
func TestCongestedPublisherIsNotRead(t *testing.T) {
	s, c := scriptedSession(t)
	s.change(func() { s.congested = true })
	c.waitReading(false)
	s.change(func() { s.congested = false })
	c.waitReading(true)
}

// How a session ends is told to the message plane: a will depends on it.
func TestHowSessionsEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*scripted, *client)
		want msg.CloseHow
	}{
		{"goodbye", func(_ *scripted, c *client) { c.send(`[6,{},"wamp.close.normal"]`) }, msg.CloseGoodbye},
		{"violation", func(_ *scripted, c *client) { c.send(`[]`) }, msg.CloseLost},
		{"lost", func(_ *scripted, c *client) { c.Drop(msg.ErrTimeout) }, msg.CloseLost},
		{"drained by gateway", func(_ *scripted, c *client) { c.Drop(msg.ErrDraining) }, msg.CloseDrain},
		{"drained", func(s *scripted, c *client) {
			s.deliver(msg.Delivery{Notice: &msg.Notice{Kind: msg.NoticeDraining}})
			c.WaitClose()
		}, msg.CloseDrain},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, p := scriptedSession(t)
			c.end(s, p)
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.how) == 0 || s.how[0] != c.want {
				t.Errorf("ended %v, want %v", s.how, c.want)
			}
		})
	}
}
