package mqtt

import (
	"sync"
	"time"

	"parley/auth"
	"parley/metrics"
	"parley/msg"
	"parley/subproto"
)

// Options is what the engine needs and what it allows. Attach is required;
// every other zero value is usable.
type Options struct {
	Attach     subproto.Attach
	Auth       auth.Authenticator // nil: only peers that HTTP has identified get in
	Namespaces *auth.Namespaces   // nil: one namespace, "default"
	Metrics    *metrics.Set       // nil: counted, but shown nowhere

	MaxPacket      int           // bytes of the largest packet taken from a client, fixed header included; default 1 MiB, at most 256 MiB
	MaxConnect     int           // the same for the first packet, when nobody is known yet; default 64 KiB
	MaxClientID    int           // bytes; default 512
	ReceiveMaximum int           // unacknowledged QoS 1 and 2 publishes a v5 client may have; default 1,024, at most 65,535
	Window         int           // unacknowledged deliveries to a client that sets no lower Receive Maximum; default 1,024, at most 65,535
	MaxKeepAlive   time.Duration // longest keep-alive granted to v5 clients (Server Keep Alive), whole seconds; default: what the client asks for

	// MaxSessionExpiry is the longest a session may outlive its connection, whole
	// seconds: v5 clients that ask for more are told, clients of 3.1 and 3.1.1
	// without a clean session get it. Default: what the client asks for.
	MaxSessionExpiry time.Duration

	// TopicAliasMaximum is how many topic aliases a v5 client may use, and the
	// most that are used towards one that allows them; default 32, at most
	// 65,535, below 0: none. Each can hold a topic of 64 KiB.
	TopicAliasMaximum int

	// SharedQoS is the highest QoS granted to shared subscriptions; default 2, below
	// 0: QoS 0. What a member at QoS 1 leaves unacknowledged goes to another one at
	// once, what one at QoS 2 leaves waits for it ([MQTT-4.8.2-4], [MQTT-4.8.2-5]).
	SharedQoS int

	// ResponseTopics begins the topics that a v5 client which asks for Response
	// Information is told to expect answers below: ResponseTopics/<client id>. The
	// policy has to allow them. Default: clients are told nothing.
	ResponseTopics string

	// AckRefused acknowledges and discards a QoS 1 or 2 publish of a 3.1 or 3.1.1
	// client that the policy refuses. By default such a client is disconnected,
	// because these versions have no negative acknowledgement.
	AckRefused bool
}

// Engine serves MQTT connections. It is safe for concurrent use.
type Engine struct {
	// fixed after construction
	attach     subproto.Attach
	auth       auth.Authenticator
	namespaces *auth.Namespaces
	opts       Options
	rows       []row
	start      time.Time // of the engine's monotonic clock

	received   metrics.Counter
	delivered  metrics.Counter
	tooLarge   metrics.Counter
	authFailed metrics.Counter
	refused    metrics.Counter
	unknownAck metrics.Counter

	scratch sync.Pool // of *scratch
}

// scratch is what one Handler call needs besides the connection's own state.
type scratch struct {
	d   msg.Delivery
	buf []byte // the packet being built
	own []byte // its properties that only this receiver gets
}

// New makes an engine. It starts nothing.
func New(o Options) *Engine {
	o.MaxPacket = bounded(o.MaxPacket, 1<<20, maxRemaining)
	o.MaxConnect = bounded(o.MaxConnect, 64<<10, o.MaxPacket)
	o.MaxClientID = bounded(o.MaxClientID, 512, 65535)
	o.ReceiveMaximum = bounded(o.ReceiveMaximum, 1024, 65535)
	o.Window = bounded(o.Window, 1024, 65535)
	o.MaxSessionExpiry = o.MaxSessionExpiry.Truncate(time.Second)
	if o.TopicAliasMaximum < 0 {
		o.TopicAliasMaximum = 0
	} else {
		o.TopicAliasMaximum = bounded(o.TopicAliasMaximum, 32, 65535)
	}
	if o.SharedQoS < 0 {
		o.SharedQoS = 0
	} else {
		o.SharedQoS = bounded(o.SharedQoS, 2, 2)
	}
	if o.Namespaces == nil {
		o.Namespaces = &auth.Namespaces{Default: "default", Names: []string{"default"}}
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New()
	}
	return &Engine{
		attach: o.Attach, auth: o.Auth, namespaces: o.Namespaces, opts: o, rows: rows(), start: time.Now(),
		received:   o.Metrics.Received.WithLabelValues(msg.ViaMQTT),
		delivered:  o.Metrics.Delivered.WithLabelValues(msg.ViaMQTT),
		tooLarge:   o.Metrics.Withheld.WithLabelValues("too_large"),
		authFailed: o.Metrics.AuthFailed.WithLabelValues(msg.ViaMQTT),
		refused:    o.Metrics.Refused.WithLabelValues("mqtt_connect"),
		unknownAck: o.Metrics.Ignored.WithLabelValues("unknown_ack"),
		scratch:    sync.Pool{New: func() any { return new(scratch) }},
	}
}

func bounded(v, def, most int) int {
	if v <= 0 {
		v = def
	}
	return min(v, most)
}

// Protocols implements subproto.Engine. "mqttv3.1" is what older browser
// clients offer, also for level 4; the level in CONNECT decides.
func (e *Engine) Protocols() []string { return []string{"mqtt", "mqttv3.1"} }

// Open implements subproto.Engine.
func (e *Engine) Open(c subproto.Conn) (subproto.Handler, error) {
	return &handler{e: e, c: c, reading: true, problemInfo: true}, nil
}

// now is the engine's monotonic clock.
func (e *Engine) now() time.Duration { return time.Since(e.start) }

func (e *Engine) borrow() *scratch { return e.scratch.Get().(*scratch) }

// giveBack keeps small buffers only: one large message must not stay in the pool.
func (e *Engine) giveBack(s *scratch) {
	s.d = msg.Delivery{}
	if cap(s.buf) > 64<<10 {
		s.buf = nil
	}
	e.scratch.Put(s)
}
