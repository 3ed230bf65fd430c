package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
)

// ServeStream serves one subprotocol, usually "mqtt", on plain TCP, or on TLS if
// ln comes from WithTLS. Its end is that of ServeWS.
func (g *Gateway) ServeStream(ctx context.Context, ln net.Listener, protocol string) error {
	p := g.table.byName[strings.ToLower(protocol)]
	if p == nil {
		ln.Close()
		return fmt.Errorf("gateway: subprotocol %q is not served", protocol)
	}
	inner, conf := splitTLS(ln)
	l := &limitListener{Listener: inner, g: g}
	if !g.begin(func() { g.listeners[ln] = struct{}{} }) {
		ln.Close()
		return ErrClosed
	}
	return g.serve(ctx, func() error {
		for {
			nc, err := l.Accept()
			if err != nil {
				return err
			}
			g.startStream(p, nc.(*sock), conf)
		}
	})
}

func (g *Gateway) startStream(p *protocol, s *sock, conf *tls.Config) {
	c := g.newConn(p, s.RemoteAddr().String())
	c.info.Stream = true
	nc := net.Conn(s)
	if conf != nil {
		nc = tls.Server(s, conf)
	}
	c.in.init(c, nc, s)
	if !g.add(c) {
		s.Close()
		return
	}
	go c.startStream()
}

func (c *conn) startStream() {
	if t, ok := c.in.nc.(*tls.Conn); ok && !c.handshake(t) {
		c.finish(false)
		return
	}
	c.in.own()
	c.start()
}

// handshake is bounded by Timeouts.Header, and by the sweeper.
func (c *conn) handshake(t *tls.Conn) bool {
	ctx, cancel := context.WithTimeout(c.g.background, c.g.o.Timeouts.Header)
	defer cancel()
	err := t.HandshakeContext(ctx)
	if err == nil {
		return true
	}
	c.g.refuse(refusedHandshake)
	c.info.Log.Debug("TLS handshake failed", "err", err)
	c.end(0, "", fmt.Errorf("TLS handshake: %w", err))
	return false
}
