package json

import (
	"sync"
	"time"

	"parley/auth"
	"parley/metrics"
	"parley/msg"
	"parley/subproto"
)

// Options wires an Engine. Attach is required.
type Options struct {
	Attach     subproto.Attach
	Auth       auth.Authenticator // nil = everybody is anonymous
	Namespaces *auth.Namespaces   // nil = the one namespace "default"
	Caller     subproto.Caller    // nil = there are no procedures but parley.…
	Metrics    *metrics.Set       // nil = counted nowhere
	Version    string             // named in connect replies; "" = "parley"

	PingInterval time.Duration // between application-level pings, whole seconds; default 25 s
	PongTimeout  time.Duration // for the answer, at most half the interval; default 8 s
	CallTimeout  time.Duration // of a procedure; default 30 s
	Calls        int           // outstanding per connection; default 64

	MaxSessionExpiry time.Duration // a durable session outlives its connection no longer; 0 = no limit
	Window           int           // most unacknowledged deliveries, at most 65,535; a client may ask for less; default 1,024
}

// Engine serves the protocol. It is safe for concurrent use.
type Engine struct {
	opt       Options
	scratches sync.Pool // *scratch
	received  metrics.Counter
	delivered metrics.Counter
	badAuth   metrics.Counter
}

var _ subproto.Engine = (*Engine)(nil)

// New makes an engine; it starts nothing.
func New(o Options) *Engine {
	if o.Namespaces == nil {
		o.Namespaces = &auth.Namespaces{Default: "default", Names: []string{"default"}}
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New()
	}
	if o.Version == "" {
		o.Version = "parley"
	}
	if o.PingInterval <= 0 {
		o.PingInterval = 25 * time.Second
	}
	o.PingInterval = max(o.PingInterval.Round(time.Second), time.Second)
	if o.PongTimeout <= 0 {
		o.PongTimeout = 8 * time.Second
	}
	o.PongTimeout = min(o.PongTimeout, o.PingInterval/2)
	if o.CallTimeout <= 0 {
		o.CallTimeout = 30 * time.Second
	}
	if o.Calls <= 0 {
		o.Calls = 64
	}
	if o.Window <= 0 {
		o.Window = 1024
	}
	o.Window = min(o.Window, maxWindow)
	return &Engine{
		opt:       o,
		scratches: sync.Pool{New: func() any { return new(scratch) }},
		received:  o.Metrics.Received.WithLabelValues(msg.ViaJSON),
		delivered: o.Metrics.Delivered.WithLabelValues(msg.ViaJSON),
		badAuth:   o.Metrics.AuthFailed.WithLabelValues(msg.ViaJSON),
	}
}

// Protocols implements subproto.Engine.
func (e *Engine) Protocols() []string { return []string{"json", "centrifuge-json"} }

// Open implements subproto.Engine.
func (e *Engine) Open(c subproto.Conn) (subproto.Handler, error) {
	return &conn{engine: e, c: c, log: c.Info().Log, codec: text{}, reading: true}, nil
}
