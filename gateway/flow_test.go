package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/msg"
	"parley/subproto"
)

// SetReading(false) holds frames back, at most what the socket holds; Wake still
// comes; SetReading(true) goes on without a loss.
func TestSetReading(t *testing.T) {
	p := &probe{
		frame: func(h *probeHandler, _ subproto.Kind, data []byte) {
			h.Send(subproto.Text, data)
			if string(data) == "stop" {
				h.SetReading(false)
				h.SetReading(false)
			}
		},
		wake: func(h *probeHandler) {
			h.Send(subproto.Text, fmt.Appendf(nil, "woken after %d", h.frames.Load()))
			h.SetReading(true)
		},
	}
	s := probeServer(t, p, Options{})
	r := s.raw(offerP)
	h := p.next(t)
	for range 50 {
		h.frames.Store(0)
		r.send(maskedFrame(fin1, []byte("stop")), maskedFrame(fin1, []byte("a")))
		r.send(maskedFrame(fin1, []byte("b")))
		r.want(fin1, "stop")
		h.Conn.Wake()
		r.want(fin1, "woken after 1")
		r.want(fin1, "a")
		r.want(fin1, "b")
	}
}

// A connection that is not read still closes.
func TestCloseWhileNotReading(t *testing.T) {
	stopped := make(chan bool, 2)
	p := &probe{frame: func(h *probeHandler, _ subproto.Kind, _ []byte) { h.SetReading(false); stopped <- true }}
	s := probeServer(t, p, Options{})
	r := s.raw(offerP)
	h := p.next(t)
	r.send(maskedFrame(fin1, nil), maskedFrame(fin1, nil))
	<-stopped
	h.Close(1000, "")
	r.want(bitFin|opClose, "\x03\xe8")
	r.send(closeFrame(1000, ""))
	r.wantEnd()
	if err := h.end(t); err != nil {
		t.Error(err)
	}
	if n := h.frames.Load(); n != 1 {
		t.Errorf("%d frames", n)
	}
}

// Room turns false at the high mark and comes back when the peer has read.
func TestRoom(t *testing.T) {
	const total = 3000
	var sent int // owned by the handler
	full := make(chan bool, total)
	fill := func(h *probeHandler) {
		for sent < total {
			if !h.Conn.Room() {
				full <- true
				return
			}
			sent++
			h.Send(subproto.Binary, bytes.Repeat([]byte{byte(sent)}, 10_000))
		}
	}
	p := &probe{wake: fill, room: fill}
	s := probeServer(t, p, Options{})
	r := s.raw(offerP)
	h := p.next(t)
	h.Conn.Wake()
	<-full // before anything is read
	for i := range total {
		r.want(fin2, strings.Repeat(string([]byte{byte(i + 1)}), 10_000))
	}
	if h.rooms.Load() == 0 {
		t.Error("Room was never called")
	}
	if q := h.Conn.(*conn).queued.Load(); q != 0 {
		t.Errorf("%d bytes queued", q)
	}
	r.nc.Close()
	h.end(t)
}

// Wakes from many goroutines coalesce, none is lost, and the handler is never
// entered twice, while frames come in as well.
func TestWakes(t *testing.T) {
	const total = 8 * 2000
	var asked atomic.Int64
	all := make(chan bool, total)
	p := &probe{wake: func(h *probeHandler) {
		if asked.Load() == total {
			all <- true
		}
	}}
	s := probeServer(t, p, Options{})
	r := s.raw(offerP)
	h := p.next(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				asked.Add(1)
				h.Conn.Wake()
			}
		})
	}
	for i := range 500 {
		r.send(maskedFrame(fin1, fmt.Appendf(nil, "%d", i)))
		r.want(fin1, fmt.Sprint(i))
	}
	wg.Wait()
	select {
	case <-all: // every Wake was followed by a call that saw it
	case <-testContext(t).Done():
		t.Fatal("a wake was lost")
	}
	r.nc.Close()
	h.end(t)
	h.Conn.Wake() // after the end: nothing happens
	if n := h.faults.Load(); n != 0 {
		t.Errorf("%d faults", n)
	}
}

// A wake asked for in a Frame call comes right after it and leaves in the same
// write as the frame's answer.
func TestWakeWithinFrame(t *testing.T) {
	p := &probe{
		frame: func(h *probeHandler, k subproto.Kind, d []byte) { h.Conn.Wake(); h.Send(k, d) },
		wake:  func(h *probeHandler) { h.Send(subproto.Text, []byte("w")) },
	}
	s := probeServer(t, p, Options{})
	r := s.raw(offerP)
	h := p.next(t)
	r.send(bytes.Repeat(maskedFrame(fin1, []byte("f")), 3))
	for range 3 {
		r.want(fin1, "f")
		r.want(fin1, "w")
	}
	if n := h.wakes.Load(); n != 3 {
		t.Errorf("%d wakes", n)
	}
}

// A handler that wakes itself for ever does not keep its own frames out.
func TestHandlerThatWakesItself(t *testing.T) {
	p := &probe{wake: func(h *probeHandler) { h.Conn.Wake() }}
	s := probeServer(t, p, Options{})
	r, other := s.raw(offerP), s.raw(offerP)
	p.next(t).Conn.Wake()
	p.next(t).Conn.Wake()
	for i := range 50 {
		for _, c := range []*rawClient{r, other} {
			c.send(maskedFrame(fin1, fmt.Append(nil, i)))
			c.want(fin1, fmt.Sprint(i))
		}
	}
}

// Many connections woken at once run on few goroutines, all of them.
func TestBurstOfWakes(t *testing.T) {
	var running, most atomic.Int32
	p := &probe{wake: func(h *probeHandler) {
		n := running.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		h.Send(subproto.Text, []byte("x"))
		running.Add(-1)
	}}
	s := probeServer(t, p, Options{})
	var clients []*rawClient
	var handlers []*probeHandler
	for range 60 {
		clients = append(clients, s.raw(offerP))
		handlers = append(handlers, p.next(t))
	}
	for range 20 {
		for _, h := range handlers {
			h.Conn.Wake()
		}
		for _, r := range clients {
			r.want(fin1, "x")
		}
	}
	if n := int(most.Load()); n > s.sched.max {
		t.Errorf("%d wakes at once, %d workers", n, s.sched.max)
	}
}

func TestPings(t *testing.T) {
	p := &probe{open: func(h *probeHandler) error { h.Ready(); h.SetPing(true); return nil }}
	s := probeServer(t, p, Options{Timeouts: Timeouts{Ping: 60 * time.Millisecond}})
	r := s.raw(offerP)
	h := p.next(t)
	for range 4 { // longer than two intervals: pongs keep it
		r.want(ping, "")
		r.send(maskedFrame(pong, nil))
	}
	r.want(ping, "")
	for {
		f, err := r.read()
		if err != nil {
			t.Fatal(err)
		}
		if f.first != ping { // we are silent now
			if string(f.payload[:2]) != "\x03\xf0" {
				t.Errorf("closed with %x", f.payload)
			}
			break
		}
	}
	if err := h.end(t); !errors.Is(err, msg.ErrTimeout) {
		t.Errorf("Closed(%v), want a timeout", err)
	}
}

// While the engine does not read, silence is not the peer's fault.
func TestPingStandsStillWhileNotReading(t *testing.T) {
	p := &probe{
		open:  func(h *probeHandler) error { h.Ready(); h.SetPing(true); h.SetReading(false); return nil },
		wake:  func(h *probeHandler) { h.SetReading(true) },
		frame: func(h *probeHandler, k subproto.Kind, d []byte) { h.Send(k, d) },
	}
	s := probeServer(t, p, Options{Timeouts: Timeouts{Ping: 30 * time.Millisecond}})
	r := s.raw(offerP)
	h := p.next(t)
	r.send(maskedFrame(fin1, []byte("x")))
	for range 6 {
		r.want(ping, "") // three times as long as it would take to be closed
	}
	h.Conn.Wake()
	for {
		f, err := r.read()
		if err != nil {
			t.Fatal(err)
		}
		if f.first == fin1 {
			break
		}
	}
}

// An idle reader moves to a fresh goroutine and hears what comes later, also when
// the nudge and the bytes cross.
func TestIdleReaderMoves(t *testing.T) {
	p := &probe{}
	s := probeServer(t, p, Options{Timeouts: Timeouts{Idle: 2 * time.Millisecond}})
	r := s.raw(offerP)
	c := p.next(t).Conn.(*conn)
	for i := range 200 {
		f := maskedFrame(fin1, fmt.Appendf(nil, "%d", i))
		r.send(f[:3])
		r.send(f[3:])
		r.want(fin1, fmt.Sprint(i))
		eventually(t, func() bool { return i%2 == 0 && c.parked.Load() == isNudged || !c.deep.Load() })
	}
}

// eventually spins, because what it waits for has no event to wait on.
func eventually(t testing.TB, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it never came")
		}
	}
}

func TestSettled(t *testing.T) {
	called := make(chan bool, 10)
	g := &Gateway{o: Options{Settled: func() { called <- true }}}
	for now, calmed := range []int{900, 200, 1, 0, 0, 5000, 0} {
		g.settle(calmed, int64(now))
	}
	g.settle(0, settleEvery+10)
	g.sweeper.Wait()
	if n := len(called); n != 2 {
		t.Errorf("called %d times, want once per burst and interval", n)
	}
}

func TestPerMessageDeflate(t *testing.T) {
	const offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
	long := strings.Repeat("compressible ", 1000)
	t.Run("answers are compressed without context", func(t *testing.T) {
		s := probeServer(t, &probe{}, Options{Compress: true})
		r := s.raw(offerP + offer)
		var first []byte
		for range 3 {
			r.send(maskedFrame(fin1, []byte(long)))
			f, err := r.read()
			if err != nil || f.first != fin1|bitRSV1 || len(f.payload) > len(long)/10 {
				t.Fatalf("%#x, %d bytes, %v", f.first, len(f.payload), err)
			}
			if first != nil && !bytes.Equal(first, f.payload) {
				t.Error("the same message was compressed differently: context was kept")
			}
			first = f.payload
			r.send(maskedFrame(fin1|bitRSV1, f.payload)) // and back
			if f, err = r.read(); err != nil || !bytes.Equal(f.payload, first) {
				t.Fatal("round trip", err)
			}
		}
		r.send(maskedFrame(fin1, []byte("short")))
		r.want(fin1, "short")
	})
	t.Run("all compressors busy", func(t *testing.T) {
		s := probeServer(t, &probe{}, Options{Compress: true, CompressJobs: 1})
		r := s.raw(offerP + offer)
		<-s.deflate.idle
		r.send(maskedFrame(fin1, []byte(long)))
		r.want(fin1, long)
		s.deflate.idle <- nil
	})
	t.Run("bomb", func(t *testing.T) {
		s := probeServer(t, &probe{}, Options{Compress: true})
		r := s.raw(offerP + offer)
		z := newDeflater(1).start(make([]byte, 50<<20))
		r.send(maskedFrame(fin2|bitRSV1, z.out.Bytes()))
		r.wantClose(1009)
	})
	t.Run("not deflate at all", func(t *testing.T) {
		s := probeServer(t, &probe{}, Options{Compress: true})
		r := s.raw(offerP + offer)
		r.send(maskedFrame(fin2|bitRSV1, []byte("\xff\xff\xff\xff")))
		r.wantClose(1002)
	})
	t.Run("never for MQTT, nor unless switched on", func(t *testing.T) {
		s := serveWS(t, Options{Engines: []subproto.Engine{newProbe("mqtt")}, Compress: true})
		s.raw("Sec-WebSocket-Protocol: mqtt\r\n" + offer).expectPlain()
		s = probeServer(t, &probe{}, Options{})
		s.raw(offerP + offer).expectPlain()
	})
}

func (c *rawClient) expectPlain() {
	c.t.Helper()
	c.send(maskedFrame(fin2|bitRSV1, nil))
	c.wantClose(1002)
}
