package gateway

import (
	"errors"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"parley/msg"
	"parley/subproto"
)

const (
	messageBuf    = 4 << 10  // first buffer for a message
	messageKeep   = 64 << 10 // largest that goes back to the pool
	messageGrowth = 64 << 10 // what a declared length alone may make us allocate
)

// start is a connection's first goroutine.
func (c *conn) start() {
	c.open()
	c.readLoop()
}

// readLoop reads until the connection ends. Its frame and what it parks in stay
// small: a goroutine keeps the largest stack it ever needed, so after a quiet
// while the sweeper nudges it and it goes on in a fresh one.
func (c *conn) readLoop() {
	c.flush()
	for {
		c.parked.Store(isParked)
		err := c.in.wait()
		c.parked.Store(0)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.in.sock.SetReadDeadline(time.Time{})
			c.deep.Store(false)
			go c.readLoop()
			return
		}
		if err == nil {
			c.deep.Store(true)
			c.help()
			err = c.take()
			c.flush()
			c.relieve()
		}
		if err != nil {
			c.finish(c.readEnded(err))
			return
		}
	}
}

// help and relieve bracket what the reader does without blocking, see scheduler.
func (c *conn) help() {
	if !c.helping {
		c.helping = true
		c.g.sched.help()
	}
}

func (c *conn) relieve() {
	if c.helping {
		c.helping = false
		c.g.sched.relieve()
	}
}

// take handles what has been received.
func (c *conn) take() error {
	if c.ws == nil {
		return c.takeStream()
	}
	for c.in.buffered() > 0 {
		if err := c.takeMessage(); errors.Is(err, errIdle) {
			c.messageSince.Store(0) // it was a control frame that came in pieces
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// takeStream gives the handler the bytes that arrived.
func (c *conn) takeStream() error {
	c.frame(subproto.Binary, c.in.buf[c.in.r:c.in.w])
	c.in.drop()
	return nil
}

// takeMessage reads one message and gives it to the handler.
func (c *conn) takeMessage() error {
	typ, r, err := c.ws.Reader(c.g.background)
	if err != nil {
		return err
	}
	buf := c.g.pools.getMessage()
	defer c.release(buf)
	if err := c.readAll(buf, r); err != nil {
		return err
	}
	c.messageSince.Store(0)
	kind := subproto.Binary
	if typ == websocket.MessageText {
		if kind = subproto.Text; !utf8.Valid(*buf) {
			c.in.bad = &violation{subproto.CloseBadUTF8, "text is not UTF-8", msg.ErrProtocol} // RFC 6455 section 8.1
			return errViolation
		}
	}
	c.frame(kind, *buf)
	return nil
}

// readAll reads a message, growing the buffer with what arrives rather than with
// what is declared.
func (c *conn) readAll(buf *[]byte, r io.Reader) error {
	*buf = (*buf)[:0]
	if want := int(min(c.in.watch.size, messageGrowth)) + 1; want > cap(*buf) {
		*buf = make([]byte, 0, want)
	}
	for {
		b := *buf
		if len(b) == cap(b) {
			if b = c.grow(b); b == nil {
				return errViolation
			}
		}
		n, err := r.Read(b[len(b):cap(b)])
		*buf = b[:len(b)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// grow makes room in b. Above messageKeep it counts against MaxReceiving; nil:
// that is used up.
func (c *conn) grow(b []byte) []byte {
	more := append(b, 0)[:len(b)]
	if c.g.holding.Add(held(more)-held(b)) > int64(c.g.o.Limits.MaxReceiving) {
		c.g.holding.Add(held(b) - held(more))
		c.in.bad = &violation{subproto.CloseTryLater, "too much is being received", msg.ErrTooLarge}
		return nil
	}
	return more
}

// held is what a message's buffer counts against MaxReceiving.
func held(b []byte) int64 {
	if cap(b) <= messageKeep+1 {
		return 0
	}
	return int64(cap(b))
}

// release gives a message's buffer back.
func (c *conn) release(buf *[]byte) {
	if n := held(*buf); n > 0 {
		c.g.holding.Add(-n)
		return
	}
	c.g.pools.messages.Put(buf)
}

func (p *pools) getMessage() *[]byte {
	if b, ok := p.messages.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, messageBuf)
	return &b
}
