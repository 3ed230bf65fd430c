package wamp

import (
	"strings"
	"sync/atomic"

	"github.com/gammazero/nexus/v3/transport/serialize"
	"github.com/gammazero/nexus/v3/wamp"

	"parley/msg"
	"parley/subproto"
)

// queueSize counts bytes that wait. Safe for concurrent use.
type queueSize struct{ n atomic.Int64 }

func (q *queueSize) add(n int)          { q.n.Add(int64(n)) }
func (q *queueSize) over(most int) bool { return q.n.Load() > int64(most) }

// fromNexus takes a message of the router: the peer's deliver.
func (h *handler) fromNexus(m wamp.Message) {
	size := sizeOf(m)
	h.waiting.add(size)
	h.box.Put(outcome{from: m, size: size})
	if h.waiting.over(h.e.o.MaxQueue) && h.peer.overflow() {
		h.post(h.tooSlow)
	}
	h.conn.Wake()
}

// tooSlow ends a session that does not read the replies it asked for.
func (h *handler) tooSlow() {
	if h.state == stateOpen {
		h.goodbye(msg.CloseLost, faultOf(msg.ErrTooSlow))
	}
}

// sizeOf estimates the memory a message from nexus holds on to.
func sizeOf(m wamp.Message) int {
	var args wamp.List
	switch m := m.(type) {
	case *wamp.Result:
		args = m.Arguments
	case *wamp.Error:
		args = m.Arguments
	case *wamp.Invocation:
		args = m.Arguments
	}
	if c := carriedIn(args); c != nil {
		return 256 + len(c.payload.Data)
	}
	return 256 + 64*len(args)
}

// fromRouter sends a message of nexus to the client.
func (h *handler) fromRouter(m wamp.Message) {
	switch m := m.(type) {
	case *wamp.Welcome:
		h.welcomed(m)
	case *wamp.Abort:
		f := fault{uriProtocol, "", faultOf(msg.ErrProtocol).code}
		if h.state != stateOpen {
			f = faultOf(msg.ErrAuthUnavail)
		}
		h.conn.Info().Log.Debug("session aborted by router", "reason", m.Reason, "details", m.Details)
		h.abort(f)
	case *wamp.Goodbye:
		h.goodbye(msg.CloseDrain, faultOf(msg.ErrDraining))
	case *wamp.Result:
		h.onResult(m)
	case *wamp.Error:
		h.onRouterError(m)
	case *wamp.Invocation:
		args, kwargs := toClient(h.w.codec(), m.Arguments, m.ArgumentsKw)
		n := argElements(h.w.codec(), args, kwargs)
		e := h.begin(typeInvocation, 4+n)
		e.uint(uint64(m.Request))
		e.uint(uint64(m.Registration))
		e.any(invocationDetails(m))
		e.args(args, kwargs, n)
		h.send()
	case *wamp.Interrupt:
		e := h.begin(typeInterrupt, 3)
		e.uint(uint64(m.Request))
		e.any(m.Options)
		h.send()
	case *wamp.Registered:
		h.peer.owe(-1)
		id := uint64(m.Request)
		if uri, ok := h.opening[id]; ok {
			delete(h.opening, id)
			h.regs[uint64(m.Registration)] = uri
		}
		h.reply(typeRegistered, id, uint64(m.Registration))
	case *wamp.Unregistered:
		h.peer.owe(-1)
		h.reply(typeUnregistered, uint64(m.Request))
	}
}

// invocationDetails leaves out progress=false, which nexus always adds, and
// names the caller of another engine, if it is to be named, by its own session.
func invocationDetails(m *wamp.Invocation) wamp.Dict {
	if p, _ := m.Details[wamp.OptProgress].(bool); !p {
		delete(m.Details, wamp.OptProgress)
	}
	c := carriedIn(m.Arguments)
	if _, named := m.Details[wamp.RoleCaller]; named && c != nil && c.from != nil {
		m.Details[wamp.RoleCaller] = c.from.Session
		m.Details["caller_authid"] = ""
		if id := c.from.Identity; id != nil {
			m.Details["caller_authid"] = id.User
		}
		m.Details["caller_authrole"] = c.from.Identity.Role()
	}
	return m.Details
}

// onResult: [RESULT, CALL.Request|id, Details|dict, YIELD.Arguments|list,
// YIELD.ArgumentsKw|dict].
func (h *handler) onResult(m *wamp.Result) {
	id := uint64(m.Request)
	c := h.calls[id]
	if progress, _ := m.Details[wamp.OptProgress].(bool); !progress {
		h.answered(id, c)
	}
	if c == nil || c.answered {
		return
	}
	if c.meta != metaNone {
		c.meta.hide(h.own.session(), m.Arguments)
	}
	args, kwargs := toClient(h.w.codec(), m.Arguments, m.ArgumentsKw)
	n := argElements(h.w.codec(), args, kwargs)
	e := h.begin(typeResult, 3+n)
	e.uint(id)
	e.any(m.Details)
	e.args(args, kwargs, n)
	h.send()
}

// answered forgets a call that nexus has answered.
func (h *handler) answered(id uint64, c *call) {
	if c != nil {
		c.stop()
		delete(h.calls, id)
		h.peer.owe(-1)
	}
}

// onRouterError: [ERROR, REQUEST.Type|int, REQUEST.Request|id, Details|dict,
// Error|uri, Arguments|list, ArgumentsKw|dict].
func (h *handler) onRouterError(m *wamp.Error) {
	id, uri := uint64(m.Request), string(m.Error)
	switch m.Type {
	case wamp.CALL:
		c := h.calls[id]
		h.answered(id, c)
		if c == nil || c.answered {
			return
		}
		if c.timedOut && m.Error == wamp.ErrCanceled {
			uri = uriTimeout
		}
	case wamp.REGISTER:
		h.peer.owe(-1)
		delete(h.procedures, h.opening[id])
		delete(h.opening, id)
	case wamp.UNREGISTER:
		h.peer.owe(-1)
	}
	args, kwargs := toClient(h.w.codec(), m.Arguments, m.ArgumentsKw)
	n := argElements(h.w.codec(), args, kwargs)
	e := h.begin(typeError, 5+n)
	e.uint(uint64(m.Type))
	e.uint(id)
	e.dict(0)
	e.endDict()
	e.text(uri)
	e.args(args, kwargs, n)
	h.send()
}

// toRouter is what nexus gets as the arguments of a call to uri: decoded for its
// own meta procedures, else carried.
func toRouter(uri string, p msg.Payload, from *subproto.Call) (wamp.List, wamp.Dict, error) {
	if first, _, _ := strings.Cut(uri, "."); first != "wamp" {
		return carry(p, from), nil, nil
	}
	args, kwargs := p.ArgsView(msg.CodecCBOR)
	var list wamp.List
	var dict wamp.Dict
	var s serialize.CBORSerializer
	if err := s.DeserializeDataItem(args, &list); err != nil {
		return nil, nil, err
	}
	if kwargs != nil {
		if err := s.DeserializeDataItem(kwargs, &dict); err != nil {
			return nil, nil, err
		}
	}
	return list, dict, nil
}

// toClient encodes arguments that come from nexus; kwargs is nil if there are
// none.
func toClient(c msg.Codec, list wamp.List, dict wamp.Dict) (args, kwargs []byte) {
	if p := carriedIn(list); p != nil {
		return p.payload.ArgsView(c)
	}
	e := encoder{codec: c}
	e.any(list)
	if len(dict) > 0 {
		k := encoder{codec: c}
		k.any(dict)
		kwargs = k.b
	}
	return e.b, kwargs
}
