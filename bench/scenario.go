package main

import (
	"context"
	"fmt"
	"slices"

	"parley/bench/load"
)

// scenario is one kind of traffic; every broker gets the same.
type scenario struct {
	name string
	what string
	unit string // of its figure, which ratios are of
	aim  aim
	plan func(settings) load.Plan // nil: special
	// special measures what is not traffic of a plan.
	special func(*bench, context.Context, scenario, *running, int) ([]sample, error)
	// durable measures a scenario that is not in the default set; it starts the
	// brokers itself, of which brokers says the usual ones.
	durable durableRun
	brokers []string
	// perDelivery: a message counts once for every subscriber.
	perDelivery bool
}

// usual are the brokers of a scenario unless others are named.
func (sc *scenario) usual() []string {
	if sc.durable != nil {
		return sc.brokers
	}
	return []string{parley, mochi, mosquitto}
}

// takes tells whether a broker is measured in the scenario; named: it was asked
// for by name. A durable scenario needs a broker that keeps something, the others
// one with WebSocket.
func (sc *scenario) takes(broker string, named bool) bool {
	able := []string{parley, mochi, mosquitto}
	if sc.durable != nil {
		able = durablePeers()
	}
	return slices.Contains(able, broker) && (named || slices.Contains(sc.usual(), broker))
}

// aim is what the figure should reach; zero: nothing is set.
type aim struct {
	ratio float64 // to mochi, at most
	value float64 // in the scenario's unit, at most
}

const (
	pairs       = 20
	fanout      = 500
	payloadSize = 256
	devices     = 200
	listeners   = 20
	deviceRate  = 4000
	takeovers   = 200
)

func scenarios() []scenario {
	return []scenario{
		{name: "idle", unit: "KiB/conn", aim: aim{value: 10}, special: (*bench).idle,
			what: "connected clients that have said nothing for a while: growth of resident memory per connection"},
		{name: "fanin-qos0", unit: "µs/msg", plan: pairsPlan(0), aim: aim{ratio: 0.4},
			what: "20 publishers, each to its own topic with its own subscriber, 256 bytes, QoS 0"},
		{name: "fanin-qos1", unit: "µs/msg", plan: pairsPlan(1), aim: aim{ratio: 1},
			what: "the same at QoS 1, publishes and subscriptions"},
		{name: "fanin-qos2", unit: "µs/msg", plan: exactlyOncePlan,
			what: "the same at QoS 2, publishes and subscriptions, with at most 20 messages of a publisher under way and 10 in one write"},
		{name: "fanout-qos0", unit: "µs/delivery", plan: fanoutPlan(0), aim: aim{ratio: 0.4}, perDelivery: true,
			what: "one publisher, 500 subscribers of its topic, 256 bytes, QoS 0"},
		{name: "fanout-qos1", unit: "µs/delivery", plan: fanoutPlan(1), perDelivery: true,
			what: "the same at QoS 1"},
		{name: "device-qos0", unit: "µs/msg", plan: devicePlan(0),
			what: "200 devices send 4,000 messages/s in all, evenly spaced, one write each, 256 bytes, QoS 0; 20 subscribers hear 10 devices each by wildcard"},
		{name: "device-qos1", unit: "µs/msg", plan: devicePlan(1),
			what: "the same at QoS 1"},
		{name: "takeover", unit: "µs/takeover", special: (*bench).takeover,
			what: "200 clients with kept sessions and a subscription connect again and again, 32 at a time, while their last connection is open"},
	}
}

func pairsPlan(qos byte) func(settings) load.Plan {
	return func(s settings) load.Plan {
		topic := func(i int) string { return fmt.Sprintf("bench/pair/%d", i) }
		return load.Plan{
			Publishers: pairs, Subscribers: pairs, Topic: topic, Filter: topic,
			Hears: func(sub, pub int) bool { return sub == pub },
			QoS:   qos, Size: payloadSize, Window: s.window, Burst: s.burst,
		}
	}
}

// exactlyOncePlan keeps within the 20 messages under way that mosquitto allows each
// way by default. With 64, version 2.0.11 was seen to acknowledge all and to leave
// 44 of each publisher undelivered, which stalls the run.
func exactlyOncePlan(s settings) load.Plan {
	p := pairsPlan(2)(s)
	p.Window, p.Burst = min(p.Window, 20), min(p.Burst, 10)
	return p
}

func fanoutPlan(qos byte) func(settings) load.Plan {
	return func(s settings) load.Plan {
		topic := func(int) string { return "bench/all" }
		return load.Plan{
			Publishers: 1, Subscribers: fanout, Topic: topic, Filter: topic,
			Hears: func(int, int) bool { return true },
			QoS:   qos, Size: payloadSize, Window: s.window, Burst: s.burst,
		}
	}
}

func devicePlan(qos byte) func(settings) load.Plan {
	return func(s settings) load.Plan {
		return load.Plan{
			Publishers: devices, Subscribers: listeners,
			Topic:  func(i int) string { return fmt.Sprintf("bench/site/%d/device/%d/state", i%listeners, i) },
			Filter: func(i int) string { return fmt.Sprintf("bench/site/%d/device/+/state", i) },
			Hears:  func(sub, pub int) bool { return pub%listeners == sub },
			QoS:    qos, Size: payloadSize, Window: s.window, Burst: 1, Rate: deviceRate,
		}
	}
}
