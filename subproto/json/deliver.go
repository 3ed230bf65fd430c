package json

import (
	"slices"
	"strconv"

	"parley/msg"
)

// part is a delivery that there was no room for, at all or for the rest of it.
type part struct {
	d      msg.Delivery
	i      int    // of d.Matches, where to go on
	flight flight // the channels it was pushed to
}

// deliver pulls from the session: notices always, deliveries while there is room.
// The session bounds how much is unacknowledged; acks.full bounds what many
// filters make of that.
func (h *conn) deliver() {
	if h.state != stateConnected {
		return
	}
	for n := &h.scratch().n; h.state == stateConnected && h.session.NextNotice(n); {
		h.notice(n)
	}
	for d := &h.scratch().d; h.wants(); {
		f, from, ok := h.next(d)
		switch {
		case !ok:
			h.pingEarly()
			return
		case d.Notice != nil:
			h.notice(d.Notice)
		case h.push(d, from, &f) && d.QoS == 0:
		case h.part != nil:
		case f.ch == nil: // nobody wants it any more
			h.session.Ack(d.Ref)
		default:
			f.keep(d)
			h.acks.add(f)
		}
	}
	h.pingEarly()
}

// wants tells whether deliveries may be pushed now.
func (h *conn) wants() bool {
	return h.state == stateConnected && !h.gated && h.held == 0 && h.c.Room() && !h.acks.full()
}

// pingEarly asks for an acknowledgement when half of the window waits for one.
func (h *conn) pingEarly() {
	if h.state == stateConnected && h.acks.due() {
		h.pinger.send(h)
	}
}

// next goes on with what is left, or with the next delivery.
func (h *conn) next(d *msg.Delivery) (f flight, from int, ok bool) {
	if p := h.part; p != nil {
		*d, h.part = p.d, nil
		return p.flight, p.i, true
	}
	ok = h.session.Next(d)
	if ok && d.Notice == nil {
		f = flight{ref: d.Ref, offset: d.Message.Offset}
	}
	return f, 0, ok
}

// keep puts a delivery off, from its i-th match on: the matches are ours only
// until the next Next.
func (h *conn) keep(d *msg.Delivery, i int, f flight) {
	h.part = &part{d: *d, i: i, flight: f}
	h.part.d.Matches = slices.Clone(d.Matches)
}

// again has a delivery that ch was pushed a part of pushed from its beginning.
func (p *part) again(ch *channel) {
	if p == nil || p.flight.ch != ch && !slices.Contains(p.flight.more, ch) {
		return
	}
	p.i, p.d.Redelivered, p.flight.ch, p.flight.more = 0, true, nil, nil
}

// Keys of Message.Shared.
const (
	sharedLive = msg.SharedJSON + iota
	sharedRetained
)

// publication is what all pushes of a delivery share; the same for all receivers
// of a message that has not been this way before.
func (h *conn) publication(d *msg.Delivery) []byte {
	m, key := d.Message, sharedLive
	var marks mark
	if d.Retained {
		key, marks = sharedRetained, markRetained
	}
	if d.Replayed {
		marks |= markReplayed
	}
	if d.Redelivered {
		marks |= markRedelivered
	}
	if d.Replayed || d.Redelivered {
		return h.codec.publication(m, marks)
	}
	return m.Shared(key, func() []byte { return h.codec.publication(m, marks) })
}

// push sends one push per subscription that wants the message, from the given
// match on, and notes in f which; false if there was no room for all: many small filters make much of one
// large message.
func (h *conn) push(d *msg.Delivery, from int, f *flight) bool {
	var pub []byte
	for i := from; i < len(d.Matches); i++ {
		sub := d.Matches[i]
		ch := h.filters[sub.Filter]
		if ch == nil || ch.sub.Handle != sub.Handle {
			continue
		}
		if pub != nil && !h.c.Room() {
			h.keep(d, i, *f)
			return false
		}
		if !ch.ready { // its reply is in the mailbox, put there after we looked
			h.outcomes()
		}
		if !ch.ready || ch.sub.Handle != sub.Handle {
			continue
		}
		if pub == nil {
			pub = h.publication(d)
		}
		h.sent(h.codec.push(h.buffer(), ch.encoded, pub))
		h.engine.delivered.Inc()
		if d.QoS > 0 {
			f.add(ch)
		}
	}
	return true
}

// Unsubscribe codes: from 2500 on an SDK subscribes again.
const (
	unsubRevoked = 2000
	unsubGap     = 2500
)

// notice tells the client what happened to its session.
func (h *conn) notice(n *msg.Notice) {
	switch n.Kind {
	case msg.NoticeTakenOver:
		h.fail(msg.ErrTakenOver)
	case msg.NoticeDraining:
		h.draining = true // finish closes
	case msg.NoticeRevoked:
		if ch := h.channelOf(n.Subscription); ch != nil {
			h.end(ch, unsubRevoked, "permission denied")
		}
	case msg.NoticeGap:
		h.gap(n)
	}
}

// channelOf finds the channel of a subscription that a notice names.
func (h *conn) channelOf(sub *msg.Subscription) *channel {
	if sub == nil {
		return nil
	}
	ch := h.filters[sub.Filter]
	if ch == nil || ch.sub.Handle != sub.Handle {
		return nil
	}
	return ch
}

// gap tells what was lost. A subscription whose position the client keeps is
// ended, so that it resubscribes and hears that it was not recovered.
func (h *conn) gap(n *msg.Notice) {
	name := ""
	if n.Subscription != nil {
		name = channelName(n.Subscription.Filter)
	}
	lost := h.missed(n)
	if len(lost) == 1 {
		name = lost[0].name
	}
	h.sent(h.codec.message(h.buffer(), gapData([]byte(`"type":"gap"`), name, &msg.Gap{
		First: n.First, Last: n.Last, Count: n.Count, Reason: n.Reason,
	})))
	for _, ch := range lost {
		if !h.durable && ch.sub.Filter.Group == "" {
			h.end(ch, unsubGap, "insufficient state")
		}
	}
}

// missed marks the channels that a gap concerns: one, or all.
func (h *conn) missed(n *msg.Notice) (lost []*channel) {
	if ch := h.channelOf(n.Subscription); ch != nil {
		lost = append(lost, ch)
	} else if n.Subscription == nil {
		for _, ch := range h.channels {
			lost = append(lost, ch)
		}
	}
	for _, ch := range lost {
		ch.gap = true
	}
	return lost
}

// gapData is a gap as an object; head is what it begins with, or nil.
func gapData(head []byte, name string, g *msg.Gap) []byte {
	b := append([]byte{'{'}, head...)
	if name != "" {
		b = appendMember(b, "filter", name)
	}
	b = append(b, `,"first":`...)
	b = strconv.AppendUint(b, uint64(g.First), 10)
	b = append(b, `,"last":`...)
	b = strconv.AppendUint(b, uint64(g.Last), 10)
	if g.Count > 0 { // else it is not known any more
		b = append(b, `,"count":`...)
		b = strconv.AppendUint(b, g.Count, 10)
	}
	b = appendMember(b, "reason", g.Reason)
	if head == nil {
		b = append(append([]byte(`{"gap":{`), b[2:]...), '}')
	}
	return append(b, '}')
}

// end takes a subscription away from the client.
func (h *conn) end(ch *channel, code uint32, reason string) {
	h.forget(ch)
	h.session.Unsubscribe([]msg.Filter{ch.sub.Filter}, func([]error) {})
	h.sent(h.codec.unsubscribed(h.buffer(), ch.encoded, code, reason))
}
