package gateway

import (
	"context"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"parley/gateway/echo"
	"parley/subproto"
)

// BenchmarkEcho measures one echoed message of 125 bytes with 16 in flight, over
// raw sockets. cpu-µs/op is user and system time of both ends; allocs/op is of
// both ends too, and the client's are none.
func BenchmarkEcho(b *testing.B) {
	b.Run("ws", func(b *testing.B) { benchEcho(b, 16, true) })
	b.Run("ws-one-at-a-time", func(b *testing.B) { benchEcho(b, 1, true) })
	b.Run("stream", func(b *testing.B) { benchEcho(b, 16, false) })
}

func benchEcho(b *testing.B, inFlight int, ws bool) {
	g, err := New(Options{Engines: []subproto.Engine{echo.Engine{}}, AcceptAny: true})
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		if ws {
			done <- g.ServeWS(ctx, ln)
		} else {
			done <- g.ServeStream(ctx, ln, "echo")
		}
	}()
	defer func() { cancel(); <-done }()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	payload := make([]byte, 125)
	msg, back := payload, 125
	if ws {
		upgradeRaw(b, nc, "/ws", "")
		msg, back = maskedFrame(0x82, payload), 127
	}
	var batch []byte
	for range inFlight {
		batch = append(batch, msg...)
	}
	in := make([]byte, back*inFlight)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	for i := 0; i < b.N; i += inFlight {
		if _, err := nc.Write(batch); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(nc, in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime()-before)/1e3/float64(b.N), "cpu-µs/op")
}

func cpuTime() time.Duration {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkWakes measures one frame of 125 bytes sent to each of 500 connections
// by one goroutine that wakes them all, as a commit does; an op is one delivery.
// cpu-µs/op is of both ends.
func BenchmarkWakes(b *testing.B) {
	const peers = 500
	payload := make([]byte, 125)
	p := newProbe("p")
	p.wake = func(h *probeHandler) { h.Send(subproto.Binary, payload) }
	g, err := New(Options{Engines: []subproto.Engine{p}, DefaultProtocol: "p"})
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.ServeWS(ctx, ln) }()
	defer func() { cancel(); <-done }()
	var clients []net.Conn
	var handlers []*probeHandler
	for range peers {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer nc.Close()
		upgradeRaw(b, nc, "/ws", "")
		clients, handlers = append(clients, nc), append(handlers, p.next(b))
	}
	in := make([]byte, 127)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	for i := 0; i < b.N; i += peers {
		for _, h := range handlers {
			h.Conn.Wake()
		}
		for _, nc := range clients {
			if _, err := io.ReadFull(nc, in); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(cpuTime()-before)/1e3/float64(b.N), "cpu-µs/op")
}
