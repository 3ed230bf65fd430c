package json

import (
	"strconv"
	"strings"
	"time"

	"parley/msg"
)

const (
	// defaultExpiry is how long a durable session outlives its connection if the
	// client does not say.
	defaultExpiry = time.Hour
	// maxSessionName is the most bytes in a session's name, as in an MQTT client id.
	maxSessionName = 65535
	// maxWindow is the most unacknowledged deliveries that a client may ask for.
	maxWindow = 65535
	// maxExpiry in seconds (136 years), as in MQTT.
	maxExpiry = 1<<32 - 1
)

// sessionRequest is what connect.data says of a durable session.
type sessionRequest struct {
	name    string // "" = the session ends with its connection
	expiry  time.Duration
	expires bool   // expiry was given
	window  int    // 0 = the engine's
	bad     string // what is wrong with it; "" = nothing
}

// member takes one member of connect.data.
func (s *sessionRequest) member(name string, v []byte) {
	ok := true
	switch name {
	case "session":
		s.name, ok = unquote(v)
		ok = ok && s.name != "" && len(s.name) <= maxSessionName && !strings.ContainsRune(s.name, 0)
	case "expiry":
		s.expiry, ok = parseExpiry(v)
		s.expires = ok
	case "window":
		n, err := strconv.ParseUint(string(v), 10, 16)
		s.window, ok = int(n), err == nil && n > 0 && n <= maxWindow
	}
	if !ok && s.bad == "" {
		s.bad = "connect data: " + name + " not valid"
	}
}

// parseExpiry takes whole seconds, or "never".
func parseExpiry(v []byte) (time.Duration, bool) {
	if s, ok := unquote(v); ok {
		return msg.Forever, s == "never"
	}
	n, err := strconv.ParseUint(string(v), 10, 64)
	return time.Duration(n) * time.Second, err == nil && n <= maxExpiry
}

// params describes the session the client wants.
func (h *conn) params() msg.SessionParams {
	opt, want := &h.engine.opt, &h.want
	p := msg.SessionParams{
		Namespace: h.namespace, Protocol: msg.ViaJSON, ClientID: want.name, CleanStart: want.name == "", Window: opt.Window,
	}
	if want.window > 0 {
		p.Window = min(want.window, opt.Window)
	}
	if want.name != "" {
		p.Expiry = defaultExpiry
		if want.expires {
			p.Expiry = want.expiry
		}
		if opt.MaxSessionExpiry > 0 {
			p.Expiry = min(p.Expiry, opt.MaxSessionExpiry)
		}
		h.durable = p.Expiry > 0
	}
	h.want.expiry, h.acks.window = p.Expiry, p.Window
	return p
}

// resume takes over the filters of a session that was there before. They are
// live at once.
func (h *conn) resume(r *msg.AttachResult) {
	for i := range r.Subscriptions {
		sub := &r.Subscriptions[i]
		ch := h.open(channelName(sub.Filter), *sub)
		ch.ready, ch.resumed = true, true
		h.handle = max(h.handle, sub.Handle)
	}
}

// channelName is how a filter that another protocol may have made is shown.
func channelName(f msg.Filter) string {
	switch {
	case f.Kind == msg.FilterPrefix:
		return "$prefix/" + f.Pattern
	case f.Kind == msg.FilterWildcard:
		return "$wildcard/" + f.Pattern
	case f.Group != "":
		return "$share/" + f.Group + "/" + f.Pattern
	}
	return f.Pattern
}

// sessionData is the data of a connect reply: what became of the session.
func (h *conn) sessionData(present bool) []byte {
	b := append([]byte(nil), `{"session":{"present":`...)
	b = strconv.AppendBool(b, present)
	b = append(b, `,"expiry":`...)
	if h.want.expiry == msg.Forever {
		b = append(b, `"never"`...)
	} else {
		b = strconv.AppendInt(b, int64(h.want.expiry/time.Second), 10)
	}
	return append(b, "}}"...)
}

// endSession is the procedure parley.session.end: the filters are removed, the
// session is not kept, and the connection ends.
func (h *conn) endSession(c *command) {
	if h.want.name == "" {
		h.refuse(c, errNotAvailable)
		return
	}
	var filters []msg.Filter
	for f, ch := range h.filters {
		filters = append(filters, f)
		h.forget(ch)
	}
	h.session.SetExpiry(0)
	h.pending++
	id := c.id
	h.session.Unsubscribe(filters, func([]error) {
		h.box.Put(outcome{apply: sessionEnded, id: id})
	})
}

func sessionEnded(h *conn, o *outcome) {
	h.answer(&reply{id: o.id, kind: kindRPC, data: []byte("{}")}, nil)
	h.close(closeSessionEnded, "session ended", nil)
}

// ack is the procedure parley.ack: {channel, offset} acknowledges what was
// pushed to the channel up to the offset.
func (h *conn) ack(c *command) {
	var name string
	var last uint64
	ok := members(c.data, func(member, v []byte) (ok bool) {
		switch string(member) {
		case "channel":
			name, ok = unquote(v)
		case "offset":
			var err error
			last, err = strconv.ParseUint(string(v), 10, 64)
			ok = err == nil && last > 0
		}
		return ok
	})
	ch := h.channels[name]
	switch {
	case !ok || last == 0:
		h.refuse(c, errBadRequest)
	case ch == nil:
		h.error(c.id, msg.ErrNoSubscription)
	default:
		h.acks.through(ch, msg.Offset(last), h.session.Ack)
		h.reply(&reply{id: c.id, kind: kindRPC, data: []byte("{}")})
	}
}
