package gateway

import (
	"context"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"parley/gateway/echo"
	"parley/subproto"
)

func TestMain(m *testing.M) {
	if os.Getenv(serverEnv) != "" {
		runServer()
		return
	}
	goleak.VerifyTestMain(m)
}

// server is a gateway under test on a port of its own.
type server struct {
	*Gateway
	t    *testing.T
	addr string
	done chan error
}

// serveWS starts a gateway for o; the echo engine with AcceptAny if o has none.
func serveWS(t *testing.T, o Options) *server {
	t.Helper()
	if o.Engines == nil {
		o.Engines, o.AcceptAny = []subproto.Engine{echo.Engine{}}, true
	}
	return startServer(t, o, func(g *Gateway, ctx context.Context, ln net.Listener) error { return g.ServeWS(ctx, ln) })
}

func serveStream(t *testing.T, o Options, protocol string) *server {
	t.Helper()
	return startServer(t, o, func(g *Gateway, ctx context.Context, ln net.Listener) error {
		return g.ServeStream(ctx, ln, protocol)
	})
}

func startServer(t *testing.T, o Options, serve func(*Gateway, context.Context, net.Listener) error) *server {
	t.Helper()
	if o.Timeouts.Close == 0 {
		o.Timeouts.Close = 100 * time.Millisecond // raw clients do not answer a close
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{Gateway: g, t: t, addr: ln.Addr().String(), done: make(chan error, 1)}
	go func() { s.done <- serve(g, ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-s.done; err != nil {
			t.Error("serve:", err)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if n := len(g.conns); n != 0 {
			t.Errorf("%d connections left", n)
		}
		if g.door.total != 0 || g.door.lobby != 0 {
			t.Errorf("door still counts %d + %d", g.door.total, g.door.lobby)
		}
	})
	return s
}

// dial opens a WebSocket with the library's client.
func (s *server) dial(protocols ...string) *websocket.Conn {
	s.t.Helper()
	c, _, err := websocket.Dial(testContext(s.t), "ws://"+s.addr+"/ws", &websocket.DialOptions{
		Subprotocols: protocols, HTTPClient: s.client()})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(-1)
	return c
}

// client is an HTTP client that leaves nothing behind.
func (s *server) client() *http.Client {
	tr := &http.Transport{}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// testContext ends when a test hangs, long before go test's own limit.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
