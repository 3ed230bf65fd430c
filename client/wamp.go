package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/coder/websocket"
	"github.com/gammazero/nexus/v3/transport/serialize"
	"github.com/gammazero/nexus/v3/wamp"

	"parley/msg"
)

// wampClient speaks WAMP with nexus' messages and serializers. It is not nexus'
// own client: that one can lose the events that follow SUBSCRIBED at once, and
// retained values are such.
type wampClient struct {
	*pending[wamp.Message]
	conn   *websocket.Conn
	codec  serialize.Serializer
	kind   websocket.MessageType
	secret string // answers CHALLENGE
	reader sync.WaitGroup
	order  sync.Mutex // request ids leave in sequence (WAMP basic profile, "Session Scope IDs")

	mu          sync.Mutex
	subscribing map[uint64]wampSubscription  // by request
	subscribed  map[wamp.ID]wampSubscription // by subscription
}

type wampSubscription struct {
	topic  string // of an exact subscription, whose events do not name it
	handle func(Received)
}

// hello is the number under which WELCOME is waited for: the first that begin
// gives out. It is taken back, for request ids start at 1 in a session.
const hello = 1

func dialWAMP(ctx context.Context, o *Options) (Client, error) {
	protocol := o.Protocol
	if protocol == "wamp" {
		protocol = "wamp.2.json"
	}
	conn, err := dialWebSocket(ctx, o, protocol)
	if err != nil {
		return nil, err
	}
	c := &wampClient{
		pending: newPending[wamp.Message](), conn: conn, kind: websocket.MessageBinary,
		subscribing: map[uint64]wampSubscription{}, subscribed: map[wamp.ID]wampSubscription{},
	}
	switch protocol {
	case "wamp.2.json":
		c.codec, c.kind = &serialize.JSONSerializer{}, websocket.MessageText
	case "wamp.2.msgpack":
		c.codec = &serialize.MessagePackSerializer{}
	default:
		c.codec = &serialize.CBORSerializer{}
	}
	c.secret = o.Token
	if o.Token == "" {
		c.secret = o.Password
	}
	c.reader.Go(c.read)
	if err := c.join(ctx, o); err != nil {
		c.conn.CloseNow()
		c.reader.Wait()
		return nil, err
	}
	return c, nil
}

func (c *wampClient) join(ctx context.Context, o *Options) error {
	realm := o.Realm
	if realm == "" {
		realm = "default"
	}
	details := wamp.Dict{"agent": "parley", "roles": wamp.Dict{
		"publisher":  wamp.Dict{"features": wamp.Dict{}},
		"subscriber": wamp.Dict{"features": wamp.Dict{"pattern_based_subscription": true, "event_retention": true}},
		"caller":     wamp.Dict{"features": wamp.Dict{"call_canceling": true}},
	}}
	if c.secret != "" {
		details["authmethods"] = wamp.List{"ticket"}
		if o.User != "" {
			details["authid"] = o.User
		}
	}
	id, welcome := c.begin()
	c.send(ctx, &wamp.Hello{Realm: wamp.URI(realm), Details: details})
	if _, err := c.wait(ctx, id, welcome); err != nil {
		return err
	}
	c.pending.mu.Lock()
	c.last = 0
	c.pending.mu.Unlock()
	return nil
}

func text(details wamp.Dict) string {
	s, _ := wamp.AsString(details["message"])
	return s
}

// refusal makes an error of a WAMP error URI.
func refusal(uri wamp.URI, message string) error {
	err := errors.New(string(uri))
	if message != "" {
		err = fmt.Errorf("%s: %s", uri, message)
	}
	switch uri {
	case "wamp.error.not_authorized", "wamp.error.authorization_failed", "wamp.error.authentication_failed",
		"wamp.error.authentication_denied", "wamp.error.authentication_required", "wamp.error.no_such_principal",
		"wamp.error.no_auth_method", "wamp.error.no_matching_auth_method":
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

func (c *wampClient) send(ctx context.Context, m wamp.Message) {
	data, err := c.codec.Serialize(m)
	if err == nil {
		err = c.conn.Write(ctx, c.kind, data)
	}
	if err != nil {
		c.fail(err)
	}
}

func (c *wampClient) read() {
	for {
		_, frame, err := c.conn.Read(context.Background())
		if err != nil {
			c.fail(closeCause(err))
			return
		}
		m, err := c.codec.Deserialize(frame)
		if err == nil {
			err = c.message(m)
		}
		if err != nil {
			c.fail(err)
			c.conn.Close(websocket.StatusNormalClosure, "")
			return
		}
	}
}

// message handles one message; an error ends the connection.
func (c *wampClient) message(m wamp.Message) error {
	switch m := m.(type) {
	case *wamp.Challenge:
		c.send(context.Background(), &wamp.Authenticate{Signature: c.secret, Extra: wamp.Dict{}})
	case *wamp.Welcome:
		c.answer(hello, m)
	case *wamp.Abort:
		return refusal(m.Reason, text(m.Details))
	case *wamp.Goodbye:
		c.send(context.Background(), &wamp.Goodbye{Details: wamp.Dict{}, Reason: wamp.ErrGoodbyeAndOut})
		return fmt.Errorf("the broker says %s", m.Reason)
	case *wamp.Subscribed:
		c.mu.Lock()
		c.subscribed[m.Subscription] = c.subscribing[uint64(m.Request)]
		delete(c.subscribing, uint64(m.Request))
		c.mu.Unlock()
		c.answer(uint64(m.Request), m)
	case *wamp.Published:
		c.answer(uint64(m.Request), m)
	case *wamp.Result:
		c.answer(uint64(m.Request), m)
	case *wamp.Error:
		c.answer(uint64(m.Request), m)
	case *wamp.Event:
		return c.event(m)
	}
	return nil
}

func (c *wampClient) event(m *wamp.Event) error {
	c.mu.Lock()
	s := c.subscribed[m.Subscription]
	c.mu.Unlock()
	if s.handle == nil {
		return nil
	}
	r := Received{Topic: s.topic}
	if uri, ok := wamp.AsString(m.Details["topic"]); ok {
		topic, err := msg.TopicOfURI(uri)
		if err != nil {
			return fmt.Errorf("event for %q: %w", uri, err)
		}
		r.Topic = topic
	}
	r.Retained, _ = wamp.AsBool(m.Details["retained"])
	r.Replayed, _ = wamp.AsBool(m.Details["_parley_replayed"])
	r.Via, _ = wamp.AsString(m.Details["_parley_via"])
	if n, ok := wamp.AsInt64(m.Details["_parley_offset"]); ok && n > 0 {
		r.Offset = msg.Offset(n)
	}
	r.ContentType, _ = wamp.AsString(m.Details["_parley_content_type"])
	r.Payload = c.args(m.Arguments, m.ArgumentsKw).Bytes()
	s.handle(r)
	return nil
}

// args takes a pair off the wire.
func (c *wampClient) args(list wamp.List, named wamp.Dict) Args {
	a := Args{}
	if len(list) > 0 {
		a.List, _ = plain([]any(list)).([]any)
	}
	if len(named) > 0 {
		a.Named, _ = plain(map[string]any(named)).(map[string]any)
	}
	if c.kind == websocket.MessageText {
		fromJSONBinary(a.List)
		fromJSONBinary(a.Named)
	}
	return a
}

// plain replaces nexus' names for lists and maps, at any depth.
func plain(v any) any {
	switch t := v.(type) {
	case wamp.List:
		return plain([]any(t))
	case wamp.Dict:
		return plain(map[string]any(t))
	case []any:
		for i := range t {
			t[i] = plain(t[i])
		}
	case map[string]any:
		for k := range t {
			t[k] = plain(t[k])
		}
	}
	return v
}

// wire makes a pair ready for sending.
func (c *wampClient) wire(a Args) (wamp.List, wamp.Dict) {
	if c.kind == websocket.MessageText {
		toJSONBinary(a.List)
		toJSONBinary(a.Named)
	}
	return a.List, a.Named
}

// request sends what build makes of a request id and waits for the answer; an
// ERROR becomes an error.
func (c *wampClient) request(ctx context.Context, build func(wamp.ID) wamp.Message) (wamp.Message, error) {
	c.order.Lock()
	id, reply := c.begin()
	c.send(ctx, build(wamp.ID(id)))
	c.order.Unlock()
	m, err := c.wait(ctx, id, reply)
	if e, ok := m.(*wamp.Error); ok {
		args := c.args(e.Arguments, e.ArgumentsKw)
		if e.Type == wamp.CALL {
			if r := refusal(e.Error, args.text()); errors.Is(r, ErrRefused) {
				return nil, r
			}
			return nil, &CallError{URI: string(e.Error), Args: args}
		}
		return nil, refusal(e.Error, args.text())
	}
	return m, err
}

func (c *wampClient) Publish(ctx context.Context, p Publication) (msg.Offset, error) {
	options := wamp.Dict{}
	if p.Retain {
		if len(p.Payload) == 0 {
			return 0, fmt.Errorf("%w: WAMP cannot clear a retained value; use --protocol mqtt or json", ErrUnsupported)
		}
		options["retain"] = true
	}
	list, _ := c.wire(Args{List: []any{value(p.Payload)}})
	build := func(id wamp.ID) wamp.Message {
		return &wamp.Publish{Request: id, Options: options, Topic: wamp.URI(msg.URI(p.Topic)), Arguments: list}
	}
	if p.QoS == 0 {
		c.order.Lock()
		defer c.order.Unlock()
		id, _ := c.begin()
		c.answer(id, nil) // none comes
		c.send(ctx, build(wamp.ID(id)))
		return 0, c.Err()
	}
	options["acknowledge"] = true
	_, err := c.request(ctx, build)
	return 0, err
}

// wampFilter says a filter, or $replay/<position>/<filter>, in the terms of
// SUBSCRIBE: what WAMP cannot say as one topic goes as it is.
func wampFilter(filter string) (uri string, options wamp.Dict, err error) {
	f, from, err := msg.ParseSubscription(filter)
	if err != nil {
		return "", nil, err
	}
	options = wamp.Dict{"match": "exact", "get_retained": true, "_parley_ack": "auto"}
	if from.Kind != msg.ReplayNone {
		options["_parley_from"] = strings.SplitN(filter, "/", 3)[1]
	}
	if f.Group != "" {
		options["_parley_group"] = f.Group
	}
	if strings.ContainsAny(f.Pattern, "+#") {
		options["match"] = "_parley_filter"
		return f.Pattern, options, nil
	}
	return msg.URI(f.Pattern), options, nil
}

func (c *wampClient) Subscribe(ctx context.Context, filter string, _ byte, handle func(Received)) error {
	uri, options, err := wampFilter(filter)
	if err != nil {
		return err
	}
	topic := ""
	if options["match"] == "exact" {
		if topic, err = msg.TopicOfURI(uri); err != nil {
			return err
		}
	}
	_, err = c.request(ctx, func(id wamp.ID) wamp.Message {
		c.mu.Lock()
		c.subscribing[uint64(id)] = wampSubscription{topic, handle}
		c.mu.Unlock()
		return &wamp.Subscribe{Request: id, Options: options, Topic: wamp.URI(uri)}
	})
	return err
}

func (c *wampClient) Call(ctx context.Context, procedure string, args Args) (Args, error) {
	list, named := c.wire(args)
	m, err := c.request(ctx, func(id wamp.ID) wamp.Message {
		return &wamp.Call{Request: id, Options: wamp.Dict{}, Procedure: wamp.URI(procedure), Arguments: list, ArgumentsKw: named}
	})
	if r, ok := m.(*wamp.Result); ok {
		return c.args(r.Arguments, r.ArgumentsKw), nil
	}
	return Args{}, err
}

func (c *wampClient) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTime)
	defer cancel()
	if c.Err() == nil {
		c.send(ctx, &wamp.Goodbye{Details: wamp.Dict{}, Reason: wamp.CloseRealm})
		select {
		case <-c.Done(): // the broker's GOODBYE ended the reader
		case <-ctx.Done():
		}
	}
	c.fail(errors.New("by this side"))
	c.conn.CloseNow()
	c.reader.Wait()
	return nil
}
