package wamp

import (
	"encoding/binary"

	"parley/msg"
	"parley/subproto"
)

// Keys of details and options that are ours (the specification reserves
// _[a-z0-9_]{3,} for implementations).
const (
	keyOffset        = "_parley_offset"         // position in the log; missing: transient
	keyVia           = "_parley_via"            // protocol the message came through
	keyUser          = "_parley_user"           // MQTT 5 user properties: list of [name, value]
	keyContentType   = "_parley_content_type"   // EVENT only: MQTT 5
	keyResponseTopic = "_parley_response_topic" // MQTT 5, as a URI
	keyCorrelation   = "_parley_correlation"    // MQTT 5, binary
	keyKey           = "_parley_key"            // PUBLISH only, idempotency key: refused until the store resolves them
)

// pump sends deliveries as EVENTs while the connection has room.
func (h *handler) pump() {
	for h.state == stateOpen && h.conn.Room() {
		if !h.held && !h.session.Next(&h.delivery) {
			return
		}
		h.held = true
		d := &h.delivery
		if d.Notice != nil {
			h.notice(d.Notice)
		} else if !h.events(d) {
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
	for _, s := range d.Matches {
		if own := h.subs[s.Handle]; own != nil && !own.told {
			h.settle()
			if h.state != stateOpen {
				return true
			}
			if own := h.subs[s.Handle]; own != nil && !own.told {
				return false
			}
		}
	}
	for i, s := range d.Matches {
		if i > 0 && !h.conn.Room() {
			d.Matches = d.Matches[i:]
			return false
		}
		if h.subs[s.Handle] != nil { // never on an id the peer does not hold
			h.event(d, s)
		}
	}
	count(h.e.delivered)
	if d.QoS > 0 {
		h.session.Ack(d.Ref)
	}
	return true
}

// event: [EVENT, Subscription|id, Publication|id, Details|dict, Arguments|list,
// ArgumentsKw|dict].
func (h *handler) event(d *msg.Delivery, s *msg.Subscription) {
	shared := d.Message.Shared(msg.SharedWAMP|uint32(h.w.codec()), func() []byte {
		return h.sharedEvent(d.Message)
	})
	elements, details, tail := int(shared[0]), int(shared[1]), int(binary.BigEndian.Uint32(shared[2:]))
	pairs, args := shared[6:tail], shared[tail:]
	pattern := s.Filter.Kind != msg.FilterLevels

	e := h.begin(typeEvent, elements)
	e.uint(s.Handle)
	e.uint(h.pubIDs.of(d.Message))
	e.dict(details + int(bit(pattern)) + int(bit(d.Retained)))
	e.raw(pairs)
	if pattern {
		e.key("topic")
		e.text(msg.URI(d.Message.Topic))
	}
	if d.Retained {
		e.key("retained")
		e.bool(true)
	}
	e.endDict()
	e.raw(args)
	h.send()
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
		// Not durable: such a session is owed nothing that retention cut.
	}
}

// revoked forgets a subscription and tells a peer that understands it:
// [UNSUBSCRIBED, 0, {subscription, reason}] (advanced profile, subscription
// revocation).
func (h *handler) revoked(n *msg.Notice) {
	if n.Subscription == nil || h.subs[n.Subscription.Handle] == nil {
		return
	}
	delete(h.subs, n.Subscription.Handle)
	if !h.hearsRevocation {
		return
	}
	e := h.begin(typeUnsubscribed, 3)
	e.uint(0)
	e.dict(2)
	e.key("subscription")
	e.uint(n.Subscription.Handle)
	e.key("reason")
	e.text(uriNotAuthorized)
	e.endDict()
	h.send()
}

var _ subproto.Handler = (*handler)(nil)
