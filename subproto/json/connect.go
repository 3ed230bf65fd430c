package json

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"parley/auth"
	"parley/msg"
)

// entry is what is known of a connection once it was let in.
type entry struct {
	identity  *auth.Identity
	namespace string
}

// enter begins to let a client in: who is it, then its session.
func (h *conn) enter(c *command, byHand bool) {
	h.state, h.byHand, h.enterID = stateEntering, byHand, c.id
	info := h.c.Info()
	cred := auth.Credentials{
		User: c.user, Secret: c.password,
		Protocol: msg.ViaJSON, Namespace: info.Namespace, Remote: info.Remote,
	}
	if c.token != "" {
		cred.User, cred.Secret = "", c.token
	}
	switch {
	case cred.None() && info.Identity != nil:
		h.identified(info.Identity)
	case h.engine.opt.Auth == nil:
		h.identified(&auth.Identity{Method: "anonymous"})
	default:
		ctx, cancel := context.WithCancel(context.Background())
		h.cancel = cancel
		h.engine.opt.Auth.Authenticate(ctx, cred, func(id *auth.Identity, err error) {
			h.box.Put(outcome{apply: authenticated, err: err, what: id})
			h.c.Wake()
		})
	}
}

func authenticated(h *conn, o *outcome) {
	h.cancel()
	h.cancel = nil
	if o.err != nil {
		if errors.Is(o.err, msg.ErrBadCredentials) {
			h.engine.badAuth.Inc()
		}
		h.fail(o.err)
		return
	}
	h.identified(o.what.(*auth.Identity))
}

// identified opens the session.
func (h *conn) identified(id *auth.Identity) {
	ns, err := h.engine.opt.Namespaces.Resolve(id, "", h.c.Info().Namespace)
	if err != nil {
		h.fail(err)
		return
	}
	h.entry = entry{identity: id, namespace: ns}
	params := msg.SessionParams{Namespace: ns, Protocol: msg.ViaJSON, CleanStart: true}
	h.session = h.engine.opt.Attach(h.c, id, params, func(r msg.AttachResult, err error) {
		h.box.Put(outcome{apply: attached, err: err, what: r})
		h.c.Wake()
	})
}

// attached welcomes the client and executes what it sent meanwhile.
func attached(h *conn, o *outcome) {
	if o.err != nil {
		h.fail(o.err)
		return
	}
	h.state = stateConnected
	h.epoch = o.what.(msg.AttachResult).Epoch
	h.c.Ready()
	r := reply{id: h.enterID, kind: kindConnect, client: clientID(h.session.ID()), version: h.engine.opt.Version}
	if h.byHand {
		h.c.SetPing(true)
	} else {
		h.c.SetPing(false)
		r.ping, r.pong = int(h.engine.opt.PingInterval/time.Second), true
		h.pinger.start(h)
	}
	h.reply(&r)
	rest := h.rest
	h.rest = nil
	h.commands(rest)
}

// pinger sends application-level pings and waits for their answers. The timer
// only asks for a Wake, so it needs no goroutine of its own.
type pinger struct {
	timer   *time.Timer
	due     atomic.Bool // the timer has fired
	waiting bool        // between a ping and the limit for its answer
	owed    bool        // the answer to that ping has not come
}

func (p *pinger) start(h *conn) {
	p.timer = time.AfterFunc(h.engine.opt.PingInterval, func() {
		p.due.Store(true)
		h.c.Wake()
	})
}

func (p *pinger) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// tick does what is due.
func (p *pinger) tick(h *conn) {
	if !p.due.Swap(false) || h.state != stateConnected {
		return
	}
	opt := &h.engine.opt
	switch {
	case p.waiting && p.owed && h.reading:
		h.close(closeNoPong, "no pong", msg.ErrTimeout)
	case p.waiting && p.owed: // it may have come, but nothing is read now
		p.timer.Reset(opt.PongTimeout)
	case p.waiting:
		p.waiting = false
		p.timer.Reset(opt.PingInterval - opt.PongTimeout)
	default:
		p.waiting, p.owed = true, true
		h.sent(h.codec.ping(h.buffer()))
		p.timer.Reset(opt.PongTimeout)
	}
}

// answered notes that the client is there.
func (p *pinger) answered(*conn) { p.owed = false }

// paused is told that reading stops or goes on: the limit counts anew from
// where reading goes on.
func (p *pinger) paused(h *conn, reading bool) {
	if reading && p.waiting && p.owed {
		p.timer.Reset(h.engine.opt.PongTimeout)
	}
}
