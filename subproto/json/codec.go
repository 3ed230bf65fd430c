package json

import "parley/msg"

// kind names a command and its reply.
type kind uint8

const (
	kindEmpty   kind = iota // nothing but perhaps an id: a pong
	kindUnknown             // members, but no command that we know
	kindConnect
	kindSubscribe
	kindUnsubscribe
	kindPublish
	kindPresence
	kindPresenceStats
	kindHistory
	kindPing
	kindSend
	kindRPC
	kindRefresh
	kindSubRefresh
)

// command is one decoded command. data is lent: it lies in the frame.
type command struct {
	id   uint32 // 0 = none
	kind kind

	token, user, password string // connect
	channel               string // subscribe, unsubscribe, publish
	recover               bool   // subscribe: continue from a position
	strict                bool   // subscribe: refuse what cannot be continued (flag 2)
	special               bool   // subscribe: a kind of subscription that we do not have
	method                string // rpc
	data                  []byte // publish, rpc: one value; nil = absent
}

// reply answers one command, or with id 0 one that had none.
type reply struct {
	id   uint32
	kind kind
	err  *replyError

	client, version string     // connect
	ping            int        // connect: seconds, 0 = none
	pong            bool       // connect: pings are to be answered
	epoch           string     // subscribe
	offset          msg.Offset // subscribe, publish
	wasRecovering   bool       // subscribe
	data            []byte     // rpc: one value
	encoding        string     // rpc: how a string in data is to be read
}

// codec is a form of the protocol on the wire. It has no state.
type codec interface {
	// next decodes the first command of a frame; rest is what follows it, empty
	// after the last. An error ends the connection.
	next(frame []byte) (c command, rest []byte, err error)
	// separate is called between two messages that go in one frame.
	separate(dst []byte) []byte
	reply(dst []byte, r *reply) []byte
	ping(dst []byte) []byte
	// channel encodes what all pushes of a subscription share, push puts it
	// together with what all pushes of a message share (see publication).
	channel(name string) []byte
	push(dst, channel, publication []byte) []byte
	// unsubscribed is the push that ends a subscription.
	unsubscribed(dst, channel []byte, code uint32, reason string) []byte
	publication(m *msg.Message, retained bool) []byte
}
