package mqtt

import (
	"encoding/binary"

	"parley/msg"

	"github.com/mochi-mqtt/server/v2/packets"
)

// outbound is a delivery at QoS 1 or 2 that the client has not completed.
type outbound struct {
	ref   uint64
	qos   msg.QoS
	phase phase
	old   bool // on this connection only PUBREL was sent
}

// phase is how far a delivery has come.
type phase uint8

const (
	phaseSent      phase = iota // PUBACK or PUBREC is awaited
	phaseHeld                   // PUBLISH has not left yet: nothing the client says can be about it
	phaseReceiving              // PUBREC came; the session is told before PUBREL leaves
	phaseReleased               // PUBREL was sent; PUBCOMP is awaited
)

// track gives a delivery a packet id: the one it had before, else the next that
// is not in use. false: there is none.
func (h *handler) track(d *msg.Delivery) (uint16, bool) {
	if h.inflight == nil {
		h.inflight = make(map[uint16]outbound)
	}
	id := d.PacketID
	if _, used := h.inflight[id]; id == 0 || used {
		if len(h.inflight)+len(h.reserved) >= 65535 {
			return 0, false
		}
		id = h.nextID()
	}
	delete(h.reserved, id)
	h.inflight[id] = outbound{ref: d.Ref, qos: d.QoS}
	h.inflightPeak = max(h.inflightPeak, len(h.inflight))
	return id, true
}

// nextID is the next packet identifier that is not in use.
func (h *handler) nextID() uint16 {
	for {
		h.lastID++
		if h.lastID == 0 {
			continue
		}
		_, used := h.inflight[h.lastID]
		if !used && !h.reserved[h.lastID] {
			return h.lastID
		}
	}
}

// sent finds a delivery that the client can know of.
func (h *handler) sent(id uint16) (outbound, bool) {
	o, ok := h.inflight[id]
	return o, ok && o.phase != phaseHeld
}

// setPhase notes how far a delivery has come.
func (h *handler) setPhase(id uint16, p phase) {
	if o, ok := h.inflight[id]; ok {
		o.phase = p
		h.inflight[id] = o
	}
}

// finish ends a delivery.
func (h *handler) finish(id uint16, o outbound) {
	delete(h.inflight, id)
	if o.old {
		h.released--
	}
	if len(h.inflight) == 0 && h.inflightPeak > 64 {
		h.inflight, h.inflightPeak = nil, 0 // a map never shrinks
	}
	h.sess.Ack(o.ref)
	h.pull = true
}

// resume goes on with a session's deliveries: PUBREL again for those that the
// client has received ([MQTT-4.4.0-1]); the others come through Next, first and
// marked.
func (h *handler) resume(r msg.AttachResult) {
	h.redo = r.Present
	if len(r.Assigned) > 0 {
		// What has no id any more may come before what has one, and a delivery at
		// QoS 2 under another id would be another one to the client [MQTT-4.3.3-4].
		h.reserved = make(map[uint16]bool, len(r.Assigned))
		for _, id := range r.Assigned {
			h.reserved[id] = true
		}
	}
	for _, f := range r.Received {
		if f.PacketID == 0 { // it was received through another protocol
			h.sess.Ack(f.Ref)
			continue
		}
		if h.inflight == nil {
			h.inflight = make(map[uint16]outbound)
		}
		h.inflight[f.PacketID] = outbound{ref: f.Ref, qos: 2, phase: phaseReleased, old: true}
		h.released++
		h.sendAck(packets.Pubrel, f.PacketID, 0)
	}
	h.inflightPeak = len(h.inflight)
}

// mayPull tells whether the session may be asked for the next delivery. The
// session holds new ones to the client's Receive Maximum, but it does not count
// what it sends again ([MQTT-3.3.4-9]): that is done here until the first new one
// shows that all of it was sent.
func (h *handler) mayPull() bool {
	if h.redo && len(h.inflight)-h.released >= h.window {
		return false
	}
	return h.two == nil || !h.two.full()
}

// puback handles the client's PUBACK. A reason code of 0x80 or more ends the
// message like success does ([MQTT-4.4.0-2]); an unknown id changes nothing.
func (h *handler) puback(body []byte) error {
	var id uint16
	if len(body) == 2 {
		id = binary.BigEndian.Uint16(body)
	}
	if id == 0 {
		var err error
		if id, _, err = checkAck(packets.Puback, body, h.version); err != nil {
			return err
		}
	}
	o, ok := h.sent(id)
	switch {
	case !ok:
		h.e.unknownAck.Inc()
	case o.qos != 1:
		return violation("PUBACK for a delivery at QoS 2")
	default:
		h.finish(id, o)
	}
	return nil
}

// pubrec handles the client's PUBREC. One for an id that is not known is answered
// as the leftover of another session (section 4.3.3).
func (h *handler) pubrec(body []byte) error {
	id, code, err := checkAck(packets.Pubrec, body, h.version)
	if err != nil {
		return err
	}
	o, ok := h.sent(id)
	switch {
	case !ok && code >= 0x80:
		h.e.unknownAck.Inc()
	case !ok:
		h.e.unknownAck.Inc()
		h.sendAck(packets.Pubrel, id, notFound)
	case o.qos != 2:
		return violation("PUBREC for a delivery at QoS 1")
	case code >= 0x80: // the id is free [MQTT-4.4.0-2]
		h.finish(id, o)
	case o.phase == phaseSent:
		h.setPhase(id, phaseReceiving)
		h.sess.Received(o.ref, h.qos2().note(stepReceived, id))
	case o.phase == phaseReleased:
		h.sendAck(packets.Pubrel, id, 0)
	}
	return nil
}

// received sends PUBREL, in the order of the PUBRECs ([MQTT-4.6.0-4]).
func (h *handler) received(id uint16) {
	o, ok := h.inflight[id]
	if !ok || o.phase != phaseReceiving { // refused by a second PUBREC meanwhile
		return
	}
	h.setPhase(id, phaseReleased)
	h.sendAck(packets.Pubrel, id, 0)
}

// pubcomp handles the client's PUBCOMP.
func (h *handler) pubcomp(body []byte) error {
	id, _, err := checkAck(packets.Pubcomp, body, h.version)
	if err != nil {
		return err
	}
	o, ok := h.sent(id)
	switch {
	case !ok:
		h.e.unknownAck.Inc()
	case o.phase != phaseReleased:
		return violation("PUBCOMP before PUBREL")
	default:
		h.finish(id, o)
	}
	return nil
}
