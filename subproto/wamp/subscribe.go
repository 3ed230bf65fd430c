package wamp

import (
	"errors"
	"slices"

	"parley/msg"
)

// sub is a subscription of this session.
type sub struct {
	id     uint64
	filter msg.Filter
	open   int  // SUBSCRIBEs under way
	told   bool // SUBSCRIBED was sent: EVENTs may be
	// loose: the session has it from an earlier connection and this one has not
	// attached it yet, so the peer does not know it.
	loose    bool
	explicit bool       // acknowledged by parley.ack, else once written
	after    msg.Offset // what the stream holds up to here the peer has already
	pending  []pending  // sent and not acknowledged, in the order of sending
	waiting  []waiting  // not sent because it is loose
}

// subscribeOptions are the options of SUBSCRIBE that mean something to us.
type subscribeOptions struct {
	match, group, ack string
	retained          bool
	from              msg.Replay
	after             uint64 // publication id; 0 = none
	bad               error  // an option of the right type that means nothing
}

func (o *subscribeOptions) read(w wire, key string, v []byte) error {
	switch key {
	case "match":
		return word(w, v, &o.match)
	case "get_retained":
		return flag(w, v, &o.retained)
	case keyGroup:
		return word(w, v, &o.group)
	case keyAck:
		return word(w, v, &o.ack)
	case keyAfter:
		return number(w, v, &o.after)
	case keyFrom:
		return o.readFrom(w, v)
	}
	return nil
}

var (
	errFrom     = errors.New("not an offset, earliest, or @ and a UTC time")
	errAfter    = errors.New("not a publication id")
	errTwoFroms = errors.New("two places to begin from")
	errAckMode  = errors.New("acknowledgement is auto or explicit")
)

// readFrom reads where a replay begins: an offset, or what msg.ParseReplay takes.
func (o *subscribeOptions) readFrom(w wire, v []byte) error {
	if n, ok := w.id(v); ok {
		o.from = msg.Replay{Kind: msg.ReplayOffset, Offset: max(1, msg.Offset(n))}
		return nil
	}
	var s string
	if err := word(w, v, &s); err != nil {
		return err
	}
	var err error
	if o.from, err = msg.ParseReplay(s); err != nil {
		o.bad = errFrom
	}
	return nil
}

// onSubscribe: [SUBSCRIBE, Request|id, Options|dict, Topic|uri].
func (h *handler) onSubscribe(m request) error {
	id, uri := m.id(1), m.str(3)
	var o subscribeOptions
	m.dict(2, func(key string, v []byte) error { return o.read(h.w, key, v) })
	if m.err != nil {
		return m.err
	}
	f, err := filterOf(uri, o.match, o.group)
	if err != nil {
		h.refuseErr(typeSubscribe, id, err)
		return nil
	}
	if f == gapFilter() {
		h.subscribeGaps(id)
		return nil
	}
	s, want, err := h.wanted(f, &o)
	if err != nil {
		h.refuse(typeSubscribe, id, uriInvalidArgument, err.Error())
		return nil
	}
	if h.subs[s.id] == nil {
		h.addSub(s)
	}
	s.open++
	explicit := want.QoS > 0 && o.ack != ackAuto
	h.session.Subscribe([]msg.Subscription{want}, func(r []msg.SubscribeResult) {
		result := r[0]
		h.post(func() { h.subscribed(id, s, explicit, result) })
	})
	return nil
}

func (h *handler) addSub(s *sub) {
	if h.subs == nil {
		h.subs = map[uint64]*sub{}
	}
	h.subs[s.id] = s
}

// wanted finds or makes the subscription of f and says what to ask the message
// plane for.
func (h *handler) wanted(f msg.Filter, o *subscribeOptions) (*sub, msg.Subscription, error) {
	subID := h.subscriptionID(f)
	want := msg.Subscription{Filter: f, Handle: subID, Retained: msg.RetainNone, From: o.from}
	if o.retained {
		want.Retained = msg.RetainSend
	}
	if h.durable || f.Group != "" || o.ack == ackExplicit {
		want.QoS = 1
	}
	s := h.subs[subID]
	if s == nil {
		s = &sub{id: subID, filter: f}
	}
	switch {
	case o.bad != nil:
		return nil, want, o.bad
	case o.ack != "" && o.ack != ackAuto && o.ack != ackExplicit:
		return nil, want, errAckMode
	case o.after == 0:
		if o.from.Kind != msg.ReplayNone {
			s.after = 0 // what it had before is asked for
		}
		return s, want, nil
	case o.from.Kind != msg.ReplayNone:
		return nil, want, errTwoFroms
	}
	at, _, ok := h.positionOf(o.after)
	switch {
	case !ok:
		return nil, want, errAfter
	case s.loose && f.Group == "":
		// The stream goes on at what is not acknowledged: the peer says that it has
		// more. A group's messages come from other members too, so it cannot.
		s.after = at
	default:
		s.after = 0
		want.From = msg.Replay{Kind: msg.ReplayOffset, Offset: at + 1}
	}
	return s, want, nil
}

func (h *handler) subscribed(request uint64, s *sub, explicit bool, r msg.SubscribeResult) {
	s.open--
	if r.Err != nil {
		if s.open == 0 && !s.told && !s.loose && h.subs[s.id] == s {
			delete(h.subs, s.id)
		}
		h.refuseErr(typeSubscribe, request, r.Err)
		return
	}
	s.told = true
	h.reply(typeSubscribed, request, s.id)
	if h.subs[s.id] != s { // unsubscribed meanwhile
		return
	}
	s.explicit = explicit
	if !explicit {
		h.settleAll(s)
	}
	if s.loose {
		s.loose = false
		h.ready = append(h.ready, s)
	}
	if r.Gap != nil {
		h.gap(&s.filter, r.Gap)
	}
}

// onUnsubscribe: [UNSUBSCRIBE, Request|id, SUBSCRIBED.Subscription|id]. Only what
// this session holds and has been told of counts, in a WELCOME too.
func (h *handler) onUnsubscribe(m request) error {
	id, subID := m.id(1), m.id(2)
	if m.err != nil {
		return m.err
	}
	if subID == h.gapSub {
		h.gapSub = 0
		h.reply(typeUnsubscribed, id)
		return nil
	}
	s := h.subs[subID]
	if s == nil || !s.told && !s.loose {
		h.refuseErr(typeUnsubscribe, id, msg.ErrNoSubscription)
		return nil
	}
	h.session.Unsubscribe([]msg.Filter{s.filter}, func(r []error) {
		err := r[0]
		h.post(func() {
			if err != nil {
				h.refuseErr(typeUnsubscribe, id, err)
				return
			}
			h.reply(typeUnsubscribed, id)
		})
	})
	h.forget(s)
	return nil
}

// forget drops a subscription that is gone; its events need no acknowledgement
// any more.
func (h *handler) forget(s *sub) {
	delete(h.subs, s.id)
	delete(h.resumed, s.filter)
	if i := slices.Index(h.ready, s); i >= 0 {
		h.ready = slices.Delete(h.ready, i, i+1)
	}
	h.settleAll(s)
	for _, w := range s.waiting {
		h.unhold(w)
		h.finish(w.flight)
	}
	s.waiting = nil
}

// subOf finds the subscription of this session that a delivery matched. The
// handle of one that was not attached when the delivery was taken is that of an
// earlier connection, perhaps of another protocol.
func (h *handler) subOf(m *msg.Subscription) *sub {
	if s := h.subs[m.Handle]; s != nil && s.filter == m.Filter {
		return s
	}
	return h.resumed[m.Filter]
}
