package torture

import (
	"context"
	"encoding/json"
	"fmt"

	"parley/torture/history"
)

// link is one connection of one protocol, its handshake done. read is called by
// one goroutine, everything else by one goroutine at a time.
type link interface {
	// publish sends m under the number n; again: it was sent before.
	publish(n uint16, m *outgoing, again bool) error
	// release sends PUBREL.
	release(n uint16) error
	subscribe(n uint16, filter string, qos byte) error
	unsubscribe(n uint16, filter string) error
	// ack acknowledges a delivery; where the protocol has no acknowledgement it
	// does nothing and says false.
	ack(d *delivery) (bool, error)
	// complete sends PUBCOMP.
	complete(packet uint16) error
	// pong answers an inPing: everything that came before it has been handled.
	pong() error
	// read waits for what comes next. It answers pings that acknowledge nothing itself.
	read(ctx context.Context) ([]input, error)
	// goodbye says that the session is left on purpose; the other side then closes.
	goodbye() error
	cut()
}

// handshake is what a connection begins with.
type handshake struct {
	url      string
	session  string
	clean    bool
	durable  bool
	inFlight uint16 // most unacknowledged deliveries
	will     *history.Will
}

type inputKind int

const (
	inSubscribed inputKind = iota + 1
	inUnsubscribed
	inAcked     // PUBACK, PUBLISHED, a publish reply
	inReceived  // PUBREC
	inCompleted // PUBCOMP
	inRefused   // any of them with an error
	inDelivery
	inRelease // PUBREL
	inGap
	inPing // its answer acknowledges
)

// input is one thing that the broker said.
type input struct {
	kind   inputKind
	n      uint16 // number of what is answered; inRelease: packet id
	offset uint64
	last   uint64
	count  uint64
	filter string
	note   string
	d      *delivery
}

// delivery is a message that has arrived.
type delivery struct {
	id       history.ID
	topic    string
	filter   string // "" in MQTT
	qos      byte
	offset   uint64
	marked   bool
	retained bool

	packet       uint16 // MQTT
	subscription uint64 // WAMP
	publication  uint64 // WAMP
}

// outgoing is a message on its way to the broker.
type outgoing struct {
	id     history.ID
	topic  string
	qos    byte
	key    string
	retain bool

	n        uint16 // packet identifier or number of the request
	received bool   // QoS 2: the broker owns it, PUBREL is due
}

// content is the payload: JSON, so that all protocols show it the same way.
type content struct {
	Publisher string `json:"p"`
	Seq       uint64 `json:"s"`
	Attempt   int    `json:"a,omitempty"`
}

func payload(id history.ID) []byte {
	b, err := json.Marshal(content(id))
	if err != nil {
		panic(err) // a string and two numbers always have a JSON form
	}
	return b
}

func parsePayload(b []byte) (history.ID, error) {
	var c content
	if err := json.Unmarshal(b, &c); err != nil {
		return history.ID{}, fmt.Errorf("payload %q: %w", b, err)
	}
	return history.ID(c), nil
}

// Protocols lists what clients can speak, in the order in which they take turns.
func Protocols() []string { return []string{"mqtt5", "json", "wamp", "mqtt3"} }

// open connects over one of Protocols and completes the handshake. present: the
// session was there.
func open(ctx context.Context, protocol string, h handshake) (l link, present bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	switch protocol {
	case "mqtt5":
		return openMQTT(ctx, 5, h)
	case "mqtt3":
		return openMQTT(ctx, 4, h)
	case "json":
		return openJSON(ctx, h)
	case "wamp":
		return openWAMP(ctx, h)
	}
	return nil, false, fmt.Errorf("unknown protocol %q", protocol)
}

// family is the protocol as a history names it.
func family(protocol string) string {
	if protocol == "mqtt3" || protocol == "mqtt5" {
		return "mqtt"
	}
	return protocol
}
