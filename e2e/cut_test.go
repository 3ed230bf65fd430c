package e2e

import (
	"io"
	"net"
	"sync"
	"testing"
)

// cutter stands between clients and a broker, and cuts their connections: both
// sides lose what is under way, neither says goodbye.
type cutter struct {
	t      *testing.T
	listen net.Listener
	target string

	mu    sync.Mutex
	conns []net.Conn
	ended sync.WaitGroup
}

func startCutter(t *testing.T, b *broker) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{t: t, listen: l, target: b.listen}
	c.ended.Go(c.accept)
	t.Cleanup(func() {
		l.Close()
		c.cut()
		c.ended.Wait()
	})
	return c
}

func (c *cutter) url(path string) string { return "ws://" + c.listen.Addr().String() + path }

func (c *cutter) accept() {
	for {
		from, err := c.listen.Accept()
		if err != nil {
			return // closed
		}
		to, err := net.Dial("tcp", c.target)
		if err != nil {
			from.Close()
			continue
		}
		c.mu.Lock()
		c.conns = append(c.conns, from, to)
		c.mu.Unlock()
		c.ended.Go(func() { carry(from, to) })
		c.ended.Go(func() { carry(to, from) })
	}
}

func carry(from, to net.Conn) {
	_, _ = io.Copy(to, from) // the end of one direction is that of both
	from.Close()
	to.Close()
}

// cut ends all connections that there are.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // reset: what is queued is lost
		}
		conn.Close()
	}
	c.conns = nil
}
