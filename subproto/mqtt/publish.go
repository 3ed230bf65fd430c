package mqtt

import (
	"bytes"
	"encoding/binary"
	"time"
	"unicode/utf8"

	"parley/msg"

	"github.com/mochi-mqtt/server/v2/packets"
)

// inbound is a QoS 1 publish whose PUBACK was not sent.
type inbound struct {
	id   uint16
	code byte // refused by the engine itself with this v5 code; 0 = the session decides
}

// publish handles PUBLISH. This is the hot path, so it decodes by hand; only a
// property list that is not empty goes to the codec.
func (h *handler) publish(p rawPacket) error {
	qos := msg.QoS(p.head >> 1 & 3)
	if qos == 2 { // Maximum QoS 1 in CONNACK [MQTT-3.2.2-11]
		return fault{0x9b, "QoS not supported"}
	}
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
	if len(list) < 2 {
		m.Payload.Data = bytes.Clone(payload)
	} else {
		own := append(append(make([]byte, 0, len(list)+len(payload)), list...), payload...)
		m.Payload.Data = own[len(list):]
		var err error
		if refused, err = inProps(m, own[:len(list):len(list)]); err != nil {
			return err
		}
	}
	badTopic, err := h.setTopic(m, topic)
	if err != nil {
		return err
	}
	h.e.received.Inc()
	return h.submit(m, id, firstOf(badTopic, refused))
}

// setTopic checks the topic and sets it; refused is a topic by MQTT's rules that
// is not taken here. A repeated topic, which is what most devices send, costs
// neither the check nor a new string.
func (h *handler) setTopic(m *msg.Message, topic []byte) (refused, err error) {
	if string(topic) == h.topic && h.topic != "" {
		m.Topic = h.topic
		return nil, nil
	}
	switch {
	case len(topic) == 0: // no alias can have replaced it (section 3.3.2.3.4)
		return nil, violation("no topic")
	case bytes.ContainsAny(topic, "+#"): // [MQTT-3.3.2-2]
		return nil, malformed("topic has wildcards")
	case !utf8.Valid(topic), bytes.IndexByte(topic, 0) >= 0: // [MQTT-1.5.4-1], [MQTT-1.5.4-2]
		return nil, malformed("not a UTF-8 string")
	}
	m.Topic = string(topic)
	if err := msg.ValidTopic(m.Topic); err != nil {
		return msg.ErrTopicInvalid, nil
	}
	if len(topic) <= 128 {
		h.topic = m.Topic
	}
	return nil, nil
}

// inProps applies a PUBLISH's property list, which m will share. refused is for
// the message alone, err for the connection.
func inProps(m *msg.Message, list []byte) (refused, err error) {
	props, err := decodeProps(packets.Publish, list)
	switch {
	case err != nil:
		return nil, err
	case props.TopicAliasFlag: // Topic Alias Maximum towards us is 0 [MQTT-3.2.2-18]
		return nil, fault{0x94, "topic alias invalid"}
	case len(props.SubscriptionIdentifier) > 0: // [MQTT-3.3.4-6]
		return nil, violation("subscription identifier from a client")
	}
	if props.MessageExpiryInterval > 0 {
		m.Expires = time.Now().Add(time.Duration(props.MessageExpiryInterval) * time.Second).UnixMilli()
	}
	if err := applyProps(m, props); err != nil {
		if f := err.(fault); f.code != 0x99 {
			return nil, err
		}
		return err, nil
	}
	return nil, nil
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
	if h.version == 5 && len(h.unacked) >= h.e.opts.ReceiveMaximum { // [MQTT-3.3.4-9]
		return fault{0x93, "receive maximum exceeded"}
	}
	if refused != nil && h.version == 4 {
		return refused
	}
	if refused != nil {
		f, ok := refused.(fault)
		if !ok {
			f.code = h.e.row(refused).puback
		}
		h.unacked = append(h.unacked, inbound{id, f.code})
		return nil
	}
	if h.pubDone == nil {
		h.pubDone = func(_ msg.Offset, err error) { h.outcomes.Put(err) }
	}
	h.unacked = append(h.unacked, inbound{id: id})
	h.sess.Publish(m, h.pubDone)
	return nil
}

// acknowledge sends the PUBACKs whose turn has come. The session's outcomes come
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
		u, err := h.unacked[n], error(nil)
		switch {
		case u.code != 0:
			err = fault{u.code, refusalText(u.code)}
		case next < len(got):
			err = got[next]
			next++
		default:
			h.shift(n)
			h.spare = small(got)
			return
		}
		if h.answer(s, u.id, err); h.state == stateEnded {
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

func small(s []error) []error {
	if cap(s) > 64 {
		return nil
	}
	return s
}

func refusalText(code byte) string {
	if code == 0x99 {
		return "payload format invalid"
	}
	return msg.ErrTopicInvalid.Error()
}

// answer sends one PUBACK, or ends the connection where the version has no way
// to refuse a message or the error leaves no other way.
func (h *handler) answer(s *scratch, id uint16, err error) {
	if err == nil {
		s.buf = append(s.buf[:0], packets.Puback<<4, 2, byte(id>>8), byte(id))
		h.send(s.buf)
		return
	}
	f, ok := err.(fault)
	if !ok {
		r := h.e.row(err)
		switch {
		case r.ends:
			h.endFor(err)
			return
		case h.version == 4 && r.refusal && h.e.opts.AckRefused:
			h.answer(s, id, nil)
			return
		}
		f = fault{r.puback, r.err.Error()}
	}
	if h.version == 4 {
		h.fail(err)
		return
	}
	h.log().Debug("publish refused", "code", f.code, "error", err)
	h.send(h.encodeAck(packets.Puback, id, f.code, f.text))
}

// puback handles the client's PUBACK. A reason code of 0x80 or more ends the
// message like success does ([MQTT-4.4.0-2]); an unknown id changes nothing.
func (h *handler) puback(body []byte) error {
	var id uint16
	if len(body) == 2 {
		id = binary.BigEndian.Uint16(body)
	}
	if id == 0 {
		var err error
		if id, _, err = checkAck(packets.Puback, body, h.version); err != nil {
			return err
		}
	}
	ref, ok := h.inflight[id]
	if !ok {
		h.e.unknownAck.Inc()
		return nil
	}
	delete(h.inflight, id)
	if len(h.inflight) == 0 && h.inflightPeak > 64 {
		h.inflight, h.inflightPeak = nil, 0 // a map never shrinks
	}
	h.sess.Ack(ref)
	h.pull = true
	return nil
}

// qos2 handles the acknowledgements of QoS 2, which no exchange here can have
// led to: they are answered as the leftovers of another session are (section
// 4.3.3, reason code 0x92).
func (h *handler) qos2(p rawPacket) error {
	id, _, err := checkAck(p.kind(), p.body, h.version)
	if err != nil {
		return err
	}
	const notFound = 0x92
	switch p.kind() {
	case packets.Pubrec:
		h.send(h.encodeAck(packets.Pubrel, id, notFound, ""))
	case packets.Pubrel:
		h.send(h.encodeAck(packets.Pubcomp, id, notFound, ""))
	}
	return nil
}
