package mqtt

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"
	"time"

	"parley/auth"
	"parley/msg"

	"github.com/mochi-mqtt/server/v2/packets"
)

// connect handles CONNECT: decode, then authenticate, then attach, then CONNACK.
// One whose fields reach beyond its Remaining Length although more bytes have
// come lies about its length: where packets begin and end in this stream is not
// known, so it is closed without an answer, as [MQTT-3.1.4-1] allows too.
func (h *handler) connect(body []byte, more bool) {
	version, err := connectVersion(body)
	if err != nil {
		h.e.refused.Inc()
		h.fail(err)
		return
	}
	if version < 3 || version > 5 {
		h.refuseVersion(version)
		return
	}
	h.version = version
	h.state = statePending
	pk, err := decodeConnect(bytes.Clone(body), version)
	switch {
	case more && err == cutShort():
		h.e.refused.Inc()
		h.fail(err)
		return
	case err != nil:
		h.refuse(err)
		return
	}
	h.pending = &pendingConnect{}
	if err := h.prepare(pk); err != nil {
		h.refuse(err)
		return
	}
	h.authenticate(pk)
}

// prepare takes over what CONNECT asks for.
func (h *handler) prepare(pk *connect) error {
	p, props := h.pending, &pk.Properties
	if props.RequestProblemInfoFlag && props.RequestProblemInfo == 0 {
		h.problemInfo = false
	}
	h.maxOut = int(props.MaximumPacketSize)
	h.noExpiry = props.SessionExpiryInterval == 0
	h.aliases.most = min(props.TopicAliasMaximum, uint16(h.e.opts.TopicAliasMaximum))
	p.askResponse = props.RequestResponseInfo == 1
	for _, u := range props.User {
		if u.Key == propOffset && u.Val == "1" {
			h.wantOffset = true
		}
	}
	had := cursor{seen: pk.had}
	switch {
	case had.had(packets.PropAuthenticationMethod): // [MQTT-4.12.0-1]
		return fault{0x8c, "bad authentication method"}
	case had.had(packets.PropAuthenticationData): // section 3.1.2.11.10
		return violation("authentication data without a method")
	}

	id := strings.Clone(pk.Connect.ClientIdentifier) // the packet is not kept for its sake
	switch {
	case len(id) > h.e.opts.MaxClientID:
		return msg.ErrBadClientID
	case id == "" && h.version == 3, id == "" && h.version == 4 && !pk.Connect.Clean: // [MQTT-3.1.3-8] of 3.1.1
		return msg.ErrBadClientID
	case id == "" && h.version == 5: // [MQTT-3.1.3-6], [MQTT-3.1.3-7]
		id, p.assigned = "parley-"+rand.Text(), true
	}
	p.keepAlive = pk.Connect.Keepalive
	if most := h.e.opts.MaxKeepAlive; most >= time.Second && h.version == 5 {
		if s := uint16(min(most/time.Second, 65535)); p.keepAlive == 0 || p.keepAlive > s {
			p.keepAlive, p.serverKeep = s, true
		}
	}
	h.window = h.e.opts.Window
	if r := int(props.ReceiveMaximum); r > 0 {
		h.window = min(h.window, r)
	}
	will, err := h.will(pk)
	if err != nil {
		return err
	}
	asked := expiry(props.SessionExpiryInterval)
	if h.version < 5 && !pk.Connect.Clean {
		asked = msg.Forever
	}
	granted := h.e.grant(asked)
	h.durable, p.expiryCut = granted > 0, granted != asked
	p.params = msg.SessionParams{
		Protocol: msg.ViaMQTT, ClientID: id, Window: h.window, Will: will,
		CleanStart: pk.Connect.Clean, Expiry: granted,
		ParkWhenFull: h.version < 5,
		Exact:        true,
	}
	return nil
}

// expiry is what a Session Expiry Interval means (section 3.1.2.11.2).
func expiry(seconds uint32) time.Duration {
	if seconds == 0xffffffff {
		return msg.Forever
	}
	return time.Duration(seconds) * time.Second
}

// grant holds an expiry to what the operator allows.
func (e *Engine) grant(asked time.Duration) time.Duration {
	if most := e.opts.MaxSessionExpiry; most > 0 {
		return min(asked, most)
	}
	return asked
}

// authenticate finds out who the peer is: from CONNECT's user name and password
// (a password alone is a token), else from what HTTP has proved, else as nobody.
func (h *handler) authenticate(pk *connect) {
	info := h.c.Info()
	cred := auth.Credentials{
		User: string(pk.Connect.Username), Secret: string(pk.Connect.Password), Protocol: msg.ViaMQTT,
		ClientID: h.pending.params.ClientID, Namespace: info.Namespace, Remote: info.Remote,
	}
	if cred.None() && info.Identity != nil {
		h.attach(info.Identity)
		return
	}
	if h.e.auth == nil {
		h.refuse(msg.ErrNotAuthorized)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.pending.cancel = cancel
	h.waiting++
	h.e.auth.Authenticate(ctx, cred, func(id *auth.Identity, err error) {
		h.post(func() { h.authenticated(id, err) })
		h.c.Wake()
	})
}

func (h *handler) authenticated(id *auth.Identity, err error) {
	if h.state != statePending {
		return
	}
	h.pending.cancel()
	h.pending.cancel = nil
	if err != nil {
		h.e.authFailed.Inc()
		h.refuse(err)
		return
	}
	h.attach(id)
}

// attach asks for the session.
func (h *handler) attach(id *auth.Identity) {
	p := h.pending
	ns, err := h.e.namespaces.Resolve(id, "", h.c.Info().Namespace)
	if err != nil {
		h.refuse(err)
		return
	}
	p.params.Namespace = ns
	h.waiting++
	h.sess = h.e.attach(h.c, id, p.params, func(r msg.AttachResult, err error) {
		h.post(func() { h.attached(r, err) })
	})
}

func (h *handler) attached(r msg.AttachResult, err error) {
	if h.state != statePending {
		return
	}
	if err != nil {
		h.refuse(err)
		return
	}
	p := h.pending
	h.pending = nil
	h.state = stateOpen
	for i := range r.Subscriptions {
		if isGapFilter(r.Subscriptions[i].Filter) {
			h.listen(&r.Subscriptions[i])
		}
	}
	var gaps []gap
	var other msg.Notice
	more := false
	if r.Present && h.version == 5 {
		gaps, more = h.earlyGaps(&other)
	}
	h.send(h.connack(p, r.Present, gaps))
	if h.state == stateEnded {
		return
	}
	h.c.Ready()
	h.startKeepAlive(p.keepAlive)
	h.resume(r)
	for i := range gaps {
		h.tellGap(&gaps[i])
	}
	if more && h.state == stateOpen {
		h.notice(&other)
	}
	h.pull = true
}
