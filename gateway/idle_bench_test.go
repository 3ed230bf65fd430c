package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"parley/gateway/echo"
	"parley/subproto"
)

const serverEnv = "PARLEY_GATEWAY_BENCH_SERVER"

// runServer is the other process of BenchmarkIdle: it serves until its standard
// input ends.
func runServer() {
	signal.Ignore(os.Interrupt)
	g, err := New(Options{Engines: []subproto.Engine{echo.Engine{}}, AcceptAny: true, Settled: debug.FreeOSMemory})
	if err != nil {
		panic(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	if os.Getenv(serverEnv) == "wss" {
		cert, key, err := newPair("bench")
		if err != nil {
			panic(err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			panic(err)
		}
		ln = WithTLS(ln, &tls.Config{Certificates: []tls.Certificate{pair}})
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := g.ServeWS(ctx, ln); err != nil {
		panic(err)
	}
}

// BenchmarkIdle opens b.N connections to another process, echoes a message on
// each, lets them be quiet and reports that process' memory per connection. Run
// it with -benchtime 5000x.
func BenchmarkIdle(b *testing.B) {
	b.Run("ws", func(b *testing.B) { benchIdle(b, "ws") })
	b.Run("wss", func(b *testing.B) { benchIdle(b, "wss") })
}

func benchIdle(b *testing.B, scheme string) {
	if b.N == 1 {
		return // the benchmark's own probe run
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverEnv+"="+scheme)
	cmd.Stderr = os.Stderr
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { in.Close(); cmd.Wait() }()
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	addr = strings.TrimSpace(addr)
	idleConn(b, scheme, addr).Close() // what the first one costs is not a connection's
	before := rss(b, cmd.Process.Pid)
	for range b.N {
		defer idleConn(b, scheme, addr).Close()
	}
	after := rss(b, cmd.Process.Pid)
	// A benchmark may wait: long enough for the idle to be noticed.
	time.Sleep(8 * time.Second)
	quiet := rss(b, cmd.Process.Pid)
	b.ReportMetric(float64(after-before)/float64(b.N), "B-busy/conn")
	b.ReportMetric(float64(quiet-before)/float64(b.N), "B-idle/conn")
}

func idleConn(b *testing.B, scheme, addr string) net.Conn {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	if scheme == "wss" {
		nc = tls.Client(nc, insecure())
	}
	upgradeRaw(b, nc, "/ws", "Sec-WebSocket-Protocol: mqtt\r\n")
	nc.Write(maskedFrame(0x82, make([]byte, 40)))
	if _, err := io.ReadFull(nc, make([]byte, 42)); err != nil {
		b.Fatal(err)
	}
	return nc
}

func rss(b *testing.B, pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("no /proc here:", err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib << 10
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
