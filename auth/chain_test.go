package auth

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"parley/msg"
)

// fake answers after it was told to (release nil: at once), with id or err.
type fake struct {
	id      *Identity
	err     error
	release chan struct{}
	begun   chan struct{}
}

func (f *fake) Authenticate(_ context.Context, _ Credentials, done func(*Identity, error)) {
	if f.begun != nil {
		f.begun <- struct{}{}
	}
	if f.release == nil {
		done(f.id, f.err)
		return
	}
	go func() {
		<-f.release
		done(f.id, f.err)
	}()
}

var secret = Credentials{User: "u", Secret: "s"}

func TestChainAnonymous(t *testing.T) {
	open := NewChain(ChainOptions{AllowAnonymous: true})
	id, err := answerOf(open, Credentials{Protocol: msg.ViaMQTT, ClientID: "c"})
	if err != nil || !id.Anonymous() || id.Role() != "anonymous" || id.Method != "anonymous" {
		t.Errorf("%+v %v", id, err)
	}
	if id, err := answerOf(open, secret); !errors.Is(err, msg.ErrBadCredentials) || id != nil {
		t.Errorf("wrong credentials became %+v, %v", id, err)
	}
	if _, err := answerOf(open, Credentials{User: "u"}); !errors.Is(err, msg.ErrBadCredentials) {
		t.Errorf("a name alone: %v", err)
	}
	if _, err := answerOf(NewChain(ChainOptions{}), Credentials{}); !errors.Is(err, msg.ErrNotAuthorized) {
		t.Error(err)
	}
}

func TestChainOrder(t *testing.T) {
	yes, other := &fake{id: &Identity{User: "first"}}, &fake{id: &Identity{User: "second"}}
	no, down := &fake{err: msg.ErrBadCredentials}, &fake{err: msg.ErrAuthUnavail}
	for _, c := range []struct {
		chain []Authenticator
		user  string
		err   error
	}{
		{[]Authenticator{yes, other}, "first", nil},
		{[]Authenticator{no, other}, "second", nil},
		{[]Authenticator{down, other}, "second", nil},
		{[]Authenticator{no, no}, "", msg.ErrBadCredentials},
		{[]Authenticator{no, down}, "", msg.ErrAuthUnavail},
		{[]Authenticator{down, no}, "", msg.ErrAuthUnavail},
		{[]Authenticator{&fake{}}, "", msg.ErrBadCredentials}, // neither an identity nor an error
	} {
		id, err := answerOf(NewChain(ChainOptions{Authenticators: c.chain}), secret)
		if c.err == nil && (err != nil || id.User != c.user) || c.err != nil && (!errors.Is(err, c.err) || id != nil) {
			t.Errorf("%v: %+v, %v", c, id, err)
		}
	}
}

func TestChainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &fake{id: &Identity{User: "u"}, release: make(chan struct{}), begun: make(chan struct{}, 9)}
		ch := NewChain(ChainOptions{Authenticators: []Authenticator{slow}, Workers: 2, Queue: 3})
		got := make(chan answer, 9)
		for range 5 {
			ch.Authenticate(t.Context(), secret, func(id *Identity, err error) { got <- answer{id, err} })
		}
		synctest.Wait()
		if len(slow.begun) != 2 || len(got) != 0 {
			t.Errorf("%d at a time, %d answers", len(slow.begun), len(got))
		}
		ch.Authenticate(t.Context(), secret, func(id *Identity, err error) { got <- answer{id, err} })
		if r := <-got; !errors.Is(r.err, msg.ErrAuthUnavail) {
			t.Errorf("the sixth: %+v", r)
		}
		close(slow.release)
		ch.Wait()
		if len(got) != 5 || len(slow.begun) != 5 {
			t.Errorf("%d answers, %d begun", len(got), len(slow.begun))
		}
		for range 5 {
			if r := <-got; r.err != nil {
				t.Error(r.err)
			}
		}
		if _, err := answerOf(ch, secret); err != nil {
			t.Error("not usable afterwards", err)
		}
	})
}

func TestChainDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := &fake{release: make(chan struct{})}
		defer close(stuck.release)
		ch := NewChain(ChainOptions{Authenticators: []Authenticator{stuck}, Workers: 1})
		got := make(chan answer, 9)
		done := func(id *Identity, err error) { got <- answer{id, err} }
		start := time.Now()
		ch.Authenticate(context.Background(), secret, done) // has the worker
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		ch.Authenticate(ctx, secret, done) // waits for it
		synctest.Wait()
		cancel()
		if r := <-got; !errors.Is(r.err, msg.ErrAuthUnavail) || time.Since(start) != 0 {
			t.Errorf("cancelled: %v after %v", r.err, time.Since(start))
		}
		if r := <-got; !errors.Is(r.err, msg.ErrAuthUnavail) || time.Since(start) != 10*time.Second {
			t.Errorf("deadline: %v after %v", r.err, time.Since(start))
		}
		ch.Wait()
	})
}

// TestChainDecidesAtOnce: what needs no hash is answered before Authenticate
// returns, without a worker.
func TestChainDecidesAtOnce(t *testing.T) {
	path := write(t, "")
	mustSet(t, path, "alice", "secret")
	tok, err := CreateToken(path, NewToken{Name: "dev"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewStatic(path, StaticOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ch := NewChain(ChainOptions{Authenticators: []Authenticator{s}})
	at := func(c Credentials) (a answer, once bool) {
		before := true
		got := make(chan answer, 1)
		ch.Authenticate(t.Context(), c, func(id *Identity, err error) { got <- answer{id, err} })
		select {
		case a = <-got:
		default:
			before = false
			a = <-got
		}
		return a, before
	}
	if a, once := at(Credentials{Secret: tok}); !once || a.err != nil || a.id.User != "dev" {
		t.Errorf("token: %v %+v", once, a)
	}
	if a, once := at(Credentials{Secret: strings.ToUpper(tok)}); !once || !errors.Is(a.err, msg.ErrBadCredentials) {
		t.Errorf("wrong token: %v %+v", once, a)
	}
	if a, _ := at(Credentials{User: "alice", Secret: "secret"}); a.err != nil {
		t.Error(a.err)
	}
	if a, once := at(Credentials{User: "alice", Secret: "secret"}); !once || a.err != nil {
		t.Errorf("remembered: %v %+v", once, a)
	}
	ch.Wait()
}
