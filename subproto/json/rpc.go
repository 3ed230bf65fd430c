package json

import (
	"strings"
	"unicode/utf8"

	"parley/msg"
	"parley/subproto"
)

// ownProcedures is the prefix of procedures that this engine serves itself.
const ownProcedures = "parley."

// maxMessage bounds the text of a procedure's error, in bytes.
const maxMessage = 256

func (h *conn) rpc(c *command) {
	switch {
	case c.method == "parley.publish":
		h.rpcPublish(c)
	case c.method == "parley.ack":
		h.ack(c)
	case c.method == "parley.replay":
		h.replay(c)
	case c.method == "parley.session.end":
		h.endSession(c)
	case strings.HasPrefix(c.method, ownProcedures), h.engine.opt.Caller == nil:
		h.refuse(c, errNoMethod)
	case len(h.calls) >= h.engine.opt.Calls:
		h.refuse(c, errTooMany)
	default:
		h.call(c)
	}
}

// call calls a WAMP procedure.
func (h *conn) call(c *command) {
	h.callID++
	call, id := h.callID, c.id
	if h.calls == nil {
		h.calls = map[uint64]func(){}
	}
	h.calls[call] = func() {} // Call may be done before it returns
	cancel := h.engine.opt.Caller.Call(subproto.Call{
		Identity: h.identity, Namespace: h.namespace, Session: h.session.ID(), Procedure: c.method,
		Args: arguments(c.data), Timeout: h.engine.opt.CallTimeout,
	}, func(r subproto.CallResult) {
		h.box.Put(outcome{apply: called, id: id, err: r.Err, what: callOutcome{call, r}})
		h.c.Wake()
	})
	if cancel != nil {
		h.calls[call] = cancel
	}
}

type callOutcome struct {
	call   uint64
	result subproto.CallResult
}

func called(h *conn, o *outcome) {
	got := o.what.(callOutcome)
	delete(h.calls, got.call)
	res := &got.result
	switch {
	case o.err != nil:
		h.error(o.id, o.err)
	case res.ErrorURI != "":
		h.reply(&reply{id: o.id, err: procedureError(res)})
	default:
		value, encoding := res.Payload.JSONView()
		h.reply(&reply{id: o.id, kind: kindRPC, data: value, encoding: encoding})
	}
}

// arguments turns data into a WAMP argument pair: the members args and kwargs of
// an object that has exactly these, else data is the one argument.
func arguments(data []byte) msg.Payload {
	p := msg.Payload{Form: msg.FormArgs, Codec: msg.CodecJSON}
	if data == nil {
		p.Data = []byte("[[]]")
		return p
	}
	data = compact(data)
	var args, kwargs []byte
	exact := members(data, func(name, v []byte) bool {
		switch {
		case string(name) == "args" && v[0] == '[' && args == nil:
			args = v
		case string(name) == "kwargs" && v[0] == '{' && kwargs == nil:
			kwargs = v
		default:
			return false
		}
		return true
	})
	switch {
	case exact && args != nil && kwargs != nil:
		p.Data = append(append(append(append([]byte("["), args...), ','), kwargs...), ']')
	default:
		p.Data = append(append([]byte("[["), data...), "]]"...)
	}
	return p
}

// procedureError is what a callee's or the dealer's error becomes: the protocol's
// own code where there is one, else codeProcedure with the URI, and what the
// error says in its first argument.
func procedureError(r *subproto.CallResult) *replyError {
	switch r.ErrorURI {
	case "wamp.error.no_such_procedure":
		return errNoMethod
	case "wamp.error.not_authorized", "wamp.error.authorization_failed":
		f, _ := failureOf(msg.ErrNotAuthorized)
		return &f.reply
	case "wamp.error.timeout", "wamp.error.canceled":
		f, _ := failureOf(msg.ErrTimeout)
		return &f.reply
	}
	text := r.ErrorURI
	if first := firstText(&r.Payload); first != "" {
		text += ": " + first
	}
	return &replyError{code: codeProcedure, message: cut(text, maxMessage)}
}

// firstText is the first positional argument, if it is a string.
func firstText(p *msg.Payload) (s string) {
	args, _ := p.ArgsView(msg.CodecJSON)
	elements(args, func(v []byte) bool {
		s, _ = unquote(v)
		return false
	})
	return s
}

// cut shortens s to at most n bytes, at a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
