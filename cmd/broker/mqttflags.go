package main

import (
	"strings"
	"time"

	"github.com/spf13/pflag"

	"parley/client"
	"parley/msg"
)

// mqttFlags are the options of pub and sub that only MQTT has.
type mqttFlags struct {
	own *pflag.FlagSet // to know which were given

	sessionExpiry  time.Duration
	will           client.Will
	willPayload    string
	willDelay      time.Duration
	willExpiry     time.Duration
	willProperties []string
	expiry         time.Duration
	correlation    string
	properties     []string
}

// addSession adds what concerns the connection.
func (m *mqttFlags) addSession(flags *pflag.FlagSet, o *client.MQTTOptions) {
	m.own = pflag.NewFlagSet("mqtt", pflag.ContinueOnError)
	m.own.BoolVar(&o.Resume, "resume", false, "take up the session of --client-id (MQTT)")
	m.own.DurationVar(&m.sessionExpiry, "session-expiry", 0, "how long the session outlives the connection (MQTT)")
	m.own.Uint16Var(&o.KeepAlive, "keep-alive", 30, "`seconds` between signs of life (MQTT)")
	m.own.Uint16Var(&o.ReceiveMaximum, "receive-maximum", 100, "most unacknowledged messages from the broker (MQTT)")
	m.own.StringVar(&m.will.Topic, "will-topic", "", "`topic` of the will, published when the connection is lost (MQTT)")
	m.own.StringVar(&m.willPayload, "will-payload", "", "its payload")
	m.own.Uint8Var(&m.will.QoS, "will-qos", 0, "its QoS")
	m.own.BoolVar(&m.will.Retain, "will-retain", false, "retain it")
	m.own.DurationVar(&m.willDelay, "will-delay", 0, "how long it waits for the session to come back")
	m.own.DurationVar(&m.willExpiry, "will-expiry", 0, "its lifetime once it is published")
	m.own.StringVar(&m.will.ContentType, "will-content-type", "", "MIME type of its payload")
	m.own.StringVar(&m.will.ResponseTopic, "will-response-topic", "", "its response `topic`")
	m.own.StringArrayVar(&m.willProperties, "will-property", nil, "one of its user properties, `name=value`; may be repeated")
	flags.AddFlagSet(m.own)
}

// addPublication adds what concerns a message of pub.
func (m *mqttFlags) addPublication(flags *pflag.FlagSet, p *client.Publication) {
	m.own.DurationVar(&m.expiry, "expiry", 0, "lifetime of the message (MQTT)")
	m.own.StringVar(&p.ResponseTopic, "response-topic", "", "`topic` for answers (MQTT)")
	m.own.StringVar(&m.correlation, "correlation", "", "correlation `data` for answers (MQTT)")
	m.own.StringArrayVar(&m.properties, "property", nil, "user property `name=value`; may be repeated (MQTT)")
	m.own.BoolVar(&p.Text, "text", false, "declare the payload to be UTF-8 (MQTT)")
	flags.AddFlagSet(m.own)
}

// addSubscription adds what concerns the subscriptions of sub.
func (m *mqttFlags) addSubscription(flags *pflag.FlagSet, o *client.MQTTOptions) {
	m.own.BoolVar(&o.NoLocal, "no-local", false, "not what this connection publishes (MQTT)")
	m.own.BoolVar(&o.RetainAsPublished, "retain-as-published", false, "keep the retain flag as the publisher set it (MQTT)")
	m.own.Uint8Var(&o.RetainHandling, "retain-handling", 0, "retained values: 0 always, 1 for new subscriptions, 2 never (MQTT)")
	m.own.IntVar(&o.SubscriptionID, "subscription-id", 0, "subscription identifier, 1 to 268,435,455 (MQTT)")
	flags.AddFlagSet(m.own)
}

// apply checks the flags and completes o and p from them.
func (m *mqttFlags) apply(protocol string, qos uint8, o *client.MQTTOptions, p *client.Publication) error {
	if qos > 2 {
		return usagef("--qos %d: give 0, 1 or 2", qos)
	}
	if protocol != "mqtt" {
		if qos == 2 {
			return usagef("--qos 2 is for --protocol mqtt; give 0 or 1")
		}
		if given := m.given(""); len(given) > 0 {
			return usagef("%s: only with --protocol mqtt", strings.Join(given, ", "))
		}
		return nil
	}
	switch {
	case o.RetainHandling > 2:
		return usagef("--retain-handling %d: give 0, 1 or 2", o.RetainHandling)
	case o.SubscriptionID < 0 || o.SubscriptionID > 268_435_455:
		return usagef("--subscription-id %d: give a number from 1 to 268,435,455", o.SubscriptionID)
	case m.will.QoS > 2:
		return usagef("--will-qos %d: give 0, 1 or 2", m.will.QoS)
	case o.ReceiveMaximum == 0:
		return usagef("--receive-maximum 0: give a number from 1 to 65,535")
	}
	var err error
	for _, d := range []struct {
		flag string
		from time.Duration
		to   *uint32
	}{
		{"session-expiry", m.sessionExpiry, &o.SessionExpiry}, {"will-delay", m.willDelay, &m.will.Delay},
		{"will-expiry", m.willExpiry, &m.will.Expiry}, {"expiry", m.expiry, &p.Expiry},
	} {
		if *d.to, err = seconds(d.flag, d.from); err != nil {
			return err
		}
	}
	if p.User, err = properties("property", m.properties); err != nil {
		return err
	}
	p.Correlation = []byte(m.correlation)
	return m.applyWill(o)
}

func (m *mqttFlags) applyWill(o *client.MQTTOptions) (err error) {
	if m.will.Topic == "" {
		if given := m.given("will-"); len(given) > 0 {
			return usagef("%s without --will-topic", strings.Join(given, ", "))
		}
		return nil
	}
	if err := msg.ValidTopic(m.will.Topic); err != nil {
		return usagef("--will-topic %q: %w", m.will.Topic, err)
	}
	m.will.Payload = []byte(m.willPayload)
	m.will.User, err = properties("will-property", m.willProperties)
	o.Will = &m.will
	return err
}

// given lists the flags that were given whose names begin with prefix.
func (m *mqttFlags) given(prefix string) (names []string) {
	m.own.VisitAll(func(f *pflag.Flag) {
		if f.Changed && strings.HasPrefix(f.Name, prefix) {
			names = append(names, "--"+f.Name)
		}
	})
	return names
}

// seconds is a duration as MQTT counts it.
func seconds(flag string, d time.Duration) (uint32, error) {
	if d < 0 || d%time.Second != 0 || d/time.Second > 1<<32-1 {
		return 0, usagef("--%s %s: give whole seconds, from 0s to 1193046h", flag, d)
	}
	return uint32(d / time.Second), nil
}

func properties(flag string, list []string) (out []client.Property, err error) {
	for _, text := range list {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, usagef("--%s %q: give name=value", flag, text)
		}
		out = append(out, client.Property{Name: name, Value: value})
	}
	return out, nil
}
