package gateway

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"parley/gateway/echo"
	"parley/msg"
	"parley/subproto"
)

// standaloneProbe has no hub.
type standaloneProbe struct{ *probe }

func (standaloneProbe) Standalone() {}

func TestShutdown(t *testing.T) {
	ready, silent := newProbe("ready"), newProbe("silent")
	silent.open = func(*probeHandler) error { return nil } // its handshake never ends
	alone := standaloneProbe{newProbe("alone")}
	s := serveWS(t, Options{Engines: []subproto.Engine{ready, silent, alone}})
	connect := func(name string) *rawClient { return s.raw("Sec-WebSocket-Protocol: " + name + "\r\n") }
	c1, c2, c3, c4 := connect("ready"), connect("silent"), connect("alone"), connect("ready")
	h1, h2, h3, h4 := ready.next(t), silent.next(t), alone.next(t), ready.next(t)

	grace, end := context.WithCancelCause(context.Background())
	done := make(chan error)
	go func() { done <- s.Shutdown(grace) }()
	// Those that no hub tells go at once.
	for _, c := range []*rawClient{c2, c3} {
		if f, err := c.read(); err != nil || string(f.payload[:2]) != "\x03\xe9" {
			t.Errorf("%q, %v; want close 1001", f.payload, err)
		}
		c.send(closeFrame(1001, ""))
		c.wantEnd()
	}
	for _, h := range []*probeHandler{h2, h3} {
		if err := h.end(t); !errors.Is(err, msg.ErrDraining) {
			t.Errorf("Closed(%v), want draining", err)
		}
	}
	if nc, err := net.Dial("tcp", s.addr); err == nil {
		nc.Close()
		t.Error("still accepting")
	}
	// The others work on until their engine ends them …
	c1.send(maskedFrame(fin1, []byte("x")))
	c1.want(fin1, "x")
	h1.Close(4000, "told by the hub")
	c1.want(bitFin|opClose, "\x0f\xa0told by the hub")
	c1.send(closeFrame(4000, ""))
	c1.wantEnd()
	if err := h1.end(t); err != nil {
		t.Error(err)
	}
	select {
	case <-done:
		t.Fatal("Shutdown did not wait for the last connection")
	default:
	}
	// … or the grace period does.
	over := errors.New("grace is over")
	end(over)
	c4.want(bitFin|opClose, "\x03\xe9server shutting down")
	c4.send(closeFrame(1001, ""))
	if err := h4.end(t); !errors.Is(err, msg.ErrDraining) {
		t.Errorf("Closed(%v), want draining", err)
	}
	if err := <-done; err != over {
		t.Errorf("Shutdown: %v", err)
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Errorf("second Shutdown: %v", err)
	}
}

// Peers that do not answer, do not read or have not finished their handshake do
// not hold Shutdown up.
func TestShutdownOfUnresponsivePeers(t *testing.T) {
	s := serveWS(t, Options{Engines: []subproto.Engine{echo.Engine{}}, AcceptAny: true,
		Timeouts: Timeouts{Close: 50 * time.Millisecond, Write: 100 * time.Millisecond}})
	s.raw("") // silent
	full := s.raw("")
	go func() {
		for full.nc.SetDeadline(time.Now().Add(10*time.Second)) == nil {
			if _, err := full.nc.Write(maskedFrame(fin2, make([]byte, 50_000))); err != nil {
				return
			}
		}
	}()
	half, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	s.Shutdown(ctx)
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestShutdownBeforeServe(t *testing.T) {
	g, err := New(Options{Engines: []subproto.Engine{echo.Engine{}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.ServeStream(context.Background(), ln, "echo"); err != ErrClosed {
		t.Error(err)
	}
}
