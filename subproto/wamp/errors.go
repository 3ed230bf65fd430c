package wamp

import (
	"errors"

	"parley/msg"
	"parley/subproto"
)

// Error and reason URIs of the WAMP specification (basic profile section 2.11,
// advanced profile "Advanced Profile URIs").
const (
	uriInvalidURI        = "wamp.error.invalid_uri"
	uriInvalidArgument   = "wamp.error.invalid_argument"
	uriNoProcedure       = "wamp.error.no_such_procedure"
	uriProcedureExists   = "wamp.error.procedure_already_exists"
	uriNoRegistration    = "wamp.error.no_such_registration"
	uriNoSubscription    = "wamp.error.no_such_subscription"
	uriNotAuthorized     = "wamp.error.not_authorized"
	uriAuthorizationFail = "wamp.error.authorization_failed"
	uriNoRealm           = "wamp.error.no_such_realm"
	uriNoAuthMethod      = "wamp.error.no_matching_auth_method"
	uriNoPrincipal       = "wamp.error.no_such_principal"
	uriAuthDenied        = "wamp.error.authentication_denied"
	uriAuthFailed        = "wamp.error.authentication_failed"
	uriAuthRequired      = "wamp.error.authentication_required"
	uriProtocol          = "wamp.error.protocol_violation"
	uriTooLarge          = "wamp.error.payload_size_exceeded"
	uriCanceled          = "wamp.error.canceled"
	uriTimeout           = "wamp.error.timeout"
	uriNotAllowed        = "wamp.error.option_not_allowed"
	uriUnsupported       = "wamp.error.feature_not_supported"
	uriNetworkFailure    = "wamp.error.network_failure"

	closeNormal   = "wamp.close.normal"
	closeShutdown = "wamp.close.system_shutdown"
	closeGoodbye  = "wamp.close.goodbye_and_out"
)

// URIs of our own, for what the specification has no word.
const (
	uriQuota       = "parley.error.quota_exceeded"
	uriUnavailable = "parley.error.unavailable"
	uriNotStored   = "parley.error.not_stored"
	uriTooSlow     = "parley.error.too_slow"
	uriKeyReused   = "parley.error.key_reused"
	uriSessionBusy = "parley.error.session_busy"
	uriInternal    = "parley.error.internal"

	closeTakenOver = "parley.close.taken_over"
)

// fault is how a peer hears of an error. A peer gets uri and text; the log gets
// the error itself.
type fault struct {
	uri  string // ERROR.Error, ABORT.Reason or GOODBYE.Reason
	text string
	// code is the WebSocket close code with which the connection ends when this
	// meets a whole connection (handshake, session) and not one request.
	code int
}

// faultOf maps the closed set of peer errors. An unknown error is a fault of
// ours, and its text stays in the log.
func faultOf(err error) fault {
	for _, row := range faults() {
		if errors.Is(err, row.err) {
			return fault{row.uri, row.err.Error(), row.code}
		}
	}
	return fault{uriInternal, "internal error", subproto.CloseInternal}
}

type faultRow struct {
	err  error
	uri  string
	code int
}

func faults() [27]faultRow {
	return [...]faultRow{
		{msg.ErrNotAuthorized, uriNotAuthorized, subproto.ClosePolicy},
		{msg.ErrBadCredentials, uriAuthDenied, subproto.ClosePolicy},
		{msg.ErrAuthUnavail, uriAuthFailed, subproto.CloseTryLater},
		{msg.ErrBadClientID, uriNoPrincipal, subproto.ClosePolicy},
		{msg.ErrNoNamespace, uriNoRealm, subproto.ClosePolicy},
		{msg.ErrTopicInvalid, uriInvalidURI, subproto.ClosePolicy},
		{msg.ErrTopicReserved, uriInvalidURI, subproto.ClosePolicy},
		{msg.ErrFilterInvalid, uriInvalidURI, subproto.ClosePolicy},
		{msg.ErrTooLarge, uriTooLarge, subproto.CloseTooBig},
		{msg.ErrTooManySubs, uriQuota, subproto.ClosePolicy},
		{msg.ErrQuota, uriQuota, subproto.ClosePolicy},
		{msg.ErrStoreFull, uriQuota, subproto.CloseTryLater},
		{msg.ErrUnavailable, uriUnavailable, subproto.CloseTryLater},
		{msg.ErrNotStored, uriNotStored, subproto.ClosePolicy},
		{msg.ErrNoSubscription, uriNoSubscription, subproto.ClosePolicy},
		{msg.ErrNoPacketID, uriNoSubscription, subproto.ClosePolicy},
		{msg.ErrKeyReused, uriKeyReused, subproto.ClosePolicy},
		{msg.ErrSessionBusy, uriSessionBusy, subproto.CloseTryLater},
		{msg.ErrTakenOver, closeTakenOver, subproto.ClosePolicy},
		{msg.ErrDraining, closeShutdown, subproto.CloseGoingAway},
		{msg.ErrSessionClosed, closeNormal, subproto.CloseNormal},
		{msg.ErrNotSupported, uriUnsupported, subproto.ClosePolicy},
		{msg.ErrNoProcedure, uriNoProcedure, subproto.ClosePolicy},
		{msg.ErrInvalidURI, uriInvalidURI, subproto.ClosePolicy},
		{msg.ErrProtocol, uriProtocol, subproto.CloseProtocol},
		{msg.ErrTimeout, uriTimeout, subproto.ClosePolicy},
		{msg.ErrTooSlow, uriTooSlow, subproto.ClosePolicy},
	}
}

// handshakeFault differs from faultOf where the opening handshake has words of
// its own.
func handshakeFault(err error) fault {
	f := faultOf(err)
	if errors.Is(err, msg.ErrNotAuthorized) { // nothing was presented and anonymous is not allowed
		f.uri = uriAuthRequired
	}
	return f
}
