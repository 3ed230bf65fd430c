package auth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"parley/msg"
)

// ChainOptions are the options of NewChain.
type ChainOptions struct {
	// Authenticators are asked in order until one accepts. None: whatever is
	// presented is msg.ErrBadCredentials.
	Authenticators []Authenticator
	// AllowAnonymous gives who presents nothing an identity without a name; else
	// that is msg.ErrNotAuthorized. Wrong credentials never become anonymous.
	AllowAnonymous bool
	Workers        int           // authentications at a time; default GOMAXPROCS
	Queue          int           // most that wait for a worker, more are msg.ErrAuthUnavail; default 1,024
	Timeout        time.Duration // of one authentication, waiting included; default 10 s
}

// Chain is the Authenticator that the engines are given. It keeps slow work off
// their goroutines and bounds it: hashing takes memory and CPU, and a flood of
// logins must not starve the connections that are already there.
//
// It has no goroutines of its own; each authentication that cannot be decided at
// once has one until its done has returned.
type Chain struct {
	opts      ChainOptions
	anonymous *Identity
	workers   chan struct{}
	waiting   atomic.Int64 // authentications begun and not decided
	running   sync.WaitGroup
}

// NewChain makes a chain. Call Wait at the end.
func NewChain(o ChainOptions) *Chain {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Queue <= 0 {
		o.Queue = 1024
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	return &Chain{opts: o, anonymous: &Identity{Method: "anonymous", Provider: providerStatic}, workers: make(chan struct{}, o.Workers)}
}

// quick is implemented by authenticators that can decide some credentials in
// microseconds; these need no worker.
type quick interface {
	quick(c *Credentials) (id *Identity, err error, decided bool)
}

// Authenticate implements Authenticator. done is called on the caller's
// goroutine if the answer is known at once.
func (ch *Chain) Authenticate(ctx context.Context, c Credentials, done func(*Identity, error)) {
	switch {
	case c.None() && ch.opts.AllowAnonymous:
		done(ch.anonymous, nil)
		return
	case c.None():
		done(nil, fmt.Errorf("%w: anonymous is not allowed", msg.ErrNotAuthorized))
		return
	case len(ch.opts.Authenticators) == 0:
		done(nil, fmt.Errorf("%w: there are no users", msg.ErrBadCredentials))
		return
	}
	if q, ok := ch.opts.Authenticators[0].(quick); ok {
		id, err, decided := q.quick(&c)
		if decided && (err == nil || len(ch.opts.Authenticators) == 1) {
			done(id, err)
			return
		}
	}
	if ch.waiting.Add(1) > int64(ch.opts.Workers+ch.opts.Queue) {
		ch.waiting.Add(-1)
		done(nil, fmt.Errorf("%w: %d are waiting", msg.ErrAuthUnavail, ch.opts.Queue))
		return
	}
	ch.running.Go(func() {
		id, err := ch.work(ctx, c)
		ch.waiting.Add(-1)
		done(id, err)
	})
}

// Wait returns when every done of a call before it has returned.
func (ch *Chain) Wait() { ch.running.Wait() }

func (ch *Chain) work(ctx context.Context, c Credentials) (*Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, ch.opts.Timeout)
	defer cancel()
	select {
	case ch.workers <- struct{}{}:
		defer func() { <-ch.workers }()
	case <-ctx.Done():
		return nil, unavailable(ctx)
	}
	var unavail error
	refused := error(msg.ErrBadCredentials)
	for _, a := range ch.opts.Authenticators {
		if ctx.Err() != nil {
			return nil, unavailable(ctx)
		}
		id, err := ask(ctx, a, c)
		switch {
		case err == nil && id != nil:
			return id, nil
		case errors.Is(err, msg.ErrAuthUnavail):
			unavail = err
		case err != nil:
			refused = err
		}
	}
	if unavail != nil { // the one that did not answer might have said yes
		return nil, unavail
	}
	return nil, refused
}

type answer struct {
	id  *Identity
	err error
}

// ask waits for one authenticator, which may answer from any goroutine.
func ask(ctx context.Context, a Authenticator, c Credentials) (*Identity, error) {
	got := make(chan answer, 1) // so that an answer after the deadline does not block
	a.Authenticate(ctx, c, func(id *Identity, err error) { got <- answer{id, err} })
	select {
	case r := <-got:
		return r.id, r.err
	default:
	}
	select {
	case r := <-got:
		return r.id, r.err
	case <-ctx.Done():
		return nil, unavailable(ctx)
	}
}

func unavailable(ctx context.Context) error {
	return fmt.Errorf("%w: %v", msg.ErrAuthUnavail, context.Cause(ctx))
}
