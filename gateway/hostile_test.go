package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"parley/msg"
	"parley/subproto"
)

// probeServer serves a probe engine named "p".
func probeServer(t *testing.T, p *probe, o Options) *server {
	t.Helper()
	p.names, p.conns = []string{"p"}, make(chan *probeHandler, 100)
	o.Engines = []subproto.Engine{p}
	return serveWS(t, o)
}

const offerP = "Sec-WebSocket-Protocol: p\r\n"

func TestSlowHandshake(t *testing.T) {
	// Neither a client that says nothing nor one that never gets Ready may stay.
	o := Options{Timeouts: Timeouts{Handshake: 100 * time.Millisecond, Header: 100 * time.Millisecond}}
	p := &probe{open: func(*probeHandler) error { return nil }}
	s := probeServer(t, p, o)
	r := s.raw(offerP)
	r.wantClose(1008)
	if err := p.next(t).end(t); !errors.Is(err, msg.ErrTimeout) {
		t.Errorf("Closed(%v), want a timeout", err)
	}
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\n") // and no more
	if _, err := io.ReadAll(nc); isTimeout(err) {
		t.Error("half a request is kept open")
	}
}

func TestSlowStreamHandshake(t *testing.T) {
	p := newProbe("mqtt")
	p.open = func(*probeHandler) error { return nil }
	s := serveStream(t, Options{Engines: []subproto.Engine{p}, Timeouts: Timeouts{Handshake: 100 * time.Millisecond}}, "mqtt")
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(nc); err != nil {
		t.Error(err)
	}
	if err := p.next(t).end(t); !errors.Is(err, msg.ErrTimeout) {
		t.Errorf("Closed(%v), want a timeout", err)
	}
}

func TestSlowMessage(t *testing.T) {
	for name, part := range map[string][]byte{
		"first byte of a header":   {fin1},
		"half a header":            maskedHeader(fin1, 1000)[:5],
		"half a payload":           append(maskedHeader(fin1, 1000), "abc"...),
		"first fragment":           maskedFrame(opText, []byte("abc")),
		"a good one and then half": append(maskedFrame(fin1, nil), fin1),
	} {
		t.Run(name, func(t *testing.T) {
			p := &probe{}
			s := probeServer(t, p, Options{Timeouts: Timeouts{Message: 100 * time.Millisecond}})
			r := s.raw(offerP)
			r.send(part)
			if part[0] == fin1 && len(part) > 6 && part[1] == bitMask {
				r.want(fin1, "")
			}
			r.wantClose(1008)
			if err := p.next(t).end(t); !errors.Is(err, msg.ErrTimeout) {
				t.Errorf("Closed(%v), want a timeout", err)
			}
		})
	}
}

// A ping that came in two pieces is no message that takes for ever.
func TestSplitPingIsNoSlowMessage(t *testing.T) {
	const limit = 40 * time.Millisecond
	s := serveWS(t, Options{Timeouts: Timeouts{Message: limit}, Limits: Limits{ControlRate: 1e9, ControlBurst: 1e9}})
	r := s.raw("")
	p := maskedFrame(ping, []byte("abc"))
	for start := time.Now(); time.Since(start) < 3*limit; {
		r.send(p[:4])
		r.send(p[4:])
		r.want(pong, "abc")
	}
	r.send(maskedFrame(fin1, []byte("alive")))
	r.want(fin1, "alive")
}

// A client that sends and never reads: it is not read any more at the high mark,
// and closed when nothing moves for the write timeout. Memory stays bounded.
func TestClientThatNeverReads(t *testing.T) {
	p := &probe{}
	s := probeServer(t, p, Options{Timeouts: Timeouts{Write: 150 * time.Millisecond}})
	r := s.raw(offerP)
	h := p.next(t)
	stop := make(chan struct{})
	go func() {
		defer func() { stop <- struct{}{} }()
		f := maskedFrame(fin2, make([]byte, 10_000))
		for {
			if _, err := r.nc.Write(f); err != nil {
				return
			}
		}
	}()
	if err := h.end(t); !errors.Is(err, msg.ErrTooSlow) {
		t.Errorf("Closed(%v), want too slow", err)
	}
	c := h.Conn.(*conn)
	if q := c.queued.Load(); q > int64(s.o.Limits.HighMark+20_000) {
		t.Errorf("%d bytes were queued", q)
	}
	r.nc.Close()
	<-stop
}

// An engine that sends without asking for Room is stopped at the hard limit.
func TestHardLimit(t *testing.T) {
	p := &probe{frame: func(h *probeHandler, _ subproto.Kind, _ []byte) {
		for range 1000 {
			h.Send(subproto.Binary, make([]byte, 100_000))
		}
	}}
	s := probeServer(t, p, Options{})
	r := s.raw(offerP)
	h := p.next(t)
	r.send(maskedFrame(fin1, nil))
	if err := h.end(t); !errors.Is(err, msg.ErrTooSlow) {
		t.Errorf("Closed(%v), want too slow", err)
	}
	if q := h.Conn.(*conn).queued.Load(); q > 1<<20+200_000 {
		t.Errorf("%d bytes were queued", q)
	}
}

func TestEveryByteAFragment(t *testing.T) {
	s := serveWS(t, Options{})
	r := s.raw("")
	text := strings.Repeat("é", 2000)
	var all []byte
	for i := range len(text) {
		op := byte(opContinuation)
		if i == 0 {
			op = opText
		}
		all = append(all, maskedFrame(op, []byte{text[i]})...)
	}
	r.send(all, maskedFrame(finC, nil))
	r.want(fin1, text)
}

// Until the engine has said Ready a peer may send little.
func TestHandshakeMessageLimit(t *testing.T) {
	p := &probe{open: func(*probeHandler) error { return nil },
		frame: func(h *probeHandler, k subproto.Kind, d []byte) { h.Ready(); h.Send(k, d) }}
	s := probeServer(t, p, Options{Limits: Limits{MaxHandshake: 1000}})
	r := s.raw(offerP)
	r.send(maskedFrame(fin2, make([]byte, 1001)))
	r.wantClose(1009)
	r = s.raw(offerP)
	r.send(maskedFrame(fin2, make([]byte, 1000)))
	r.want(fin2, string(make([]byte, 1000)))
	r.send(maskedFrame(fin2, make([]byte, 100_000)))
	r.want(fin2, string(make([]byte, 100_000)))
}

// Frames sent together with the handshake, before its answer, are not lost.
func TestFramesRightBehindTheHandshake(t *testing.T) {
	s := serveWS(t, Options{})
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	early := strings.Repeat("early ", 500)
	upgradeRaw(t, &trailingConn{nc, maskedFrame(fin1, []byte(early))}, "/ws", "")
	r := newRawClient(t, nc)
	r.want(fin1, early)
}

// trailingConn adds bytes to the first write.
type trailingConn struct {
	net.Conn
	more []byte
}

func (c *trailingConn) Write(p []byte) (int, error) {
	all := append(append([]byte(nil), p...), c.more...)
	c.more = nil
	if _, err := c.Conn.Write(all); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Large messages that arrive slowly on many connections are bounded together.
func TestReceivingIsBoundedForAll(t *testing.T) {
	s := serveWS(t, Options{Limits: Limits{MaxReceiving: 1 << 20}})
	big := maskedFrame(fin2, make([]byte, 400_000))
	first, second := s.raw(""), s.raw("")
	first.send(big[:300_000])
	eventually(t, func() bool { return s.holding.Load() > 0 })
	second.send(maskedHeader(fin2, 1<<20), make([]byte, 1<<20-10))
	second.wantClose(1013)
	first.send(big[300_000:]) // the first is not harmed
	first.want(fin2, string(make([]byte, 400_000)))
	eventually(t, func() bool { return s.holding.Load() == 0 })
}

// Any mask, in particular zero and one in the middle of odd offsets.
func TestMasks(t *testing.T) {
	s := serveWS(t, Options{})
	r := s.raw("")
	for _, mask := range [][4]byte{{}, {255, 255, 255, 255}, {1, 2, 3, 4}, {0, 0, 0, 9}} {
		payload := []byte("masked payload of odd length")
		f := append([]byte{fin1, bitMask | byte(len(payload))}, mask[:]...)
		for i, b := range payload {
			f = append(f, b^mask[i&3])
		}
		r.send(f)
		r.want(fin1, string(payload))
	}
}

func TestPeerJustGoes(t *testing.T) {
	p := &probe{}
	s := probeServer(t, p, Options{})
	s.raw(offerP).nc.Close()
	if err := p.next(t).end(t); !errors.Is(err, io.EOF) && !isReset(err) {
		t.Errorf("Closed(%v), want io.EOF", err)
	}
	r := s.raw(offerP)
	r.send(maskedFrame(fin1, []byte("last words")))
	r.nc.(*net.TCPConn).CloseWrite()
	r.want(fin1, "last words") // half close: what was asked is still answered
	r.wantEnd()
	if err := p.next(t).end(t); err != io.EOF {
		t.Errorf("Closed(%v), want io.EOF", err)
	}
	r = s.raw(offerP)
	r.nc.(*net.TCPConn).SetLinger(0) // reset
	r.nc.Close()
	if err := p.next(t).end(t); err != io.EOF {
		t.Errorf("Closed(%v), want io.EOF", err)
	}
}

func isReset(err error) bool { return strings.Contains(err.Error(), "reset") }

// A peer that ignores our close does not keep the connection, nor does one that
// goes on sending.
func TestBoundedClose(t *testing.T) {
	for name, noise := range map[string]bool{"silent": false, "noisy": true} {
		t.Run(name, func(t *testing.T) {
			p := &probe{frame: func(h *probeHandler, _ subproto.Kind, _ []byte) { h.Close(4000, "go") }}
			s := probeServer(t, p, Options{Timeouts: Timeouts{Close: 100 * time.Millisecond}})
			r := s.raw(offerP)
			r.send(maskedFrame(fin1, nil))
			if noise {
				go func() {
					for {
						if _, err := r.nc.Write(maskedFrame(fin1, []byte("noise"))); err != nil {
							return
						}
					}
				}()
			}
			start := time.Now()
			r.want(bitFin|opClose, "\x0f\xa0go")
			r.wantEnd()
			if d := time.Since(start); d > 3*time.Second {
				t.Errorf("took %v", d)
			}
			h := p.next(t)
			if err := h.end(t); err != nil {
				t.Errorf("Closed(%v), want nil", err)
			}
			if n := h.frames.Load(); n != 1 {
				t.Errorf("%d frames, want none after Close", n)
			}
		})
	}
}

// What was sent before Close arrives before the close frame, all of it.
func TestCloseSendsWhatIsQueued(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 900_000)
	p := &probe{frame: func(h *probeHandler, _ subproto.Kind, _ []byte) {
		h.Send(subproto.Binary, big)
		h.Send(subproto.Text, []byte("end"))
		h.Close(1000, strings.Repeat("ü", 100)) // cut to 123 bytes at a rune
		h.Send(subproto.Text, []byte("too late"))
		h.Close(1002, "second")
	}}
	s := probeServer(t, p, Options{})
	r := s.raw(offerP)
	r.send(maskedFrame(fin1, nil))
	r.want(fin2, string(big))
	r.want(fin1, "end")
	r.want(bitFin|opClose, "\x03\xe8"+strings.Repeat("ü", 61))
	r.send(closeFrame(1000, ""))
	r.wantEnd()
}

func TestEngineFaults(t *testing.T) {
	fault := func(*probeHandler, subproto.Kind, []byte) { panic("fault") }
	for name, p := range map[string]*probe{
		"open fails":   {open: func(*probeHandler) error { return errors.New("no") }},
		"open panics":  {open: func(*probeHandler) error { panic("fault") }},
		"frame panics": {frame: fault},
		"wake panics":  {frame: func(h *probeHandler, _ subproto.Kind, _ []byte) { h.Conn.Wake() }, wake: func(h *probeHandler) { fault(h, 0, nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := probeServer(t, p, Options{})
			r := s.raw(offerP)
			r.send(maskedFrame(fin1, nil))
			r.wantClose(1011)
		})
	}
}

// However the bytes are cut or broken, a connection ends in time, and no call of
// the handler overlaps another.
func FuzzRawFrames(f *testing.F) {
	f.Add(maskedFrame(fin1, []byte("text")), uint8(3))
	f.Add(bytes.Join([][]byte{maskedFrame(opText, []byte("a")), maskedFrame(ping, nil), maskedFrame(finC, []byte("b")), closeFrame(1000, "x")}, nil), uint8(1))
	f.Add(maskedHeader(fin2, 1<<40), uint8(200))
	p := newProbe("p")
	g, err := New(Options{Engines: []subproto.Engine{p}, Compress: true, Limits: Limits{Rate: 1e9, Burst: 1e9},
		Timeouts: Timeouts{Close: 20 * time.Millisecond, Message: 200 * time.Millisecond}})
	if err != nil {
		f.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- g.ServeWS(ctx, ln) }()
	f.Cleanup(func() { cancel(); <-done })
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		upgradeRaw(t, nc, "/ws", offerP+"Sec-WebSocket-Extensions: permessage-deflate\r\n")
		h := p.next(t)
		go func() {
			for len(data) > 0 {
				n := min(int(piece)+1, len(data))
				if _, err := nc.Write(data[:n]); err != nil {
					return
				}
				data = data[n:]
			}
			nc.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(io.Discard, nc)
		if err := h.end(t); err == nil {
			t.Error("Closed(nil), but the engine did not close")
		}
	})
}
