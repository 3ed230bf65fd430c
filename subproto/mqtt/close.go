package mqtt

import (
	"strings"

	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// disconnect handles DISCONNECT. Only reason 0 discards the will
// ([MQTT-3.1.2-8], section 3.14.2.1).
func (h *handler) disconnect(body []byte) error {
	c := cursor{b: body}
	how := msg.CloseGoodbye
	var props *packets.Properties
	if h.version == 5 && c.left() > 0 {
		code := c.u8()
		if code != 0 {
			how = msg.CloseLost
		}
		if c.err == nil && strings.IndexByte(disconnectCodes, code) < 0 {
			c.err = violation("reason code out of place")
		}
		if c.left() > 0 {
			var err error
			props, err = decodeProps(packets.Disconnect, c.props())
			c.err = firstOf(c.err, err)
		}
	}
	if err := c.end(); err != nil {
		return err
	}
	switch {
	case c.had(packets.PropServerReference):
		return violation("server reference from a client")
	case c.had(packets.PropSessionExpiryInterval) && props.SessionExpiryInterval > 0 && h.noExpiry: // section 3.14.2.2.2
		return violation("session expiry was 0 in CONNECT")
	case c.had(packets.PropSessionExpiryInterval):
		h.sess.SetExpiry(h.e.grant(expiry(props.SessionExpiryInterval)))
	}
	h.release(how)
	h.c.Close(subproto.CloseNormal, "")
	return nil
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// fail ends the connection for what the peer sent.
func (h *handler) fail(err error) {
	if h.state == stateEnded {
		return
	}
	f, ok := err.(fault)
	if !ok {
		h.endFor(err)
		return
	}
	h.log().Debug("closing for a fault of the peer", "code", f.code, "error", err)
	h.end(msg.CloseLost, f.code, closeOf(f), f.text)
}

// endFor ends the connection for a peer error.
func (h *handler) endFor(err error) {
	r := h.e.row(err)
	h.log().Debug("closing", "error", err)
	how := msg.CloseLost
	if r.err == msg.ErrDraining {
		how = msg.CloseDrain
	}
	h.end(how, r.disconnect, r.closing, r.err.Error())
}

// end tells the peer why, as far as its version can be told, and closes.
func (h *handler) end(how msg.CloseHow, code byte, closing int, text string) {
	if h.state == stateEnded {
		return
	}
	if h.version == 5 && h.state == stateOpen && code != 0 {
		h.sendReason(func(text string) []byte { return encodeDisconnect(code, text) }, text)
	}
	if h.state != stateOpen {
		how = msg.CloseGoodbye
	}
	h.release(how)
	h.c.Close(closing, text)
}

// release lets go of everything; the state is ended afterwards.
func (h *handler) release(how msg.CloseHow) {
	h.state = stateEnded
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.pending != nil && h.pending.cancel != nil {
		h.pending.cancel()
	}
	if h.sess != nil {
		h.sess.Close(how)
	}
	h.in, h.inOff, h.pending, h.inflight, h.unacked, h.two, h.listeners, h.aliases = nil, 0, nil, nil, nil, nil, nil, aliases{}
}

// send queues one packet. A client that set a Maximum Packet Size below what it
// has to be told cannot be served ([MQTT-3.1.2-24]); PUBLISH is measured by
// deliver before it comes here.
func (h *handler) send(packet []byte) {
	if h.maxOut > 0 && len(packet) > h.maxOut {
		if h.state == stateEnded {
			return
		}
		how := msg.CloseLost
		if h.state != stateOpen {
			how = msg.CloseGoodbye
		}
		h.release(how)
		h.c.Close(subproto.CloseTooBig, "maximum packet size too small")
		return
	}
	h.c.Send(subproto.Binary, packet)
}

// sendReason sends a packet with its reason string, or without it if the client
// does not want one or has no room for it ([MQTT-3.14.2-3], [MQTT-3.2.2-19]).
func (h *handler) sendReason(encode func(text string) []byte, text string) {
	packet := encode(h.reason(text))
	if h.maxOut > 0 && len(packet) > h.maxOut {
		packet = encode("")
	}
	h.send(packet)
}

// reason is text if the client wants to be told.
func (h *handler) reason(text string) string {
	if h.problemInfo {
		return text
	}
	return ""
}
