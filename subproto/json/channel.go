package json

import (
	"errors"
	"slices"

	"parley/msg"
)

// channel is one subscription of the client. It is in conn.channels from the
// command on, until it is unsubscribed or refused.
type channel struct {
	filter  msg.Filter
	handle  uint64
	recover bool   // the client asked to continue from a position
	encoded []byte // what all its pushes share
	ready   bool   // its reply was sent: pushes may follow
}

func (h *conn) subscribe(c *command) {
	f, err := msg.ParseFilter(c.channel)
	switch {
	case err != nil:
		h.error(c.id, err)
		return
	case c.special:
		h.refuse(c, errNotAvailable)
		return
	case h.channels[f] != nil:
		h.refuse(c, errSubscribed)
		return
	case c.recover && c.strict: // the client wants to hear so before it is subscribed
		h.refuse(c, errUnrecoverable)
		return
	}
	h.handle++
	ch := &channel{filter: f, handle: h.handle, recover: c.recover, encoded: h.codec.channel(c.channel)}
	if h.channels == nil {
		h.channels, h.handles = map[msg.Filter]*channel{}, map[uint64]*channel{}
	}
	h.channels[f], h.handles[ch.handle] = ch, ch
	h.pending++
	id := c.id
	h.session.Subscribe([]msg.Subscription{{Filter: f, Handle: ch.handle, Retained: msg.RetainSend}},
		func(res []msg.SubscribeResult) {
			h.box.Put(outcome{apply: subscribed, id: id, offset: res[0].Start, err: res[0].Err, what: ch})
		})
}

func subscribed(h *conn, o *outcome) {
	ch := o.what.(*channel)
	ch.ready = true
	if o.err != nil {
		h.forget(ch)
	}
	h.answer(&reply{
		id: o.id, kind: kindSubscribe, epoch: h.epoch, offset: o.offset, wasRecovering: ch.recover,
	}, o.err)
}

// forget drops ch, unless its place is taken by a newer one already.
func (h *conn) forget(ch *channel) {
	delete(h.handles, ch.handle)
	if h.channels[ch.filter] == ch {
		delete(h.channels, ch.filter)
	}
}

// unsubscribe succeeds also for what is not subscribed: for an error an SDK
// would drop the connection.
func (h *conn) unsubscribe(c *command) {
	id := c.id
	f, err := msg.ParseFilter(c.channel)
	ch := h.channels[f]
	if err != nil || ch == nil {
		h.reply(&reply{id: id, kind: kindUnsubscribe})
		return
	}
	h.forget(ch)
	h.pending++
	h.session.Unsubscribe([]msg.Filter{f}, func(errs []error) {
		h.box.Put(outcome{apply: unsubscribed, id: id, err: errs[0]})
	})
}

func unsubscribed(h *conn, o *outcome) {
	if errors.Is(o.err, msg.ErrNoSubscription) {
		o.err = nil
	}
	h.answer(&reply{id: o.id, kind: kindUnsubscribe}, o.err)
}

// deliver pulls from the session while there is room.
func (h *conn) deliver() {
	if h.state != stateConnected {
		return
	}
	for d := &h.scratch().d; h.state == stateConnected && h.c.Room() && h.next(d); {
		if d.Notice != nil {
			h.notice(d.Notice)
			continue
		}
		if h.push(d) && d.QoS > 0 {
			h.session.Ack(d.Ref)
		}
	}
}

// next goes on with what is left, or with the next delivery.
func (h *conn) next(d *msg.Delivery) bool {
	if h.part == nil {
		return h.session.Next(d)
	}
	*d, h.part = *h.part, nil
	return true
}

// Keys of Message.Shared.
const (
	sharedLive = msg.SharedJSON + iota
	sharedRetained
)

// push sends one push per subscription that wants the message; false if there
// was no room for all: many small filters make much of one large message.
func (h *conn) push(d *msg.Delivery) bool {
	m, key := d.Message, sharedLive
	if d.Retained {
		key = sharedRetained
	}
	var pub []byte
	for i, sub := range d.Matches {
		ch := h.handles[sub.Handle]
		if ch == nil {
			continue
		}
		if pub != nil && !h.c.Room() {
			h.part = &msg.Delivery{}
			*h.part = *d
			h.part.Matches = slices.Clone(d.Matches[i:]) // they are ours only until the next Next
			return false
		}
		if !ch.ready { // its reply is in the mailbox, put there after we looked
			h.outcomes()
		}
		if pub == nil {
			retained := d.Retained
			pub = m.Shared(key, func() []byte { return h.codec.publication(m, retained) })
		}
		h.sent(h.codec.push(h.buffer(), ch.encoded, pub))
		h.engine.delivered.Inc()
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
		h.end(n.Subscription, unsubRevoked, "permission denied")
	case msg.NoticeGap: // resubscribing, it hears that it was not recovered
		h.end(n.Subscription, unsubGap, "insufficient state")
	}
}

// end takes a subscription away from the client.
func (h *conn) end(sub *msg.Subscription, code uint32, reason string) {
	if sub == nil || h.handles[sub.Handle] == nil {
		return
	}
	ch := h.handles[sub.Handle]
	h.forget(ch)
	h.session.Unsubscribe([]msg.Filter{ch.filter}, func([]error) {})
	h.sent(h.codec.unsubscribed(h.buffer(), ch.encoded, code, reason))
}
