package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"parley/msg"
)

// mqttClient speaks MQTT 5 with paho.
type mqttClient struct {
	opts MQTTOptions
	paho *paho.Client
	life context.Context // ends with the connection
	end  context.CancelFunc

	handling sync.Mutex // held while messages are handed on, one after the other

	mu    sync.Mutex
	subs  []mqttSubscription
	early []Received // of a resumed session, before anybody has subscribed
	err   error      // set once
}

// maxEarly bounds the messages that wait for their subscription; what comes
// beyond it is lost, so subscribe soon.
const maxEarly = 10_000

type mqttSubscription struct {
	filter msg.Filter
	handle func(Received)
}

const (
	mqttKeepAlive      = 30 // seconds
	mqttReceiveMaximum = 100
)

func dialMQTT(ctx context.Context, o *Options) (Client, error) {
	u, err := target(o.URL)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	if strings.HasPrefix(u.Scheme, "mqtt") {
		conn, err = dialStream(ctx, o, u)
	} else {
		var ws *websocket.Conn
		if ws, err = dialWebSocket(ctx, o, "mqtt"); err == nil {
			conn = websocket.NetConn(context.Background(), ws, websocket.MessageBinary)
		}
	}
	if err != nil {
		return nil, err
	}
	c := &mqttClient{opts: o.MQTT}
	c.life, c.end = context.WithCancel(context.Background())
	c.paho = paho.NewClient(paho.ClientConfig{
		Conn:              packets.NewThreadSafeConn(conn),
		PacketTimeout:     time.Hour, // the callers' contexts bound each exchange
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){c.received},
		OnServerDisconnect: func(d *paho.Disconnect) {
			c.fail(reason("DISCONNECT", d.ReasonCode, ""))
		},
		OnClientError: func(err error) { c.fail(err) },
	})
	connect := mqttConnect(o)
	secret := o.Token
	if secret == "" {
		secret = o.Password
	}
	connect.Username, connect.UsernameFlag = o.User, o.User != ""
	connect.Password, connect.PasswordFlag = []byte(secret), secret != ""
	connack, err := c.paho.Connect(ctx, connect)
	if err != nil {
		c.end()
		conn.Close()
		if connack != nil && connack.ReasonCode >= 0x80 {
			return nil, reason("CONNACK", connack.ReasonCode, connack.Properties.ReasonString)
		}
		return nil, err
	}
	go c.watch()
	return c, nil
}

// watch notes the end of the connection. The library reports the reason, if
// there is one, from a goroutine of its own and possibly after Done.
func (c *mqttClient) watch() {
	<-c.paho.Done()
	select {
	case <-c.life.Done():
	case <-time.After(100 * time.Millisecond):
		c.fail(errors.New("by the other side"))
	}
}

// fail notes why the connection ended; the first cause counts.
func (c *mqttClient) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = fmt.Errorf("%w: %w", ErrClosed, err)
		c.end()
	}
}

// reason makes an error of an MQTT 5 reason code (section 2.4).
func reason(packet string, code byte, text string) error {
	err := fmt.Errorf("%s 0x%02X %s", packet, code, reasonName(code))
	if text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	switch code {
	case 0x86, 0x87, 0x8A, 0x8C:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

func reasonName(code byte) string {
	switch code {
	case 0x80:
		return "unspecified error"
	case 0x82:
		return "protocol error"
	case 0x83:
		return "implementation specific error"
	case 0x85:
		return "client identifier not valid"
	case 0x86:
		return "bad user name or password"
	case 0x87:
		return "not authorized"
	case 0x88:
		return "server unavailable"
	case 0x89:
		return "server busy"
	case 0x8B:
		return "server shutting down"
	case 0x8E:
		return "session taken over"
	case 0x8F:
		return "topic filter invalid"
	case 0x90:
		return "topic name invalid"
	case 0x95:
		return "packet too large"
	case 0x97:
		return "quota exceeded"
	case 0x9E:
		return "shared subscriptions not supported"
	}
	return "(see MQTT 5 section 2.4)"
}

func (c *mqttClient) received(p paho.PublishReceived) (bool, error) {
	c.handling.Lock()
	defer c.handling.Unlock()
	r := mqttReceived(p.Packet)
	c.mu.Lock()
	var handle func(Received)
	for _, s := range c.subs {
		if s.filter.Matches(r.Topic) {
			handle = s.handle
			break
		}
	}
	if handle == nil && len(c.early) < maxEarly {
		c.early = append(c.early, r)
	}
	c.mu.Unlock()
	if handle != nil {
		handle(r)
	}
	return true, nil
}

// listen hands what matches f on to handle from now on, what has come before
// included: a resumed session is sent messages as soon as it is connected.
func (c *mqttClient) listen(f msg.Filter, handle func(Received)) {
	c.handling.Lock()
	defer c.handling.Unlock()
	c.mu.Lock()
	c.subs = append(c.subs, mqttSubscription{f, handle})
	early := c.early
	c.early = nil
	for _, r := range early {
		if !f.Matches(r.Topic) {
			c.early = append(c.early, r)
		}
	}
	c.mu.Unlock()
	for _, r := range early {
		if f.Matches(r.Topic) {
			handle(r)
		}
	}
}

func (c *mqttClient) Publish(ctx context.Context, p Publication) (msg.Offset, error) {
	publish := &paho.Publish{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain, Properties: mqttProperties(&p)}
	alive, cancel := c.whileConnected(ctx)
	defer cancel()
	resp, err := c.paho.Publish(alive, publish)
	if err == nil {
		return mqttOffset(p.QoS, resp), nil
	}
	if resp != nil && resp.ReasonCode >= 0x80 {
		text := ""
		if resp.Properties != nil {
			text = resp.Properties.ReasonString
		}
		return 0, reason(map[byte]string{1: "PUBACK", 2: "PUBREC"}[p.QoS], resp.ReasonCode, text)
	}
	return 0, c.orEnded(ctx, err)
}

// whileConnected ends with ctx or the connection: the library would wait for an
// answer on the next connection.
func (c *mqttClient) whileConnected(ctx context.Context) (context.Context, context.CancelFunc) {
	alive, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.life, cancel)
	return alive, func() { stop(); cancel() }
}

// orEnded prefers why the connection ended over what a request saw of it.
func (c *mqttClient) orEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if ended := c.Err(); ended != nil {
		return ended
	}
	return err
}

func (c *mqttClient) Subscribe(ctx context.Context, filter string, qos byte, handle func(Received)) error {
	f, _, err := msg.ParseSubscription(filter)
	if err != nil {
		return err
	}
	c.listen(f, handle) // before SUBACK: the first messages follow it at once
	alive, cancel := c.whileConnected(ctx)
	defer cancel()
	suback, err := c.paho.Subscribe(alive, mqttSubscribe(&c.opts, filter, qos))
	if err == nil {
		return nil
	}
	if suback != nil && len(suback.Reasons) == 1 && suback.Reasons[0] >= 0x80 {
		return reason("SUBACK", suback.Reasons[0], "")
	}
	return c.orEnded(ctx, err)
}

func (c *mqttClient) Call(context.Context, string, Args) (Args, error) {
	return Args{}, fmt.Errorf("%w: MQTT has no calls; use --protocol wamp or json", ErrUnsupported)
}

func (c *mqttClient) Done() <-chan struct{} { return c.life.Done() }

func (c *mqttClient) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *mqttClient) Close() error {
	ended := c.Err() != nil
	c.fail(errors.New("by this side"))
	var err error
	if !ended {
		err = c.paho.Disconnect(&paho.Disconnect{})
	}
	select {
	case <-c.paho.Done():
	case <-time.After(goodbyeTime):
	}
	return err
}
