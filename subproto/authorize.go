package subproto

import (
	"parley/auth"
	"parley/msg"
)

// Authorized returns c behind policy p: a call that p refuses, or whose
// procedure is no URI, is answered at once (ErrNotAuthorized, ErrInvalidURI) and
// does not reach c.
func Authorized(c Caller, p auth.Policy) Caller { return &authorized{c, p} }

type authorized struct {
	next   Caller
	policy auth.Policy
}

func (a *authorized) Call(c Call, done func(CallResult)) (cancel func()) {
	topic, err := msg.TopicOfURI(c.Procedure)
	if err != nil {
		err = msg.ErrInvalidURI
	} else if a.policy.Topic(c.Identity, c.Namespace, auth.Call, topic) != nil {
		err = msg.ErrNotAuthorized
	}
	if err != nil {
		done(CallResult{Err: err})
		return func() {}
	}
	return a.next.Call(c, done)
}
