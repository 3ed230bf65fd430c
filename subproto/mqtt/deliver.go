package mqtt

import (
	"strconv"
	"time"

	"parley/msg"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The user properties of the parley-offset extension, see the package comment.
const (
	propOffset   = "parley-offset"
	propVia      = "parley-via"
	propReplayed = "parley-replayed"
)

// deliver pulls from the session for as long as the peer takes in.
func (h *handler) deliver() {
	if !h.pull || h.state != stateOpen {
		return
	}
	s := h.e.borrow()
	defer h.e.giveBack(s)
	for h.c.Room() {
		if !h.mayPull() {
			h.pull = false
			h.hear()
			return
		}
		s.d = msg.Delivery{}
		if !h.sess.Next(&s.d) {
			h.pull = false
			return
		}
		if h.waiting > 0 || h.two != nil && h.two.due > 0 { // a SUBACK may have become due just now, and goes first
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
	h.hear()
}

// hear takes notices while the client can be sent no messages: that it was taken
// over must not wait for what it reads or acknowledges ([MQTT-3.1.4-3]).
func (h *handler) hear() {
	var n msg.Notice
	for h.state == stateOpen && h.sess.NextNotice(&n) {
		h.notice(&n)
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
	size := p.measure(d.QoS)
	if h.aliases.most > 0 {
		size = h.aliases.aliased(&p, d.QoS, size, h.maxOut)
		s.own = p.own
	}
	if h.maxOut > 0 && size > h.maxOut {
		// The client is not sent it, and nothing else waits for it ([MQTT-3.1.2-25]).
		h.e.tooLarge.Inc()
		if d.QoS > 0 {
			h.sess.Ack(d.Ref)
		}
		return
	}
	h.redo = h.redo && d.Redelivered
	if d.QoS == 0 {
		s.buf = p.append(s.buf[:0])
		h.e.delivered.Inc()
		h.leave(d, 0, s.buf)
		return
	}
	if d.Redelivered { // [MQTT-3.3.1-1]
		p.head |= 8
	}
	var ok bool
	if p.id, ok = h.track(d); !ok { // the window is at most 65,535, so the session would be at fault
		h.endFor(msg.ErrSessionClosed)
		return
	}
	if d.QoS == 1 && h.durable && d.PacketID != p.id { // so that it comes again under the same id
		h.sess.Assign(d.Ref, p.id, nil)
	}
	s.buf = p.append(s.buf[:0])
	h.e.delivered.Inc()
	h.leave(d, p.id, s.buf)
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
		if d.Replayed {
			b = appendUser(b, propReplayed, "1")
		}
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
	case msg.NoticeGap:
		g := gapOfNotice(n)
		h.tellGap(&g)
	case msg.NoticeRevoked: // MQTT has no packet for it
		if n.Subscription != nil {
			h.unlisten(n.Subscription.Filter)
			h.log().Debug("subscription revoked", "filter", n.Subscription.Filter.String())
		}
	}
}
