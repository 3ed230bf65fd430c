package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"parley/admin"
	"parley/admin/playground"
	"parley/auth"
	"parley/config"
	"parley/gateway"
	"parley/hub"
	"parley/metrics"
	"parley/persist"
	"parley/persist/bolt"
	"parley/subproto"
	"parley/subproto/json"
	"parley/subproto/mqtt"
	"parley/subproto/wamp"
)

// Running is what a started broker tells.
type Running struct {
	Public net.Addr
	MQTT   net.Addr // nil = off
	Admin  net.Addr // nil = off
	// Reload reads the authentication file again; on an error the old content
	// stays in force.
	Reload func() error
}

// Run builds a broker, calls ready once all listeners accept, and serves until
// ctx ends; then it drains: it stops accepting, tells every client in its
// protocol, commits what is in flight and closes the store. It returns nil after
// a complete drain, and an error if the broker could not start or its store
// failed. Any number of brokers may run in one process.
func Run(ctx context.Context, c *config.Config, log *slog.Logger, ready func(Running)) error {
	store, err := bolt.Open(c.Data, bolt.Options{MaxBytes: c.Store.MaxBytes, Sync: bolt.Sync(c.Store.Sync)})
	if errors.Is(err, persist.ErrCorrupt) {
		err = fmt.Errorf("%w\n'broker store check %s' lists everything that is wrong; docs/operations.md says what to do", err, c.Data)
	}
	if err != nil {
		return err
	}
	b, err := newBroker(c, log, store)
	if err == nil {
		err = b.listen()
	}
	if err != nil {
		return errors.Join(err, store.Close())
	}
	return b.run(ctx, ready)
}

// broker is all the parts, in the order in which they are made.
type broker struct {
	c       *config.Config
	log     *slog.Logger
	started time.Time

	metrics    *metrics.Set
	store      persist.Store
	who        *identity
	namespaces *auth.Namespaces
	hub        *hub.Hub
	wamp       *wamp.Engine
	gateway    *gateway.Gateway

	public, mqtt net.Listener // mqtt may be nil
	operators    net.Listener // may be nil
	operator     *http.Server
}

// newBroker makes everything and starts nothing. It owns store from run on.
func newBroker(c *config.Config, log *slog.Logger, store persist.Store) (b *broker, err error) {
	b = &broker{c: c, log: log, started: time.Now(), metrics: metrics.New(), store: store, namespaces: namespacesOf(c)}
	if b.who, err = newIdentity(c, log); err != nil {
		return nil, err
	}
	largest := int(max(c.Gateway.MessageBytes, c.MQTT.MaxPacket))
	b.hub, err = hub.New(hub.Options{
		Store: b.store, Policy: b.who.policy, Namespaces: b.namespaces.Names,
		Metrics: b.metrics, Log: b.log.With("part", "hub"),
		Limits: hub.Limits{
			MessageBytes: largest, Subscriptions: c.Limits.Subscriptions, Retained: c.Limits.Retained,
			KeyBytes: int(c.Limits.KeyBytes), Takeovers: orNone(c.Limits.Takeovers),
		},
		KeyWindow:  c.Limits.KeyWindow,
		StoreRules: storeRules(c.Store.Topics), RestartGrace: c.WillRestartGrace,
		Retention: retention(c.Store.Retention), RetentionRules: retentionRules(c.Store.Topics), Quota: c.Store.Quota,
	})
	if err != nil {
		return nil, err
	}
	b.wamp, err = wamp.New(wamp.Options{
		Attach: b.hub.Attach, Auth: b.who.authenticator, Policy: b.who.policy, Namespaces: b.namespaces,
		Metrics: b.metrics, Log: b.log.With("part", "wamp"), Agent: "parley " + version,
	})
	if err != nil {
		return nil, err
	}
	engines := []subproto.Engine{
		mqtt.New(mqtt.Options{
			Attach: b.hub.Attach, Auth: b.who.authenticator, Namespaces: b.namespaces, Metrics: b.metrics,
			MaxPacket: int(c.MQTT.MaxPacket), ReceiveMaximum: c.MQTT.ReceiveMaximum,
			MaxKeepAlive: c.MQTT.KeepAlive, MaxSessionExpiry: c.MQTT.SessionExpiry, TopicAliasMaximum: orNone(c.MQTT.TopicAliases),
			SharedQoS:      orNone(c.MQTT.SharedQoS),
			ResponseTopics: c.MQTT.ResponseTopics, AckRefused: c.MQTT.AckRefused,
		}),
		b.wamp,
		json.New(json.Options{
			Attach: b.hub.Attach, Auth: b.who.authenticator, Namespaces: b.namespaces, Metrics: b.metrics,
			Caller:  &guardedCaller{next: b.wamp, policy: b.who.policy, denied: b.metrics.Denied.WithLabelValues(auth.Call.String())},
			Version: "parley " + version, PingInterval: c.Gateway.PingInterval,
			MaxSessionExpiry: c.JSON.SessionExpiry, Window: c.JSON.Window,
		}),
	}
	b.gateway, err = gateway.New(b.gatewayOptions(engines, largest))
	return b, err
}

// orNone turns a 0 that was configured into what an engine, whose options have 0
// for the default, takes for none.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

func (b *broker) gatewayOptions(engines []subproto.Engine, largest int) gateway.Options {
	g := &b.c.Gateway
	var pages http.Handler
	if b.c.Playground {
		pages = playground.Handler()
	}
	return gateway.Options{
		Engines: engines, Auth: b.who.authenticator, Namespaces: namespaceMap(b.c.Namespaces),
		Aliases: g.Aliases, DefaultProtocol: g.DefaultProtocol, Paths: g.Paths, Origins: g.Origins, Compress: g.Compression,
		Pages: pages, Ready: b.hub.Ready,
		Settled: debug.FreeOSMemory, // what a storm of handshakes left would stay resident for minutes
		Limits: gateway.Limits{
			MaxMessage: largest, MaxHeader: int(g.HeaderBytes), HardLimit: int(g.QueueBytes),
			MaxConns: g.Connections, MaxConnsPerAddr: g.PerAddress, RatePerAddr: g.Rate, BurstPerAddr: g.Burst,
		},
		Timeouts: gateway.Timeouts{
			Header: g.HeaderTime, Handshake: g.HandshakeTime, Message: g.MessageTime, Write: g.WriteTime, Ping: g.PingInterval,
		},
		Metrics: b.metrics, Log: b.log.With("part", "gateway"),
	}
}

// listen opens all listeners, so that an occupied port is found before anything
// runs.
func (b *broker) listen() (err error) {
	for _, l := range []struct {
		into    *net.Listener
		address string
		tls     config.TLS
	}{
		{&b.public, b.c.Listen, b.c.TLS}, {&b.mqtt, b.c.MQTTListen, b.c.MQTT.TLS}, {&b.operators, b.c.AdminListen, config.TLS{}},
	} {
		if l.address == "" {
			continue
		}
		if *l.into, err = open(l.address, l.tls, b.log); err != nil {
			b.closeListeners()
			return err
		}
	}
	if b.operators != nil {
		b.operator = &http.Server{
			Handler: b.operatorPages(), ReadHeaderTimeout: b.c.Gateway.HeaderTime, MaxHeaderBytes: int(b.c.Gateway.HeaderBytes),
			ErrorLog: slog.NewLogLogger(b.log.With("part", "admin").Handler(), slog.LevelDebug),
		}
	}
	return nil
}

func (b *broker) closeListeners() {
	for _, l := range []net.Listener{b.public, b.mqtt, b.operators} {
		if l != nil {
			l.Close()
		}
	}
}

func open(address string, files config.TLS, log *slog.Logger) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if !files.On() {
		return l, nil
	}
	conf, err := gateway.TLSFromFiles(files.Cert, files.Key, log)
	if err != nil {
		l.Close()
		return nil, err
	}
	return gateway.WithTLS(l, conf), nil
}

func (b *broker) operatorPages() http.Handler {
	o := admin.Options{
		Metrics: b.metrics.Handler(), Ready: b.hub.Ready, Status: b.status, Log: b.log.With("part", "admin"),
		LocalHosts: config.Loopback(b.c.AdminListen), Role: b.c.Admin.Role, Backup: b.backup(),
	}
	if !o.LocalHosts && !b.c.Admin.AllowAnonymous {
		o.Auth = b.who.authenticator
	}
	return admin.Handler(o)
}

// parts runs goroutines and keeps the first error.
type parts struct {
	wg     sync.WaitGroup
	once   sync.Once
	err    error
	failed chan struct{} // closed when err is set
}

func (p *parts) start(name string, run func() error) {
	p.wg.Go(func() {
		if err := run(); err != nil {
			p.once.Do(func() {
				p.err = fmt.Errorf("%s: %w", name, err)
				close(p.failed)
			})
		}
	})
}

// run starts everything from the inside out, waits for the end, and undoes it in
// reverse. Each layer has a context of its own, because an inner one outlives
// the outer ones: what a client sent last must still be committed.
func (b *broker) run(ctx context.Context, ready func(Running)) error {
	inner, outer := &parts{failed: make(chan struct{})}, &parts{failed: make(chan struct{})}
	forever := context.Background()
	hubCtx, stopHub := context.WithCancel(forever)
	defer stopHub()
	wampCtx, stopWAMP := context.WithCancel(forever)
	defer stopWAMP()

	inner.start("hub", func() error { return b.hub.Run(hubCtx) })
	engines := &parts{failed: make(chan struct{})}
	engines.start("wamp", func() error { return b.wamp.Run(wampCtx) })
	engines.start("status", func() error { return b.publishStatus(wampCtx) })
	engines.start("auth", func() error { return b.who.run(wampCtx) })
	outer.start("listen", func() error { return b.gateway.ServeWS(forever, b.public) })
	if b.mqtt != nil {
		outer.start("mqtt_listen", func() error { return b.gateway.ServeStream(forever, b.mqtt, "mqtt") })
	}
	if b.operators != nil {
		outer.start("admin_listen", b.serveOperators)
	}
	b.announce(ready)

	select {
	case <-ctx.Done():
		b.log.Info("draining", "spread", b.c.Drain.Spread, "sessions", b.hub.Sessions())
	case <-b.hub.Failed():
		b.log.Error("draining because the store failed; start the process anew")
	case <-outer.failed:
		b.log.Error("draining because a listener failed", "error", outer.err)
	case <-engines.failed:
		b.log.Error("draining because a part failed", "error", engines.err)
	case <-inner.failed:
		b.log.Error("draining because a part failed", "error", inner.err)
	}

	drained := b.drain(forever)
	if b.operator != nil {
		_ = b.operator.Close()
	}
	outer.wg.Wait()
	stopWAMP()
	engines.wg.Wait()
	stopHub()
	inner.wg.Wait()
	err := errors.Join(outer.err, engines.err, inner.err, b.store.Close())
	if err == nil && drained != nil {
		b.log.Warn("some clients were cut", "error", drained)
	}
	if err == nil {
		b.log.Info("stopped")
	}
	return err
}

// drain takes the broker out of service: not ready, no new connections, all
// clients told over the configured time, then cut when the grace is over.
func (b *broker) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.c.Drain.Spread+max(b.c.Drain.Grace, time.Millisecond))
	defer cancel()
	gone := make(chan error, 1)
	go func() { gone <- b.gateway.Shutdown(ctx) }()
	told := b.hub.Drain(ctx, b.c.Drain.Spread)
	return errors.Join(told, <-gone)
}

func (b *broker) serveOperators() error {
	l := b.operators
	if files := b.c.Admin.TLS; files.On() {
		conf, err := gateway.TLSFromFiles(files.Cert, files.Key, b.log)
		if err != nil {
			return err
		}
		l = tls.NewListener(l, conf)
	}
	return ended(b.operator.Serve(l))
}

// ended makes nothing of the error that says that a server was closed.
func ended(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// announce says where the broker is and what that means for its safety.
func (b *broker) announce(ready func(Running)) {
	r := Running{Public: b.public.Addr(), Reload: b.who.reload}
	scheme := "ws"
	if b.c.TLS.On() {
		scheme = "wss"
	}
	b.log.Info("listening", "url", scheme+"://"+r.Public.String(), "data", b.c.Data)
	if b.c.Playground {
		b.log.Info("the page is at " + pageURL(b.c.Listen, r.Public, b.c.TLS.On()))
	}
	if b.mqtt != nil {
		r.MQTT = b.mqtt.Addr()
		b.log.Info("listening for MQTT without WebSocket", "address", r.MQTT.String(), "tls", b.c.MQTT.TLS.On())
	}
	if b.operators != nil {
		r.Admin = b.operators.Addr()
		b.log.Info("listening for operators", "address", r.Admin.String(), "tls", b.c.Admin.TLS.On())
	}
	if y := b.c.Store.Sync; y != "" && y != string(bolt.SyncAlways) {
		b.log.Warn("what is acknowledged is not on disk yet: a power cut loses it", "store.sync", b.c.Store.Sync)
	}
	if b.c.AllowAnonymous {
		b.log.Warn("anonymous clients are allowed: whoever reaches the listener is let in", "allow_anonymous", b.c.AllowAnonymous)
	}
	if ready != nil {
		ready(r)
	}
}

// status is what /api/status shows.
func (b *broker) status() admin.Status {
	s := admin.Status{Version: version, Started: b.started, Connections: b.metrics.OpenConnections(), Sync: b.c.Store.Sync}
	for _, name := range b.namespaces.Names {
		info, err := b.store.State(name, persist.Visitor{})
		if err != nil {
			continue // closing
		}
		s.Namespaces = append(s.Namespaces, admin.NamespaceStatus{Name: name, Epoch: info.Epoch, First: info.First, Head: info.Head})
	}
	return s
}
