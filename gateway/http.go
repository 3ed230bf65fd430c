package gateway

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"
)

type sockKey struct{}

func withSock(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, sockKey{}, sockOf(nc))
}

// connState begins the handshake's time anew for each request on a connection.
func (g *Gateway) connState(nc net.Conn, st http.ConnState) {
	if st != http.StateIdle {
		return
	}
	if s := sockOf(nc); s != nil {
		s.since.Store(g.clock.Load())
	}
}

// ServeHTTP answers /healthz and /readyz, upgrades, and leaves the rest to
// Options.Pages. It works only under ServeWS.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s, _ := r.Context().Value(sockKey{}).(*sock)
	if s != nil && s.refused != "" {
		w.Header().Set("Connection", "close") // the lobby is small
	}
	switch r.URL.Path {
	case "/healthz":
		text(w, http.StatusOK, "ok")
		return
	case "/readyz":
		g.readyz(w)
		return
	}
	switch {
	case s == nil:
		text(w, http.StatusInternalServerError, "not served here")
	case s.refused != "":
		turnAway(w, s.refused)
	case hasToken(r.Header.Values("Upgrade"), "websocket"):
		g.upgrade(w, r, s)
	case g.o.Pages != nil:
		g.o.Pages.ServeHTTP(w, r)
	case g.paths[r.URL.Path]:
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		text(w, http.StatusUpgradeRequired, "this is a WebSocket endpoint; supported subprotocols: "+g.table.supported)
	default:
		text(w, http.StatusNotFound, "not found")
	}
}

func (g *Gateway) readyz(w http.ResponseWriter) {
	if g.draining.Load() {
		text(w, http.StatusServiceUnavailable, "draining")
		return
	}
	if g.o.Ready != nil {
		if err := g.o.Ready(); err != nil {
			g.log.Debug("not ready", "err", err)
			text(w, http.StatusServiceUnavailable, "not ready")
			return
		}
	}
	text(w, http.StatusOK, "ready")
}

// turnAway answers a connection over a limit.
func turnAway(w http.ResponseWriter, reason string) {
	status := http.StatusServiceUnavailable
	if reason == refusedAddr || reason == refusedAddrRate {
		status = http.StatusTooManyRequests
	}
	w.Header().Set("Retry-After", "5")
	text(w, status, "too many connections")
}

// upgrade negotiates, authenticates and switches to WebSocket. Whatever is
// refused is refused in HTTP, before the 101.
func (g *Gateway) upgrade(w http.ResponseWriter, r *http.Request, s *sock) {
	refuse := func(reason string, status int, body string) {
		g.refuse(reason)
		text(w, status, body)
	}
	if !g.paths[r.URL.Path] {
		refuse(refusedPath, http.StatusNotFound, "no WebSocket here")
		return
	}
	if r.ContentLength != 0 {
		// net/http would wait for the body before the 101, past the handshake's time.
		w.Header().Set("Connection", "close")
		refuse(refusedUpgrade, http.StatusBadRequest, "an upgrade has no body")
		return
	}
	if g.stopping() || !g.beginUpgrade() {
		w.Header().Set("Connection", "close")
		refuse(refusedDraining, http.StatusServiceUnavailable, "server shutting down")
		return
	}
	defer g.wg.Done()
	pick := g.table.negotiate(r.Header.Values("Sec-WebSocket-Protocol"))
	if pick.proto == nil {
		what := "none of the offered subprotocols is supported"
		if !pick.offered {
			what = "no subprotocol offered"
		}
		refuse(refusedProtocol, http.StatusBadRequest, what+"; supported: "+g.table.supported)
		return
	}
	ns := g.namespaceOf(r)
	id, no := g.authenticate(r, s, ns)
	if no != nil {
		for _, c := range no.challenges {
			w.Header().Add("WWW-Authenticate", c)
		}
		refuse(refusedAuth, no.status, no.body)
		return
	}
	c := g.newConn(pick.proto, s.RemoteAddr().String())
	c.info.Negotiated, c.info.Namespace, c.info.Identity = pick.echo != "", ns, id
	if g.accept(w, r, c, s, pick.echo) && g.add(c) {
		go c.start()
		if g.stopping() && (!c.proto.drains || !c.ready.Load()) {
			c.goAway()
		}
		return
	}
	if c.ws != nil { // too late
		c.ws.CloseNow()
		s.Close()
	}
}

// accept lets the library answer the handshake; our Hijack decides what it reads
// from.
func (g *Gateway) accept(w http.ResponseWriter, r *http.Request, c *conn, s *sock, echo string) bool {
	if echo != "" {
		w.Header().Set("Sec-WebSocket-Protocol", echo)
	}
	opts := &websocket.AcceptOptions{
		OriginPatterns: g.o.Origins,
		OnPingReceived: func(_ context.Context, payload []byte) bool {
			c.pong(payload)
			return false
		},
	}
	if c.proto.deflate {
		opts.CompressionMode = websocket.CompressionNoContextTakeover
	}
	ow := &ownWriter{w: w, c: c, s: s}
	ws, err := websocket.Accept(ow, r, opts)
	if err != nil {
		reason := refusedUpgrade
		if ow.status == http.StatusForbidden {
			reason = refusedOrigin
		}
		g.refuse(reason)
		g.log.Debug("upgrade refused", "remote", c.info.Remote, "err", err)
		return false
	}
	c.ws = ws
	c.z = w.Header().Get("Sec-WebSocket-Extensions") != ""
	c.in.watch.deflate, c.in.watch.limits = c.z, &g.o.Limits
	ws.SetReadLimit(int64(g.o.Limits.MaxHandshake))
	return true
}

func (g *Gateway) newConn(p *protocol, remote string) *conn {
	c := &conn{g: g, proto: p, ended: true}
	c.info.Protocol, c.info.Remote = p.name, remote
	c.info.Log = slog.New(connLog{c})
	c.out.flushFn = c.tryWrite
	c.heard.Store(g.clock.Load())
	return c
}

// namespaceOf looks up host and path, then the path, then the host.
func (g *Gateway) namespaceOf(r *http.Request) string {
	if len(g.namespaces) == 0 {
		return ""
	}
	host := strings.ToLower(r.Host)
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	for _, k := range [...]string{host + r.URL.Path, r.URL.Path, host} {
		if ns, ok := g.namespaces[k]; ok {
			return ns
		}
	}
	return ""
}

// ownWriter gives the library our connection instead of net/http's buffers, of
// which nothing stays reachable. It hides everything else.
type ownWriter struct {
	w      http.ResponseWriter
	c      *conn
	s      *sock
	status int
}

func (o *ownWriter) Header() http.Header         { return o.w.Header() }
func (o *ownWriter) Write(p []byte) (int, error) { return o.w.Write(p) }

// WriteHeader names a subprotocol in the 101 only (RFC 6455 section 4.2.2): a
// refusal chose none.
func (o *ownWriter) WriteHeader(code int) {
	if o.status = code; code != http.StatusSwitchingProtocols {
		o.w.Header().Del("Sec-WebSocket-Protocol")
	}
	o.w.WriteHeader(code)
}

func (o *ownWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h, ok := o.w.(http.Hijacker)
	if !ok {
		return nil, nil, fmt.Errorf("hijack: %T cannot", o.w)
	}
	nc, brw, err := h.Hijack()
	if err != nil {
		return nil, nil, err
	}
	in := &o.c.in
	in.init(o.c, nc, o.s)
	in.preload(brw.Reader)
	in.own()
	l := &libConn{Conn: nc, in: in}
	in.br = bufio.NewReaderSize(l, 16) // bufio's smallest: our chunk is the buffer
	return l, bufio.NewReadWriter(in.br, bufio.NewWriterSize(l, 16)), nil
}

// hasToken tells whether a comma-separated header has token, in any case.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for tok := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(tok), token) {
				return true
			}
		}
	}
	return false
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, body)
}

// refusal is an HTTP answer to bad credentials.
type refusal struct {
	status     int
	body       string
	challenges []string
}
