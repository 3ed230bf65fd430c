package mqtt

import (
	"slices"

	"parley/msg"

	"github.com/mochi-mqtt/server/v2/packets"
)

// aliases are the topic aliases of one connection, which the two directions
// choose independently (section 3.3.2.3.4).
type aliases struct {
	in   []string          // by alias - 1; "" = not set
	out  map[string]uint16 // by topic; what comes first gets one
	most uint16            // of out
}

// bind notes that the client's alias now means topic ([MQTT-3.3.2-12]).
func (a *aliases) bind(alias uint16, topic string) {
	if n := int(alias); n > len(a.in) {
		a.in = append(a.in, slices.Repeat([]string{""}, n-len(a.in))...)
	}
	a.in[alias-1] = topic
}

// aliasTopic sets the topic of a publish that has only an alias. It is the topic
// that the session then authorizes.
func (h *handler) aliasTopic(m *msg.Message, alias uint16) (refused, err error) {
	if int(alias) > len(h.aliases.in) || h.aliases.in[alias-1] == "" {
		return nil, violation("topic alias without a topic")
	}
	m.Topic = h.aliases.in[alias-1]
	if m.Topic != h.topic && msg.ValidTopic(m.Topic) != nil {
		return msg.ErrTopicInvalid, nil
	}
	return nil, nil
}

// aliased shortens an outgoing publish by an alias, or teaches the client a new
// one, as long as the packet then still fits into limit bytes (0 = any size).
// size is the packet's without it. Packets leave in the order in which they pass
// here, so an alias is never used before it was taught.
func (a *aliases) aliased(p *outPublish, qos msg.QoS, size, limit int) int {
	const cost = 3 // bytes of the property
	if len(p.topic) <= cost {
		return size
	}
	alias, known := a.out[p.topic]
	if !known && len(a.out) >= int(a.most) {
		return size
	}
	plain, topic := p.own, p.topic
	if !known {
		alias = uint16(len(a.out)) + 1
	}
	p.own = append(p.own, packets.PropTopicAlias, byte(alias>>8), byte(alias))
	if known {
		p.topic = ""
	}
	n := p.measure(qos)
	if limit > 0 && n > limit {
		p.own, p.topic = plain, topic
		return p.measure(qos)
	}
	if !known {
		if a.out == nil {
			a.out = make(map[string]uint16)
		}
		a.out[topic] = alias
	}
	return n
}
