package wamp

import (
	"encoding/binary"
	"math/bits"

	"parley/msg"
)

// Keys of details and options that are ours (the specification reserves
// _[a-z0-9_]{3,} for implementations).
const (
	keyOffset        = "_parley_offset"          // EVENT: position in the log; missing: transient
	keyVia           = "_parley_via"             // EVENT: protocol the message came through
	keyRedelivered   = "_parley_redelivered"     // EVENT: was, or may have been, sent on an earlier connection
	keyReplayed      = "_parley_replayed"        // EVENT: comes from the past because of _parley_from
	keyUser          = "_parley_user"            // PUBLISH, EVENT: MQTT 5 user properties: list of [name, value]
	keyContentType   = "_parley_content_type"    // EVENT: MQTT 5
	keyResponseTopic = "_parley_response_topic"  // PUBLISH, EVENT: MQTT 5, as a URI
	keyCorrelation   = "_parley_correlation"     // PUBLISH, EVENT: MQTT 5, binary
	keyKey           = "_parley_key"             // PUBLISH: idempotency key
	keyFrom          = "_parley_from"            // SUBSCRIBE: where a replay begins
	keyAfter         = "_parley_after"           // SUBSCRIBE: the last publication id that was seen
	keyAck           = "_parley_ack"             // SUBSCRIBE: auto or explicit
	keyGroup         = "_parley_group"           // SUBSCRIBE: name of a shared group
	keySession       = "_parley_session"         // HELLO: name of a durable session
	keyExpiry        = "_parley_expiry"          // HELLO: how long it outlives its connection, seconds
	keyPresent       = "_parley_session_present" // WELCOME: an existing session was resumed
	keySubscriptions = "_parley_subscriptions"   // WELCOME: the filters of the resumed session
)

// pump sends deliveries as EVENTs while the connection has room.
func (h *handler) pump() {
	for h.state == stateOpen && h.conn.Room() {
		if h.sendHeld() {
			continue
		}
		if !h.held {
			if h.holdsEnough() {
				h.takeNotices()
				return // until a SUBSCRIBE or UNSUBSCRIBE
			}
			if !h.session.Next(&h.delivery) {
				return
			}
		}
		h.held = true
		d := &h.delivery
		if d.Notice != nil {
			h.notice(d.Notice)
		} else if !h.events(d) {
			if len(h.ready) > 0 {
				continue
			}
			return // a Wake comes with the SUBSCRIBED it waits for, or Room
		}
		h.held = false
		*d = msg.Delivery{}
	}
}

// events sends one EVENT per subscription of ours that matches. It returns false
// if one of them has not been told to the peer yet, or if there was no room for
// all; d then holds the rest.
func (h *handler) events(d *msg.Delivery) bool {
	for _, m := range d.Matches {
		if s := h.subOf(m); s != nil && s.opening() {
			h.settle()
			if h.state != stateOpen {
				return true
			}
			if s := h.subOf(m); s != nil && s.opening() || len(h.ready) > 0 {
				return false // what was held for it comes first
			}
		}
	}
	if d.QoS > 0 && h.flight == nil {
		h.flight = &flight{ref: d.Ref, left: 1} // one for the sending itself
	}
	for i, m := range d.Matches {
		if i > 0 && !h.conn.Room() {
			d.Matches = d.Matches[i:]
			return false
		}
		s := h.subOf(m)
		if s == nil {
			continue // never on an id the peer does not hold
		}
		w := waiting{m: d.Message, marks: marksOf(d), flight: h.flight}
		if w.flight != nil {
			w.flight.left++
		}
		if s.loose {
			h.hold(s, w)
		} else {
			h.sendTo(s, w)
		}
	}
	h.head = max(h.head, d.Message.Offset)
	count(h.e.delivered)
	h.finish(h.flight)
	h.flight = nil
	return true
}

// opening: no SUBSCRIBED has been sent, but one will.
func (s *sub) opening() bool { return !s.told && s.open > 0 }

// sendTo sends one EVENT, and notes it if it is acknowledged by parley.ack.
func (h *handler) sendTo(s *sub, w waiting) {
	if w.m.Stored() && w.m.Offset <= s.after && w.marks&markRetained == 0 {
		h.finish(w.flight) // the peer has it
		return
	}
	h.event(s, w.m, w.marks)
	switch {
	case w.flight == nil:
	case s.explicit:
		beside := w.marks&(markRetained|markReplayed) != 0
		s.pending = append(s.pending, pending{at: w.m.Offset, beside: beside, flight: w.flight})
	default:
		h.finish(w.flight)
	}
}

// marks say what is special about a delivery.
type marks uint8

const (
	markRetained marks = 1 << iota
	markReplayed
	markRedelivered
)

func marksOf(d *msg.Delivery) marks {
	return marks(bit(d.Retained)) | marks(bit(d.Replayed))<<1 | marks(bit(d.Redelivered))<<2
}

// event: [EVENT, Subscription|id, Publication|id, Details|dict, Arguments|list,
// ArgumentsKw|dict].
func (h *handler) event(s *sub, m *msg.Message, how marks) {
	shared := m.Shared(msg.SharedWAMP|uint32(h.w.codec()), func() []byte {
		return h.sharedEvent(m)
	})
	elements, details, tail := int(shared[0]), int(shared[1]), int(binary.BigEndian.Uint32(shared[2:]))
	pairs, args := shared[6:tail], shared[tail:]
	pattern := isPattern(s.filter)

	e := h.begin(typeEvent, elements)
	e.uint(s.id)
	e.uint(h.pubIDs.of(m))
	e.dict(details + int(bit(pattern)) + bits.OnesCount8(uint8(how)))
	e.raw(pairs)
	if pattern {
		e.key("topic")
		e.text(msg.URI(m.Topic))
	}
	e.mark(how, markRetained, "retained")
	e.mark(how, markReplayed, keyReplayed)
	e.mark(how, markRedelivered, keyRedelivered)
	e.endDict()
	e.raw(args)
	h.send()
}

func (e *encoder) mark(how, which marks, key string) {
	if how&which != 0 {
		e.key(key)
		e.bool(true)
	}
}

// sharedEvent encodes what is the same for all receivers of m in this
// serialization: 1 byte number of elements of the EVENT, 1 byte number of pairs
// in the details, 4 bytes where the arguments start, the pairs, the arguments.
func (h *handler) sharedEvent(m *msg.Message) []byte {
	c := h.w.codec()
	pairs := encoder{codec: c}
	n := commonDetails(&pairs, m)
	args, kwargs := m.ArgsView(c)
	tail := encoder{codec: c}
	extra := argElements(c, args, kwargs)
	tail.args(args, kwargs, extra)

	out := make([]byte, 6, 6+len(pairs.b)+len(tail.b))
	out[0], out[1] = byte(4+extra), byte(n)
	binary.BigEndian.PutUint32(out[2:], uint32(6+len(pairs.b)))
	return append(append(out, pairs.b...), tail.b...)
}

// argElements is how many elements the arguments need: those that are empty may
// be left out.
func argElements(c msg.Codec, args, kwargs []byte) int {
	if kwargs != nil {
		return 2
	}
	switch c {
	case msg.CodecMsgpack:
		if args[0] == 0x90 {
			return 0
		}
	case msg.CodecCBOR:
		if args[0] == 0x80 || args[0] == 0x9f && args[1] == cborBreak {
			return 0
		}
	default:
		if n := 1 + space(args[1:]); args[n] == ']' {
			return 0
		}
	}
	return 1
}

// args appends the first n of Arguments and ArgumentsKw.
func (e *encoder) args(args, kwargs []byte, n int) {
	if n > 0 {
		e.raw(args)
	}
	if n > 1 {
		e.raw(kwargs)
	}
}

// commonDetails appends the pairs of EVENT.Details that do not depend on the
// receiver and returns their number.
func commonDetails(e *encoder, m *msg.Message) (n int) {
	key := func(k string) {
		e.key(k)
		n++
	}
	if m.Origin.Disclose {
		key("publisher")
		e.uint(m.Origin.Session)
		if m.Origin.User != "" {
			key("publisher_authid")
			e.text(m.Origin.User)
		}
		if m.Origin.Role != "" {
			key("publisher_authrole")
			e.text(m.Origin.Role)
		}
	}
	if m.Stored() {
		key(keyOffset)
		e.uint(uint64(m.Offset))
	}
	if m.Via != "" {
		key(keyVia)
		e.text(m.Via)
	}
	if m.Payload.ContentType != "" {
		key(keyContentType)
		e.text(m.Payload.ContentType)
	}
	if m.ResponseTopic != "" {
		key(keyResponseTopic)
		e.text(msg.URI(m.ResponseTopic))
	}
	if m.Correlation != nil {
		key(keyCorrelation)
		e.bytes(m.Correlation)
	}
	if len(m.User) > 0 {
		key(keyUser)
		e.list(len(m.User))
		for _, p := range m.User {
			e.list(2)
			e.text(p.Name)
			e.text(p.Value)
			e.endList()
		}
		e.endList()
	}
	return n
}

// notice passes on what the session says besides messages.
func (h *handler) notice(n *msg.Notice) {
	switch n.Kind {
	case msg.NoticeTakenOver:
		h.goodbye(msg.CloseLost, faultOf(msg.ErrTakenOver))
	case msg.NoticeDraining:
		h.goodbye(msg.CloseDrain, faultOf(msg.ErrDraining))
	case msg.NoticeRevoked:
		h.revoked(n)
	case msg.NoticeGap:
		g := msg.Gap{First: n.First, Last: n.Last, Count: n.Count, Reason: n.Reason}
		if n.Subscription == nil {
			h.gap(nil, &g)
		} else {
			h.gap(&n.Subscription.Filter, &g)
		}
	}
}

// revoked forgets a subscription and tells a peer that understands it:
// [UNSUBSCRIBED, 0, {subscription, reason}] (advanced profile, subscription
// revocation).
func (h *handler) revoked(n *msg.Notice) {
	if n.Subscription == nil {
		return
	}
	s := h.subOf(n.Subscription)
	if s == nil {
		return
	}
	h.forget(s)
	if !h.hearsRevocation || s.loose {
		return
	}
	e := h.begin(typeUnsubscribed, 3)
	e.uint(0)
	e.dict(2)
	e.key("subscription")
	e.uint(s.id)
	e.key("reason")
	e.text(uriNotAuthorized)
	e.endDict()
	h.send()
}
