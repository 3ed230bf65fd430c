package gateway

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"parley/msg"
)

const (
	smallOut = 16 << 10 // one write(2) of coalesced frames
	bigOut   = 64 << 10 // for payloads that fill several small ones
	flushAt  = smallOut // bytes waiting at which a batch is not waited for
	tlsPiece = 16 << 10 // one TLS record: a timed-out TLS write cannot be resumed
)

// outChunk is a piece of the outgoing queue.
type outChunk struct {
	next *outChunk
	r, w int
	buf  []byte
}

// pools are shared by all connections of a gateway.
type pools struct {
	chunks, small, big, messages sync.Pool
}

func (p *pools) getChunk() *chunk {
	if c, ok := p.chunks.Get().(*chunk); ok {
		return c
	}
	return new(chunk)
}

func (p *pools) putChunk(c *chunk) { p.chunks.Put(c) }

func (p *pools) getOut(need int) *outChunk {
	pool, size := &p.small, smallOut
	if need > smallOut {
		pool, size = &p.big, bigOut
	}
	if c, ok := pool.Get().(*outChunk); ok {
		return c
	}
	return &outChunk{buf: make([]byte, size)}
}

func (p *pools) putOut(c *outChunk) {
	c.next, c.r, c.w = nil, 0, 0
	if len(c.buf) == smallOut {
		p.small.Put(c)
	} else {
		p.big.Put(c)
	}
}

// output is the sending half of a connection: a queue of pooled chunks. Whoever
// appends or flushes holds conn.wmu; a flush tries write(2) on the raw
// descriptor, which never waits, and leaves the rest to a writer goroutine.
type output struct {
	head, tail *outChunk
	writing    bool // a writer goroutine has the queue
	dead       bool // the socket failed or is closed: nothing is queued any more
	wantRoom   bool // Room was asked for and was false
	flushFn    func(fd uintptr) bool
	n          int // results of flushFn
	err        error
}

// appendLocked copies p to the end of the queue.
func (c *conn) appendLocked(p []byte) {
	for len(p) > 0 {
		t := c.out.tail
		if t == nil || t.w == len(t.buf) {
			t = c.g.pools.getOut(len(p))
			if c.out.tail == nil {
				c.out.head = t
			} else {
				c.out.tail.next = t
			}
			c.out.tail = t
		}
		n := copy(t.buf[t.w:], p)
		t.w += n
		p = p[n:]
		c.queued.Add(int64(n))
	}
}

// consumeLocked drops n written bytes from the front chunk.
func (c *conn) consumeLocked(n int) {
	h := c.out.head
	h.r += n
	c.queued.Add(-int64(n))
	if h.r < h.w {
		return
	}
	if c.out.head = h.next; h.next == nil {
		c.out.tail = nil
	}
	c.g.pools.putOut(h)
}

// flush writes what is queued, as far as the socket takes it now.
func (c *conn) flush() {
	if c.queued.Load() == 0 {
		return
	}
	c.wmu.Lock()
	c.flushLocked()
	c.wmu.Unlock()
}

func (c *conn) flushLocked() {
	o := &c.out
	if o.writing || o.head == nil || o.dead {
		return
	}
	if c.in.tls || c.in.rc == nil {
		c.startWriterLocked()
		return
	}
	for o.head != nil {
		err := c.in.rc.Write(o.flushFn)
		if err == nil {
			err = o.err
		}
		if o.n > 0 {
			c.consumeLocked(o.n)
		}
		switch {
		case err == syscall.EAGAIN:
			c.startWriterLocked()
			return
		case err != nil:
			c.writeFailedLocked(io.EOF)
			return
		}
	}
	c.drainedLocked()
}

// tryWrite never lets the runtime wait: it always answers true.
func (c *conn) tryWrite(fd uintptr) bool {
	h := c.out.head
	for {
		n, err := syscall.Write(int(fd), h.buf[h.r:h.w])
		if err == syscall.EINTR {
			continue
		}
		c.out.n, c.out.err = max(n, 0), err
		return true
	}
}

func (c *conn) startWriterLocked() {
	c.out.writing = true
	c.g.wg.Add(1) // the connection's reader holds the group above zero
	go c.writeLoop()
}

// writeLoop writes until the queue is empty, then ends. Every piece has the
// whole write timeout; one that moved not a byte in it ends the connection.
func (c *conn) writeLoop() {
	defer c.g.wg.Done()
	c.wmu.Lock()
	defer c.wmu.Unlock()
	cause := io.EOF // of a failed write: the peer has gone
	for c.out.head != nil && !c.out.dead {
		p := c.out.head.buf[c.out.head.r:c.out.head.w]
		if c.in.tls && len(p) > tlsPiece {
			p = p[:tlsPiece]
		}
		c.wmu.Unlock()
		c.in.sock.SetWriteDeadline(time.Now().Add(c.g.o.Timeouts.Write))
		n, err := c.in.nc.Write(p)
		c.wmu.Lock()
		if c.out.dead {
			break
		}
		if n > 0 {
			c.consumeLocked(n)
		}
		c.roomLocked()
		if timeout := errors.Is(err, os.ErrDeadlineExceeded); err != nil && !(timeout && n > 0 && !c.in.tls) {
			if timeout {
				cause = msg.ErrTooSlow
			}
			break
		}
	}
	c.out.writing = false
	if c.out.head == nil {
		c.in.sock.SetWriteDeadline(time.Time{})
		c.drainedLocked()
		if c.ws == nil && c.closing && c.in.tls {
			c.wmu.Unlock()
			c.closeWrite()
			c.wmu.Lock()
		}
		return
	}
	c.writeFailedLocked(cause)
}

// writeFailedLocked gives queue and connection up. The reader hears of it from
// the socket.
func (c *conn) writeFailedLocked(cause error) {
	c.out.dead = true
	c.dropQueueLocked()
	if !c.closing {
		c.beginCloseLocked(cause)
		c.signal(bitEnd)
	}
	c.openGateLocked()
	c.in.sock.Close()
}

// drainedLocked runs when everything queued has been written.
func (c *conn) drainedLocked() {
	c.roomLocked()
	if c.closing {
		c.flushedLocked()
	}
}

// roomLocked tells who waits that there is room again.
func (c *conn) roomLocked() {
	q := int(c.queued.Load())
	if q >= c.g.o.Limits.HighMark/2 {
		return
	}
	if c.out.wantRoom {
		c.out.wantRoom = false
		c.signal(bitRoom)
	}
	c.openGateLocked()
}
