package subproto

// Engine translates one wire to the message plane and back. Implementations are
// safe for concurrent use.
type Engine interface {
	// Protocols lists the canonical subprotocol names the engine serves.
	Protocols() []string
	// Open starts a connection whose Info().Protocol is one of them. An error
	// closes the connection with 1011.
	Open(c Conn) (Handler, error)
}

// Handler is one connection's state machine. The gateway calls it from one
// goroutine at a time (not always the same one), so it needs no lock for its own
// state; callbacks of Session and Authenticator run elsewhere and go through a
// Mailbox. No method may block on disk or network.
type Handler interface {
	// Frame gives one received message: complete, unmasked, decompressed, a
	// Text one valid UTF-8. On plain TCP: whatever bytes arrived.
	Frame(kind Kind, data []byte)
	// Wake comes after Conn.Wake: deliveries, notices or callbacks are waiting.
	Wake()
	// Room comes when the outgoing queue has space again.
	Room()
	// Closed is the last call. err is nil if the engine itself closed, io.EOF
	// if the peer just went, msg.ErrTimeout (handshake or ping), msg.ErrTooSlow,
	// msg.ErrDraining, or what the wire said.
	Closed(err error)
}
