package gateway

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// readChunk is how much one read(2) takes.
const readChunk = 8 << 10

type chunk [readChunk]byte

// input is the receiving half of a connection: a pooled chunk held only while it
// has bytes, refilled by read(2) on the raw descriptor so that nothing is held
// while waiting. It is the net.Conn's read side as the WebSocket library sees it.
// Owned by the reader.
type input struct {
	c     *conn
	nc    net.Conn        // TLS or the socket
	sock  *sock           // under nc, or nc itself
	rc    syscall.RawConn // of sock; nil if it has none
	tls   bool
	br    *bufio.Reader // the library's, small; nil on a stream
	buf   *chunk
	r, w  int
	watch watcher

	err error      // sticky: what the socket said
	bad *violation // sticky: what the watcher said

	tryFn, peekFn func(fd uintptr) bool // made once: method values allocate
	n             int                   // results of tryFn
	nerr          error
	dry           bool // crypto/tls has nothing buffered and neither has the socket
}

func (in *input) init(c *conn, nc net.Conn, s *sock) {
	in.c, in.nc, in.sock, in.rc = c, nc, s, s.rc
	in.tls = nc != net.Conn(s)
	in.tryFn, in.peekFn = in.try, in.peek
}

// own begins the time when only the reader reads.
func (in *input) own() {
	if in.tls && in.rc != nil {
		in.sock.nonblock = newNonblocking()
	}
}

// preload takes over what net/http had read beyond the request.
func (in *input) preload(r *bufio.Reader) {
	n := r.Buffered()
	if n == 0 {
		return
	}
	b, _ := r.Peek(n)
	// net/http reads with 4 KiB buffers, so it fits; a longer rest would be a
	// protocol violation of ours, not of the peer's.
	in.buf = in.c.g.pools.getChunk()
	in.w = copy(in.buf[:], b)
}

// buffered is how many received bytes have not been taken.
func (in *input) buffered() int {
	n := in.w - in.r
	if in.br != nil {
		n += in.br.Buffered()
	}
	return n
}

// wait parks until there is something to take. It is called with a shallow stack
// and keeps it so.
func (in *input) wait() error {
	if in.buffered() > 0 {
		return nil
	}
	return in.fill()
}

// Read hands received bytes to the library, judged by the watcher. It waits only
// inside a message or frame, after what is queued for the peer was written;
// between messages errIdle makes the library unwind, so that the reader parks in
// wait with a small stack even after a lone ping.
func (in *input) Read(p []byte) (int, error) {
	if in.bad != nil {
		return 0, errViolation
	}
	if in.r == in.w {
		if !in.watch.busy() {
			return 0, errIdle
		}
		in.c.flush()
		in.c.relieve()
		if err := in.refill(); err != nil {
			return 0, err
		}
		in.c.help()
	}
	n := min(len(p), in.w-in.r)
	good, bad := in.watch.feed(in.buf[in.r:in.r+n], int64(in.c.maxMessage()))
	copy(p, in.buf[in.r:in.r+good])
	in.take(good)
	if bad != nil {
		in.bad = bad
		if good == 0 {
			return 0, errViolation
		}
	}
	return good, nil
}

// refill waits inside a frame or message; the sweeper sees since when.
func (in *input) refill() error {
	in.c.messageSince.CompareAndSwap(0, in.c.g.clock.Load())
	for {
		err := in.fill()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// A nudge of the sweeper that came too late to find us parked.
			in.sock.SetReadDeadline(time.Time{})
			continue
		}
		return err
	}
}

// take drops n bytes from the front and gives an empty chunk back.
func (in *input) take(n int) {
	if in.r += n; in.r == in.w {
		in.drop()
	}
}

func (in *input) drop() {
	if in.buf != nil {
		in.c.g.pools.putChunk(in.buf)
	}
	in.buf, in.r, in.w = nil, 0, 0
}

// fill blocks until the chunk has bytes or the connection ended.
func (in *input) fill() error {
	if in.err != nil {
		return in.err
	}
	var err error
	switch {
	case in.rc == nil:
		in.buf = in.c.g.pools.getChunk()
		in.w, err = in.nc.Read(in.buf[:])
	case in.tls:
		err = in.fillTLS()
	default:
		if err = in.rc.Read(in.tryFn); err == nil {
			in.w, err = in.n, in.nerr
		}
	}
	if in.w > 0 { // an error, if any, comes again
		in.c.heard.Store(in.c.g.clock.Load())
		return nil
	}
	in.drop()
	if err == nil {
		err = io.EOF
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		in.err = err
	}
	return err
}

// try is called by the runtime when the descriptor may be readable; false parks.
func (in *input) try(fd uintptr) bool {
	if in.buf == nil {
		in.buf = in.c.g.pools.getChunk()
	}
	in.n, in.nerr = readFD(fd, in.buf[:])
	if in.nerr == syscall.EAGAIN {
		in.drop()
		return false
	}
	return true
}

// fillTLS reads a record without blocking underneath; when the socket is empty
// it gives the chunk back and parks on the socket itself. crypto/tls keeps a
// partial record over a temporary error.
func (in *input) fillTLS() error {
	for {
		if in.dry { // a fresh goroutine parks before crypto/tls makes its stack grow
			if err := in.rc.Read(in.peekFn); err != nil {
				return err
			}
			in.dry = false
		}
		in.buf = in.c.g.pools.getChunk()
		n, err := in.nc.Read(in.buf[:])
		if n > 0 || !errors.Is(err, errWouldBlock) {
			in.w = n
			return err
		}
		in.drop()
		in.dry = true
	}
}

// peek tells whether the socket has bytes or an end to report.
func (in *input) peek(fd uintptr) bool {
	var b [1]byte
	for {
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err != syscall.EINTR {
			return err != syscall.EAGAIN
		}
	}
}

// discard reads until the peer ends or the socket is closed, at most n bytes, so
// that what was sent last is not lost to a reset.
func (in *input) discard(n int) {
	in.r = in.w
	for n > 0 {
		n -= in.w - in.r
		in.drop()
		if in.err != nil || in.fill() != nil {
			return
		}
		in.r = 0
	}
	in.drop()
}

func readFD(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), p)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

var (
	errViolation = errors.New("stopped at a violation")
	errIdle      = errors.New("between messages")
)

// libConn is the connection as the WebSocket library sees it: it reads through
// the watcher and writes and closes nothing, because frames, pongs and closes
// are queued by us.
type libConn struct {
	net.Conn
	in *input
}

func (l *libConn) Read(p []byte) (int, error)  { return l.in.Read(p) }
func (l *libConn) Write(p []byte) (int, error) { return len(p), nil }
func (l *libConn) Close() error                { return nil }
