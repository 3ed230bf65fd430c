package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"parley/msg"
	"parley/subproto"
)

// end begins the close: queues a close frame, has Closed(cause) called soon, and
// bounds what follows. The first call decides. Any goroutine.
func (c *conn) end(code int, reason string, cause error) {
	c.wmu.Lock()
	if c.closing {
		c.wmu.Unlock()
		return
	}
	if c.ws != nil && code != 0 && !c.out.dead {
		p := closePayload(code, reason)
		c.appendLocked([]byte{bitFin | opClose, byte(len(p))})
		c.appendLocked(p)
	}
	c.beginCloseLocked(cause)
	c.wmu.Unlock()
	c.signal(bitEnd)
}

// fail ends the connection without another word: its peer would not read it.
func (c *conn) fail(cause error) {
	c.wmu.Lock()
	if !c.closing {
		c.beginCloseLocked(cause)
	}
	c.wmu.Unlock()
	c.signal(bitEnd)
	c.closeSocket()
}

func (c *conn) beginCloseLocked(cause error) {
	c.closing, c.cause = true, cause
	c.isClosing.Store(true)
	c.proto.counts.ended(cause)
	c.timer = time.AfterFunc(c.g.o.Timeouts.Write, c.closeSocket)
	switch {
	case c.out.head != nil || c.out.writing || c.out.dead:
	case c.ws == nil && c.in.tls:
		c.startWriterLocked() // close_notify is written like the rest
	default:
		c.flushedLocked()
	}
	c.openGateLocked()
}

// flushedLocked runs when everything, the close frame included, is written: the
// peer has Timeouts.Close to answer.
func (c *conn) flushedLocked() {
	if c.timer != nil {
		c.timer.Reset(c.g.o.Timeouts.Close)
	}
	if c.ws == nil && !c.in.tls {
		c.closeWrite()
	}
	c.openGateLocked()
}

// closeWrite sends close_notify, which may wait, and a FIN, so that a peer that
// reads on finds the end.
func (c *conn) closeWrite() {
	if t, ok := c.in.nc.(*tls.Conn); ok {
		t.CloseWrite()
	}
	if t, ok := c.in.sock.Conn.(interface{ CloseWrite() error }); ok {
		t.CloseWrite()
	}
}

// closeSocket closes at once. Any goroutine; safe to repeat.
func (c *conn) closeSocket() {
	c.wmu.Lock()
	c.out.dead = true
	c.openGateLocked()
	c.wmu.Unlock()
	c.in.sock.Close()
}

// finish is the reader's last act: all is flushed, the socket closed, Closed
// called.
func (c *conn) finish(linger bool) {
	c.enter()
	c.leave() // Closed, if nobody did it yet
	c.flush()
	c.awaitFlushed()
	if linger {
		c.closeWrite()
		c.in.discard(lingerBytes)
	}
	c.closeSocket()
	c.wmu.Lock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.dropQueueLocked()
	c.wmu.Unlock()
	c.in.drop()
	if c.ws != nil {
		c.ws.CloseNow()
	}
	c.g.remove(c)
}

// lingerBytes is how much of a peer's remaining input is read away so that our
// close frame reaches it.
const lingerBytes = 4 << 20

func (c *conn) awaitFlushed() {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	for c.out.head != nil && !c.out.dead {
		gate := make(chan struct{})
		c.gate = gate
		c.wmu.Unlock()
		<-gate
		c.wmu.Lock()
	}
}

// dropQueueLocked frees what will never be written.
func (c *conn) dropQueueLocked() {
	for !c.out.writing && c.out.head != nil {
		c.consumeLocked(c.out.head.w - c.out.head.r)
	}
}

// readEnded turns what stopped the reader into the close: what the peer is told,
// and what the handler hears. It reports whether unread input may follow.
func (c *conn) readEnded(err error) (linger bool) {
	var ce websocket.CloseError
	switch in := &c.in; {
	case in.bad != nil:
		c.end(in.bad.code, in.bad.reason, fmt.Errorf("%s: %w", in.bad.reason, in.bad.cause))
		return true
	case in.err != nil:
		c.end(0, "", io.EOF)
		return false
	case errors.As(err, &ce):
		c.peerClosed(ce)
		return false
	case errors.Is(err, websocket.ErrMessageTooBig):
		c.end(subproto.CloseTooBig, "message too big", fmt.Errorf("decompressed: %w", msg.ErrTooLarge))
		return true
	}
	c.end(subproto.CloseProtocol, "protocol error", fmt.Errorf("%w: %w", msg.ErrProtocol, err))
	return true
}

// peerClosed answers the peer's close frame with its own code (RFC 6455 section
// 5.5.1).
func (c *conn) peerClosed(ce websocket.CloseError) {
	switch code := int(ce.Code); {
	case !utf8.ValidString(ce.Reason):
		c.end(subproto.CloseBadUTF8, "close reason is not UTF-8", fmt.Errorf("close reason: %w", msg.ErrProtocol))
	case code == 1000 || code == 1001 || code == 1005:
		c.end(code, "", io.EOF)
	default:
		c.end(code, "", fmt.Errorf("peer closed with %d: %w", code, io.EOF))
	}
}
