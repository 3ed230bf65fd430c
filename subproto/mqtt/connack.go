package mqtt

import (
	"strings"
	"time"

	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// connack builds the accepting CONNACK. What it does not name is available by
// the specification: QoS 2, retain, wildcards, subscription identifiers, shared
// subscriptions. present is Session Present, which 3.1 does not know.
// gaps are those that arose while the client was away.
func (h *handler) connack(p *pendingConnect, present bool, gaps []gap) []byte {
	if h.version < 5 {
		flag := byte(0)
		if present && h.version == 4 { // [MQTT-3.2.2-2] of 3.1.1
			flag = 1
		}
		return []byte{packets.Connack << 4, 2, flag, 0}
	}
	props := packets.Properties{
		ReceiveMaximum:    uint16(h.e.opts.ReceiveMaximum),
		MaximumPacketSize: uint32(h.e.opts.MaxPacket),
		TopicAliasMaximum: uint16(h.e.opts.TopicAliasMaximum),
	}
	if granted := p.params.Expiry; p.expiryCut { // section 3.2.2.3.2
		props.SessionExpiryInterval, props.SessionExpiryIntervalFlag = uint32(granted/time.Second), true
	}
	if p.askResponse { // [MQTT-3.1.2-28]
		props.ResponseInfo = h.responseInfo(p.params.ClientID)
	}
	if p.assigned {
		props.AssignedClientID = p.params.ClientID
	}
	if p.serverKeep {
		props.ServerKeepAlive, props.ServerKeepAliveFlag = p.keepAlive, true
	}
	props.User = gapProperties(gaps)
	packet := encodeConnack(0, present, props)
	if len(gaps) > 0 && h.maxOut > 0 && len(packet) > h.maxOut { // [MQTT-3.2.2-20]
		props.User = nil
		packet = encodeConnack(0, present, props)
	}
	return packet
}

// responseInfo is where the client may expect answers: below a level of its own
// (section 4.10.1). A client id that is no level gets none.
func (h *handler) responseInfo(id string) string {
	if h.e.opts.ResponseTopics == "" || id == "" || strings.ContainsAny(id, "/+#") {
		return ""
	}
	topic := h.e.opts.ResponseTopics + "/" + id
	if msg.ValidTopic(topic) != nil {
		return ""
	}
	return topic
}

// refuse answers CONNECT with a negative CONNACK and closes. Where 3.1.1 has no
// return code that applies, there is no CONNACK ([MQTT-3.2.2-6] of 3.1.1); the
// connection is closed.
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
			return encodeConnack(f.code, false, packets.Properties{ReasonString: text})
		}, f.text)
	case code3 != 0:
		h.send([]byte{packets.Connack << 4, 2, 0, code3})
	}
	h.end(msg.CloseGoodbye, 0, closing, f.text)
}

// refuseVersion answers a protocol level that is not served, in the form that a
// client of that level can read ([MQTT-3.1.2-2] of both versions). Levels with
// the highest bit set are those of bridges of another broker, which fall back to
// the level without it when told so.
func (h *handler) refuseVersion(version byte) {
	h.e.refused.Inc()
	if version&0x7f > 5 || version == 0x85 {
		h.send(encodeConnack(0x84, false, packets.Properties{}))
	} else {
		h.send([]byte{packets.Connack << 4, 2, 0, 1})
	}
	h.end(msg.CloseGoodbye, 0, subproto.CloseProtocol, "unsupported protocol version")
}
