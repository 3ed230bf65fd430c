// Package client holds the small clients behind broker pub, sub and call: one
// interface over MQTT 5, WAMP and the JSON protocol.
//
// Topics and filters are given in canonical form (levels joined by "/") whatever
// the protocol; procedures are URIs. A client does not reconnect: the shell asks
// again.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"parley/msg"
)

// Errors that callers tell apart. They come wrapped with what the broker said.
var (
	// ErrRefused: the broker does not accept the credentials, or they do not
	// permit what was asked.
	ErrRefused = errors.New("refused")
	// ErrUnsupported: the protocol cannot say what was asked; another can.
	ErrUnsupported = errors.New("not possible over this protocol")
	// ErrClosed: the connection ended.
	ErrClosed = errors.New("connection closed")
)

// Options says where to connect and as whom. URL is needed, the rest is optional.
type Options struct {
	// URL is ws://host:port/path or wss://…; http(s):// and a bare host:port mean
	// the same. For MQTT also mqtt://host:port and mqtts://… (without WebSocket).
	URL      string
	Protocol string // mqtt, json, wamp (= wamp.2.json), wamp.2.msgpack, wamp.2.cbor; "" = json
	User     string
	Password string // with User
	Token    string // instead of User and Password
	Realm    string // WAMP; "" = default
	ClientID string // MQTT; "" = the broker chooses
	TLS      *tls.Config
	MQTT     MQTTOptions // of the connection and its subscriptions; MQTT only
}

// MQTTOptions are what only MQTT has. The zero value is a clean session without
// a will.
type MQTTOptions struct {
	Resume            bool   // take up the session of ClientID
	SessionExpiry     uint32 // seconds that the session outlives the connection; 0xFFFFFFFF = for ever
	KeepAlive         uint16 // seconds; 0 = 30
	ReceiveMaximum    uint16 // 0 = 100
	Will              *Will
	NoLocal           bool // do not receive what this connection publishes
	RetainAsPublished bool
	RetainHandling    byte // 0: send retained values; 1: to new subscriptions; 2: never
	SubscriptionID    int  // 0 = none
}

// Will is published by the broker when the connection is lost.
type Will struct {
	Publication
	Delay uint32 // seconds
}

// Property is one MQTT user property.
type Property struct{ Name, Value string }

// Publication is a message to publish.
type Publication struct {
	Topic       string
	Payload     []byte
	QoS         byte // 0 to 2; above 0 waits until the message is on disk. JSON is always 1, 2 is MQTT only.
	Retain      bool
	ContentType string // MQTT and JSON; "" = none

	// MQTT only.
	Text          bool   // the payload is UTF-8
	Expiry        uint32 // seconds; 0 = never
	ResponseTopic string
	Correlation   []byte
	User          []Property
}

// Received is a message that arrived. It belongs to the handler.
type Received struct {
	Topic       string
	Payload     []byte
	Offset      msg.Offset // 0: transient, or unknown
	Via         string     // protocol it was published through, "" = unknown
	Retained    bool
	QoS         byte // MQTT only
	ContentType string
	Replayed    bool // comes from the past because the subscription began there

	// MQTT only.
	Duplicate       bool
	Expiry          uint32 // seconds left; 0 = never
	ResponseTopic   string
	Correlation     []byte
	User            []Property
	SubscriptionIDs []int
}

// Args is what a procedure is given and what it answers.
type Args struct {
	List  []any
	Named map[string]any
}

// CallError is the error that a procedure or the broker answered a call with.
type CallError struct {
	URI  string
	Args Args
}

func (e *CallError) Error() string {
	if text := e.Args.text(); text != "" {
		return e.URI + ": " + text
	}
	return e.URI
}

// Client is one connection. Its methods may be called from several goroutines.
type Client interface {
	// Publish sends p and, above QoS 0, waits until the broker has stored it. The
	// offset is 0 if the protocol does not tell it.
	Publish(ctx context.Context, p Publication) (msg.Offset, error)
	// Subscribe subscribes to an MQTT topic filter and returns once the broker
	// has confirmed. handle is called in order from one goroutine and must not
	// call the client.
	Subscribe(ctx context.Context, filter string, qos byte, handle func(Received)) error
	// Call calls a procedure by its URI. The error is a *CallError if an answer
	// came, ErrUnsupported for MQTT.
	Call(ctx context.Context, procedure string, args Args) (Args, error)
	// Done is closed when the connection has ended; Err then says why.
	Done() <-chan struct{}
	Err() error
	// Close says goodbye and ends the connection.
	Close() error
}

// maxMessage bounds what a client takes in one message.
const maxMessage = 256 << 20

// Dial connects and completes the protocol's handshake; ctx bounds that only.
func Dial(ctx context.Context, o Options) (Client, error) {
	var c Client
	var err error
	switch o.Protocol {
	case "mqtt":
		c, err = dialMQTT(ctx, &o)
	case "wamp", "wamp.2.json", "wamp.2.msgpack", "wamp.2.cbor":
		c, err = dialWAMP(ctx, &o)
	case "json", "":
		c, err = dialJSON(ctx, &o)
	default:
		return nil, fmt.Errorf("%w: unknown protocol %q; known are mqtt, wamp, wamp.2.json, wamp.2.msgpack, wamp.2.cbor, json", ErrUnsupported, o.Protocol)
	}
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("connect to %s: %w", o.URL, ctx.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", o.URL, err)
	}
	return c, nil
}

// goodbyeTime bounds what Close waits for.
const goodbyeTime = 2 * time.Second
