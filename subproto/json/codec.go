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
	session               sessionRequest
	channel               string     // subscribe, unsubscribe, publish, history
	group                 string     // subscribe: shared group
	from                  []byte     // subscribe: where a replay begins, one value; nil = absent
	bad                   bool       // subscribe: data that cannot be
	recover               bool       // subscribe: continue from a position
	offset                msg.Offset // subscribe, history: the position
	epoch                 string     // subscribe, history: of the position
	since                 bool       // history: there is a position
	reverse               bool       // history: newest first
	limit                 int        // history: below 0 = no limit of the client's
	strict                bool       // subscribe: refuse what cannot be continued (flag 2)
	special               bool       // subscribe: a kind of subscription that we do not have
	method                string     // rpc
	data                  []byte     // publish, rpc: one value; nil = absent
}

// reply answers one command, or with id 0 one that had none.
type reply struct {
	id   uint32
	kind kind
	err  *replyError

	client, version string              // connect
	ping            int                 // connect: seconds, 0 = none
	pong            bool                // connect: pings are to be answered
	subs            map[string]*channel // connect: what the session holds
	epoch           string              // connect, subscribe, history
	offset          msg.Offset          // subscribe, publish, history
	positioned      bool                // subscribe: offset is where delivery goes on
	recoverable     bool                // subscribe: the client may come back with a position
	wasRecovering   bool                // subscribe
	recovered       bool                // subscribe
	publications    [][]byte            // history
	data            []byte              // rpc, connect: one value; nil = absent (connect)
	encoding        string              // rpc: how a string in data is to be read
}

// mark says how a publication differs from one of the stream.
type mark uint8

const (
	markRetained    mark = 1 << iota // a retained value: older than the subscription's position
	markReplayed                     // from the past, as the client asked
	markRedelivered                  // was, or may have been, sent before
)

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
	publication(m *msg.Message, marks mark) []byte
	// subscribed is the push that tells of a subscription the client did not ask for by subscribe.
	subscribed(dst, channel []byte, epoch string, offset msg.Offset) []byte
	// message is a push without a channel; data is one value.
	message(dst, data []byte) []byte
}
