package subproto

import (
	"time"

	"parley/auth"
	"parley/msg"
)

// Caller calls remote procedures for engines that are not WAMP; implemented by
// subproto/wamp, wrapped with the policy by the wiring. Safe for concurrent use.
type Caller interface {
	// Call starts c and calls done exactly once, from any goroutine, possibly
	// before it returns. cancel gives the call up: done may still run.
	Call(c Call, done func(CallResult)) (cancel func())
}

// Call is one invocation of a procedure.
type Call struct {
	Identity  *auth.Identity
	Namespace string
	Session   uint64      // WAMP session id of the calling connection
	Procedure string      // URI
	Args      msg.Payload // FormArgs
	Timeout   time.Duration
}

// CallResult is what came back.
type CallResult struct {
	Payload msg.Payload // FormArgs; of the result or, with ErrorURI, of the error
	// ErrorURI is the WAMP error URI the callee or the dealer answered with.
	ErrorURI string
	// Err is a peer error of this broker: ErrNotAuthorized, ErrNoProcedure,
	// ErrInvalidURI, ErrTimeout, ErrDraining. Then the rest is empty.
	Err error
}
