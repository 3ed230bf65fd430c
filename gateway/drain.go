package gateway

import (
	"context"
	"net/http"

	"parley/msg"
	"parley/subproto"
)

// Standalone is implemented by engines that no hub tells of a drain: Shutdown
// closes their connections at once.
type Standalone interface{ Standalone() }

// Drain makes /readyz answer 503, so that a load balancer looks elsewhere before
// Shutdown stops accepting.
func (g *Gateway) Drain() { g.draining.Store(true) }

// Shutdown stops accepting and closes with 1001 what has not completed its
// handshake or belongs to a Standalone engine. The others are expected to end by
// themselves, because the hub tells them; those that are left when ctx ends are
// closed with 1001 too. It returns when all goroutines have ended: nil, or why
// ctx ended if it did.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.Drain()
	g.once.drain.Do(g.stopAccepting)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, srv := range g.httpServers() {
			srv.Shutdown(g.background)
		}
		g.mu.Lock()
		g.stopped = true // no request is left that could add a connection
		g.mu.Unlock()
		g.wg.Wait()
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
		g.cut(done)
	}
	g.once.final.Do(func() {
		close(g.swept)
		g.sweeper.Wait()
		g.sched.stop()
	})
	return err
}

func (g *Gateway) stopAccepting() {
	g.mu.Lock()
	close(g.stop)
	for ln := range g.listeners {
		ln.Close()
	}
	g.mu.Unlock()
	for _, c := range g.snapshot(nil) {
		if !c.ready.Load() || !c.proto.drains {
			c.goAway()
		}
	}
}

// cut closes everything and waits for done.
func (g *Gateway) cut(done <-chan struct{}) {
	for _, srv := range g.httpServers() {
		srv.Close()
	}
	conns := g.snapshot(nil)
	if len(conns) > 0 {
		g.log.Info("closing what did not end by itself", "connections", len(conns))
	}
	for _, c := range conns {
		c.goAway()
	}
	<-done
}

func (c *conn) goAway() { c.end(subproto.CloseGoingAway, "server shutting down", msg.ErrDraining) }

func (g *Gateway) httpServers() []*http.Server {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []*http.Server
	for srv := range g.servers {
		all = append(all, srv)
	}
	return all
}
