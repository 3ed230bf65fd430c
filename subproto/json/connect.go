package json

import (
	"context"
	"errors"
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
	h.state, h.byHand, h.enterID, h.want = stateEntering, byHand, c.id, c.session
	if h.want.bad != "" {
		h.close(closeBadRequest, h.want.bad, msg.ErrProtocol)
		return
	}
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
	h.session = h.engine.opt.Attach(h.c, id, h.params(), func(r msg.AttachResult, err error) {
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
	res := o.what.(msg.AttachResult)
	h.epoch = res.Epoch
	h.c.Ready()
	h.resume(&res)
	news := h.firstNotices()
	r := reply{id: h.enterID, kind: kindConnect, client: clientID(h.session.ID()), version: h.engine.opt.Version}
	if h.want.name != "" {
		r.epoch, r.subs, r.data = h.epoch, h.channels, h.sessionData(res.Present)
	}
	if h.byHand {
		h.c.SetPing(true)
	} else {
		h.c.SetPing(false)
		r.ping, r.pong = int(h.engine.opt.PingInterval/time.Second), true
		h.pinger.start(h)
	}
	h.reply(&r)
	if len(h.channels) > 0 && !h.byHand {
		h.gated = true
		h.pinger.send(h)
	}
	for i := range news {
		h.notice(&news[i])
	}
	rest := h.rest
	h.rest = nil
	h.commands(rest)
}

// firstNotices takes what a resumed session has to say before its deliveries: the
// connect reply tells which filters missed something.
func (h *conn) firstNotices() (news []msg.Notice) {
	if len(h.channels) == 0 {
		return nil
	}
	for n := &h.scratch().n; h.session.NextNotice(n); {
		if n.Kind == msg.NoticeGap {
			h.missed(n)
		}
		news = append(news, *n)
	}
	return news
}
