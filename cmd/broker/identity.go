package main

import (
	"context"
	"errors"
	"log/slog"

	"parley/auth"
	"parley/config"
	"parley/msg"
)

// identity is who peers are and what they may do.
type identity struct {
	authenticator auth.Authenticator
	policy        auth.Policy
	reload        func() error
	run           func(context.Context) error
}

func newIdentity(c *config.Config, _ *slog.Logger) (*identity, error) {
	if c.Auth.File != "" || len(c.Auth.Rules) > 0 {
		return nil, errors.New("not wired")
	}
	return &identity{authenticator: everybody{}, policy: everything{}, reload: func() error { return nil },
		run: func(context.Context) error { return nil }}, nil
}

type everybody struct{}

func (everybody) Authenticate(_ context.Context, c auth.Credentials, done func(*auth.Identity, error)) {
	if !c.None() {
		done(nil, msg.ErrBadCredentials)
		return
	}
	done(&auth.Identity{Method: "anonymous", Provider: "static"}, nil)
}

type everything struct{}

func (everything) Topic(*auth.Identity, string, auth.Action, string) error { return nil }
func (everything) Filter(*auth.Identity, string, msg.Filter) error         { return nil }
