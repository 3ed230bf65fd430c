package json

import (
	"context"
	"errors"
	"log/slog"

	"parley/msg"
	"parley/subproto"
)

const (
	// maxFrame is how much is put together into one message.
	maxFrame = 16 << 10
	// maxPending is how many requests may wait for their outcome before reading stops.
	maxPending = 256
)

// state is where a connection stands.
type state uint8

const (
	stateNew      state = iota // nothing came yet
	stateEntering              // connect is being decided
	stateConnected
	stateClosed // we closed; nothing is done any more
)

// conn is one connection (subproto.Handler).
type conn struct {
	// fixed after Open
	engine *Engine
	c      subproto.Conn
	log    *slog.Logger
	codec  codec

	// owned by the handler
	state    state
	byHand   bool   // one value per message, ids optional, no pings of our own
	draining bool   // closes as soon as nothing is pending
	enterID  uint32 // id of the connect command
	cancel   context.CancelFunc
	entry
	session  subproto.Session
	epoch    string
	want     sessionRequest
	durable  bool                // the session outlives the connection
	gated    bool                // no deliveries yet: the client's first pong is awaited
	held     int                 // none either: subscribes that have to be answered first
	channels map[string]*channel // by name
	filters  map[msg.Filter]*channel
	handle   uint64 // last one given
	acks     acks
	calls    map[uint64]func() // outstanding calls: how to cancel them
	callID   uint64            // last one given
	pending  int               // requests that wait for their outcome
	reading  bool
	rest     []byte   // commands that wait until the connection has been let in
	part     *part    // what is left of a delivery that there was no room for; nil: nothing
	work     *scratch // nil between calls
	spare    []outcome
	pinger   pinger

	// any goroutine
	box subproto.Mailbox[outcome]
}

// outcome is what a callback brings back to the handler.
type outcome struct {
	apply  func(h *conn, o *outcome)
	id     uint32 // of the command
	offset msg.Offset
	err    error
	what   any // of the kind that apply expects
}

// errBinary: JSON comes in text messages only.
var errBinary = errors.New("binary message")

// Frame implements subproto.Handler, like the methods below.
func (h *conn) Frame(kind subproto.Kind, data []byte) {
	if kind != subproto.Text {
		h.close(subproto.CloseUnsupported, "text messages only", errBinary)
		return
	}
	h.commands(data)
	h.finish()
}

func (h *conn) Wake() {
	h.pinger.tick(h)
	h.finish()
}

func (h *conn) Room() { h.finish() }

func (h *conn) Closed(err error) {
	how := msg.CloseLost
	if h.draining || errors.Is(err, msg.ErrDraining) {
		how = msg.CloseDrain
	}
	h.state = stateClosed
	h.pinger.stop()
	if h.cancel != nil {
		h.cancel()
	}
	for _, cancel := range h.calls {
		cancel()
	}
	if h.session != nil {
		h.session.Close(how)
	}
}

// commands executes the commands of a frame, or keeps them while the
// connection is being let in.
func (h *conn) commands(data []byte) {
	for len(data) > 0 && h.state != stateClosed {
		if h.state == stateEntering {
			h.rest = append(h.rest, data...)
			return
		}
		cmd, rest, err := h.codec.next(data)
		switch {
		case err != nil:
			h.fail(err)
		case rest == nil: // only space was left
			return
		case h.state == stateConnected:
			h.command(&cmd)
		case cmd.kind == kindEmpty:
			h.fail(msg.ErrProtocol)
		case cmd.kind == kindConnect:
			h.enter(&cmd, cmd.id == 0)
		default: // connected implicitly; then the command is read again
			h.enter(&command{}, true)
			rest = data
		}
		data = rest
	}
}

// command executes one command of a connected client.
func (h *conn) command(c *command) {
	switch {
	case c.id != 0 || h.byHand:
		h.request(c)
	case c.kind == kindEmpty:
		h.pinger.answered(h)
	case c.kind == kindSend:
		h.close(closeNotAvailable, "not available", msg.ErrNotSupported)
	default:
		h.fail(msg.ErrProtocol)
	}
}

func (h *conn) request(c *command) {
	switch c.kind {
	case kindEmpty:
		if c.id != 0 {
			h.refuse(c, errNoMethod)
		}
	case kindUnknown:
		h.refuse(c, errNoMethod)
	case kindSubscribe:
		h.subscribe(c)
	case kindUnsubscribe:
		h.unsubscribe(c)
	case kindPublish:
		h.publish(c)
	case kindRPC:
		h.rpc(c)
	case kindHistory:
		h.history(c)
	case kindPing:
		h.reply(&reply{id: c.id, kind: kindPing})
	case kindConnect: // a second one
		h.fail(msg.ErrProtocol)
	case kindSend:
		h.close(closeNotAvailable, "not available", msg.ErrNotSupported)
	default:
		h.refuse(c, errNotAvailable)
	}
}

// finish is the end of every Handler call: outcomes, deliveries, the write, and
// whether to go on reading.
func (h *conn) finish() {
	h.outcomes()
	h.deliver()
	h.flush()
	h.release()
	if h.state == stateClosed {
		return
	}
	if h.draining && h.pending == 0 {
		h.fail(msg.ErrDraining)
		return
	}
	read := h.state != stateEntering && h.pending < maxPending && !h.draining &&
		(h.session == nil || !h.session.Congested())
	if read != h.reading {
		h.reading = read
		h.c.SetReading(read)
		h.pinger.paused(h, read)
	}
}

// outcomes takes over what callbacks have brought.
func (h *conn) outcomes() {
	for {
		got := h.box.Take(h.spare)
		h.spare = got
		if got == nil {
			return
		}
		for i := range got {
			if h.state != stateClosed {
				got[i].apply(h, &got[i])
			}
		}
	}
}

// answer is the end of a request that had an outcome: r, or what err means.
func (h *conn) answer(r *reply, err error) {
	h.pending--
	if err != nil {
		h.error(r.id, err)
		return
	}
	h.reply(r)
}

// error answers command id with err, or ends the connection if err demands it.
func (h *conn) error(id uint32, err error) {
	f, known := failureOf(err)
	if !known {
		h.log.Error("request failed", "error", err)
	}
	if f.ends {
		h.close(f.close, f.reason, err)
		return
	}
	h.reply(&reply{id: id, err: &f.reply})
}

func (h *conn) refuse(c *command, e *replyError) { h.reply(&reply{id: c.id, err: e}) }

func (h *conn) reply(r *reply) {
	w := h.scratch()
	w.r = *r // r itself stays on the caller's stack
	h.sent(h.codec.reply(h.buffer(), &w.r))
	w.r = reply{}
}

// scratch is what a connection needs only while it is being called; the
// engine pools them, so that idle connections hold none.
type scratch struct {
	out []byte // what goes into the next message
	d   msg.Delivery
	n   msg.Notice
	r   reply
}

func (h *conn) scratch() *scratch {
	if h.work == nil {
		h.work = h.engine.scratches.Get().(*scratch)
	}
	return h.work
}

// buffer is where the next message is to be appended; sent takes it back.
func (h *conn) buffer() []byte {
	w := h.scratch()
	if len(w.out) > 0 {
		return h.codec.separate(w.out)
	}
	return w.out
}

func (h *conn) sent(b []byte) {
	h.work.out = b
	if h.byHand || len(b) >= maxFrame {
		h.flush()
	}
}

// flush sends what was put together.
func (h *conn) flush() {
	if h.work == nil || len(h.work.out) == 0 {
		return
	}
	if h.state != stateClosed {
		h.c.Send(subproto.Text, h.work.out)
	}
	h.work.out = h.work.out[:0]
}

// release gives the scratch back, but for the buffer of a huge message.
func (h *conn) release() {
	w := h.work
	if w == nil {
		return
	}
	h.work = nil
	w.d, w.n = msg.Delivery{}, msg.Notice{}
	if cap(w.out) > 4*maxFrame {
		w.out = nil
	}
	h.engine.scratches.Put(w)
}

// fail ends the connection with what err means.
func (h *conn) fail(err error) {
	f, known := failureOf(err)
	if !known {
		h.log.Error("connection failed", "error", err)
	}
	h.close(f.close, f.reason, err)
}

func (h *conn) close(code int, reason string, err error) {
	if h.state == stateClosed {
		return
	}
	h.log.Debug("closing", "code", code, "error", err)
	h.flush()
	h.state = stateClosed
	h.c.Close(code, reason)
}
