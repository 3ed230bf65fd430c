// Package auth says who a peer is (Authenticator) and what it may do (Policy).
//
// Authentication may be slow (password hashing, key sets, webhooks) and answers
// by callback from a bounded pool; policy decides from memory, without I/O,
// because it is asked for every message.
package auth

import (
	"context"
)

// Identity is who a connection speaks for. It is immutable.
type Identity struct {
	User      string   // "" = anonymous
	Roles     []string // in the order of the source; may be empty
	Namespace string   // the one namespace this identity belongs to; "" = not bound
	Method    string   // how it was proved: "password", "token", "anonymous"
	Provider  string   // who vouched: "static"
}

// Anonymous tells whether nobody was proved.
func (i *Identity) Anonymous() bool { return i == nil || i.User == "" }

// Role is the first role, for protocols that know only one; "anonymous" or
// "user" if there is none.
func (i *Identity) Role() string {
	switch {
	case i != nil && len(i.Roles) > 0:
		return i.Roles[0]
	case i.Anonymous():
		return "anonymous"
	}
	return "user"
}

// Credentials is what a peer presented. Both User and Secret empty: nothing.
// Secret alone is a token (Bearer, connect.token, WAMP ticket without authid).
type Credentials struct {
	User      string
	Secret    string
	Protocol  string // msg.Via…
	ClientID  string // MQTT client id, "" elsewhere
	Namespace string // asked for (WAMP realm) or mapped from host or path; "" = none
	Remote    string // host:port of the peer
}

// None tells whether nothing was presented.
func (c *Credentials) None() bool { return c.User == "" && c.Secret == "" }

// Authenticator proves identities. Implementations are safe for concurrent use.
type Authenticator interface {
	// Authenticate calls done exactly once, possibly before it returns, from
	// any goroutine. The error is msg.ErrBadCredentials, msg.ErrAuthUnavail or
	// msg.ErrNotAuthorized (nothing presented, and anonymous is not allowed),
	// possibly wrapped; ctx ends the wait with msg.ErrAuthUnavail.
	Authenticate(ctx context.Context, c Credentials, done func(*Identity, error))
}

// Action is what a peer wants to do with a topic, a filter or a procedure.
type Action uint8

const (
	Publish   Action = iota // topic: a topic name
	Subscribe               // filter; also replay, history and presence of it
	Call                    // topic: the procedure's URI in canonical form
	Register                // topic: the procedure's URI in canonical form
)

func (a Action) String() string {
	return [...]string{"publish", "subscribe", "call", "register"}[a]
}
