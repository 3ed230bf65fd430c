package mqtt

import (
	"errors"

	"parley/msg"
	"parley/subproto"
)

// row says what one peer error becomes. Codes are those of MQTT 5 for each
// packet (tables 3-1, 3-4, 3-8, 3-9 and 3-10) and the return codes of 3.1.1,
// whose CONNACK 0 means: none of them applies, so close without CONNACK
// ([MQTT-3.2.2-6] of 3.1.1). A 3.1.1 SUBACK knows only 0x80, a refused 3.1.1
// PUBLISH ends the connection (but for Options.AckRefused).
type row struct {
	err        error
	connack    byte
	connack3   byte
	puback     byte
	suback     byte
	unsuback   byte
	disconnect byte
	closing    int  // WebSocket close code
	ends       bool // whatever it answers, the connection ends
	refusal    bool // by rule and not for lack of something: what AckRefused may swallow
}

// rows is the whole mapping. 0x89 (server busy) and 0x88 are no PUBACK codes;
// what only says "try later" ends the connection instead of telling the client
// that its message is done with, so that it is sent again.
func rows() []row {
	const policy, busy, broken = subproto.ClosePolicy, subproto.CloseTryLater, subproto.CloseInternal
	return []row{
		{err: msg.ErrNotAuthorized, connack: 0x87, connack3: 5, puback: 0x87, suback: 0x87, unsuback: 0x87, disconnect: 0x87, closing: policy, refusal: true},
		{err: msg.ErrBadCredentials, connack: 0x86, connack3: 4, puback: 0x87, suback: 0x87, unsuback: 0x87, disconnect: 0x87, closing: policy},
		{err: msg.ErrAuthUnavail, connack: 0x88, connack3: 3, puback: 0x80, suback: 0x80, unsuback: 0x80, disconnect: 0x89, closing: busy, ends: true},
		{err: msg.ErrBadClientID, connack: 0x85, connack3: 2, puback: 0x80, suback: 0x80, unsuback: 0x80, disconnect: 0x80, closing: policy},
		{err: msg.ErrNoNamespace, connack: 0x87, connack3: 5, puback: 0x87, suback: 0x87, unsuback: 0x87, disconnect: 0x87, closing: policy},
		{err: msg.ErrTopicInvalid, connack: 0x90, connack3: 0, puback: 0x90, suback: 0x8f, unsuback: 0x8f, disconnect: 0x90, closing: policy},
		{err: msg.ErrTopicReserved, connack: 0x90, connack3: 5, puback: 0x90, suback: 0x87, unsuback: 0x87, disconnect: 0x90, closing: policy, refusal: true},
		{err: msg.ErrFilterInvalid, connack: 0x80, connack3: 0, puback: 0x80, suback: 0x8f, unsuback: 0x8f, disconnect: 0x8f, closing: policy},
		{err: msg.ErrTooLarge, connack: 0x95, connack3: 0, puback: 0x97, suback: 0x97, unsuback: 0x80, disconnect: 0x95, closing: subproto.CloseTooBig},
		{err: msg.ErrTooManySubs, connack: 0x97, connack3: 3, puback: 0x97, suback: 0x97, unsuback: 0x80, disconnect: 0x97, closing: policy},
		{err: msg.ErrQuota, connack: 0x97, connack3: 3, puback: 0x97, suback: 0x97, unsuback: 0x80, disconnect: 0x97, closing: policy},
		{err: msg.ErrStoreFull, connack: 0x97, connack3: 3, puback: 0x97, suback: 0x97, unsuback: 0x80, disconnect: 0x97, closing: busy},
		{err: msg.ErrUnavailable, connack: 0x88, connack3: 3, puback: 0x80, suback: 0x80, unsuback: 0x80, disconnect: 0x80, closing: broken, ends: true},
		{err: msg.ErrNotStored, connack: 0x83, connack3: 0, puback: 0x83, suback: 0x83, unsuback: 0x83, disconnect: 0x83, closing: policy, refusal: true},
		{err: msg.ErrNoSubscription, connack: 0x80, connack3: 0, puback: 0x80, suback: 0x80, unsuback: 0x11, disconnect: 0x80, closing: policy},
		{err: msg.ErrNoPacketID, connack: 0x80, connack3: 0, puback: 0x80, suback: 0x80, unsuback: 0x80, disconnect: 0x82, closing: policy},
		{err: msg.ErrKeyReused, connack: 0x83, connack3: 0, puback: 0x83, suback: 0x83, unsuback: 0x83, disconnect: 0x83, closing: policy, refusal: true},
		{err: msg.ErrSessionBusy, connack: 0x97, connack3: 3, puback: 0x97, suback: 0x97, unsuback: 0x80, disconnect: 0x97, closing: busy},
		{err: msg.ErrTakenOver, connack: 0x89, connack3: 3, puback: 0x80, suback: 0x80, unsuback: 0x80, disconnect: 0x8e, closing: policy, ends: true},
		{err: msg.ErrDraining, connack: 0x88, connack3: 3, puback: 0x80, suback: 0x80, unsuback: 0x80, disconnect: 0x8b, closing: subproto.CloseGoingAway, ends: true},
		{err: msg.ErrSessionClosed, connack: 0x80, connack3: 3, puback: 0x80, suback: 0x80, unsuback: 0x80, disconnect: 0x80, closing: broken, ends: true},
		{err: msg.ErrNotSupported, connack: 0x83, connack3: 0, puback: 0x83, suback: 0x83, unsuback: 0x83, disconnect: 0x83, closing: policy},
		{err: msg.ErrNoProcedure, connack: 0x83, connack3: 0, puback: 0x83, suback: 0x83, unsuback: 0x83, disconnect: 0x83, closing: policy},
		{err: msg.ErrInvalidURI, connack: 0x90, connack3: 0, puback: 0x90, suback: 0x8f, unsuback: 0x8f, disconnect: 0x90, closing: policy},
		{err: msg.ErrProtocol, connack: 0x82, connack3: 0, puback: 0x80, suback: 0x80, unsuback: 0x80, disconnect: 0x82, closing: subproto.CloseProtocol, ends: true},
		{err: msg.ErrTimeout, connack: 0x80, connack3: 3, puback: 0x80, suback: 0x80, unsuback: 0x80, disconnect: 0x8d, closing: policy, ends: true},
		{err: msg.ErrTooSlow, connack: 0x97, connack3: 3, puback: 0x97, suback: 0x97, unsuback: 0x80, disconnect: 0x97, closing: policy, ends: true},
	}
}

// row finds what err becomes. What is not a peer error is the broker's own
// failure and is answered like a failed store.
func (e *Engine) row(err error) *row {
	for i := range e.rows {
		if errors.Is(err, e.rows[i].err) {
			return &e.rows[i]
		}
	}
	return e.row(msg.ErrUnavailable)
}

// closeOf is the WebSocket close code that goes with a fault.
func closeOf(f fault) int {
	switch f.code {
	case 0x95:
		return subproto.CloseTooBig
	case 0x81, 0x82, 0x93, 0x94:
		return subproto.CloseProtocol
	}
	return subproto.ClosePolicy
}
