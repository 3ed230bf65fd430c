package json

import (
	"errors"

	"parley/msg"
)

// channel is one subscription of the client. It is in conn.channels from the
// command on, until it is unsubscribed or refused.
type channel struct {
	name    string // as the client, or the connect reply, calls it
	sub     msg.Subscription
	encoded []byte   // what all its pushes share
	ready   bool     // its reply was sent: pushes may follow
	resumed bool     // came with the session: the client may still subscribe to it
	again   []flight // pushed before the client subscribed, to be pushed again after the reply
	gap     bool     // the session has lost something of it, and the client's subscription has not heard yet

	// while it is being subscribed
	recover, strict bool     // the client asked to continue from a position, or to be refused
	unrecovered     bool     // it cannot
	lost            *msg.Gap // why not, if that is known
	anew            string   // it is where it began: the epoch it has, and gets again with the retained values
}

// open adds a channel.
func (h *conn) open(name string, sub msg.Subscription) *channel {
	if h.channels == nil {
		h.channels, h.filters = map[string]*channel{}, map[msg.Filter]*channel{}
	}
	ch := &channel{name: name, sub: sub, encoded: h.codec.channel(name)}
	h.channels[name], h.filters[sub.Filter] = ch, ch
	return ch
}

// forget drops ch. What it has not acknowledged, nobody will.
func (h *conn) forget(ch *channel) {
	if h.channels[ch.name] != ch {
		return
	}
	delete(h.channels, ch.name)
	delete(h.filters, ch.sub.Filter)
	for _, f := range ch.again { // of other channels too
		h.acks.add(f)
	}
	ch.again = nil
	h.acks.drop(ch, h.session.Ack)
	if h.part != nil {
		h.part.flight.remove(ch)
	}
}

// filterOf is the filter that a command names, and where it begins in the past
// if the channel is $replay/<position>/<filter>.
func filterOf(c *command) (msg.Filter, msg.Replay, error) {
	f, from, err := msg.ParseSubscription(c.channel)
	if err != nil || c.group == "" {
		return f, from, err
	}
	if f.Group != "" {
		return f, from, msg.ErrFilterInvalid
	}
	f.Group = c.group
	return f, from, f.Validate()
}

func (h *conn) subscribe(c *command) {
	f, from, err := filterOf(c)
	old := h.filters[f]
	switch {
	case err != nil:
		h.error(c.id, err)
		return
	case c.bad:
		h.refuse(c, errBadRequest)
		return
	case c.special:
		h.refuse(c, errNotAvailable)
		return
	case old != nil && old.resumed && (h.channels[c.channel] == nil || h.channels[c.channel] == old):
		h.attach(c, old)
		return
	case old != nil || h.channels[c.channel] != nil:
		h.refuse(c, errSubscribed)
		return
	}
	sub := msg.Subscription{Filter: f, Retained: msg.RetainSend, From: from}
	if h.durable || f.Group != "" {
		sub.QoS = 1
	}
	known, begin := h.position(c.epoch, c.offset)
	known = known && f.Group == ""
	switch {
	case c.recover && known:
		sub.From = msg.Replay{Kind: msg.ReplayOffset, Offset: c.offset + 1}
	case c.recover && !c.strict:
		sub.From = msg.Replay{}
	case c.recover: // the client wants to hear so before it is subscribed
		h.refuse(c, errUnrecoverable)
		return
	case c.from != nil:
		var ok bool
		if sub.From, ok = parseFrom(c.from); !ok {
			h.refuse(c, errBadRequest)
			return
		}
	}
	h.handle++
	sub.Handle = h.handle
	ch := h.open(c.channel, sub)
	ch.recover, ch.strict, ch.unrecovered = c.recover, c.strict, c.recover && !known
	h.pending++
	h.begin(c.id, ch, sub, subscribed)
	if c.recover && known && begin {
		ch.anew = c.epoch
		sub.From = msg.Replay{}
		h.session.Subscribe([]msg.Subscription{sub}, func([]msg.SubscribeResult) {})
	}
}

// subscribing is the outcome of a Subscribe.
type subscribing struct {
	ch  *channel
	old msg.Subscription // what the channel had before
	res msg.SubscribeResult
}

// begin subscribes the channel as sub says. Nothing is delivered before the
// outcome, which lowers h.held.
func (h *conn) begin(id uint32, ch *channel, sub msg.Subscription, apply func(*conn, *outcome)) {
	old := ch.sub
	ch.sub = sub
	h.held++
	h.session.Subscribe([]msg.Subscription{sub}, func(res []msg.SubscribeResult) {
		h.box.Put(outcome{apply: apply, id: id, err: res[0].Err, what: subscribing{ch, old, res[0]}})
	})
}

func subscribed(h *conn, o *outcome) {
	h.held--
	got := o.what.(subscribing)
	ch, res := got.ch, &got.res
	anew := ch.anew
	ch.anew = ""
	if h.channels[ch.name] != ch { // unsubscribed meanwhile
		h.pending--
		h.reply(&reply{id: o.id, kind: kindSubscribe, epoch: h.epoch})
		return
	}
	if o.err != nil {
		h.forget(ch)
		h.answer(&reply{id: o.id}, o.err)
		return
	}
	if ch.recover && !ch.unrecovered && (res.Gap != nil || ch.sub.From.Offset > res.Start+1) {
		h.unrecovered(o.id, ch, res.Gap)
		return
	}
	if ch.lost == nil {
		ch.lost = res.Gap
	}
	r := reply{
		id: o.id, kind: kindSubscribe, epoch: h.epoch, offset: res.Start, positioned: ch.sub.Filter.Group == "",
		wasRecovering: ch.recover, recovered: ch.recover && !ch.unrecovered,
	}
	// The server keeps the position of a durable session, and of a group.
	r.recoverable = r.positioned && !h.durable
	if r.recoverable && ch.sub.From.Kind == msg.ReplayNone {
		r.epoch = h.beginning(res.Start)
	} else if anew != "" {
		r.epoch = anew
	}
	switch from := ch.sub.From; {
	case from.Kind == msg.ReplayOffset && ch.recover:
		r.offset = from.Offset - 1
	case from.Kind != msg.ReplayNone && res.From > 0:
		r.offset = res.From - 1
	}
	if ch.lost != nil {
		r.data = gapData(nil, "", ch.lost)
	}
	ch.ready, ch.lost, ch.sub.From = true, nil, msg.Replay{}
	h.answer(&r, nil)
}

// unrecovered is told that what the client has missed is not all there any more:
// it is subscribed from now on instead, as the protocol has it, or refused.
func (h *conn) unrecovered(id uint32, ch *channel, gap *msg.Gap) {
	h.session.Unsubscribe([]msg.Filter{ch.sub.Filter}, func([]error) {})
	if ch.strict {
		h.forget(ch)
		h.pending--
		h.reply(&reply{id: id, err: errUnrecoverable})
		return
	}
	ch.unrecovered, ch.lost = true, gap
	sub := ch.sub
	h.handle++
	sub.Handle, sub.From = h.handle, msg.Replay{}
	h.begin(id, ch, sub, subscribed)
}

// attach is a subscribe to what the session holds already. It goes on where the
// session is. What was pushed and is not acknowledged is pushed again after the
// reply: what comes while it is subscribing an SDK drops (centrifuge-go) or gives to
// the client instead (centrifuge-js), and the pongs that have come so far were sent
// before that.
func (h *conn) attach(c *command, ch *channel) {
	if ch.name != c.channel {
		delete(h.channels, ch.name)
		ch.name, ch.encoded = c.channel, h.codec.channel(c.channel)
		h.channels[ch.name] = ch
	}
	ch.resumed = false
	sub := ch.sub // with its handle: a delivery may have been pulled already
	sub.QoS, sub.Retained, sub.From = max(1, sub.QoS), msg.RetainNone, msg.Replay{}
	if !h.byHand {
		ch.again = h.acks.take(ch)
		h.part.again(ch)
	}
	h.pending++
	h.begin(c.id, ch, sub, attachedTo)
}

func attachedTo(h *conn, o *outcome) {
	h.held--
	ch := o.what.(subscribing).ch
	r := reply{id: o.id, kind: kindSubscribe, epoch: h.epoch, wasRecovering: true, recovered: !ch.gap}
	ch.gap = false
	if o.err != nil {
		h.forget(ch)
	}
	h.answer(&r, o.err)
	for _, f := range ch.again {
		marks := markRedelivered
		if f.retained {
			marks |= markRetained
		}
		h.sent(h.codec.push(h.buffer(), ch.encoded, h.codec.publication(f.m, marks)))
		h.acks.add(f)
	}
	ch.again = nil
}

// unsubscribe succeeds also for what is not subscribed: for an error an SDK
// would drop the connection.
func (h *conn) unsubscribe(c *command) {
	id := c.id
	ch := h.channels[c.channel]
	if ch == nil {
		h.reply(&reply{id: id, kind: kindUnsubscribe})
		return
	}
	h.forget(ch)
	h.pending++
	h.session.Unsubscribe([]msg.Filter{ch.sub.Filter}, func(errs []error) {
		h.box.Put(outcome{apply: unsubscribed, id: id, err: errs[0]})
	})
}

func unsubscribed(h *conn, o *outcome) {
	if errors.Is(o.err, msg.ErrNoSubscription) {
		o.err = nil
	}
	h.answer(&reply{id: o.id, kind: kindUnsubscribe}, o.err)
}
