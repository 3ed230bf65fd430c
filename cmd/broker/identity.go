package main

import (
	"context"
	"log/slog"
	"time"

	"parley/auth"
	"parley/config"
)

// identity is who peers are and what they may do.
type identity struct {
	authenticator *auth.Chain
	policy        auth.Policy
	file          *auth.Static // nil = no authentication file
	log           *slog.Logger
}

// watchEvery is how often the authentication file is looked at. It costs one
// stat(2), and a revoked token should not live for long.
const watchEvery = 2 * time.Second

func newIdentity(c *config.Config, log *slog.Logger) (*identity, error) {
	i := &identity{log: log.With("part", "auth")}
	chain := auth.ChainOptions{AllowAnonymous: c.AllowAnonymous, Timeout: c.Gateway.HandshakeTime}
	if c.Auth.File != "" {
		var err error
		if i.file, err = auth.NewStatic(c.Auth.File, auth.StaticOptions{}); err != nil {
			return nil, err
		}
		chain.Authenticators = []auth.Authenticator{i.file}
		i.log.Info("authentication file read", "file", c.Auth.File, "users", i.file.File().Users(), "tokens", i.file.File().Tokens())
	}
	i.authenticator = auth.NewChain(chain)
	var err error
	i.policy, err = policyOf(&c.Auth)
	return i, err
}

func policyOf(a *config.Auth) (auth.Policy, error) {
	if len(a.Rules) == 0 && a.Default {
		return auth.AllowAll{}, nil
	}
	rules := make([]auth.Rule, len(a.Rules))
	for i, r := range a.Rules {
		rules[i] = auth.Rule{Name: r.Name, Effect: auth.Deny, Actions: actions(r.Deny), Namespaces: r.Namespaces, Users: r.Users, Roles: r.Roles, Topics: r.Topics}
		if len(r.Allow) > 0 {
			rules[i].Effect, rules[i].Actions = auth.Allow, actions(r.Allow)
		}
	}
	otherwise := auth.Deny
	if a.Default {
		otherwise = auth.Allow
	}
	return auth.NewRules(rules, otherwise)
}

func actions(words []string) []auth.Action {
	var out []auth.Action
	for _, w := range words {
		for _, a := range []auth.Action{auth.Publish, auth.Subscribe, auth.Call, auth.Register} {
			if a.String() == w {
				out = append(out, a)
			}
		}
	}
	return out
}

// reload reads the file again; on an error the old content stays in force.
func (i *identity) reload() error {
	if i.file == nil {
		return nil
	}
	return i.file.Reload()
}

// run follows changes of the file until ctx ends, and then waits for the
// authentications under way.
func (i *identity) run(ctx context.Context) error {
	defer i.authenticator.Wait()
	if i.file == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		switch changed, err := i.file.ReloadIfChanged(); {
		case err != nil:
			i.log.Error("authentication file not reloaded; the old content stays in force", "error", err)
		case changed:
			i.log.Info("authentication file reloaded", "users", i.file.File().Users(), "tokens", i.file.File().Tokens())
		}
	}
}
