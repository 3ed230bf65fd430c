package mqtt

import (
	"bytes"
	"errors"

	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// maxSteps bounds the session calls of QoS 2 that one connection may have
// waiting for their outcome.
const maxSteps = 4096

// A connection keeps back at most so much behind a delivery that is still being
// assigned its packet id; then nothing more is pulled.
const (
	maxHeld      = 256
	maxHeldBytes = 256 << 10
)

// notFound is the reason code Packet Identifier not found.
const notFound = 0x92

// qos2 is what only connections that use QoS 2 need.
type qos2 struct {
	// the client's publishes
	open     map[uint16]opened // taken on this connection and not released
	openPeak int               // most it held since it was made

	// deliveries
	held      []heldPacket // in order; the first waits
	heldBytes int
	assigning uint16 // packet id that the session is being told of; 0 = none

	// outcomes of session calls
	due   int // that were not handled
	steps subproto.Mailbox[step]
	spare []step
}

// opened is how far a publish of the client at QoS 2 has come.
type opened uint8

const (
	openTaken opened = iota + 1 // PUBREC is due
	openEarly                   // the same, and PUBREL has come already
	openAcked                   // PUBREC was sent
)

// heldPacket is a PUBLISH that waits for its turn.
type heldPacket struct {
	id     uint16 // 0 at QoS 0
	wait   bool   // for the id to be assigned; else only for those before it
	packet []byte
}

// step is the outcome of a session call.
type step struct {
	kind stepKind
	id   uint16
	err  error
}

type stepKind uint8

const (
	stepAssigned   stepKind = iota // the PUBLISH may leave
	stepReceived                   // PUBREL may leave
	stepReleased                   // PUBCOMP may leave, for a publish of this connection
	stepReleasedBy                 // the same, for one of an earlier connection
)

// qos2 returns the connection's state for QoS 2, made when first needed.
func (h *handler) qos2() *qos2 {
	if h.two == nil {
		h.two = &qos2{}
	}
	return h.two
}

// note returns the callback of a session call. Calls of one kind are answered in
// the order they were made.
func (q *qos2) note(kind stepKind, id uint16) func(error) {
	q.due++
	return func(err error) { q.steps.Put(step{kind, id, err}) }
}

// steps handles the outcomes that have come.
func (h *handler) steps() {
	q := h.two
	got := q.steps.Take(q.spare)
	q.spare = nil
	q.due -= len(got)
	for _, s := range got {
		if h.state == stateEnded {
			return
		}
		switch {
		case s.err != nil && !errors.Is(s.err, msg.ErrNoPacketID):
			h.endFor(s.err) // without it the exchange cannot go on; it does after a reconnect
		case s.kind == stepAssigned:
			h.assigned(s.id)
		case s.kind == stepReceived:
			h.received(s.id)
		default:
			h.complete(s)
		}
	}
	if cap(got) <= 64 {
		q.spare = got
	}
}

// taken notes a publish of the client at QoS 2. again tells that it was there
// before, on this connection.
func (q *qos2) taken(id uint16) (again bool) {
	if q.open[id] != 0 {
		return true
	}
	if q.open == nil {
		q.open = make(map[uint16]opened)
	}
	q.open[id] = openTaken
	q.openPeak = max(q.openPeak, len(q.open))
	return false
}

// recorded notes that PUBREC was sent for a publish; positive says which. PUBREL
// may have come before it.
func (h *handler) recorded(id uint16, positive bool) {
	q := h.qos2()
	early := q.open[id] == openEarly
	if positive && q.open[id] != 0 {
		q.open[id] = openAcked
	} else {
		q.close(id)
	}
	if early {
		h.releaseID(id)
	}
}

// close forgets an id of the client's.
func (q *qos2) close(id uint16) {
	delete(q.open, id)
	if len(q.open) == 0 && q.openPeak > 64 {
		q.open, q.openPeak = nil, 0 // a map never shrinks
	}
}

// pubrel handles the client's PUBREL ([MQTT-4.3.3-11]). One that comes before our
// PUBREC is answered behind it.
func (h *handler) pubrel(body []byte) error {
	id, _, err := checkAck(packets.Pubrel, body, h.version)
	if err != nil {
		return err
	}
	q := h.qos2()
	switch q.open[id] {
	case openTaken:
		q.open[id] = openEarly
	case openEarly:
	default:
		h.releaseID(id)
	}
	return nil
}

// releaseID has the session forget a packet id of the client's, before PUBCOMP.
func (h *handler) releaseID(id uint16) {
	q, kind := h.qos2(), stepReleasedBy
	if q.open[id] == openAcked {
		kind = stepReleased
		q.close(id)
	}
	h.sess.Release(id, q.note(kind, id))
}

// complete sends PUBCOMP. Versions before 5 have no way to say that the id was
// not found.
func (h *handler) complete(s step) {
	if s.kind == stepReleased {
		h.owed--
	}
	code := byte(0)
	if s.err != nil {
		code = notFound
	}
	h.sendAck(packets.Pubcomp, s.id, code)
}

// sendAck sends an acknowledgement without a text.
func (h *handler) sendAck(kind byte, id uint16, code byte) {
	if code != 0 {
		h.send(h.encodeAck(kind, id, code, ""))
		return
	}
	s := h.e.borrow()
	defer h.e.giveBack(s)
	head := kind << 4
	if kind == packets.Pubrel {
		head |= 2
	}
	s.buf = append(s.buf[:0], head, 2, byte(id>>8), byte(id))
	h.send(s.buf)
}

// leave sends a delivery, or keeps it behind what must not leave yet: a PUBLISH
// at QoS 2 waits until the session has its packet id, and whatever follows waits
// with it, so that the order stays ([MQTT-4.6.0-6]).
func (h *handler) leave(d *msg.Delivery, id uint16, packet []byte) {
	q := h.two
	if d.QoS == 2 && d.PacketID != id {
		q = h.qos2()
		q.assigning = id
		h.sess.Assign(d.Ref, id, q.note(stepAssigned, id))
		if h.steps(); h.state == stateEnded {
			return
		}
	}
	if q == nil || q.assigning == 0 && len(q.held) == 0 {
		h.c.Send(binaryFrame, packet)
		return
	}
	h.setPhase(id, phaseHeld)
	q.held = append(q.held, heldPacket{id, q.assigning != 0, bytes.Clone(packet)})
	q.heldBytes += len(packet)
	q.assigning = 0
}

// full tells that no more can be kept back.
func (q *qos2) full() bool { return len(q.held) >= maxHeld || q.heldBytes >= maxHeldBytes }

// assigned lets the delivery with this id go, and what waited only for it.
func (h *handler) assigned(id uint16) {
	q := h.two
	if q.assigning == id {
		q.assigning = 0
		return
	}
	for i := range q.held {
		if q.held[i].id == id {
			q.held[i].wait = false
			break
		}
	}
	n := 0
	for ; n < len(q.held) && !q.held[n].wait; n++ {
		h.c.Send(binaryFrame, q.held[n].packet)
		h.setPhase(q.held[n].id, phaseSent)
		q.heldBytes -= len(q.held[n].packet)
	}
	rest := copy(q.held, q.held[n:])
	clear(q.held[rest:])
	if q.held = q.held[:rest]; rest == 0 && n > 16 {
		q.held = nil
	}
	h.pull = true
}
