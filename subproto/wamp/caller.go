package wamp

import (
	"slices"
	"sync"
	"time"

	"github.com/gammazero/nexus/v3/wamp"

	"parley/auth"
	"parley/msg"
	"parley/subproto"
)

// caller is the broker's own session in one namespace, through which other
// engines call. It joins with the first call. Nexus lets it call everything:
// the wiring has asked the policy.
type caller struct {
	e         *Engine
	namespace string

	mu      sync.Mutex
	peer    *peer         // nil before the first call
	joined  chan struct{} // closed when nexus has answered the HELLO or the session is over
	id      wamp.ID       // 0 before that
	err     error         // the session is over
	last    wamp.ID       // request id
	calls   map[wamp.ID]*outgoingCall
	queue   []wamp.Message // for nexus, in order
	sending bool           // a goroutine empties queue
}

type outgoingCall struct {
	done  func(subproto.CallResult)
	timer *time.Timer
	meta  metaCall
}

var _ subproto.Caller = (*Engine)(nil)

func newCaller(e *Engine, namespace string) *caller {
	return &caller{e: e, namespace: namespace}
}

// Call implements subproto.Caller. It does not ask the policy: wrap it with what
// does. After cancel done does not run, unless it has begun to.
// A call is canceled in mode killnowait.
func (e *Engine) Call(c subproto.Call, done func(subproto.CallResult)) (cancel func()) {
	fail := func(err error) func() {
		done(subproto.CallResult{Err: err})
		return func() {}
	}
	caller := e.callers[c.Namespace]
	if caller == nil {
		return fail(msg.ErrNoNamespace)
	}
	if _, err := msg.TopicOfURI(c.Procedure); err != nil {
		return fail(msg.ErrInvalidURI)
	}
	if closedMeta(c.Procedure) {
		return fail(msg.ErrNoProcedure)
	}
	if c.Timeout <= 0 {
		c.Timeout = e.o.CallTimeout
	}
	args, kwargs, err := toRouter(c.Procedure, c.Args, &c)
	if err != nil {
		done(subproto.CallResult{ErrorURI: uriInvalidArgument, Payload: noArguments()})
		return func() {}
	}
	cancel, err = caller.call(&wamp.Call{
		Options: wamp.Dict{}, Procedure: wamp.URI(c.Procedure), Arguments: args, ArgumentsKw: kwargs,
	}, c.Timeout, done)
	if err != nil {
		return fail(err)
	}
	return cancel
}

func noArguments() msg.Payload {
	return msg.Payload{Form: msg.FormArgs, Codec: msg.CodecJSON, Data: []byte("[[]]")}
}

func (c *caller) call(m *wamp.Call, timeout time.Duration, done func(subproto.CallResult)) (func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && c.peer == nil {
		c.join()
	}
	if c.err != nil {
		return nil, c.err
	}
	c.last++
	id := c.last
	m.Request = id
	c.calls[id] = &outgoingCall{
		done: done,
		meta: metaCallOf(m),
		timer: time.AfterFunc(timeout, func() {
			if c.giveUp(id) {
				done(subproto.CallResult{Err: msg.ErrTimeout})
			}
		}),
	}
	c.enqueue(m)
	return func() { c.giveUp(id) }, nil
}

// join attaches the session. Called with mu held.
func (c *caller) join() {
	c.calls = map[wamp.ID]*outgoingCall{}
	c.joined = make(chan struct{})
	c.peer = newPeer(c.deliver, c.over)
	creds := &credentials{
		identity:  &auth.Identity{User: "parley", Roles: []string{"parley"}},
		namespace: c.namespace, method: methodBroker, broker: true,
	}
	roles := wamp.Dict{wamp.RoleCaller: wamp.Dict{"features": wamp.Dict{
		wamp.FeatureCallCanceling: true, wamp.FeatureCallerIdent: true,
	}}}
	if err := c.e.attach(c.peer, creds, roles, "internal"); err != nil {
		c.err = err
	}
}

// enqueue hands m to nexus after what was enqueued before. Called with mu held.
func (c *caller) enqueue(m wamp.Message) {
	c.queue = append(c.queue, m)
	if !c.sending {
		c.sending = true
		go c.sendAll()
	}
}

func (c *caller) sendAll() {
	<-c.joined
	for {
		c.mu.Lock()
		batch := c.queue
		c.queue = nil
		if len(batch) == 0 || c.err != nil {
			c.sending = false
			c.mu.Unlock()
			return
		}
		p := c.peer
		c.mu.Unlock()
		for _, m := range batch {
			p.submit(m)
		}
	}
}

// giveUp cancels a call; false if it has ended already.
func (c *caller) giveUp(id wamp.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.calls[id]
	if out == nil {
		return false
	}
	out.timer.Stop()
	delete(c.calls, id)
	c.enqueue(&wamp.Cancel{Request: id, Options: wamp.Dict{wamp.OptMode: wamp.CancelModeKillNoWait}})
	return true
}

// deliver takes what nexus sends to the session.
func (c *caller) deliver(m wamp.Message) {
	switch m := m.(type) {
	case *wamp.Welcome:
		c.mu.Lock()
		c.id = m.ID
		close(c.joined)
		c.mu.Unlock()
	case *wamp.Result:
		if out := c.take(m.Request); out != nil {
			out.meta.hide(c.session(), m.Arguments)
			out.done(subproto.CallResult{Payload: toPayload(m.Arguments, m.ArgumentsKw)})
		}
	case *wamp.Error:
		out := c.take(m.Request)
		switch {
		case m.Type != wamp.CALL || out == nil:
		case m.Error == wamp.ErrNoSuchProcedure && carriedIn(m.Arguments) == nil:
			out.done(subproto.CallResult{Err: msg.ErrNoProcedure})
		default:
			out.done(subproto.CallResult{ErrorURI: string(m.Error), Payload: toPayload(m.Arguments, m.ArgumentsKw)})
		}
	}
}

func (c *caller) take(id wamp.ID) *outgoingCall {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.calls[id]
	if out != nil {
		out.timer.Stop()
		delete(c.calls, id)
	}
	return out
}

// session is the id by which nexus knows the broker's own session, 0 if it has
// none.
func (c *caller) session() wamp.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id
}

// over ends the session: open calls fail.
func (c *caller) over() {
	c.mu.Lock()
	calls := c.calls
	c.calls, c.queue = nil, nil
	c.err = msg.ErrDraining
	if c.id == 0 {
		close(c.joined)
	}
	c.id = 0
	c.mu.Unlock()
	for _, out := range calls {
		out.timer.Stop()
		out.done(subproto.CallResult{Err: msg.ErrDraining})
	}
}

// close ends the session for good, before its first call too.
func (c *caller) close() {
	c.mu.Lock()
	p := c.peer
	c.err = msg.ErrDraining
	c.mu.Unlock()
	if p != nil {
		p.Close()
		p.leave()
	}
}

func toPayload(list wamp.List, dict wamp.Dict) msg.Payload {
	if p := carriedIn(list); p != nil {
		return p.payload
	}
	args, kwargs := toClient(msg.CodecJSON, list, dict)
	e := encoder{codec: msg.CodecJSON}
	e.list(2)
	e.raw(args)
	e.raw(kwargs)
	e.endList()
	return msg.Payload{Form: msg.FormArgs, Codec: msg.CodecJSON, Data: e.b}
}

// metaCall marks calls whose result must not show the broker's own session.
type metaCall uint8

const (
	metaNone metaCall = iota
	metaList
	metaCount
)

func metaCallOf(m *wamp.Call) metaCall {
	switch {
	case m.Procedure == wamp.MetaProcSessionList:
		return metaList
	case m.Procedure == wamp.MetaProcSessionCount && len(m.Arguments) == 0:
		return metaCount
	}
	return metaNone
}

// hide takes session own out of a result of nexus.
func (k metaCall) hide(own wamp.ID, result wamp.List) {
	if own == 0 || len(result) != 1 {
		return
	}
	switch v := result[0].(type) {
	case []wamp.ID:
		if k == metaList {
			result[0] = slices.DeleteFunc(slices.Clone(v), func(id wamp.ID) bool { return id == own })
		}
	case int:
		if k == metaCount {
			result[0] = v - 1
		}
	}
}
