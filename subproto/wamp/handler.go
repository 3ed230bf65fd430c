package wamp

import (
	"context"
	"errors"

	"github.com/gammazero/nexus/v3/wamp"

	"parley/msg"
	"parley/subproto"
)

// Message types (WAMP basic profile section 3.2, advanced profile).
const (
	typeHello        = 1
	typeWelcome      = 2
	typeAbort        = 3
	typeChallenge    = 4
	typeAuthenticate = 5
	typeGoodbye      = 6
	typeError        = 8
	typePublish      = 16
	typePublished    = 17
	typeSubscribe    = 32
	typeSubscribed   = 33
	typeUnsubscribe  = 34
	typeUnsubscribed = 35
	typeEvent        = 36
	typeCall         = 48
	typeCancel       = 49
	typeResult       = 50
	typeRegister     = 64
	typeRegistered   = 65
	typeUnregister   = 66
	typeUnregistered = 67
	typeInvocation   = 68
	typeInterrupt    = 69
	typeYield        = 70
)

type state uint8

const (
	stateFresh      state = iota // HELLO is expected
	stateChallenged              // AUTHENTICATE is expected
	stateBusy                    // authenticating or joining: nothing is read
	stateOpen                    // WELCOME was sent
	stateEnded                   // nothing is read or sent any more
)

// handler is one connection. All of it is owned by the goroutine that the
// gateway calls it from, but for what box and waiting hold.
type handler struct {
	// Fixed after construction.
	e    *Engine
	conn subproto.Conn
	w    wire

	box     subproto.Mailbox[outcome]
	waiting queueSize // bytes in box and backlog that came from nexus

	// Owned by the handler's goroutine.
	state           state
	hello           *hello             // until the session is open
	cancel          context.CancelFunc // of the authentication under way, or nil
	peer            *peer              // nil before joining
	session         subproto.Session   // nil before WELCOME
	pubIDs          *pubIDs
	creds           *credentials
	own             *caller             // the broker's own session in this namespace
	durable         bool                // the session may outlive the connection
	head            msg.Offset          // newest stored message known here
	subs            map[uint64]*sub     // by subscription id
	resumed         map[msg.Filter]*sub // those of subs that the session had before
	ready           []*sub              // attached, with events that were held
	heldCount       int                 // events held for loose filters
	heldSize        int                 // bytes of their messages
	gaps            []toldGap
	gapsSent        int    // of gaps, as events
	gapSub          uint64 // id of the subscription to gaps; 0 = none
	calls           map[uint64]*call
	regs            map[uint64]string // procedures by registration id
	opening         map[uint64]string // procedures by the request id of an open REGISTER
	procedures      map[string]bool   // both of these
	backlog         []outcome         // from nexus, waiting for room
	spare           []outcome
	scratch         *scratch // nil between calls
	delivery        msg.Delivery
	flight          *flight // of delivery, while part of it is sent
	hearsRevocation bool    // the client announced subscription_revocation
	held            bool    // delivery waits for its SUBSCRIBED, or its rest for room
	paused          bool    // reading is off
}

// outcome is what a callback leaves for the handler: something to do, or a
// message from nexus.
type outcome struct {
	do   func()
	from wamp.Message
	size int
}

func newHandler(e *Engine, c subproto.Conn, w wire) *handler {
	return &handler{e: e, conn: c, w: w}
}

// scratch is what a connection needs only while it is called.
type scratch struct {
	out      encoder
	elements [][]byte
}

// work returns the connection's scratch, borrowed from the engine until rest.
func (h *handler) work() *scratch {
	if h.scratch == nil {
		s, _ := h.e.scratches.Get().(*scratch)
		if s == nil {
			s = &scratch{elements: make([][]byte, 0, maxElements)}
		}
		s.out.codec = h.w.codec()
		h.scratch = s
	}
	return h.scratch
}

func (h *handler) rest() {
	if s := h.scratch; s != nil {
		h.scratch = nil
		if cap(s.out.b) <= 64<<10 {
			h.e.scratches.Put(s)
		}
	}
}

// post has f run by the handler's goroutine. Any goroutine.
func (h *handler) post(f func()) {
	h.box.Put(outcome{do: f})
	h.conn.Wake()
}

// Frame implements subproto.Handler, like the three methods below.
func (h *handler) Frame(kind subproto.Kind, data []byte) {
	if h.state == stateEnded {
		return
	}
	if kind != h.w.frame() {
		h.end(msg.CloseLost, subproto.CloseUnsupported, "wrong kind of frame")
		return
	}
	if err := h.message(data); err != nil {
		h.violation(err)
		return
	}
	h.turn()
}

func (h *handler) Wake() { h.turn() }
func (h *handler) Room() { h.turn() }

func (h *handler) Closed(err error) {
	how := msg.CloseLost
	if errors.Is(err, msg.ErrDraining) {
		how = msg.CloseDrain
	}
	h.release(how)
	h.state = stateEnded
}

// message handles one message. An error is a protocol violation.
func (h *handler) message(data []byte) error {
	el, err := split(h.w, data, h.work().elements)
	defer clear(el) // data is only lent
	if err != nil {
		return err
	}
	if len(el) == 0 {
		return errMalformed
	}
	t, ok := h.w.id(el[0])
	if !ok {
		return errType
	}
	m := request{w: h.w, el: el}
	switch h.state {
	case stateFresh:
		if t == typeHello {
			return h.onHello(m)
		}
	case stateChallenged:
		switch t {
		case typeAuthenticate:
			return h.onAuthenticate(m)
		case typeAbort:
			h.end(msg.CloseGoodbye, subproto.CloseNormal, "")
			return nil
		}
	case stateOpen:
		return h.open(t, m)
	}
	return errOrder
}

var (
	errOrder    = errors.New("message out of order")
	errRepeated = errors.New("request id is in use")
)

// open handles a message of an open session.
func (h *handler) open(t uint64, m request) error {
	switch t {
	case typePublish:
		return h.onPublish(m)
	case typeSubscribe:
		return h.onSubscribe(m)
	case typeUnsubscribe:
		return h.onUnsubscribe(m)
	case typeCall:
		return h.onCall(m)
	case typeCancel:
		return h.onCancel(m)
	case typeRegister:
		return h.onRegister(m)
	case typeUnregister:
		return h.onUnregister(m)
	case typeYield:
		return h.onYield(m)
	case typeError:
		return h.onError(m)
	case typeGoodbye:
		h.onGoodbye()
		return nil
	case typeAbort:
		h.end(msg.CloseLost, subproto.CloseNormal, "")
		return nil
	}
	return errOrder
}

// turn does what has come up: outcomes, then deliveries, then whether to read.
func (h *handler) turn() {
	h.settle()
	h.pump()
	h.regulate()
	h.rest()
}

// settle handles the outcomes that have arrived, those from nexus only while
// the connection has room for them.
func (h *handler) settle() {
	for h.state != stateEnded {
		for len(h.backlog) > 0 && h.conn.Room() && h.state != stateEnded {
			o := h.backlog[0]
			h.backlog[0] = outcome{}
			if h.backlog = h.backlog[1:]; len(h.backlog) == 0 {
				h.backlog = nil
			}
			h.received(o)
		}
		got := h.box.Take(h.spare)
		h.spare = got
		if len(got) == 0 {
			return
		}
		for _, o := range got {
			switch {
			case h.state == stateEnded:
			case o.do != nil:
				o.do()
			case len(h.backlog) > 0 || h.state == stateOpen && !h.conn.Room():
				h.backlog = append(h.backlog, o)
			default:
				h.received(o)
			}
		}
	}
}

func (h *handler) received(o outcome) {
	h.waiting.add(-o.size)
	h.fromRouter(o.from)
}

// regulate decides whether the peer is read.
func (h *handler) regulate() {
	if h.state == stateEnded {
		return
	}
	pause := h.state == stateBusy || h.waiting.over(h.e.o.MaxQueue/2) ||
		h.session != nil && h.session.Congested()
	if pause != h.paused {
		h.paused = pause
		h.conn.SetReading(!pause)
	}
	if h.peer != nil && !h.waiting.over(h.e.o.MaxQueue/2) {
		h.peer.relieve()
	}
}

// violation answers what is no message, or none that may come now, and ends the
// connection (basic profile section 4.3).
func (h *handler) violation(err error) {
	h.conn.Info().Log.Debug("protocol violation", "error", err)
	h.abort(fault{uriProtocol, err.Error(), subproto.CloseProtocol})
}

// abort sends ABORT and ends the connection.
func (h *handler) abort(f fault) {
	h.farewell(typeAbort, f.uri, f.text)
	h.end(msg.CloseLost, f.code, f.uri)
}

// onGoodbye answers the client's GOODBYE (basic profile section 4.2).
func (h *handler) onGoodbye() {
	h.farewell(typeGoodbye, closeGoodbye, "")
	h.end(msg.CloseGoodbye, subproto.CloseNormal, "")
}

// goodbye ends an open session from our side.
func (h *handler) goodbye(how msg.CloseHow, f fault) {
	h.farewell(typeGoodbye, f.uri, f.text)
	h.end(how, f.code, f.uri)
}

// end closes the session and the connection; what was sent still goes out.
func (h *handler) end(how msg.CloseHow, code int, reason string) {
	h.release(how)
	h.state = stateEnded
	h.conn.Close(code, reason)
	h.rest()
}

// release gives everything back. It may be called again.
func (h *handler) release(how msg.CloseHow) {
	if h.cancel != nil {
		h.cancel()
		h.cancel = nil
	}
	for _, c := range h.calls {
		c.stop()
	}
	if h.peer != nil {
		h.peer.leave()
		h.peer.Close()
	}
	if h.session != nil {
		h.session.Close(how)
	}
	h.calls, h.regs, h.procedures, h.opening, h.backlog = nil, nil, nil, nil, nil
	h.subs, h.resumed, h.ready, h.gaps, h.flight = nil, nil, nil, nil, nil
	h.delivery = msg.Delivery{}
}
