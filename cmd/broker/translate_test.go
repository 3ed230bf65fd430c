package main

import (
	"errors"
	"fmt"
	"testing"

	"parley/auth"
	"parley/metrics"
	"parley/msg"
	"parley/subproto"
)

// only is a policy that lets u call ok/p in ns, and nothing else.
type only struct{}

func (only) Topic(id *auth.Identity, namespace string, a auth.Action, topic string) error {
	if id != nil && id.User == "u" && namespace == "ns" && a == auth.Call && topic == "ok/p" {
		return nil
	}
	return fmt.Errorf("rule 3: %w", msg.ErrNotAuthorized)
}

func (only) Filter(*auth.Identity, string, msg.Filter) error { return msg.ErrNotAuthorized }

type recorder struct{ calls int }

func (r *recorder) Call(_ subproto.Call, done func(subproto.CallResult)) func() {
	r.calls++
	done(subproto.CallResult{ErrorURI: "reached"})
	return func() { r.calls += 100 }
}

// What the policy refuses, and what is no URI, does not reach the procedures.
func TestGuardedCallerAsksThePolicyFirst(t *testing.T) {
	denied := metrics.New().Denied.WithLabelValues(auth.Call.String())
	u := &auth.Identity{User: "u"}
	for _, c := range []struct {
		call subproto.Call
		want error
	}{
		{subproto.Call{Identity: u, Namespace: "ns", Procedure: "ok.p"}, nil},
		{subproto.Call{Identity: u, Namespace: "other", Procedure: "ok.p"}, msg.ErrNotAuthorized},
		{subproto.Call{Namespace: "ns", Procedure: "ok.p"}, msg.ErrNotAuthorized},
		{subproto.Call{Identity: u, Namespace: "ns", Procedure: "no.p"}, msg.ErrNotAuthorized},
		{subproto.Call{Identity: u, Namespace: "ns", Procedure: "ok/p"}, msg.ErrInvalidURI},
		{subproto.Call{Identity: u, Namespace: "ns", Procedure: ""}, msg.ErrInvalidURI},
	} {
		next, results := &recorder{}, []subproto.CallResult{}
		cancel := (&guardedCaller{next, only{}, denied}).Call(c.call, func(r subproto.CallResult) { results = append(results, r) })
		if len(results) != 1 || !errors.Is(results[0].Err, c.want) {
			t.Errorf("%+v: %+v", c.call, results)
		}
		cancel()
		if reached := next.calls == 101; reached != (c.want == nil) {
			t.Errorf("%+v: calls %d", c.call, next.calls)
		}
	}
}
