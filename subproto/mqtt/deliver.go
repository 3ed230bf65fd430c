package mqtt

import (
	"strconv"
	"time"

	"parley/msg"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The user properties of the parley-offset extension, see the package comment.
const (
	propOffset = "parley-offset"
	propVia    = "parley-via"
)

// deliver pulls from the session for as long as the peer takes in.
func (h *handler) deliver() {
	if !h.pull || h.state != stateOpen {
		return
	}
	s := h.e.borrow()
	defer h.e.giveBack(s)
	for h.c.Room() {
		s.d = msg.Delivery{}
		if !h.sess.Next(&s.d) {
			h.pull = false
			return
		}
		if h.waiting > 0 { // a SUBACK may have become due just now, and goes first
			if h.settle(); h.state == stateEnded {
				return
			}
		}
		if s.d.Notice != nil {
			h.notice(s.d.Notice)
		} else {
			h.push(s)
		}
		if h.state == stateEnded {
			return
		}
	}
}

// push sends one message.
func (h *handler) push(s *scratch) {
	d := &s.d
	s.own = s.own[:0]
	if h.version == 5 {
		s.own = h.ownProps(s.own, d)
	}
	p := outPublish{topic: d.Message.Topic, payload: d.Message.BytesView(), own: s.own, version: h.version}
	if h.version == 5 {
		p.shared = sharedProps(d.Message)
	}
	p.head = packets.Publish<<4 | byte(d.QoS)<<1
	if d.Retained || d.Message.Retain && retainAsPublished(d.Matches) { // [MQTT-3.3.1-8], [MQTT-3.3.1-12], [MQTT-3.3.1-13]
		p.head |= 1
	}
	if size := p.measure(d.QoS); h.maxOut > 0 && size > h.maxOut {
		// The client is not sent it, and nothing else waits for it ([MQTT-3.1.2-25]).
		h.e.tooLarge.Inc()
		if d.QoS > 0 {
			h.sess.Ack(d.Ref)
		}
		return
	}
	if d.QoS > 0 {
		if d.Redelivered {
			p.head |= 8
		}
		id, ok := h.newID(d.Ref)
		if !ok { // the window is at most 65,535, so the session would be at fault
			h.endFor(msg.ErrSessionClosed)
			return
		}
		p.id = id
	}
	s.buf = p.append(s.buf[:0])
	h.e.delivered.Inc()
	h.c.Send(binaryFrame, s.buf)
}

// newID gives the delivery the next packet identifier that is not in use.
func (h *handler) newID(ref uint64) (uint16, bool) {
	if len(h.inflight) >= 65535 {
		return 0, false
	}
	if h.inflight == nil {
		h.inflight = make(map[uint16]uint64)
	}
	for {
		h.lastID++
		if h.lastID == 0 {
			continue
		}
		if _, used := h.inflight[h.lastID]; !used {
			break
		}
	}
	h.inflight[h.lastID] = ref
	h.inflightPeak = max(h.inflightPeak, len(h.inflight))
	return h.lastID, true
}

func retainAsPublished(subs []*msg.Subscription) bool {
	for _, s := range subs {
		if s.RetainAsPublished {
			return true
		}
	}
	return false
}

// ownProps appends the properties that only this receiver gets: what is left of
// the message's lifetime ([MQTT-3.3.2-6]), an identifier for each matching
// subscription that has one ([MQTT-3.3.4-3] to [MQTT-3.3.4-5]), and the
// extension's.
func (h *handler) ownProps(b []byte, d *msg.Delivery) []byte {
	m := d.Message
	if m.Expires != 0 {
		left := (m.Expires - time.Now().UnixMilli() + 999) / 1000
		left = min(max(left, 1), 1<<32-1)
		b = append(b, packets.PropMessageExpiryInterval, byte(left>>24), byte(left>>16), byte(left>>8), byte(left))
	}
	for _, s := range d.Matches {
		if s.Handle != 0 {
			b = appendVarint(append(b, packets.PropSubscriptionIdentifier), int(s.Handle))
		}
	}
	if h.wantOffset {
		if m.Stored() {
			b = appendUser(b, propOffset, strconv.FormatUint(uint64(m.Offset), 10))
		}
		b = appendUser(b, propVia, m.Via)
	}
	return b
}

// notice handles what the session tells besides messages.
func (h *handler) notice(n *msg.Notice) {
	switch n.Kind {
	case msg.NoticeTakenOver: // [MQTT-3.1.4-3]
		h.endFor(msg.ErrTakenOver)
	case msg.NoticeDraining:
		h.endFor(msg.ErrDraining)
	default: // MQTT has no packet for a revoked subscription or a gap
		h.log().Debug("notice", "kind", n.Kind, "reason", n.Reason)
	}
}
