package mqtt

import (
	"bytes"
	"time"
	"unicode/utf8"

	"parley/msg"

	"github.com/mochi-mqtt/server/v2/packets"
)

// inbound is a publish at QoS 1 or 2 whose PUBACK or PUBREC was not sent.
type inbound struct {
	id    uint16
	qos   msg.QoS
	again bool // at QoS 2: it is being exchanged already
	code  byte // refused by the engine itself with this v5 code; 0 = the session decides
}

// outcome is what became of an inbound publish: err, or the offset it is stored
// at.
type outcome struct {
	offset msg.Offset
	err    error
}

// publish handles PUBLISH. This is the hot path, so it decodes by hand; only a
// property list that is not empty goes to the codec.
func (h *handler) publish(p rawPacket) error {
	qos := msg.QoS(p.head >> 1 & 3)
	c := cursor{b: p.body}
	topic := c.take(int(c.u16()))
	var id uint16
	if qos > 0 {
		if id = c.u16(); id == 0 && c.err == nil { // [MQTT-2.2.1-3]
			return violation("packet identifier 0")
		}
	}
	var list []byte
	if h.version == 5 {
		list = c.props()
	}
	if c.err != nil {
		return c.err
	}
	payload := c.take(c.left())

	m := &msg.Message{QoS: qos, Retain: p.head&1 != 0, Via: msg.ViaMQTT}
	var refused error
	var alias uint16
	if len(list) < 2 {
		m.Payload.Data = bytes.Clone(payload)
	} else {
		own := append(append(make([]byte, 0, len(list)+len(payload)), list...), payload...)
		m.Payload.Data = own[len(list):]
		var err error
		if alias, refused, err = h.inProps(m, own[:len(list):len(list)], &c); err != nil {
			return err
		}
	}
	badTopic, err := h.setTopic(m, topic, alias)
	if err != nil {
		return err
	}
	h.e.received.Inc()
	return h.submit(m, id, firstOf(badTopic, refused))
}

// setTopic checks the topic and sets it; refused is a topic by MQTT's rules that
// is not taken here. A repeated topic, which is what most devices send, costs
// neither the check nor a new string.
func (h *handler) setTopic(m *msg.Message, topic []byte, alias uint16) (refused, err error) {
	if string(topic) == h.topic && h.topic != "" {
		m.Topic = h.topic
		if alias != 0 {
			h.aliases.bind(alias, m.Topic)
		}
		return nil, nil
	}
	switch {
	case len(topic) == 0 && alias != 0:
		return h.aliasTopic(m, alias)
	case len(topic) == 0: // section 3.3.2.3.4, [MQTT-4.7.3-1]
		return nil, violation("no topic")
	case bytes.ContainsAny(topic, "+#"): // [MQTT-3.3.2-2]
		return nil, malformed("topic has wildcards")
	case !utf8.Valid(topic), bytes.IndexByte(topic, 0) >= 0: // [MQTT-1.5.4-1], [MQTT-1.5.4-2]
		return nil, malformed("not a UTF-8 string")
	}
	m.Topic = string(topic)
	if alias != 0 {
		h.aliases.bind(alias, m.Topic)
	}
	if err := msg.ValidTopic(m.Topic); err != nil {
		return msg.ErrTopicInvalid, nil
	}
	if len(topic) <= 128 {
		h.topic = m.Topic
	}
	return nil, nil
}

// inProps applies a PUBLISH's property list, which m will share; had knows what
// is in it. refused is for the message alone, err for the connection.
func (h *handler) inProps(m *msg.Message, list []byte, had *cursor) (alias uint16, refused, err error) {
	props, err := decodeProps(packets.Publish, list)
	switch {
	case err != nil:
		return 0, nil, err
	case len(props.SubscriptionIdentifier) > 0: // [MQTT-3.3.4-6]
		return 0, nil, violation("subscription identifier from a client")
	case props.TopicAliasFlag && (props.TopicAlias == 0 || int(props.TopicAlias) > h.e.opts.TopicAliasMaximum): // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
		return 0, nil, fault{0x94, "topic alias invalid"}
	}
	if had.had(packets.PropMessageExpiryInterval) { // 0 is over at once, absent is never
		m.Expires = time.Now().Add(time.Duration(props.MessageExpiryInterval) * time.Second).UnixMilli()
	}
	if err := applyProps(m, props, had); err != nil {
		if f := err.(fault); f.code != 0x99 {
			return 0, nil, err
		}
		return props.TopicAlias, err, nil
	}
	return props.TopicAlias, takeKey(m), nil
}

// submit hands m to the session. A QoS 0 publish has no acknowledgement to carry
// a refusal: what the policy refuses is dropped (the hub counts it), what the
// engine refuses ends the connection.
func (h *handler) submit(m *msg.Message, id uint16, refused error) error {
	if m.QoS == 0 {
		if refused == nil {
			h.sess.Publish(m, nil)
		}
		return refused
	}
	in := inbound{id: id, qos: m.QoS}
	if refused != nil && h.version < 5 {
		return refused
	}
	switch {
	case m.QoS == 2:
		if in.again = h.qos2().taken(id); in.again {
			refused = nil // whatever it was, it is answered like the first one [MQTT-4.3.3-10]
		}
	case h.version == 5 && h.two != nil && h.two.open[id] != 0:
		refused = fault{0x91, "packet identifier in use"}
	}
	if !in.again {
		if h.owed++; h.version == 5 && h.owed > h.e.opts.ReceiveMaximum { // [MQTT-3.3.4-9]
			return fault{0x93, "receive maximum exceeded"}
		}
	}
	if refused != nil {
		f, ok := refused.(fault)
		if !ok {
			f.code = h.e.row(refused).puback
		}
		in.code = f.code
		h.unacked = append(h.unacked, in)
		return nil
	}
	if h.pubDone == nil {
		h.pubDone = func(o msg.Offset, err error) { h.outcomes.Put(outcome{o, err}) }
	}
	h.unacked = append(h.unacked, in)
	if m.QoS == 2 {
		h.sess.PublishOnce(id, m, h.pubDone)
	} else {
		h.sess.Publish(m, h.pubDone)
	}
	return nil
}

// acknowledge sends the PUBACKs and PUBRECs whose turn has come. The session's outcomes come
// in the order of the publishes, so nothing needs to name its packet id.
func (h *handler) acknowledge() {
	got := h.outcomes.Take(h.spare)
	h.spare = nil
	if len(got) == 0 && h.unacked[0].code == 0 {
		return
	}
	s := h.e.borrow()
	defer h.e.giveBack(s)
	next, n := 0, 0
	for ; n < len(h.unacked); n++ {
		u, o := h.unacked[n], outcome{}
		switch {
		case u.code != 0:
			o.err = fault{u.code, refusalText(u.code)}
		case next < len(got):
			o = got[next]
			next++
		default:
			h.shift(n)
			h.spare = small(got)
			return
		}
		if h.answer(s, u, o); h.state == stateEnded {
			return
		}
	}
	h.shift(n)
	h.spare = small(got)
}

// shift drops the first n of unacked.
func (h *handler) shift(n int) {
	rest := copy(h.unacked, h.unacked[n:])
	h.unacked = h.unacked[:rest]
	if rest == 0 && cap(h.unacked) > 256 {
		h.unacked = nil
	}
}

func small(s []outcome) []outcome {
	if cap(s) > 64 {
		return nil
	}
	return s
}

func refusalText(code byte) string {
	switch code {
	case 0x83:
		return keyInvalid
	case 0x99:
		return "payload format invalid"
	case 0x91:
		return "packet identifier in use"
	}
	return msg.ErrTopicInvalid.Error()
}

// answer sends one PUBACK or PUBREC, or ends the connection where the version has
// no way to refuse a message or the error leaves no other way.
func (h *handler) answer(s *scratch, u inbound, o outcome) {
	kind := byte(packets.Puback)
	if u.qos == 2 {
		kind = packets.Pubrec
	}
	if o.err == nil {
		s.buf = h.appendStored(s.buf[:0], kind, u.id, o.offset)
		h.send(s.buf)
		h.answered(u, true)
		return
	}
	err := o.err
	f, ok := err.(fault)
	if !ok {
		r := h.e.row(err)
		switch {
		case r.ends:
			h.endFor(err)
			return
		case h.version < 5 && r.refusal && h.e.opts.AckRefused:
			h.answer(s, u, outcome{})
			return
		}
		f = fault{r.puback, r.err.Error()}
	}
	if h.version < 5 {
		h.fail(err)
		return
	}
	h.log().Debug("publish refused", "code", f.code, "error", err)
	h.send(h.encodeAck(kind, u.id, f.code, f.text))
	h.answered(u, false)
}

// answered settles what was counted for a publish: at QoS 1 and for a refused one
// the exchange is over, else it goes on with PUBREL.
func (h *handler) answered(u inbound, positive bool) {
	if !u.again && (u.qos == 1 || !positive) {
		h.owed--
	}
	if u.qos == 2 && h.state == stateOpen {
		h.recorded(u.id, positive)
	}
}
