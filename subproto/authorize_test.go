package subproto

import (
	"fmt"
	"testing"

	"parley/auth"
	"parley/msg"
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

func (r *recorder) Call(_ Call, done func(CallResult)) func() {
	r.calls++
	done(CallResult{ErrorURI: "reached"})
	return func() { r.calls += 100 }
}

func TestAuthorizedAsksThePolicyFirst(t *testing.T) {
	u := &auth.Identity{User: "u"}
	for _, c := range []struct {
		call Call
		want error
	}{
		{Call{Identity: u, Namespace: "ns", Procedure: "ok.p"}, nil},
		{Call{Identity: u, Namespace: "other", Procedure: "ok.p"}, msg.ErrNotAuthorized},
		{Call{Namespace: "ns", Procedure: "ok.p"}, msg.ErrNotAuthorized},
		{Call{Identity: u, Namespace: "ns", Procedure: "no.p"}, msg.ErrNotAuthorized},
		{Call{Identity: u, Namespace: "ns", Procedure: "ok/p"}, msg.ErrInvalidURI},
		{Call{Identity: u, Namespace: "ns", Procedure: ""}, msg.ErrInvalidURI},
	} {
		next, results := &recorder{}, []CallResult{}
		cancel := Authorized(next, only{}).Call(c.call, func(r CallResult) { results = append(results, r) })
		if len(results) != 1 || results[0].Err != c.want {
			t.Errorf("%+v: %+v", c.call, results)
		}
		cancel()
		if reached := next.calls == 101; reached != (c.want == nil) {
			t.Errorf("%+v: calls %d", c.call, next.calls)
		}
	}
}
