// Package subprototest has an in-memory connection for the engines' tests. It
// keeps the contract of subproto.Conn: one goroutine at a time, coalesced wakes,
// no Frame after Close.
package subprototest

import (
	"io"
	"log/slog"
	"sync"

	"parley/subproto"
)

// Frame is one message that the engine sent.
type Frame struct {
	Kind subproto.Kind
	Data []byte
}

// Conn is a subproto.Conn whose other end is the test. Create it with Open.
type Conn struct {
	info subproto.Info

	call sync.Mutex // held around every Handler call
	h    subproto.Handler

	mu      sync.Mutex
	cond    *sync.Cond
	sent    []Frame
	reading bool
	noRoom  bool
	roomFor int // frames until noRoom; 0: no end in sight
	ready   bool
	ping    bool
	waking  bool
	closing bool
	closed  bool
	code    int
	reason  string
	wakes   sync.WaitGroup
}

// Open opens a connection of engine e.
func Open(e subproto.Engine, info subproto.Info) (*Conn, error) {
	if info.Log == nil {
		info.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if info.Remote == "" {
		info.Remote = "127.0.0.1:1"
	}
	c := &Conn{info: info, reading: true}
	c.cond = sync.NewCond(&c.mu)
	c.call.Lock()
	defer c.call.Unlock()
	h, err := e.Open(c)
	c.h = h
	return c, err
}

// Feed gives a frame to the handler, after waiting until it wants to read. It
// returns false if the engine closed the connection.
func (c *Conn) Feed(kind subproto.Kind, data []byte) bool {
	c.mu.Lock()
	for !c.reading && !c.closing {
		c.cond.Wait()
	}
	c.mu.Unlock()
	c.call.Lock()
	defer c.call.Unlock()
	c.mu.Lock()
	ended := c.closing || c.closed
	c.mu.Unlock()
	if ended {
		return false
	}
	buf := append([]byte(nil), data...)
	c.h.Frame(kind, buf)
	for i := range buf { // the bytes were only lent
		buf[i] = 0xAA
	}
	return true
}

// Next waits for the next frame that was sent; false when the engine closed and
// everything was taken.
func (c *Conn) Next() (Frame, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.sent) == 0 && !c.closing && !c.closed {
		c.cond.Wait()
	}
	if len(c.sent) == 0 {
		return Frame{}, false
	}
	f := c.sent[0]
	c.sent = c.sent[1:]
	return f, true
}

// WaitClose waits until the engine closes and returns code and reason.
func (c *Conn) WaitClose() (int, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closing {
		c.cond.Wait()
	}
	return c.code, c.reason
}

// Drop ends the connection from the peer's side: the handler's Closed is called
// with err, after running wakes have ended. Call it at the end of every test.
func (c *Conn) Drop(err error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	if c.closing {
		err = nil
	}
	c.cond.Broadcast()
	c.mu.Unlock()
	c.wakes.Wait()
	c.call.Lock()
	defer c.call.Unlock()
	c.h.Closed(err)
}

// SetRoom makes Room answer r; turning it true calls the handler's Room.
func (c *Conn) SetRoom(r bool) {
	c.mu.Lock()
	c.noRoom = !r
	c.mu.Unlock()
	if r {
		c.call.Lock()
		defer c.call.Unlock()
		c.h.Room()
	}
}

// RoomFor makes Room answer false once n more frames have been sent.
func (c *Conn) RoomFor(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roomFor = n
}

// State reports what the engine asked for.
func (c *Conn) State() (ready, ping, reading bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready, c.ping, c.reading
}

// Info implements subproto.Conn, like the methods below.
func (c *Conn) Info() *subproto.Info { return &c.info }

func (c *Conn) Send(kind subproto.Kind, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.closed {
		return
	}
	c.sent = append(c.sent, Frame{kind, append([]byte(nil), data...)})
	if c.roomFor > 0 {
		c.roomFor--
		c.noRoom = c.roomFor == 0
	}
	c.cond.Broadcast()
}

func (c *Conn) Room() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.noRoom
}

func (c *Conn) SetReading(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = on
	c.cond.Broadcast()
}

func (c *Conn) Ready() { c.set(&c.ready, true) }

func (c *Conn) SetPing(on bool) { c.set(&c.ping, on) }

func (c *Conn) set(p *bool, v bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*p = v
}

func (c *Conn) Wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waking || c.closed {
		return
	}
	c.waking = true
	c.wakes.Add(1)
	go func() {
		defer c.wakes.Done()
		c.call.Lock()
		defer c.call.Unlock()
		c.mu.Lock()
		c.waking = false
		stop := c.closing || c.closed
		c.mu.Unlock()
		if !stop {
			c.h.Wake()
		}
	}()
}

func (c *Conn) Close(code int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	c.closing, c.code, c.reason = true, code, reason
	c.cond.Broadcast()
}
