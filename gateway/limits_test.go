package gateway

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"parley/subproto"
)

func tcp(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1} }

func newTestDoor(l Limits) *door {
	l.setDefaults()
	return newDoor(&l)
}

func TestDoor(t *testing.T) {
	t.Run("per address, IPv6 by /64", func(t *testing.T) {
		d := newTestDoor(Limits{MaxConnsPerAddr: 2})
		for _, c := range []struct{ ip, want string }{
			{"192.0.2.1", ""}, {"192.0.2.1", ""}, {"192.0.2.1", refusedAddr}, {"192.0.2.2", ""},
			{"::ffff:192.0.2.2", ""}, {"::ffff:192.0.2.2", refusedAddr}, // the same address, mapped
			{"2001:db8::1", ""}, {"2001:db8::2", ""}, {"2001:db8::3", refusedAddr}, {"2001:db8:0:1::3", ""},
			{"127.0.0.1", ""}, {"127.0.0.1", ""}, {"127.0.0.1", ""}, {"::1", ""}, {"::1", ""}, {"::1", ""},
		} {
			if _, got := d.enter(tcp(c.ip), false); got != c.want {
				t.Errorf("%s: %q, want %q", c.ip, got, c.want)
			}
		}
	})
	t.Run("rates", func(t *testing.T) {
		d := newTestDoor(Limits{BurstPerAddr: 3, RatePerAddr: 1e-9, Burst: 5, Rate: 1e-9})
		var got []string
		for _, ip := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3"} {
			release, no := d.enter(tcp(ip), false)
			if got = append(got, no); no == "" {
				release() // leaving gives no rate back
			}
		}
		want := []string{"", "", "", refusedAddrRate, "", "", refusedRate}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	})
	t.Run("the lobby is bounded and counted", func(t *testing.T) {
		d := newTestDoor(Limits{MaxConns: 1})
		leave, _ := d.enter(tcp("192.0.2.1"), true)
		var out []func()
		for {
			release, no := d.enter(tcp("192.0.2.1"), true)
			if no != refusedTotal {
				t.Fatalf("refused for %q", no)
			}
			if release == nil {
				break
			}
			out = append(out, release)
		}
		if len(out) != lobbySize {
			t.Errorf("%d in the lobby", len(out))
		}
		for _, f := range append(out, leave) {
			f()
		}
		if d.total != 0 || d.lobby != 0 {
			t.Errorf("%d + %d left", d.total, d.lobby)
		}
	})
	t.Run("addresses are forgotten", func(t *testing.T) {
		d := newTestDoor(Limits{})
		leave, _ := d.enter(tcp("192.0.2.1"), false)
		d.enter(tcp("192.0.2.2"), false)
		leave()
		d.sweep(time.Now().Add(time.Hour))
		if len(d.addrs) != 1 {
			t.Errorf("%d addresses, want the one with a connection", len(d.addrs))
		}
	})
}

func TestConnectionLimits(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits Limits
		status int
	}{
		{"total", Limits{MaxConns: 1}, 503},
		{"per address", Limits{MaxConnsPerAddr: 1, LimitLoopback: true}, 429},
		{"rate", Limits{Burst: 1, Rate: 1e-9}, 503},
		{"rate per address", Limits{BurstPerAddr: 1, RatePerAddr: 1e-9, LimitLoopback: true}, 429},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serveWS(t, Options{Limits: c.limits})
			r := s.raw("")
			nc, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			resp := upgradeRaw(t, nc, "/ws", "")
			if resp.StatusCode != c.status || resp.Header.Get("Retry-After") == "" {
				t.Errorf("%s, want %d", resp.Status, c.status)
			}
			if status, _ := s.get("/healthz"); status != 200 {
				t.Errorf("a full server is up all the same: %d", status)
			}
			r.send(maskedFrame(fin1, []byte("x")))
			r.want(fin1, "x")
		})
	}
}

func TestStreamConnectionLimit(t *testing.T) {
	p := newProbe("mqtt")
	s := serveStream(t, Options{Engines: []subproto.Engine{p}, Limits: Limits{MaxConns: 1}}, "mqtt")
	first, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	h := p.next(t)
	second, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	second.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := second.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the second was let in: %v", err)
	}
	first.Close()
	h.end(t)
	// Its place is free again.
	for deadline := time.Now().Add(10 * time.Second); ; {
		third, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		third.SetDeadline(time.Now().Add(10 * time.Second))
		third.Write([]byte("x"))
		_, err = io.ReadFull(third, make([]byte, 1))
		third.Close()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the place was not given back")
		}
	}
}

// flakyListener fails with EMFILE a few times before every connection.
type flakyListener struct {
	net.Listener
	left atomic.Int32
}

func (l *flakyListener) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestAcceptErrorsAreWaitedOut(t *testing.T) {
	s := serveWS(t, Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fl := &flakyListener{Listener: ln}
	fl.left.Store(3)
	done := make(chan error)
	go func() { done <- s.ServeWS(testContext(t), fl) }()
	resp, err := s.client().Get("http://" + ln.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || fl.left.Load() >= 0 {
		t.Errorf("%s with %d failures left", resp.Status, fl.left.Load())
	}
	s.Shutdown(testContext(t))
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.ServeWS(testContext(t), ln); !errors.Is(err, ErrClosed) {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}
