package json

import (
	"errors"

	"parley/msg"
)

// Error codes in replies. 100 to 112 are those of the protocol, 1000 and above
// our own (the protocol leaves 400 to 1999 to applications).
const (
	codeInternal       = 100
	codeUnauthorized   = 101
	codeUnknownChannel = 102
	codeDenied         = 103
	codeNoMethod       = 104
	codeSubscribed     = 105
	codeLimit          = 106
	codeBadRequest     = 107
	codeNotAvailable   = 108
	codeTooMany        = 111
	codeUnrecoverable  = 112

	codeProcedure   = 400 // a procedure answered with an error; the message begins with its URI
	codeStoreFull   = 1000
	codeUnavailable = 1001
	codeAuthUnavail = 1002
	codeTooLarge    = 1003
	codeNotStored   = 1004
	codeNoSub       = 1005
	codeTimeout     = 1006
	codeTakenOver   = 1007
	codeDraining    = 1008
	codeKeyReused   = 1009
	codeBusy        = 1010
)

// Close codes. Clients reconnect after 3000 to 3499 and 4000 to 4499, not after
// 3500 to 3999 and 4500 to 4999. 3000 and up are those of the protocol, 4000
// and up our own.
const (
	closeShutdown     = 3001
	closeInternal     = 3004
	closeSlow         = 3008
	closeNoPong       = 3012
	closeInvalidToken = 3500
	closeBadRequest   = 3501
	closeStale        = 3502
	closeDenied       = 3507
	closeNotAvailable = 3508

	closeAuthUnavail  = 4000
	closeUnavailable  = 4001
	closeBusy         = 4002
	closeTakenOver    = 4500
	closeNoNamespace  = 4501
	closeBadClient    = 4502
	closeSessionEnded = 4503
	closeTooLarge     = 1009 // as the gateway does; SDKs know it as "message size limit exceeded"
)

// replyError is the error of a reply.
type replyError struct {
	code      uint32
	message   string
	temporary bool // the client may try again
}

// failure says what a peer error becomes: an error in a reply, and the close
// that ends the connection, if it must end or if it happened in connect.
type failure struct {
	reply  replyError
	close  int
	reason string
	ends   bool // the connection ends wherever it happened
}

// Answers that have no peer error behind them.
var (
	errInternal      = &replyError{codeInternal, "internal server error", true}
	errNoMethod      = &replyError{codeNoMethod, "method not found", false}
	errSubscribed    = &replyError{codeSubscribed, "already subscribed", false}
	errBadRequest    = &replyError{codeBadRequest, "bad request", false}
	errNotAvailable  = &replyError{codeNotAvailable, "not available", false}
	errTooMany       = &replyError{codeTooMany, "too many requests", true}
	errUnrecoverable = &replyError{codeUnrecoverable, "unrecoverable position", false}
)

// failureOf maps a peer error; ok is false for an error outside of the closed
// set, which is an internal one.
func failureOf(err error) (f failure, ok bool) {
	is := func(target error) bool { return errors.Is(err, target) }
	r := func(code uint32, message string, temporary bool, closing int, reason string, ends bool) (failure, bool) {
		return failure{replyError{code, message, temporary}, closing, reason, ends}, true
	}
	switch {
	case is(msg.ErrNotAuthorized), is(msg.ErrTopicReserved):
		return r(codeDenied, "permission denied", false, closeDenied, "permission denied", false)
	case is(msg.ErrBadCredentials):
		return r(codeUnauthorized, "unauthorized", false, closeInvalidToken, "invalid token", false)
	case is(msg.ErrAuthUnavail):
		return r(codeAuthUnavail, "authentication unavailable", true, closeAuthUnavail, "authentication unavailable", false)
	case is(msg.ErrBadClientID):
		return r(codeBadRequest, "client identifier not valid", false, closeBadClient, "client identifier not valid", false)
	case is(msg.ErrNoNamespace):
		return r(codeUnknownChannel, "unknown channel", false, closeNoNamespace, "no such namespace", false)
	case is(msg.ErrTopicInvalid), is(msg.ErrFilterInvalid), is(msg.ErrInvalidURI):
		return r(codeBadRequest, "bad request", false, closeBadRequest, "bad request", false)
	case is(msg.ErrTooManySubs), is(msg.ErrQuota):
		return r(codeLimit, "limit exceeded", false, closeBadRequest, "limit exceeded", false)
	case is(msg.ErrNotSupported):
		return r(codeNotAvailable, "not available", false, closeNotAvailable, "not available", false)
	case is(msg.ErrNoProcedure):
		return r(codeNoMethod, "method not found", false, closeNotAvailable, "not available", false)
	case is(msg.ErrStoreFull):
		return r(codeStoreFull, "storage is full", true, closeUnavailable, "storage is full", false)
	case is(msg.ErrUnavailable):
		return r(codeUnavailable, "storage failed", true, closeUnavailable, "storage failed", false)
	case is(msg.ErrNotStored):
		return r(codeNotStored, "topic is not stored", false, closeBadRequest, "topic is not stored", false)
	case is(msg.ErrNoSubscription), is(msg.ErrNoPacketID):
		return r(codeNoSub, "no such subscription", false, closeBadRequest, "no such subscription", false)
	case is(msg.ErrTimeout):
		return r(codeTimeout, "timeout", true, closeStale, "stale", false)
	case is(msg.ErrTooLarge):
		return r(codeTooLarge, "message too large", false, closeTooLarge, "message size limit exceeded", true)
	case is(msg.ErrProtocol):
		return r(codeBadRequest, "bad request", false, closeBadRequest, "bad request", true)
	case is(msg.ErrTooSlow):
		return r(codeTooMany, "too many requests", true, closeSlow, "slow", true)
	case is(msg.ErrKeyReused):
		return r(codeKeyReused, "idempotency key reused with other content", false, closeBadRequest, "idempotency key reused", false)
	case is(msg.ErrSessionBusy):
		return r(codeBusy, "session changes hands too often", true, closeBusy, "session changes hands too often", false)
	case is(msg.ErrTakenOver):
		return r(codeTakenOver, "session taken over", false, closeTakenOver, "session taken over", true)
	case is(msg.ErrDraining):
		return r(codeDraining, "server shutting down", true, closeShutdown, "shutdown", true)
	case is(msg.ErrSessionClosed):
		return r(codeInternal, "internal server error", true, closeInternal, "internal server error", true)
	}
	f, _ = r(codeInternal, errInternal.message, true, closeInternal, "internal server error", false)
	return f, false
}
