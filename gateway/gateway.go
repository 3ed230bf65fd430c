package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClosed is returned by Serve methods that are called after Shutdown.
var ErrClosed = errors.New("gateway: closed")

// Gateway is the listener. Its methods are safe for concurrent use.
type Gateway struct {
	o          Options
	log        *slog.Logger
	table      *protocols
	namespaces map[string]string // Options.Namespaces with lower-case hosts
	paths      map[string]bool   // that accept upgrades
	background context.Context   // never ends: one that can would cost an allocation per read

	pools   pools
	door    *door
	holding atomic.Int64 // bytes of large messages being received
	sched   scheduler
	deflate *deflater

	epoch time.Time
	clock atomic.Int64 // nanoseconds since epoch, moved on by the sweeper; never 0

	stop  chan struct{} // closed when accepting ends
	swept chan struct{} // closed when the sweeper may end
	once  struct{ drain, final sync.Once }

	draining atomic.Bool // /readyz says so
	wg       sync.WaitGroup
	sweeper  sync.WaitGroup

	// Owned by the sweeper.
	calmed     int   // connections gone idle for the first time since Settled was called
	settleNext int64 // clock before which it is not called again

	mu        sync.Mutex
	started   bool // the sweeper runs
	stopped   bool // no connection may be added
	conns     map[*conn]struct{}
	servers   map[*http.Server]struct{}
	listeners map[net.Listener]struct{}
}

// New checks the options. It starts nothing.
func New(o Options) (*Gateway, error) {
	o.setDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	table, err := newProtocols(&o)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		o: o, log: o.Log, table: table,
		namespaces: make(map[string]string), paths: make(map[string]bool),
		background: context.Background(),
		deflate:    newDeflater(o.CompressJobs),
		epoch:      time.Now(),
		stop:       make(chan struct{}), swept: make(chan struct{}),
		conns: make(map[*conn]struct{}), servers: make(map[*http.Server]struct{}),
		listeners: make(map[net.Listener]struct{}),
	}
	g.clock.Store(1)
	g.door = newDoor(&g.o.Limits)
	g.sched.init()
	for _, p := range o.Paths {
		g.paths[p] = true
	}
	for k, ns := range o.Namespaces {
		host, path, _ := strings.Cut(k, "/")
		if path != "" || strings.HasSuffix(k, "/") {
			path = "/" + path
			g.paths[path] = true
		}
		g.namespaces[strings.ToLower(host)+path] = ns
	}
	return g, nil
}

// ServeWS serves HTTP and WebSocket on ln, which it closes, until Shutdown
// (returns nil) or until ctx ends: then it cuts all connections of the gateway
// with 1001 and waits for them. TLS: give it WithTLS(ln, conf).
func (g *Gateway) ServeWS(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           g,
		ReadHeaderTimeout: g.o.Timeouts.Header,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       g.o.Timeouts.HTTPIdle,
		MaxHeaderBytes:    g.o.Limits.MaxHeader,
		ErrorLog:          slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		ConnContext:       withSock,
		ConnState:         g.connState,
		// An upgrade needs HTTP/1.1, so nothing else is offered.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	inner, conf := splitTLS(ln)
	l := net.Listener(&limitListener{Listener: inner, g: g, lobby: conf == nil})
	if conf != nil {
		conf = conf.Clone()
		conf.NextProtos = []string{"http/1.1"}
		l = tls.NewListener(l, conf)
	}
	if !g.begin(func() { g.servers[srv] = struct{}{} }) {
		ln.Close()
		return ErrClosed
	}
	return g.serve(ctx, func() error { return srv.Serve(l) })
}

// serve runs accept and gives its end the meaning the Serve methods document.
func (g *Gateway) serve(ctx context.Context, accept func() error) error {
	cut := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		defer close(cut)
		g.Shutdown(ctx)
	})
	err := accept()
	if !release() {
		<-cut
	}
	if g.stopping() {
		return nil
	}
	return err
}

// begin starts the sweeper with the first listener; false after Shutdown.
func (g *Gateway) begin(add func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopping() {
		return false
	}
	add()
	if !g.started {
		g.started = true
		g.sweeper.Add(1)
		go g.sweep()
	}
	return true
}

func (g *Gateway) stopping() bool {
	select {
	case <-g.stop:
		return true
	default:
		return false
	}
}

// add registers a connection whose reader is about to start; false: too late.
func (g *Gateway) add(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return false
	}
	g.conns[c] = struct{}{}
	g.wg.Add(1)
	c.proto.counts.open.Inc()
	return true
}

// beginUpgrade counts an upgrade in, so that Shutdown waits for it: between Hijack and
// add neither net/http nor conns knows the connection. g.wg.Done ends it.
func (g *Gateway) beginUpgrade() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return false
	}
	g.wg.Add(1)
	return true
}

func (g *Gateway) remove(c *conn) {
	g.mu.Lock()
	delete(g.conns, c)
	g.mu.Unlock()
	c.proto.counts.open.Dec()
	g.wg.Done()
}

// snapshot appends all connections to buf.
func (g *Gateway) snapshot(buf []*conn) []*conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.AppendSeq(buf, maps.Keys(g.conns))
}
