package mqtt

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"parley/msg"

	"github.com/mochi-mqtt/server/v2/packets"
)

// will builds the will's message.
func (h *handler) will(pk *connect) (*msg.Will, error) {
	if !pk.Connect.WillFlag {
		return nil, nil
	}
	c, props := &pk.Connect, &pk.Connect.WillProperties
	m := &msg.Message{Topic: c.WillTopic, QoS: msg.QoS(c.WillQos), Retain: c.WillRetain, Via: msg.ViaMQTT, Payload: msg.Bytes(c.WillPayload)}
	if err := msg.ValidTopic(m.Topic); err != nil {
		return nil, err
	}
	had := cursor{seen: pk.willHad}
	if err := applyProps(m, props, &had); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(m.User, func(p msg.Property) bool { return p.Name == propKey }) {
		return nil, fault{0x83, "a will takes no idempotency key"} // it would be published once, and never again
	}
	w := &msg.Will{Message: m, Delay: time.Duration(props.WillDelayInterval) * time.Second}
	if h.noExpiry { // the session ends with the connection, and the delay with it [MQTT-3.1.3-9]
		w.Delay = 0
	}
	if had.had(packets.PropMessageExpiryInterval) {
		w.Lifetime = max(time.Duration(props.MessageExpiryInterval)*time.Second, time.Millisecond) // 0 would mean for ever
	}
	return w, nil
}

// applyProps copies the properties that travel with a message, but for the
// expiry, whose start differs. had knows which were there.
func applyProps(m *msg.Message, p *packets.Properties, had *cursor) error {
	switch {
	case strings.ContainsAny(p.ResponseTopic, "+#"): // [MQTT-3.3.2-14]
		return violation("response topic has wildcards")
	case p.ResponseTopic == "" && had.had(packets.PropResponseTopic): // [MQTT-4.7.3-1]
		return violation("empty response topic")
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
