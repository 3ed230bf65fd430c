package subproto

import (
	"log/slog"

	"parley/auth"
)

// Kind is the kind of a frame (WebSocket message). A plain TCP connection has
// only Binary.
type Kind uint8

const (
	Text Kind = iota + 1
	Binary
)

// Conn is one connection as an engine sees it. Send, Room, SetReading, Ready,
// SetPing are called only from within a Handler's methods; Wake and Close may be
// called from any goroutine.
type Conn interface {
	// Info is fixed for the life of the connection.
	Info() *Info
	// Send queues one message; data is copied. It never blocks and always takes
	// the message; a peer whose queue grows beyond the hard limit because it
	// does not read its replies is closed by the gateway. What was queued during
	// one Handler call is written together.
	Send(kind Kind, data []byte)
	// Room tells whether deliveries should be queued now. When it was false,
	// Handler.Room is called once it is true again.
	Room() bool
	// SetReading(false) stops Frame calls, from the next frame on; a Wake still
	// comes through. SetReading(true) goes on with what was already received.
	SetReading(on bool)
	// Ready says that the handshake (CONNECT, HELLO, connect) is complete: the
	// gateway's time limit for it ends.
	Ready()
	// SetPing makes the gateway send WebSocket pings and close a peer from which
	// nothing at all arrived for twice the interval (seconds; configured in the
	// gateway). Off until called; without effect on plain TCP.
	SetPing(on bool)
	// Wake asks for a Handler.Wake soon; requests coalesce. Any goroutine.
	Wake()
	// Close sends what is queued and then closes with a WebSocket close code
	// and reason (at most 123 bytes; plain TCP: just closes), in bounded time.
	// Any goroutine; later calls do nothing. No Frame call follows one made
	// from within a Handler's method.
	Close(code int, reason string)
}

// Info describes a connection.
type Info struct {
	Protocol   string         // canonical subprotocol: "mqtt", "mqttv3.1", "wamp.2.json", … after aliases
	Negotiated bool           // the client offered it; false: default of a client that offered nothing, or plain TCP
	Stream     bool           // plain TCP or TLS instead of WebSocket
	Remote     string         // host:port of the peer
	Namespace  string         // mapped from host or path; "" = not mapped
	Identity   *auth.Identity // proved by HTTP (Basic, Bearer); nil = HTTP carried nothing
	Log        *slog.Logger   // child logger of this connection
}

// WebSocket close codes that engines use (RFC 6455 section 7.4.1).
const (
	CloseNormal      = 1000
	CloseGoingAway   = 1001
	CloseProtocol    = 1002
	CloseUnsupported = 1003 // wrong kind of frame
	CloseBadUTF8     = 1007
	ClosePolicy      = 1008
	CloseTooBig      = 1009
	CloseInternal    = 1011
	CloseTryLater    = 1013
)
