package wamp

import (
	"context"
	"errors"
	"slices"

	"github.com/gammazero/nexus/v3/wamp"

	"parley/auth"
	"parley/msg"
	"parley/subproto"
)

// hello is what is known during the opening handshake.
type hello struct {
	realm   string
	authid  string
	methods []string // not tried yet, in the client's order
	roles   wamp.Dict
	durable durable
	creds   *credentials
}

// onHello: [HELLO, Realm|uri, Details|dict] (basic profile section 4.1.1). An
// empty realm asks for the connection's own namespace.
func (h *handler) onHello(m request) error {
	in := &hello{}
	if v := m.at(1); v != nil && h.w.shape(v) == shapeNull {
		in.realm = ""
	} else {
		in.realm = m.str(1)
	}
	var extra durable
	m.dict(2, func(key string, v []byte) (err error) {
		switch key {
		case keySession, keyExpiry:
			err = in.durable.read(h.w, key, v)
		case "authextra":
			if h.w.shape(v) == shapeDict {
				_, err = h.w.dict(v, maxDepth, func(key string, v []byte) error {
					if h.w.shape(v) == shapeNull {
						return nil
					}
					return extra.read(h.w, key, v)
				})
			}
		case "roles":
			in.roles, err = readRoles(h.w, v)
		case "authid":
			if h.w.shape(v) != shapeNull {
				err = word(h.w, v, &in.authid)
			}
		case "authmethods":
			if h.w.shape(v) != shapeNull {
				in.methods, err = texts(h.w, v)
			}
		}
		return err
	})
	if m.err != nil {
		return m.err
	}
	if len(in.roles) == 0 {
		return errors.New("HELLO announces no role")
	}
	h.hello = in
	in.durable.or(&extra)
	if !in.durable.valid() {
		h.abort(faultOf(msg.ErrBadClientID))
		return nil
	}
	if len(in.methods) == 0 {
		in.methods = []string{"anonymous"}
	}
	// Who was proved by HTTP needs to prove nothing, unless the client insists.
	if id := h.conn.Info().Identity; id != nil && (!slices.Contains(in.methods, "ticket") || slices.Contains(in.methods, "anonymous")) {
		h.authenticated(id, methodName(id))
		return nil
	}
	h.nextMethod(fault{uriNoAuthMethod, "no authentication method that was offered is available", subproto.ClosePolicy})
	return nil
}

// readRoles keeps the four client roles and the features announced as true:
// everything else in them would be nexus' to misread.
func readRoles(w wire, v []byte) (wamp.Dict, error) {
	roles := wamp.Dict{}
	_, err := w.dict(v, maxDepth, func(role string, v []byte) error {
		if !slices.Contains([]string{"publisher", "subscriber", "caller", "callee"}, role) {
			return nil
		}
		features := wamp.Dict{}
		roles[role] = wamp.Dict{"features": features}
		if w.shape(v) != shapeDict {
			return errType
		}
		_, err := w.dict(v, maxDepth, func(key string, v []byte) error {
			if key != "features" || w.shape(v) == shapeNull {
				return nil
			}
			_, err := w.dict(v, maxDepth, func(feature string, v []byte) error {
				if t, _ := w.boolean(v); t && slices.Contains(knownFeatures(), feature) {
					features[feature] = true
				}
				return nil
			})
			return err
		})
		return err
	})
	return roles, err
}

const featureRevocation = "subscription_revocation"

// knownFeatures are those of a client that make a difference.
func knownFeatures() []string {
	return []string{
		wamp.FeatureCallCanceling, wamp.FeatureCallerIdent, wamp.FeatureProgCallResults, wamp.FeaturePayloadPassthruMode,
		featureRevocation,
	}
}

// nextMethod tries the next authentication method the client offered; with
// none left, last says why it ends.
func (h *handler) nextMethod(last fault) {
	in := h.hello
	for len(in.methods) > 0 {
		method := in.methods[0]
		in.methods = in.methods[1:]
		switch method {
		case "anonymous":
			h.authenticate(auth.Credentials{}, "anonymous")
			return
		case "ticket": // advanced profile, section on ticket-based authentication
			e := h.begin(typeChallenge, 3)
			e.text("ticket")
			e.dict(0)
			e.endDict()
			h.send()
			h.state = stateChallenged
			return
		}
	}
	h.abort(last)
}

// onAuthenticate: [AUTHENTICATE, Signature|string, Extra|dict]. The signature is
// the ticket: a password if there is an authid, else a token.
func (h *handler) onAuthenticate(m request) error {
	ticket := m.str(1)
	if m.err != nil {
		return m.err
	}
	if ticket == "" && h.hello.authid == "" {
		// No ticket is not an anonymous session: the client said it has one.
		h.denied(msg.ErrBadCredentials)
		return nil
	}
	h.authenticate(auth.Credentials{User: h.hello.authid, Secret: ticket}, "ticket")
	return nil
}

func (h *handler) authenticate(c auth.Credentials, method string) {
	info := h.conn.Info()
	c.Protocol, c.Namespace, c.Remote = msg.ViaWAMP, h.hello.realm, info.Remote
	if c.Namespace == "" {
		c.Namespace = info.Namespace
	}
	h.state = stateBusy
	ctx, cancel := context.WithTimeout(context.Background(), h.e.o.AuthTimeout)
	h.cancel = cancel
	h.e.o.Auth.Authenticate(ctx, c, func(id *auth.Identity, err error) {
		h.post(func() {
			cancel()
			h.cancel = nil
			switch {
			case err == nil && id == nil:
				h.denied(msg.ErrAuthUnavail)
			case err == nil:
				h.authenticated(id, method)
			case method == "anonymous" && errors.Is(err, msg.ErrNotAuthorized):
				h.nextMethod(handshakeFault(err))
			default:
				h.denied(err)
			}
		})
	})
}

func (h *handler) denied(err error) {
	count(h.e.authFailed)
	h.conn.Info().Log.Info("authentication failed", "authid", h.hello.authid, "error", err)
	h.abort(handshakeFault(err))
}

// authenticated resolves the namespace and joins nexus; WELCOME or ABORT comes
// through the peer.
func (h *handler) authenticated(id *auth.Identity, method string) {
	h.state = stateBusy
	ns, err := h.e.o.Namespaces.Resolve(id, h.hello.realm, h.conn.Info().Namespace)
	if err != nil {
		h.abort(faultOf(err))
		return
	}
	h.hello.creds = &credentials{identity: id, namespace: ns, method: method}
	h.peer = newPeer(h.fromNexus, func() { h.post(h.expelled) })
	if err := h.e.attach(h.peer, h.hello.creds, h.hello.roles, h.conn.Info().Protocol); err != nil {
		h.abort(faultOf(err))
	}
}

// expelled ends a connection whose session nexus has ended without our asking.
func (h *handler) expelled() {
	for _, o := range h.backlog {
		if h.state != stateEnded {
			h.received(o)
		}
	}
	switch h.state {
	case stateEnded:
	case stateOpen:
		h.goodbye(msg.CloseDrain, faultOf(msg.ErrDraining))
	default:
		h.abort(faultOf(msg.ErrDraining))
	}
}

// welcomed attaches to the message plane under nexus' session id; only then the
// client hears of the session.
func (h *handler) welcomed(w *wamp.Welcome) {
	params := msg.SessionParams{
		Namespace: h.hello.creds.namespace,
		Protocol:  msg.ViaWAMP,
		ClientID:  h.hello.durable.name,
		ID:        uint64(w.ID),
		Expiry:    h.hello.durable.lifetime(),
	}
	h.session = h.e.o.Attach(h.conn, h.hello.creds.identity, params, func(r msg.AttachResult, err error) {
		h.post(func() { h.attached(w, r, err) })
	})
}

func (h *handler) attached(w *wamp.Welcome, r msg.AttachResult, err error) {
	if err != nil {
		h.abort(handshakeFault(err))
		return
	}
	h.pubIDs = newPubIDs(r.Epoch, h.hello.creds.namespace)
	h.creds = h.hello.creds
	h.own = h.e.callers[h.creds.namespace]
	h.durable, h.head = h.hello.durable.named, r.Head
	h.resume(r.Subscriptions)
	e := h.begin(typeWelcome, 3)
	e.uint(uint64(w.ID))
	details := h.welcomeDetails(w.Details)
	if h.durable {
		details[keyPresent] = r.Present
		details[keySubscriptions] = h.looseSubscriptions()
	}
	e.any(details)
	h.send()
	subscriber, _ := h.hello.roles[wamp.RoleSubscriber].(wamp.Dict)
	features, _ := subscriber["features"].(wamp.Dict)
	_, h.hearsRevocation = features[featureRevocation]
	h.hello = nil
	h.state = stateOpen
	h.conn.Ready()
	h.conn.SetPing(true)
}

// welcomeDetails tells the truth about us: nexus' own list of features is fixed.
func (h *handler) welcomeDetails(from wamp.Dict) wamp.Dict {
	d := wamp.Dict{
		"agent": h.e.o.Agent,
		"realm": h.hello.realm,
		"roles": wamp.Dict{
			"broker": wamp.Dict{"features": wamp.Dict{
				"publisher_identification":      true,
				"publisher_exclusion":           true,
				"subscriber_blackwhite_listing": true,
				"pattern_based_subscription":    true,
				"event_retention":               true,
				"event_history":                 true,
				featureRevocation:               true,
			}},
			"dealer": wamp.Dict{"features": wamp.Dict{
				wamp.FeatureCallCanceling:       true,
				wamp.FeatureCallTimeout:         true,
				wamp.FeatureCallerIdent:         true,
				wamp.FeatureProgCallResults:     true,
				wamp.FeatureSharedReg:           true,
				wamp.FeatureSessionMetaAPI:      true,
				wamp.FeatureRegMetaAPI:          true,
				wamp.FeaturePayloadPassthruMode: true,
			}},
		},
	}
	if h.hello.realm == "" {
		d["realm"] = h.hello.creds.namespace
	}
	for _, k := range [...]string{"authid", "authrole", "authmethod", "authprovider", "authextra"} {
		d[k] = from[k]
	}
	return d
}
