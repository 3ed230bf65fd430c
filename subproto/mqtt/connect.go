package mqtt

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"
	"time"
	"unicode/utf8"

	"parley/auth"
	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// connect handles CONNECT: decode, then authenticate, then attach, then CONNACK.
func (h *handler) connect(body []byte) {
	version, err := connectVersion(body)
	if err != nil {
		h.e.refused.Inc()
		h.fail(err)
		return
	}
	if version != 4 && version != 5 {
		h.refuseVersion(version)
		return
	}
	h.version = version
	h.state = statePending
	pk, err := decodeConnect(bytes.Clone(body), version)
	if err != nil {
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
func (h *handler) prepare(pk *packets.Packet) error {
	p, props := h.pending, &pk.Properties
	if props.RequestProblemInfoFlag && props.RequestProblemInfo == 0 {
		h.problemInfo = false
	}
	h.maxOut = int(props.MaximumPacketSize)
	h.noExpiry = props.SessionExpiryInterval == 0
	p.askExpiry = !h.noExpiry
	for _, u := range props.User {
		if u.Key == propOffset && u.Val == "1" {
			h.wantOffset = true
		}
	}
	if props.AuthenticationMethod != "" {
		return fault{0x8c, "bad authentication method"}
	}
	if len(props.AuthenticationData) > 0 { // section 3.1.2.11.10
		return violation("authentication data without a method")
	}

	id := strings.Clone(pk.Connect.ClientIdentifier) // the packet is not kept for its sake
	switch {
	case len(id) > h.e.opts.MaxClientID:
		return msg.ErrBadClientID
	case id == "" && h.version == 4 && !pk.Connect.Clean: // [MQTT-3.1.3-8] of 3.1.1
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
	window := h.e.opts.Window
	if r := int(props.ReceiveMaximum); r > 0 {
		window = min(window, r)
	}
	will, err := h.will(pk)
	if err != nil {
		return err
	}
	p.params = msg.SessionParams{
		Protocol: msg.ViaMQTT, ClientID: id, Window: window, Will: will,
		// Until sessions outlive their connections each one is new, whatever the
		// client asks for, and CONNACK says so.
		CleanStart:   true,
		ParkWhenFull: h.version == 4,
	}
	return nil
}

// will builds the will's message.
func (h *handler) will(pk *packets.Packet) (*msg.Will, error) {
	if !pk.Connect.WillFlag {
		return nil, nil
	}
	c, props := &pk.Connect, &pk.Connect.WillProperties
	if c.WillQos == 2 { // [MQTT-3.2.2-12]
		return nil, fault{0x9b, "QoS not supported"}
	}
	m := &msg.Message{Topic: c.WillTopic, QoS: msg.QoS(c.WillQos), Retain: c.WillRetain, Via: msg.ViaMQTT, Payload: msg.Bytes(c.WillPayload)}
	if err := msg.ValidTopic(m.Topic); err != nil {
		return nil, err
	}
	if err := applyProps(m, props); err != nil {
		return nil, err
	}
	// The delay ends with the session ([MQTT-3.1.3-9]); it is held to what the
	// client asked its session to last.
	delay := min(props.WillDelayInterval, pk.Properties.SessionExpiryInterval)
	w := &msg.Will{Message: m, Delay: time.Duration(delay) * time.Second}
	w.Lifetime = time.Duration(props.MessageExpiryInterval) * time.Second
	return w, nil
}

// authenticate finds out who the peer is: from CONNECT's user name and password
// (a password alone is a token), else from what HTTP has proved, else as nobody.
func (h *handler) authenticate(pk *packets.Packet) {
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
	h.sess = h.e.attach(h.c, id, p.params, func(_ msg.AttachResult, err error) {
		h.post(func() { h.attached(err) })
	})
}

func (h *handler) attached(err error) {
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
	h.send(h.connack(p))
	if h.state == stateEnded {
		return
	}
	h.c.Ready()
	h.startKeepAlive(p.keepAlive)
	h.pull = true
}

// connack builds the accepting CONNACK. What it does not name is available by
// the specification: retain, wildcards, subscription identifiers; an absent
// Topic Alias Maximum means none.
func (h *handler) connack(p *pendingConnect) []byte {
	if h.version == 4 {
		return []byte{packets.Connack << 4, 2, 0, 0}
	}
	props := packets.Properties{
		ReceiveMaximum:         uint16(h.e.opts.ReceiveMaximum),
		MaximumPacketSize:      uint32(h.e.opts.MaxPacket),
		MaximumQos:             1,
		MaximumQosFlag:         true,
		SharedSubAvailableFlag: true,
		// Session Expiry Interval 0: the session ends with the connection.
		SessionExpiryIntervalFlag: p.askExpiry,
	}
	if p.assigned {
		props.AssignedClientID = p.params.ClientID
	}
	if p.serverKeep {
		props.ServerKeepAlive, props.ServerKeepAliveFlag = p.keepAlive, true
	}
	return encodeConnack(0, props)
}

// refuse answers CONNECT with a negative CONNACK and closes. Where 3.1.1 has no
// return code that applies, there is no CONNACK ([MQTT-3.2.2-6] of 3.1.1); that
// goes for a will of QoS 2 too, for which "server unavailable" would be a lie.
func (h *handler) refuse(err error) {
	h.log().Debug("CONNECT refused", "error", err)
	h.e.refused.Inc()
	f, ok := err.(fault)
	closing, code3 := closeOf(f), byte(0)
	if !ok {
		r := h.e.row(err)
		f, closing, code3 = fault{r.connack, r.err.Error()}, r.closing, r.connack3
	}
	switch {
	case h.version == 5:
		h.sendReason(func(text string) []byte {
			return encodeConnack(f.code, packets.Properties{ReasonString: text})
		}, f.text)
	case code3 != 0:
		h.send([]byte{packets.Connack << 4, 2, 0, code3})
	}
	h.end(msg.CloseGoodbye, 0, closing, f.text)
}

// refuseVersion answers a protocol level that is not served, in the form that a
// client of that level can read ([MQTT-3.1.2-2] of both versions).
func (h *handler) refuseVersion(version byte) {
	h.e.refused.Inc()
	if version > 5 {
		h.send(encodeConnack(0x84, packets.Properties{}))
	} else {
		h.send([]byte{packets.Connack << 4, 2, 0, 1})
	}
	h.end(msg.CloseGoodbye, 0, subproto.CloseProtocol, "unsupported protocol version")
}

// applyProps copies the properties that travel with a message, but for the
// expiry, whose start differs.
func applyProps(m *msg.Message, p *packets.Properties) error {
	if p.ResponseTopic != "" && strings.ContainsAny(p.ResponseTopic, "+#") { // [MQTT-3.3.2-14]
		return violation("response topic has wildcards")
	}
	if p.PayloadFormat == 1 {
		if !utf8.Valid(m.Payload.Data) {
			return fault{0x99, "payload format invalid"}
		}
		m.Payload.Text = true
	}
	m.Payload.ContentType = p.ContentType
	m.ResponseTopic = p.ResponseTopic
	m.Correlation = p.CorrelationData
	if len(p.User) > 0 {
		m.User = make([]msg.Property, len(p.User))
		for i, u := range p.User {
			m.User[i] = msg.Property{Name: u.Key, Value: u.Val}
		}
	}
	return nil
}
