package mqtt

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// state is how far a connection has come.
type state uint8

const (
	stateNew     state = iota // CONNECT is awaited
	statePending              // CONNECT came: authenticating, then attaching; nothing is read
	stateOpen                 // CONNACK was sent
	stateEnded                // the engine has closed
)

// maxWaiting bounds the SUBSCRIBE and UNSUBSCRIBE packets of one connection that
// wait for their outcome.
const maxWaiting = 64

// handler is one connection. An idle one is meant to stay well below 1 KiB:
// what only busy ones need is made when first needed.
type handler struct {
	// fixed after Open
	e *Engine
	c subproto.Conn

	// fixed by CONNECT
	sess        subproto.Session
	version     byte          // 3, 4 or 5; 0 before CONNECT
	problemInfo bool          // Request Problem Information is not 0
	wantOffset  bool          // the parley-offset extension was asked for
	noExpiry    bool          // CONNECT's Session Expiry Interval was 0 or absent
	durable     bool          // the session may outlive the connection
	maxOut      int           // the client's Maximum Packet Size; 0 = none
	window      int           // most deliveries at QoS 1 and 2 that may be open
	keep        time.Duration // silence that ends the connection; 0 = none
	timer       *time.Timer

	// owned by the calling goroutine
	state   state
	reading bool          // what was last asked of Conn.SetReading
	pull    bool          // the session may have deliveries
	seen    time.Duration // engine clock of the last input
	due     time.Duration // engine clock when timer fires
	in      []byte        // input not handled yet
	inOff   int           // … from here on
	pending *pendingConnect
	waiting int    // callbacks outstanding that end in events
	topic   string // of the last publish, if short: most clients repeat it
	aliases aliases
	two     *qos2 // nil until QoS 2 is used

	// inbound publishes
	unacked  []inbound // received, PUBACK or PUBREC not sent, in receive order
	owed     int       // publishes that count against our Receive Maximum
	pubDone  func(msg.Offset, error)
	outcomes subproto.Mailbox[outcome]
	spare    []outcome

	// outbound publishes
	inflight     map[uint16]outbound // by packet id
	inflightPeak int                 // most it held since it was made
	reserved     map[uint16]bool     // packet ids under which deliveries are still to come again
	lastID       uint16
	listeners    []gapListener
	released     int  // of inflight: only PUBREL was sent on this connection
	redo         bool // what comes first was sent on an earlier connection

	// filled by other goroutines
	events subproto.Mailbox[func()]
	ticked atomic.Bool
}

// pendingConnect is what a CONNECT leaves until CONNACK.
type pendingConnect struct {
	cancel      context.CancelFunc
	params      msg.SessionParams
	assigned    bool // the client id is ours
	expiryCut   bool // the session lasts shorter than the client asked for
	askResponse bool // Request Response Information was 1
	serverKeep  bool // the keep-alive is ours
	keepAlive   uint16
}

// Frame implements subproto.Handler.
func (h *handler) Frame(kind subproto.Kind, data []byte) {
	if h.state == stateEnded {
		return
	}
	if kind != subproto.Binary { // [MQTT-6.0.0-1]
		h.end(msg.CloseLost, 0, subproto.CloseUnsupported, "MQTT needs binary frames")
		return
	}
	h.seen = h.e.now()
	if h.inOff < len(h.in) {
		if h.inOff > 0 {
			h.in = h.in[:copy(h.in, h.in[h.inOff:])]
			h.inOff = 0
		}
		h.in = append(h.in, data...)
	} else if n := h.handle(data); n < len(data) && h.state != stateEnded {
		h.in, h.inOff = append(h.in[:0], data[n:]...), 0
	}
	h.turn()
}

// Wake implements subproto.Handler.
func (h *handler) Wake() {
	if h.state == stateEnded {
		return
	}
	if h.ticked.Swap(false) {
		h.tick()
	}
	h.pull = true
	h.turn()
}

// Room implements subproto.Handler.
func (h *handler) Room() {
	h.pull = true
	h.turn()
}

// Closed implements subproto.Handler.
func (h *handler) Closed(err error) {
	if h.state == stateEnded {
		return
	}
	how := msg.CloseLost
	switch {
	case errors.Is(err, msg.ErrDraining):
		how = msg.CloseDrain
	case h.state != stateOpen: // no CONNACK: the will was not accepted
		how = msg.CloseGoodbye
	}
	h.release(how)
}

// turn does whatever can be done now: outcomes first, so that acknowledgements
// and SUBACK leave before what follows from them, then waiting input, then
// deliveries.
func (h *handler) turn() {
	for {
		h.settle()
		if !h.open4input() || h.inOff == len(h.in) {
			break
		}
		n := h.handle(h.in[h.inOff:])
		if h.state == stateEnded || n == 0 {
			break
		}
		h.inOff += n
	}
	if h.state == stateEnded {
		return
	}
	if h.inOff == len(h.in) {
		h.in, h.inOff = nil, 0 // an idle connection holds no buffer
	}
	h.deliver()
	if h.state == stateEnded {
		return
	}
	h.steer()
}

// settle takes in what callbacks have left.
func (h *handler) settle() {
	for h.waiting > 0 && h.state != stateEnded {
		fs := h.events.Take(nil)
		if fs == nil {
			break
		}
		for _, f := range fs {
			h.waiting--
			f()
		}
	}
	if len(h.unacked) > 0 && h.state == stateOpen {
		h.acknowledge()
	}
	if h.two != nil && h.two.due > 0 {
		h.steps()
	}
}

// open4input tells whether a packet may be handled now.
func (h *handler) open4input() bool {
	switch h.state {
	case stateNew:
		return true
	case stateOpen:
		return h.waiting < maxWaiting && (h.two == nil || h.two.due < maxSteps) && !h.sess.Congested()
	}
	return false
}

// steer tells the gateway whether to read on.
func (h *handler) steer() {
	on := h.open4input()
	if on == h.reading {
		return
	}
	h.reading = on
	if on {
		h.seen = h.e.now() // the silence was ours
	}
	h.c.SetReading(on)
}

// handle takes packets off data for as long as it may and returns how many
// bytes it used.
func (h *handler) handle(data []byte) (used int) {
	for h.open4input() {
		limit := h.e.opts.MaxPacket
		if h.state == stateNew {
			limit = h.e.opts.MaxConnect
		}
		p, n, err := split(data[used:], limit, h.version)
		if err != nil {
			h.fail(err)
			return used
		}
		if n == 0 {
			return used
		}
		used += n
		h.packet(p, used < len(data))
	}
	return used
}

// packet handles one control packet; its body is only lent. more tells that
// bytes have come behind it.
func (h *handler) packet(p rawPacket, more bool) {
	var err error
	switch kind := p.kind(); {
	case h.state == stateNew && kind != packets.Connect: // [MQTT-3.1.0-1]
		err = violation("the first packet must be CONNECT")
	case h.state == stateNew:
		h.connect(p.body, more)
	case kind == packets.Publish:
		err = h.publish(p)
	case kind == packets.Puback:
		err = h.puback(p.body)
	case kind == packets.Pubrec:
		err = h.pubrec(p.body)
	case kind == packets.Pubrel:
		err = h.pubrel(p.body)
	case kind == packets.Pubcomp:
		err = h.pubcomp(p.body)
	case kind == packets.Subscribe:
		err = h.subscribe(p.body)
	case kind == packets.Unsubscribe:
		err = h.unsubscribe(p.body)
	case kind == packets.Pingreq:
		if err = (&cursor{b: p.body}).end(); err == nil {
			h.send([]byte{packets.Pingresp << 4, 0})
		}
	case kind == packets.Disconnect:
		err = h.disconnect(p.body)
	case kind == packets.Auth && h.version == 5: // no exchange was agreed on in CONNECT
		err = violation("AUTH without an authentication method")
	default: // a second CONNECT [MQTT-3.1.0-2], or what only servers send
		err = violation("packet out of place")
	}
	if err != nil {
		h.fail(err)
	}
}

// post brings f to the handler's goroutine; any goroutine.
func (h *handler) post(f func()) { h.events.Put(f) }

func (h *handler) log() *slog.Logger { return h.c.Info().Log }
