package mqtt

import (
	"slices"
	"sync"
	"testing"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/subproto"
)

// spy stands between an engine and its hub: it notes what the engine asks for,
// and tells the engine what it is told to besides.
type spy struct {
	mu       sync.Mutex
	subs     []msg.Subscription
	messages []*msg.Message
	away     []msg.Notice       // what the next resumed session says first
	filters  []msg.Subscription // and what it holds
	gap      *msg.Gap           // of every replay
	newest   *spied
}

type spied struct {
	subproto.Session
	s     *spy
	peer  subproto.Peer
	early []saying // yielded before anything else; guarded by s.mu
}

// saying is a notice that a session has for its engine.
type saying struct {
	msg.Notice
	heard chan struct{} // closed when the engine has it
}

func (s *spy) around(a subproto.Attach) subproto.Attach {
	return func(p subproto.Peer, id *auth.Identity, params msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
		own := &spied{s: s, peer: p}
		own.Session = a(p, id, params, func(r msg.AttachResult, err error) {
			s.mu.Lock()
			s.newest = own
			if r.Present {
				for _, n := range s.away {
					own.early = append(own.early, saying{n, make(chan struct{})})
				}
				r.Subscriptions = s.filters
				s.away, s.filters = nil, nil
			}
			s.mu.Unlock()
			done(r, err)
		})
		return own
	}
}

// absence sets what the next resumed session says first, and what it holds.
func (s *spy) absence(away []msg.Notice, filters ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.filters = away, nil
	for _, f := range filters {
		s.filters = append(s.filters, msg.Subscription{Filter: msg.Filter{Pattern: f}})
	}
}

// tell makes the newest session say n. It returns when the engine has heard it:
// what follows from it leaves before what is asked for afterwards.
func (s *spy) tell(t testing.TB, n msg.Notice) {
	t.Helper()
	heard := make(chan struct{})
	s.mu.Lock()
	own := s.newest
	own.early = append(own.early, saying{n, heard})
	s.mu.Unlock()
	own.peer.Wake()
	select {
	case <-heard:
	case <-time.After(patience):
		t.Fatal("the engine did not ask in time")
	}
}

func (s *spy) asked() msg.Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subs[len(s.subs)-1]
}

func (s *spy) published() *msg.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages[len(s.messages)-1]
}

func (s *spied) Subscribe(subs []msg.Subscription, done func([]msg.SubscribeResult)) {
	s.s.mu.Lock()
	s.s.subs = append(s.s.subs, subs...)
	s.s.mu.Unlock()
	stream := slices.Clone(subs)
	for i := range stream {
		stream[i].From = msg.Replay{} // the past of these tests is what they say
	}
	s.Session.Subscribe(stream, func(results []msg.SubscribeResult) {
		for i := range results {
			if subs[i].From.Kind != msg.ReplayNone && results[i].Err == nil {
				results[i].Gap = s.s.gap
			}
		}
		done(results)
	})
}

func (s *spied) Publish(m *msg.Message, done func(msg.Offset, error)) {
	s.note(m)
	s.Session.Publish(m, done)
}

func (s *spied) PublishOnce(id uint16, m *msg.Message, done func(msg.Offset, error)) {
	s.note(m)
	s.Session.PublishOnce(id, m, done)
}

func (s *spied) note(m *msg.Message) {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	s.s.messages = append(s.s.messages, m)
}

func (s *spied) Next(d *msg.Delivery) bool {
	var n msg.Notice
	if s.NextNotice(&n) {
		*d = msg.Delivery{Notice: &n}
		return true
	}
	return s.Session.Next(d)
}

func (s *spied) NextNotice(n *msg.Notice) bool {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	if len(s.early) == 0 {
		return s.Session.NextNotice(n)
	}
	*n = s.early[0].Notice
	close(s.early[0].heard)
	s.early = s.early[1:]
	return true
}
