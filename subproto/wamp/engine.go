package wamp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/gammazero/nexus/v3/router"
	"github.com/gammazero/nexus/v3/wamp"

	"parley/auth"
	"parley/metrics"
	"parley/msg"
	"parley/subproto"
)

// Options of an Engine. Attach, Auth, Policy and Namespaces are needed; the zero
// value of everything else is usable.
type Options struct {
	Attach     subproto.Attach
	Auth       auth.Authenticator
	Policy     auth.Policy // decides CALL and REGISTER; publish and subscribe are decided by the message plane
	Namespaces *auth.Namespaces
	Metrics    *metrics.Set // nil: nothing is counted
	Log        *slog.Logger // nil: nothing is logged; connections have their own
	Agent      string       // WELCOME.Details.agent; "" = "parley"

	AuthTimeout time.Duration // for one answer of Auth; 0 = 10 s
	CallTimeout time.Duration // of Call without one of its own; 0 = 1 min
	CancelGrace time.Duration // how long a callee may take to answer a CANCEL in mode kill; 0 = 10 s

	MaxCalls         int // open calls of one session; 0 = 1,024
	MaxRegistrations int // registrations of one session; 0 = 1,024
	MaxQueue         int // bytes of replies and invocations that wait for a session's peer; 0 = 1 MiB
}

func (o *Options) setDefaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Agent == "" {
		o.Agent = "parley"
	}
	orDefault(&o.AuthTimeout, 10*time.Second)
	orDefault(&o.CallTimeout, time.Minute)
	orDefault(&o.CancelGrace, 10*time.Second)
	orDefault(&o.MaxCalls, 1024)
	orDefault(&o.MaxRegistrations, 1024)
	orDefault(&o.MaxQueue, 1<<20)
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Engine serves WAMP v2. It implements subproto.Engine and subproto.Caller and
// is safe for concurrent use.
type Engine struct {
	// Fixed after construction.
	o                   Options
	received, delivered metrics.Counter // may be nil
	authFailed          metrics.Counter // may be nil
	droppedLoose        metrics.Counter // may be nil
	callers             map[string]*caller

	scratches sync.Pool // of *scratch

	started chan struct{} // closed by Run when router is set
	stopped chan struct{} // closed when no session may attach any more
	router  router.Router // written before started is closed

	mu        sync.Mutex
	running   bool
	stopping  bool
	attaching sync.WaitGroup // Add under mu and only while not stopping
}

// New checks the options. The engine takes connections at once, but their HELLO
// is answered only while Run runs.
func New(o Options) (*Engine, error) {
	if o.Attach == nil || o.Auth == nil || o.Policy == nil || o.Namespaces == nil {
		return nil, errors.New("wamp: Attach, Auth, Policy and Namespaces are needed")
	}
	o.setDefaults()
	e := &Engine{o: o, started: make(chan struct{}), stopped: make(chan struct{}), callers: map[string]*caller{}}
	if o.Metrics != nil {
		e.received = o.Metrics.Received.WithLabelValues(msg.ViaWAMP)
		e.delivered = o.Metrics.Delivered.WithLabelValues(msg.ViaWAMP)
		e.droppedLoose = o.Metrics.Dropped.WithLabelValues("not_attached")
		e.authFailed = o.Metrics.AuthFailed.WithLabelValues(msg.ViaWAMP)
	}
	for _, ns := range o.Namespaces.Names {
		e.callers[ns] = newCaller(e, ns)
	}
	return e, nil
}

// Protocols implements subproto.Engine.
func (e *Engine) Protocols() []string {
	return []string{"wamp.2.json", "wamp.2.msgpack", "wamp.2.cbor"}
}

// Open implements subproto.Engine.
func (e *Engine) Open(c subproto.Conn) (subproto.Handler, error) {
	w, ok := wireOf(c.Info().Protocol)
	if !ok {
		return nil, errors.New("wamp: not a protocol of this engine: " + c.Info().Protocol)
	}
	return newHandler(e, c, w), nil
}

// Run runs the router until ctx ends, then closes it: sessions that are still
// attached get GOODBYE wamp.close.system_shutdown. It returns when all of the
// engine's goroutines have ended. To be called once.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	again := e.running
	e.running = true
	e.mu.Unlock()
	if again {
		return errors.New("wamp: Run called twice")
	}
	r, err := newRouter(&e.o)
	if err != nil {
		return err
	}
	e.router = r
	close(e.started)
	<-ctx.Done()

	e.mu.Lock()
	e.stopping = true
	e.mu.Unlock()
	close(e.stopped)
	// Nexus panics if a session attaches while or after its router closes, so
	// those on their way go first.
	e.attaching.Wait()
	for _, c := range e.callers {
		c.close()
	}
	r.Close()
	return nil
}

// attach joins a session to its namespace's realm in the background. Nexus
// answers through p with WELCOME or ABORT. It returns msg.ErrDraining if the
// engine stops.
func (e *Engine) attach(p *peer, c *credentials, roles wamp.Dict, protocol string) error {
	realm := slices.Index(e.o.Namespaces.Names, c.namespace)
	if realm < 0 {
		return msg.ErrNoNamespace
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping {
		return msg.ErrDraining
	}
	// Nothing of the client's own HELLO but its roles: what WELCOME does not
	// overwrite would stay in the session's details.
	p.rd <- &wamp.Hello{Realm: realmURI(realm), Details: wamp.Dict{
		"roles":       roles,
		"authmethods": wamp.List{c.method},
	}}
	e.attaching.Add(1)
	go func() {
		defer e.attaching.Done()
		select {
		case <-e.started:
			if err := e.router.AttachClient(p, c.transport(protocol)); err != nil {
				e.o.Log.Debug("session not attached", "error", err)
			}
		case <-e.stopped:
			p.Close()
		case <-p.gone:
		}
	}()
	return nil
}
