package msg

import (
	"math"
	"time"
)

// SessionParams describes the session a connection wants.
type SessionParams struct {
	Namespace string
	Protocol  string // family: ViaMQTT, ViaWAMP, ViaJSON
	// ClientID is the session's name, unique in the namespace and bound to the
	// user; a second connection takes it over. "" = the session is the
	// connection's own and nobody can take it over.
	ClientID   string
	ID         uint64 // session id to use (1 to 2^53), unique in the broker; 0 = one is chosen
	CleanStart bool
	Expiry     time.Duration // how long the session outlives its connection; 0 = not at all
	Window     int           // most unacknowledged deliveries, 1 to 65,535; 0 = 1,024
	Will       *Will         // nil = none
	// Exact: the peer completes the handshakes of QoS 2. To one that does not,
	// deliveries at QoS 2 come as QoS 1, and those that an earlier connection was
	// sent under a packet id wait for a peer that does, in half of Window at most.
	Exact bool
	// ParkWhenFull: while the store is full, publishes wait (and the peer is not
	// read) instead of being refused, for protocols without a negative ack.
	ParkWhenFull bool
}

// Will is published when its session's connection ends without a proper
// goodbye.
type Will struct {
	Message *Message
	Delay   time.Duration // from the end of the connection
	// Lifetime is the message's expiry interval, counted from when it is
	// published: Message.Expires is 0 until then. 0 = never.
	Lifetime time.Duration
}

// AttachResult tells what the session is.
type AttachResult struct {
	Present bool // an existing session was resumed
	// Received lists the deliveries of the resumed session at QoS 2 that the
	// peer has received but not yet completed, in order: PUBREL is due.
	Received []InFlight
	// Assigned lists the packet ids under which deliveries of the resumed session
	// come again, in no order: nothing else may be sent under them before.
	Assigned []uint16
	// Subscriptions are the filters of the resumed session, in no order. They are
	// live at once. Their Handles are those of whoever subscribed: an engine that
	// uses handles subscribes again.
	Subscriptions []Subscription
	Epoch         string // names the log that offsets belong to
	Head          Offset // last stored offset at the time of attaching
}

// InFlight is a delivery that waits for its acknowledgement.
type InFlight struct {
	Ref      uint64
	PacketID uint16
}

// Forever is an Expiry that never ends.
const Forever = time.Duration(math.MaxInt64)

// CloseHow says how a session's connection ended.
type CloseHow uint8

const (
	CloseLost    CloseHow = iota // no goodbye: the will is due
	CloseGoodbye                 // proper goodbye: the will is discarded
	CloseDrain                   // the broker goes down: no will is published
)
