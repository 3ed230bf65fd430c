package gateway

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// sock is an accepted connection that gives its place back when it is closed. It
// keeps the raw descriptor reachable, which wrappers usually hide.
type sock struct {
	net.Conn
	rc      syscall.RawConn // nil if the listener's connections have none
	refused string          // why only a refusal may be sent; "" = admitted
	since   atomic.Int64    // clock when the handshake's time began

	// nonblock, if set, makes Read return errWouldBlock instead of waiting. Set
	// before the connection's only reader starts.
	nonblock *nonblocking

	close   sync.Once
	release func()
}

// nonblocking reads without waiting.
type nonblocking struct {
	readFn func(fd uintptr) bool // with its argument and results
	p      []byte
	n      int
	err    error
}

// errWouldBlock is temporary for crypto/tls, which then keeps its state.
var errWouldBlock net.Error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "no bytes yet" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

func newSock(nc net.Conn, now int64, refused string, release func()) *sock {
	s := &sock{Conn: nc, refused: refused, release: release}
	s.since.Store(now)
	if sc, ok := nc.(syscall.Conn); ok {
		s.rc, _ = sc.SyscallConn()
	}
	return s
}

func (s *sock) Read(p []byte) (int, error) {
	if s.nonblock == nil {
		return s.Conn.Read(p)
	}
	return s.nonblock.read(s.rc, p)
}

func newNonblocking() *nonblocking {
	b := new(nonblocking)
	b.readFn = func(fd uintptr) bool {
		b.n, b.err = readFD(fd, b.p)
		return true
	}
	return b
}

func (b *nonblocking) read(rc syscall.RawConn, p []byte) (int, error) {
	b.p = p
	err := rc.Read(b.readFn)
	b.p = nil
	switch {
	case err != nil:
		return 0, err
	case b.err == syscall.EAGAIN:
		return 0, errWouldBlock
	case b.err == nil && b.n == 0:
		return 0, io.EOF
	}
	return b.n, b.err
}

// Close closes once and gives the place back.
func (s *sock) Close() error {
	err := net.ErrClosed
	s.close.Do(func() {
		err = s.Conn.Close()
		s.release()
	})
	return err
}

// sockOf finds the socket under a connection of net/http.
func sockOf(nc net.Conn) *sock {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	s, _ := nc.(*sock)
	return s
}

// limitListener admits connections.
type limitListener struct {
	net.Listener
	g     *Gateway
	lobby bool // may hand refused connections on, for an answer in HTTP
}

// Accept returns the next admitted connection. Errors other than the listener's
// end are waited out: a lack of descriptors passes.
func (l *limitListener) Accept() (net.Conn, error) {
	var pause time.Duration
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || l.g.stopping() {
				return nil, net.ErrClosed
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			l.g.refuse("accept_error")
			l.g.log.Warn("accept failed", "err", err, "retry_in", pause)
			select {
			case <-time.After(pause):
			case <-l.g.stop:
			}
			continue
		}
		pause = 0
		if s := l.admit(nc); s != nil {
			return s, nil
		}
	}
}

func (l *limitListener) admit(nc net.Conn) *sock {
	release, refused := l.g.door.enter(nc.RemoteAddr(), l.lobby)
	if refused != "" {
		l.g.refuse(refused)
	}
	if release == nil {
		nc.Close()
		return nil
	}
	if t, ok := nc.(*net.TCPConn); ok {
		// Replies are coalesced by us, so waiting for more in the kernel only delays.
		t.SetNoDelay(true)
		t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4})
	}
	return newSock(nc, l.g.clock.Load(), refused, release)
}
