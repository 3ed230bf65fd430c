package wamp

import (
	"crypto/sha256"
	"encoding/binary"

	"parley/msg"
)

// sub is a subscription of this session.
type sub struct {
	filter msg.Filter
	open   int  // SUBSCRIBEs under way
	told   bool // SUBSCRIBED was sent: EVENTs may be
}

// onSubscribe: [SUBSCRIBE, Request|id, Options|dict, Topic|uri].
func (h *handler) onSubscribe(m request) error {
	id, uri := m.id(1), m.str(3)
	var match string
	var retained bool
	m.dict(2, func(key string, v []byte) error {
		switch key {
		case "match":
			return word(h.w, v, &match)
		case "get_retained":
			return flag(h.w, v, &retained)
		}
		return nil
	})
	if m.err != nil {
		return m.err
	}
	f, err := msg.FilterOfURI(uri, match)
	if err != nil {
		h.refuseErr(typeSubscribe, id, err)
		return nil
	}
	subID := h.subscriptionID(f)
	s := h.subs[subID]
	if s == nil {
		s = &sub{filter: f}
		if h.subs == nil {
			h.subs = map[uint64]*sub{}
		}
		h.subs[subID] = s
	}
	s.open++
	want := msg.Subscription{Filter: f, Handle: subID, Retained: msg.RetainNone}
	if retained {
		want.Retained = msg.RetainSend
	}
	h.session.Subscribe([]msg.Subscription{want}, func(r []msg.SubscribeResult) {
		err := r[0].Err
		h.post(func() { h.subscribed(id, subID, s, err) })
	})
	return nil
}

func (h *handler) subscribed(request, subID uint64, s *sub, err error) {
	s.open--
	if err != nil {
		if s.open == 0 && !s.told && h.subs[subID] == s {
			delete(h.subs, subID)
		}
		h.refuseErr(typeSubscribe, request, err)
		return
	}
	s.told = true
	h.reply(typeSubscribed, request, subID)
}

// onUnsubscribe: [UNSUBSCRIBE, Request|id, SUBSCRIBED.Subscription|id]. Only what
// this session holds and has been told of counts.
func (h *handler) onUnsubscribe(m request) error {
	id, subID := m.id(1), m.id(2)
	if m.err != nil {
		return m.err
	}
	s := h.subs[subID]
	if s == nil || !s.told {
		h.refuseErr(typeUnsubscribe, id, msg.ErrNoSubscription)
		return nil
	}
	delete(h.subs, subID)
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
	return nil
}

// subscriptionID names a filter: the same number for all sessions of the broker,
// as ids of the router scope should be, without a table of them. Two filters of
// one session that come out equal (about one in 2^53) get neighbouring numbers.
func (h *handler) subscriptionID(f msg.Filter) uint64 {
	sum := sha256.Sum256(append([]byte{byte(f.Kind)}, f.Pattern...))
	id := binary.BigEndian.Uint64(sum[:]) & (maxID - 1)
	for id == 0 || h.subs[id] != nil && h.subs[id].filter != f {
		id = (id + 1) & (maxID - 1)
	}
	return id
}
