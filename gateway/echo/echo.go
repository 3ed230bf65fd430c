// Package echo has an engine that sends every frame back. It serves conformance
// suites and benchmarks of the gateway.
package echo

import "parley/subproto"

// Engine echoes frames of any kind. The zero value is ready.
type Engine struct{}

// Protocols implements subproto.Engine.
func (Engine) Protocols() []string { return []string{"echo"} }

// Open implements subproto.Engine. There is no handshake.
func (Engine) Open(c subproto.Conn) (subproto.Handler, error) {
	c.Ready()
	return &handler{c}, nil
}

// Standalone tells the gateway that no hub speaks to these connections.
func (Engine) Standalone() {}

type handler struct{ c subproto.Conn }

func (h *handler) Frame(kind subproto.Kind, data []byte) { h.c.Send(kind, data) }
func (h *handler) Wake()                                 {}
func (h *handler) Room()                                 {}
func (h *handler) Closed(error)                          {}
