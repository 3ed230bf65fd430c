package json

import (
	"strconv"

	"parley/msg"
)

const (
	// maxHistory is the most publications in one reply (Session.History), and
	// maxHistoryBytes their size, after which a reply is cut short.
	maxHistory      = 1000
	maxHistoryBytes = 1 << 20
)

// parseFrom takes where a replay begins: an offset, "earliest", or "@" and a
// UTC time of RFC 3339 that ends with Z.
func parseFrom(v []byte) (r msg.Replay, ok bool) {
	position := string(v)
	if v[0] == '"' {
		if position, ok = unquote(v); !ok {
			return r, false
		}
	}
	r, err := msg.ParseReplay(position)
	return r, err == nil
}

// replay is the procedure parley.replay: {channel, from}. An existing
// subscription goes on from there; a new one is announced by a push, as those are
// that the client does not make by subscribe.
func (h *conn) replay(c *command) {
	var args command
	var from msg.Replay
	ok := members(c.data, func(name, v []byte) (ok bool) {
		switch string(name) {
		case "channel":
			args.channel, ok = unquote(v)
		case "group":
			args.group, ok = unquote(v)
		case "from":
			from, ok = parseFrom(v)
		}
		return ok
	})
	f, _, err := filterOf(&args)
	ch := h.channels[args.channel]
	switch {
	case !ok || from.Kind == msg.ReplayNone:
		h.refuse(c, errBadRequest)
		return
	case err != nil:
		h.error(c.id, err)
		return
	case ch == nil && h.filters[f] != nil || ch != nil && !ch.ready:
		h.refuse(c, errSubscribed)
		return
	case ch == nil:
		ch = h.open(args.channel, msg.Subscription{Filter: f})
		if h.durable {
			ch.sub.QoS = 1
		}
	}
	sub := ch.sub
	h.handle++
	sub.Handle, sub.From, sub.Retained = h.handle, from, msg.RetainNone
	h.pending++
	h.begin(c.id, ch, sub, replaying)
}

// replaying answers with the first offset that the replay covers, and with what
// it should have held and does not.
func replaying(h *conn, o *outcome) {
	h.held--
	got := o.what.(subscribing)
	ch, res := got.ch, &got.res
	ch.sub.From = msg.Replay{}
	if o.err != nil {
		if ch.sub = got.old; !ch.ready {
			h.forget(ch)
		}
		h.answer(&reply{id: o.id}, o.err)
		return
	}
	before := max(res.From, 1) - 1
	if !ch.ready {
		ch.ready = true
		h.sent(h.codec.subscribed(h.buffer(), ch.encoded, h.epoch, before))
	}
	data := appendMember([]byte{'{'}, "epoch", h.epoch)
	data = append(data[:1], data[2:]...)
	data = append(data, `,"from":`...)
	data = strconv.AppendUint(data, uint64(res.From), 10)
	if res.Gap != nil {
		gap := gapData(nil, "", res.Gap)
		data = append(append(data, ','), gap[1:len(gap)-1]...)
	}
	h.answer(&reply{id: o.id, kind: kindRPC, data: append(data, '}')}, nil)
}

// history is the command: stored publications of a filter, and the position they
// end at. Without limit it answers with the position only.
func (h *conn) history(c *command) {
	f, err := msg.ParseFilter(c.channel)
	q := msg.HistoryQuery{Filter: f, Limit: c.limit, Reverse: c.reverse}
	known, _ := h.position(c.epoch, c.offset)
	switch {
	case err != nil:
		h.error(c.id, err)
		return
	case f.Group != "":
		h.refuse(c, errBadRequest)
		return
	case c.since && !known:
		h.refuse(c, errUnrecoverable)
		return
	case c.limit < 0 || c.limit > maxHistory:
		q.Limit = maxHistory
	}
	none := c.limit == 0
	switch {
	case c.since && c.reverse:
		q.To = max(c.offset, 1) - 1
		none = none || q.To == 0 // nothing is before the first
	case c.since:
		q.From = c.offset + 1
	}
	if none {
		q.From = ^msg.Offset(0) // nothing is read for it
	}
	h.pending++
	id := c.id
	h.session.History(q, func(r msg.HistoryResult, err error) {
		h.box.Put(outcome{apply: told, id: id, err: err, what: r})
	})
}

func told(h *conn, o *outcome) {
	res := o.what.(msg.HistoryResult)
	r := reply{id: o.id, kind: kindHistory, epoch: h.epoch, offset: res.Head}
	size := 0
	for _, m := range res.Messages {
		p := h.codec.publication(m, 0)
		if size += len(p); size > maxHistoryBytes && len(r.publications) > 0 {
			break
		}
		r.publications = append(r.publications, p)
	}
	h.answer(&r, o.err)
}
