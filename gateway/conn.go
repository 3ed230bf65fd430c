package gateway

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"parley/msg"
	"parley/subproto"
)

// conn is one connection with an engine. It implements subproto.Conn.
type conn struct {
	// Fixed after construction.
	g     *Gateway
	proto *protocol
	info  subproto.Info
	ws    *websocket.Conn // nil on a stream
	z     bool            // permessage-deflate was negotiated

	// Owned by the reader.
	in      input
	helping bool // will look at the scheduler's queue, see help

	// The handler and who is in it; see schedule.go.
	state atomic.Uint32
	call  sync.Mutex       // held around every call of h
	h     subproto.Handler // guarded by call, like ended
	ended bool             // Closed was called, or there is no handler yet
	next  *conn            // guarded by scheduler.mu

	calmed bool // was idle once; owned by the sweeper

	// Guarded by wmu.
	wmu     sync.Mutex
	out     output
	closing bool          // Close, a failure or the peer's end: nothing more is queued
	cause   error         // for Handler.Closed; set with closing
	gate    chan struct{} // the reader waits here; nil if not
	timer   *time.Timer   // bounds the close; nil until closing

	// Read without a lock.
	queued       atomic.Int64 // bytes in out
	paused       atomic.Bool  // SetReading(false); written by the handler's owner
	isClosing    atomic.Bool  // mirrors closing
	ready        atomic.Bool
	ping         atomic.Bool
	parked       atomic.Uint32 // see park… in sweep.go
	deep         atomic.Bool   // the reader's stack has grown since it started
	heard        atomic.Int64  // clock of the last received byte
	pinged       atomic.Int64  // clock of the last ping
	messageSince atomic.Int64  // clock when the reader first waited inside a message; 0 = not inside
}

var _ subproto.Conn = (*conn)(nil)

// Info implements subproto.Conn, like the methods below.
func (c *conn) Info() *subproto.Info { return &c.info }

func (c *conn) Send(kind subproto.Kind, data []byte) {
	var hdr [maxFrameHeader]byte
	first := opcodeOf(kind)
	if c.z && len(data) >= compressFrom {
		if z := c.g.deflate.start(data); z != nil {
			defer c.g.deflate.end(z)
			first |= bitRSV1
			data = z.out.Bytes()
		}
	}
	c.wmu.Lock()
	if c.closing || c.out.dead {
		c.wmu.Unlock()
		return
	}
	if int(c.queued.Load()) > c.g.o.Limits.HardLimit {
		c.wmu.Unlock()
		c.fail(msg.ErrTooSlow)
		return
	}
	if c.ws != nil {
		c.appendLocked(hdr[:frameHeader(&hdr, first, len(data))])
	}
	c.appendLocked(data)
	if c.queued.Load() >= flushAt {
		c.flushLocked()
	}
	c.wmu.Unlock()
}

func (c *conn) Room() bool {
	high := int64(c.g.o.Limits.HighMark)
	if c.queued.Load() < high {
		return true
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.flushLocked()
	if c.queued.Load() < high {
		return true
	}
	c.out.wantRoom = true
	return false
}

func (c *conn) SetReading(on bool) {
	if c.paused.Swap(!on) == !on || !on {
		return
	}
	c.wmu.Lock()
	c.openGateLocked()
	c.wmu.Unlock()
}

func (c *conn) Ready() {
	if c.ready.Swap(true) {
		return
	}
	if c.ws != nil {
		c.ws.SetReadLimit(int64(c.g.o.Limits.MaxMessage))
	}
	c.proto.counts.accepted.Inc()
}

func (c *conn) SetPing(on bool) {
	if c.ws == nil {
		return
	}
	now := c.g.clock.Load()
	c.heard.Store(now)
	c.pinged.Store(now)
	c.ping.Store(on)
}

func (c *conn) Wake() { c.signal(bitWake) }

func (c *conn) Close(code int, reason string) { c.end(code, reason, nil) }

// maxMessage is the limit that holds now.
func (c *conn) maxMessage() int {
	if c.ready.Load() {
		return c.g.o.Limits.MaxMessage
	}
	return c.g.o.Limits.MaxHandshake
}

// open asks the engine for a handler. The reader calls it before it reads.
func (c *conn) open() {
	c.enter()
	defer c.leave()
	defer c.recovered()
	if c.isClosing.Load() {
		return
	}
	h, err := c.proto.engine.Open(c)
	if err != nil {
		c.info.Log.Error("connection refused by its engine", "err", err)
		c.end(subproto.CloseInternal, "internal error", err)
		return
	}
	c.h, c.ended = h, false
}

// frame gives one message to the handler, once it wants to read and the peer
// takes what it is sent.
func (c *conn) frame(kind subproto.Kind, data []byte) {
	for {
		c.enter()
		if c.isClosing.Load() {
			c.leave()
			return
		}
		if !c.blocked(int64(c.g.o.Limits.HighMark)) {
			break
		}
		c.leave()
		c.flush()
		c.relieve()
		c.waitGate()
		c.help()
	}
	c.callFrame(kind, data)
	c.leave()
}

func (c *conn) callFrame(kind subproto.Kind, data []byte) {
	defer c.recovered()
	if !c.ended {
		c.h.Frame(kind, data)
	}
}

// run does what the pending bits p ask for. The caller is the handler's owner.
func (c *conn) run(p uint32) {
	defer c.recovered()
	if c.ended {
		return
	}
	if p&bitEnd != 0 {
		c.ended = true
		c.h.Closed(c.cause)
		return
	}
	if p&bitRoom != 0 {
		c.h.Room()
	}
	if p&bitWake != 0 {
		c.h.Wake()
	}
}

// recovered keeps a fault of an engine to the connection that met it.
func (c *conn) recovered() {
	p := recover()
	if p == nil {
		return
	}
	c.info.Log.Error("engine panicked", "panic", p, "stack", string(debug.Stack()))
	c.end(subproto.CloseInternal, "internal error", fmt.Errorf("engine panicked: %v", p))
}

// blocked tells whether the reader must wait: the engine said so, or the peer
// does not take its answers.
func (c *conn) blocked(mark int64) bool {
	return !c.isClosing.Load() && (c.paused.Load() || c.queued.Load() >= mark)
}

// waitGate blocks the reader until it may go on.
func (c *conn) waitGate() {
	c.wmu.Lock()
	for c.blocked(int64(c.g.o.Limits.HighMark / 2)) {
		gate := make(chan struct{})
		c.gate = gate
		c.wmu.Unlock()
		<-gate
		c.wmu.Lock()
	}
	c.wmu.Unlock()
	c.heard.Store(c.g.clock.Load()) // keep-alive stood still meanwhile
}

// openGateLocked lets the reader look again.
func (c *conn) openGateLocked() {
	if c.gate != nil {
		close(c.gate)
		c.gate = nil
	}
}
