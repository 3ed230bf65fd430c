package client

import (
	"strconv"

	"github.com/eclipse/paho.golang/paho"

	"parley/msg"
)

// mqttConnect makes the CONNECT of o, without its credentials.
func mqttConnect(o *Options) *paho.Connect {
	m := &o.MQTT
	keepAlive, receiveMaximum := m.KeepAlive, m.ReceiveMaximum
	if keepAlive == 0 {
		keepAlive = mqttKeepAlive
	}
	if receiveMaximum == 0 {
		receiveMaximum = mqttReceiveMaximum
	}
	c := &paho.Connect{
		ClientID: o.ClientID, CleanStart: !m.Resume, KeepAlive: keepAlive,
		Properties: &paho.ConnectProperties{
			ReceiveMaximum:     &receiveMaximum,
			RequestProblemInfo: true, // reasons, and offsets on acknowledgements
			User:               paho.UserProperties{{Key: "parley-offset", Value: "1"}},
		},
	}
	if m.SessionExpiry > 0 {
		c.Properties.SessionExpiryInterval = &m.SessionExpiry
	}
	if w := m.Will; w != nil {
		c.WillMessage = &paho.WillMessage{Topic: w.Topic, Payload: w.Payload, QoS: w.QoS, Retain: w.Retain}
		p := mqttProperties(&w.Publication)
		c.WillProperties = &paho.WillProperties{
			PayloadFormat: p.PayloadFormat, MessageExpiry: p.MessageExpiry, ContentType: p.ContentType,
			ResponseTopic: p.ResponseTopic, CorrelationData: p.CorrelationData, User: p.User,
		}
		if w.Delay > 0 {
			c.WillProperties.WillDelayInterval = &w.Delay
		}
	}
	return c
}

func mqttProperties(p *Publication) *paho.PublishProperties {
	props := &paho.PublishProperties{ContentType: p.ContentType, ResponseTopic: p.ResponseTopic, CorrelationData: p.Correlation}
	if p.Text {
		one := byte(1)
		props.PayloadFormat = &one
	}
	if p.Expiry > 0 {
		props.MessageExpiry = &p.Expiry
	}
	for _, u := range p.User {
		props.User.Add(u.Name, u.Value)
	}
	return props
}

// mqttOffset is the offset that PUBACK tells. Of QoS 2 the library shows PUBCOMP,
// which tells none.
func mqttOffset(qos byte, r *paho.PublishResponse) msg.Offset {
	if qos != 1 || r == nil || r.Properties == nil {
		return 0
	}
	n, _ := strconv.ParseUint(r.Properties.User.Get("parley-offset"), 10, 64) // without one it is 0
	return msg.Offset(n)
}

func mqttSubscribe(m *MQTTOptions, filter string, qos byte) *paho.Subscribe {
	s := &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{
		Topic: filter, QoS: qos, NoLocal: m.NoLocal, RetainAsPublished: m.RetainAsPublished, RetainHandling: m.RetainHandling,
	}}}
	if m.SubscriptionID > 0 {
		s.Properties = &paho.SubscribeProperties{SubscriptionIdentifier: &m.SubscriptionID}
	}
	return s
}

// mqttReceived takes a PUBLISH apart; the user properties that the broker added
// become what they mean.
func mqttReceived(p *paho.Publish) Received {
	r := Received{Topic: p.Topic, Payload: p.Payload, Retained: p.Retain, QoS: p.QoS, Duplicate: p.Duplicate()}
	props := p.Properties
	if props == nil {
		return r
	}
	r.ContentType, r.ResponseTopic, r.Correlation = props.ContentType, props.ResponseTopic, props.CorrelationData
	if props.MessageExpiry != nil {
		r.Expiry = *props.MessageExpiry
	}
	if props.SubscriptionIdentifier != nil {
		r.SubscriptionIDs = append(r.SubscriptionIDs, *props.SubscriptionIdentifier)
	}
	for _, u := range props.User {
		n, err := strconv.ParseUint(u.Value, 10, 64)
		switch {
		case u.Key == "parley-via":
			r.Via = u.Value
		case u.Key == "parley-offset" && err == nil:
			r.Offset = msg.Offset(n)
		case u.Key == "parley-replayed":
			r.Replayed = true
		default:
			r.User = append(r.User, Property{u.Key, u.Value})
		}
	}
	return r
}
