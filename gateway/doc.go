// Package gateway is the one listener: it accepts, limits, negotiates exactly one
// subprotocol, authenticates what HTTP carries and then calls an engine's Handler
// for every frame. It knows no protocol above WebSocket.
//
// # Guarantees
//
// A Handler is called by one goroutine at a time: Frame by the connection's
// reader, Wake and Room by a few workers or by the reader right after Frame,
// Closed exactly once and last. Text given to Frame is valid UTF-8 and complete.
// What was sent during one batch of calls leaves in one write. Every connection
// ends in bounded time, however its peer behaves.
//
// # Ownership
//
// Bytes given to Frame are borrowed from a pool and valid during the call. Bytes
// given to Send are copied into pooled chunks. A parked connection holds no
// buffer: it costs its reader's smallest stack and its own structs.
//
// # When slow
//
// A peer that does not read: Room turns false at HighMark, the gateway stops
// reading that peer there too, and closes it at HardLimit or after WriteTimeout
// without progress. A peer that sends half a message is closed after
// MessageTimeout, one that never completes its handshake after HandshakeTimeout.
// One sweeper goroutine watches all those times; connections own no timers until
// they close.
//
// # Goroutines
//
// One per listener, one sweeper, one reader per connection, at most
// 2 × GOMAXPROCS workers for wakes, and a writer per connection only while its
// socket is full (or it is TLS). Shutdown waits for all of them.
package gateway
