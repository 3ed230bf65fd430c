// Package subproto is the seam between the wire and the message plane: what an
// engine is, what a connection is, and what an engine may ask of the hub and of
// remote procedures. It holds no logic of its own but small helpers.
//
// # Guarantees
//
// A Handler is called by one goroutine at a time, in this order: Frame, Wake and
// Room in any sequence, then Closed exactly once, last. A Session calls back
// exactly once per call, in the order the contract of each call says.
//
// # Ownership
//
// Bytes given to Frame are the gateway's and valid only during the call; bytes
// given to Conn.Send are copied before it returns. Messages are shared and
// immutable (package msg).
//
// # When slow
//
// Nothing here blocks. A peer that reads slowly: Conn.Room turns false, the
// engine stops pulling Session.Next until Handler.Room. A peer that writes too
// fast: Session.Congested turns true, the engine calls Conn.SetReading(false)
// until a Wake finds it false.
package subproto
