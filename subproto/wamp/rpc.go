package wamp

import (
	"strings"
	"time"

	"github.com/gammazero/nexus/v3/wamp"

	"parley/msg"
	"parley/subproto"
)

// carried is how arguments pass through nexus: as the one element of Arguments,
// a type that no wire can produce. Nexus forwards it without looking.
type carried struct {
	payload msg.Payload
	from    *subproto.Call // the call of another engine; nil for WAMP clients
}

func carry(p msg.Payload, from *subproto.Call) wamp.List {
	return wamp.List{&carried{p, from}}
}

func carriedIn(args wamp.List) *carried {
	if len(args) != 1 {
		return nil
	}
	c, _ := args[0].(*carried)
	return c
}

// call is an open CALL of this session. It stays until nexus has answered it,
// even if we have answered before.
type call struct {
	timer    *time.Timer // of its timeout or of the grace after CANCEL; may be nil
	timedOut bool
	answered bool
	own      bool // answered by the engine, nexus does not know it
	meta     metaCall
}

func (c *call) stop() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// arm replaces the timer.
func (c *call) arm(d time.Duration, f func()) {
	c.stop()
	c.timer = time.AfterFunc(d, f)
}

// callOptions are the options of CALL, YIELD and REGISTER that we know.
type callOptions struct {
	passed   wamp.Dict // to nexus, each of the type it expects
	timeout  uint64    // milliseconds
	progress bool
	match    string
	invoke   string
	mode     string
}

// read keeps what nexus may see. A ppt_* option that is no string would make it
// panic.
func (o *callOptions) read(w wire, key string, v []byte) error {
	switch key {
	case "timeout":
		return number(w, v, &o.timeout)
	case "progress":
		return flag(w, v, &o.progress)
	case "match":
		return word(w, v, &o.match)
	case "invoke":
		return word(w, v, &o.invoke)
	case "mode":
		return word(w, v, &o.mode)
	case "disclose_me", "disclose_caller", "receive_progress":
		var t bool
		err := flag(w, v, &t)
		o.pass(key, t)
		return err
	}
	if strings.HasPrefix(key, "ppt_") {
		var s string
		err := word(w, v, &s)
		o.pass(key, s)
		return err
	}
	return nil
}

func (o *callOptions) pass(key string, v any) {
	if o.passed == nil {
		o.passed = wamp.Dict{}
	}
	o.passed[key] = v
}

func (h *handler) options(m *request, i int) callOptions {
	var o callOptions
	m.dict(i, func(key string, v []byte) error { return o.read(h.w, key, v) })
	if o.passed == nil {
		o.passed = wamp.Dict{}
	}
	return o
}

// onCall: [CALL, Request|id, Options|dict, Procedure|uri, Arguments|list,
// ArgumentsKw|dict].
func (h *handler) onCall(m request) error {
	id, uri := m.id(1), m.str(3)
	o := h.options(&m, 2)
	if m.err == nil && h.calls[id] != nil {
		return errRepeated
	}
	if m.err == nil && h.onOwnCall(id, uri, &m) {
		return nil
	}
	p := m.payload(4)
	if m.err != nil {
		return m.err
	}
	out := &wamp.Call{Request: wamp.ID(id), Options: o.passed, Procedure: wamp.URI(uri)}
	_, err := msg.TopicOfURI(uri)
	switch {
	case err != nil:
		h.refuseErr(typeCall, id, err)
		return nil
	case closedMeta(uri):
		h.refuseErr(typeCall, id, msg.ErrNoProcedure)
		return nil
	case o.progress:
		h.refuseErr(typeCall, id, msg.ErrNotSupported)
		return nil
	case len(h.calls) >= h.e.o.MaxCalls:
		h.refuse(typeCall, id, uriQuota, "too many open calls")
		return nil
	}
	if out.Arguments, out.ArgumentsKw, err = toRouter(uri, p, nil); err != nil {
		h.refuse(typeCall, id, uriInvalidArgument, "")
		return nil
	}
	c := &call{meta: metaCallOf(out)}
	h.addCall(id, c)
	if o.timeout > 0 { // nexus' own timers outlive its router and panic then
		c.arm(time.Duration(min(o.timeout, maxTimeout))*time.Millisecond, func() {
			h.post(func() { h.expire(id, c) })
		})
	}
	h.submit(out, 1)
	return nil
}

func (h *handler) addCall(id uint64, c *call) {
	if h.calls == nil {
		h.calls = map[uint64]*call{}
	}
	h.calls[id] = c
}

// maxTimeout is the longest timeout of a call that is kept to: 24 days in
// milliseconds.
const maxTimeout = 1<<31 - 1

// submit passes a message to nexus, which will owe this session as many replies.
func (h *handler) submit(m wamp.Message, replies int) {
	h.peer.owe(replies)
	h.peer.submit(m)
}

// expire ends a call whose timeout is over, as if canceled in mode killnowait.
func (h *handler) expire(id uint64, c *call) {
	if h.calls[id] != c || c.answered {
		return
	}
	c.timedOut = true
	h.submit(&wamp.Cancel{Request: wamp.ID(id), Options: wamp.Dict{wamp.OptMode: wamp.CancelModeKillNoWait}}, 0)
}

// onCancel: [CANCEL, CALL.Request|id, Options|dict]. What is not open any more
// has been answered.
func (h *handler) onCancel(m request) error {
	id := m.id(1)
	o := h.options(&m, 2)
	if m.err != nil {
		return m.err
	}
	c := h.calls[id]
	if c == nil || c.answered {
		return nil
	}
	switch o.mode {
	case "", wamp.CancelModeKillNoWait, wamp.CancelModeSkip:
		if c.own {
			delete(h.calls, id)
			h.refuse(typeCall, id, uriCanceled, "")
			return nil
		}
	case wamp.CancelModeKill:
		if c.own {
			return nil // its answer is on the way
		}
		// The callee answers, or, if it is gone or does not, nobody would: nexus
		// forgets such a call.
		c.arm(h.e.o.CancelGrace, func() { h.post(func() { h.abandon(id, c) }) })
	default:
		h.refuse(typeCancel, id, uriInvalidArgument, "unknown cancel mode")
		return nil
	}
	h.submit(&wamp.Cancel{Request: wamp.ID(id), Options: wamp.Dict{wamp.OptMode: o.mode}}, 0)
	return nil
}

// abandon answers a canceled call that its callee does not answer. It still
// counts as open: nexus remembers it until this session or the callee leaves.
func (h *handler) abandon(id uint64, c *call) {
	if h.calls[id] != c || c.answered {
		return
	}
	c.answered = true
	uri := uriCanceled
	if c.timedOut {
		uri = uriTimeout
	}
	h.refuse(typeCall, id, uri, "")
}

// onRegister: [REGISTER, Request|id, Options|dict, Procedure|uri].
func (h *handler) onRegister(m request) error {
	id, uri := m.id(1), m.str(3)
	o := h.options(&m, 2)
	if m.err != nil {
		return m.err
	}
	if _, open := h.opening[id]; open {
		return errRepeated
	}
	_, err := msg.TopicOfURI(uri)
	switch {
	case err != nil:
		h.refuseErr(typeRegister, id, err)
		return nil
	case reserved(uri):
		h.refuseErr(typeRegister, id, msg.ErrTopicReserved)
		return nil
	case o.match != "" && o.match != wamp.MatchExact:
		h.refuseErr(typeRegister, id, msg.ErrNotSupported)
		return nil
	case !knownInvoke(o.invoke): // a second callee under an unknown policy makes nexus panic
		h.refuse(typeRegister, id, uriInvalidArgument, "unknown invocation policy")
		return nil
	case h.procedures[uri]: // a session twice in one shared registration makes nexus panic
		h.refuse(typeRegister, id, uriProcedureExists, "")
		return nil
	case len(h.procedures) >= h.e.o.MaxRegistrations:
		h.refuse(typeRegister, id, uriQuota, "too many registrations")
		return nil
	}
	if h.procedures == nil {
		h.procedures, h.opening, h.regs = map[string]bool{}, map[uint64]string{}, map[uint64]string{}
	}
	h.procedures[uri] = true
	h.opening[id] = uri
	o.passed[wamp.OptMatch] = wamp.MatchExact
	o.passed[wamp.OptInvoke] = o.invoke
	h.submit(&wamp.Register{Request: wamp.ID(id), Options: o.passed, Procedure: wamp.URI(uri)}, 1)
	return nil
}

func knownInvoke(policy string) bool {
	switch policy {
	case "", wamp.InvokeSingle, wamp.InvokeRoundRobin, wamp.InvokeRandom, wamp.InvokeFirst, wamp.InvokeLast:
		return true
	}
	return false
}

// onUnregister: [UNREGISTER, Request|id, REGISTERED.Registration|id]. Nexus
// would take a foreign registration apart.
func (h *handler) onUnregister(m request) error {
	id, reg := m.id(1), m.id(2)
	if m.err != nil {
		return m.err
	}
	uri, mine := h.regs[reg]
	if !mine {
		h.refuse(typeUnregister, id, uriNoRegistration, "")
		return nil
	}
	delete(h.regs, reg)
	delete(h.procedures, uri)
	h.submit(&wamp.Unregister{Request: wamp.ID(id), Registration: wamp.ID(reg)}, 1)
	return nil
}

// onYield: [YIELD, INVOCATION.Request|id, Options|dict, Arguments|list,
// ArgumentsKw|dict].
func (h *handler) onYield(m request) error {
	id := m.id(1)
	o := h.options(&m, 2)
	p := m.payload(3)
	if m.err != nil {
		return m.err
	}
	if o.progress {
		o.passed[wamp.OptProgress] = true
	}
	h.submit(&wamp.Yield{Request: wamp.ID(id), Options: o.passed, Arguments: carry(p, nil)}, 0)
	return nil
}

// onError: [ERROR, INVOCATION, INVOCATION.Request|id, Details|dict, Error|uri,
// Arguments|list, ArgumentsKw|dict]; the only ERROR a client sends.
func (h *handler) onError(m request) error {
	what, id, uri := m.id(1), m.id(2), m.str(4)
	m.dict(3, func(string, []byte) error { return nil })
	p := m.payload(5)
	if m.err != nil {
		return m.err
	}
	if what != typeInvocation || uri == "" {
		return errOrder
	}
	h.submit(&wamp.Error{Type: wamp.INVOCATION, Request: wamp.ID(id), Details: wamp.Dict{},
		Error: wamp.URI(uri), Arguments: carry(p, nil)}, 0)
	return nil
}
