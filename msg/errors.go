package msg

import "errors"

// The closed set of errors that a peer may see. Each engine maps all of them in
// its errors.go; a test walks PeerErrors. Peers get a fixed text, the log gets
// the wrapped error.
var (
	ErrNotAuthorized  = errors.New("not authorized")                  // the policy refused
	ErrBadCredentials = errors.New("bad credentials")                 // unknown user, wrong password or token
	ErrAuthUnavail    = errors.New("authentication unavailable")      // no answer in time, or too many waiting
	ErrBadClientID    = errors.New("client identifier not valid")     // malformed, too long, or it belongs to another user
	ErrNoNamespace    = errors.New("no such namespace")               // realm unknown or not this identity's
	ErrTopicInvalid   = errors.New("topic name invalid")              // not a canonical topic
	ErrTopicReserved  = errors.New("topic is reserved")               // below $, wamp or parley
	ErrFilterInvalid  = errors.New("topic filter invalid")            // not a filter
	ErrTooLarge       = errors.New("message too large")               // over the configured size
	ErrTooManySubs    = errors.New("too many subscriptions")          // over the session's quota
	ErrQuota          = errors.New("quota exceeded")                  // retained values or another namespace quota
	ErrStoreFull      = errors.New("storage is full")                 // no space left; temporary, try again
	ErrUnavailable    = errors.New("storage failed")                  // the store stopped; nothing is acknowledged any more
	ErrNotStored      = errors.New("topic is not stored")             // acknowledged publish to a topic ruled store: none
	ErrNoSubscription = errors.New("no such subscription")            // Unsubscribe of a filter the session does not hold
	ErrNoPacketID     = errors.New("no such packet identifier")       // Release of one that is not held
	ErrKeyReused      = errors.New("idempotency key reused")          // the key came before with another message
	ErrSessionBusy    = errors.New("session changes hands too often") // fought over; try again later
	ErrTakenOver      = errors.New("session taken over")              // another connection has the session
	ErrDraining       = errors.New("server shutting down")            // no new sessions
	ErrSessionClosed  = errors.New("session closed")                  // call after Close
	ErrNotSupported   = errors.New("not supported")                   // a documented limit of this version
	ErrNoProcedure    = errors.New("no such procedure")               // call of an unregistered URI
	ErrInvalidURI     = errors.New("invalid URI")                     // not the image of a topic
	ErrProtocol       = errors.New("protocol violation")              // malformed or out of order
	ErrTimeout        = errors.New("timeout")                         // handshake, call or keep-alive took too long
	ErrTooSlow        = errors.New("peer reads too slowly")           // nothing could be written for the write timeout
)

// PeerErrors lists all of them, for the tests that prove each is mapped.
func PeerErrors() []error {
	return []error{
		ErrNotAuthorized, ErrBadCredentials, ErrAuthUnavail, ErrBadClientID, ErrNoNamespace, ErrTopicInvalid,
		ErrTopicReserved, ErrFilterInvalid, ErrTooLarge, ErrTooManySubs, ErrQuota, ErrStoreFull, ErrUnavailable,
		ErrNotStored, ErrNoSubscription, ErrNoPacketID, ErrKeyReused, ErrSessionBusy, ErrTakenOver, ErrDraining, ErrSessionClosed, ErrNotSupported,
		ErrNoProcedure, ErrInvalidURI, ErrProtocol, ErrTimeout, ErrTooSlow,
	}
}
