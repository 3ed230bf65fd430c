package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/coder/websocket"

	"parley/msg"
)

// jsonClient speaks the Centrifugo client protocol, version 2, in JSON.
type jsonClient struct {
	*pending[jsonReply]
	conn   *websocket.Conn
	reader sync.WaitGroup

	mu       sync.Mutex
	handlers map[string]func(Received) // by channel
}

type jsonReply struct {
	ID        uint32          `json:"id"`
	Error     *jsonError      `json:"error"`
	Connect   json.RawMessage `json:"connect"`
	Subscribe json.RawMessage `json:"subscribe"`
	Publish   *struct {
		Offset msg.Offset `json:"offset"`
	} `json:"publish"`
	RPC *struct {
		Data     json.RawMessage `json:"data"`
		Encoding string          `json:"encoding"`
	} `json:"rpc"`
	Push *jsonPush `json:"push"`
}

type jsonError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Codes of the protocol that mean a refusal.
const (
	jsonUnauthorized = 101
	jsonDenied       = 103
	jsonProcedure    = 400 // a procedure's own error; the message begins with its URI
	jsonInvalidToken = 3500
	jsonForbidden    = 3507
)

func (e *jsonError) err() error {
	switch e.Code {
	case jsonUnauthorized, jsonDenied:
		return fmt.Errorf("%w: %s (%d)", ErrRefused, e.Message, e.Code)
	case jsonProcedure:
		uri, text, _ := strings.Cut(e.Message, ": ")
		call := &CallError{URI: uri}
		if text != "" {
			call.Args.List = []any{text}
		}
		return call
	}
	return fmt.Errorf("%s (%d)", e.Message, e.Code)
}

type jsonPush struct {
	Channel string `json:"channel"`
	Pub     *struct {
		Data   json.RawMessage   `json:"data"`
		Offset msg.Offset        `json:"offset"`
		Tags   map[string]string `json:"tags"`
	} `json:"pub"`
	Unsubscribe *jsonEnd `json:"unsubscribe"`
	Disconnect  *jsonEnd `json:"disconnect"`
}

// jsonEnd says why a subscription, or the connection, ends.
type jsonEnd struct {
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

func dialJSON(ctx context.Context, o *Options) (Client, error) {
	conn, err := dialWebSocket(ctx, o, "json")
	if err != nil {
		return nil, err
	}
	c := &jsonClient{pending: newPending[jsonReply](), conn: conn, handlers: map[string]func(Received){}}
	c.reader.Go(c.read)
	connect := map[string]any{"name": "parley"}
	switch {
	case o.Token != "":
		connect["token"] = o.Token
	case o.User != "":
		connect["data"] = map[string]string{"user": o.User, "password": o.Password}
	}
	if _, err := c.command(ctx, "connect", connect); err != nil {
		c.conn.CloseNow()
		c.reader.Wait()
		return nil, err
	}
	return c, nil
}

// command sends one command and waits for its reply.
func (c *jsonClient) command(ctx context.Context, name string, content any) (jsonReply, error) {
	id, reply := c.begin()
	data, err := json.Marshal(map[string]any{"id": id, name: content})
	if err != nil {
		return jsonReply{}, err
	}
	if err := c.conn.Write(ctx, websocket.MessageText, data); err != nil {
		c.fail(closeCause(err))
	}
	r, err := c.wait(ctx, id, reply)
	if err == nil && r.Error != nil {
		err = r.Error.err()
	}
	return r, err
}

// closeCause says why the other side closed.
func closeCause(err error) error {
	var ce websocket.CloseError
	if !errors.As(err, &ce) {
		return err
	}
	text := fmt.Errorf("%s (%d)", ce.Reason, ce.Code)
	if ce.Code == jsonInvalidToken || ce.Code == jsonForbidden {
		return fmt.Errorf("%w: %w", ErrRefused, text)
	}
	return text
}

func (c *jsonClient) read() {
	for {
		_, frame, err := c.conn.Read(context.Background())
		if err != nil {
			c.fail(closeCause(err))
			return
		}
		for line := range bytes.SplitSeq(frame, []byte("\n")) {
			if err := c.line(bytes.TrimSpace(line)); err != nil {
				c.fail(err)
				c.conn.Close(websocket.StatusProtocolError, "")
				return
			}
		}
	}
}

func (c *jsonClient) line(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	var r jsonReply
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("not understood: %w", err)
	}
	switch {
	case r.ID != 0:
		c.answer(uint64(r.ID), r)
	case r.Push != nil:
		return c.push(r.Push)
	case bytes.Equal(data, []byte("{}")): // a ping wants the same back
		return c.conn.Write(context.Background(), websocket.MessageText, []byte("{}"))
	}
	return nil
}

func (c *jsonClient) push(p *jsonPush) error {
	switch {
	case p.Disconnect != nil:
		return fmt.Errorf("%s (%d)", p.Disconnect.Reason, p.Disconnect.Code)
	case p.Unsubscribe != nil:
		return fmt.Errorf("subscription of %s ended: %s (%d)", p.Channel, p.Unsubscribe.Reason, p.Unsubscribe.Code)
	case p.Pub == nil:
		return nil
	}
	c.mu.Lock()
	handle := c.handlers[p.Channel]
	c.mu.Unlock()
	if handle == nil {
		return nil
	}
	tags := p.Pub.Tags
	r := Received{
		Topic: tags["topic"], Offset: p.Pub.Offset, Via: tags["via"],
		Retained: tags["retained"] == "true", Replayed: tags["replayed"] == "true", ContentType: tags["content_type"],
	}
	if r.Topic == "" {
		r.Topic = p.Channel
	}
	if r.Offset == 0 && tags["offset"] != "" {
		_, _ = fmt.Sscan(tags["offset"], &r.Offset)
	}
	payload, err := jsonBytes(p.Pub.Data, tags["encoding"])
	if err != nil {
		return fmt.Errorf("publication on %s: %w", p.Channel, err)
	}
	r.Payload = payload
	handle(r)
	return nil
}

// jsonBytes gives the payload back that data stands for.
func jsonBytes(data json.RawMessage, encoding string) ([]byte, error) {
	if encoding == "" {
		return data, nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	if encoding == "base64" {
		return base64.StdEncoding.DecodeString(s)
	}
	return []byte(s), nil
}

func (c *jsonClient) Publish(ctx context.Context, p Publication) (msg.Offset, error) {
	data, encoding := msg.Bytes(p.Payload).JSONView()
	if encoding == "" && !p.Retain && p.ContentType == "" {
		r, err := c.command(ctx, "publish", map[string]any{"channel": p.Topic, "data": json.RawMessage(data)})
		if err != nil || r.Publish == nil {
			return 0, err
		}
		return r.Publish.Offset, nil
	}
	content := map[string]any{"channel": p.Topic}
	if len(p.Payload) > 0 {
		content["data"] = json.RawMessage(data)
		if encoding != "" {
			content["encoding"] = encoding
		}
	}
	if p.Retain {
		content["retain"] = true
	}
	if p.ContentType != "" {
		content["tags"] = map[string]string{"content_type": p.ContentType}
	}
	r, err := c.command(ctx, "rpc", map[string]any{"method": "parley.publish", "data": content})
	if err != nil || r.RPC == nil {
		return 0, err
	}
	var result struct {
		Offset msg.Offset `json:"offset"`
	}
	err = json.Unmarshal(r.RPC.Data, &result)
	return result.Offset, err
}

func (c *jsonClient) Subscribe(ctx context.Context, filter string, _ byte, handle func(Received)) error {
	c.mu.Lock()
	c.handlers[filter] = handle // before the reply: the first pushes follow it at once
	c.mu.Unlock()
	_, err := c.command(ctx, "subscribe", map[string]any{"channel": filter})
	if err != nil {
		c.mu.Lock()
		delete(c.handlers, filter)
		c.mu.Unlock()
	}
	return err
}

func (c *jsonClient) Call(ctx context.Context, procedure string, args Args) (Args, error) {
	data := map[string]any{"args": args.List, "kwargs": args.Named}
	if args.List == nil {
		data["args"] = []any{}
	}
	if args.Named == nil {
		data["kwargs"] = map[string]any{}
	}
	r, err := c.command(ctx, "rpc", map[string]any{"method": procedure, "data": data})
	if err != nil || r.RPC == nil {
		return Args{}, err
	}
	return jsonArgs(r.RPC.Data, r.RPC.Encoding)
}

// jsonArgs reads a procedure's result: {args, kwargs}, else the one value.
func jsonArgs(data json.RawMessage, encoding string) (Args, error) {
	if encoding != "" {
		b, err := jsonBytes(data, encoding)
		if encoding == "text" {
			return Args{List: []any{string(b)}}, err
		}
		return Args{List: []any{b}}, err
	}
	v, err := decodeJSON(data)
	if err != nil {
		return Args{}, err
	}
	if m, ok := v.(map[string]any); ok && len(m) == 2 {
		list, isList := m["args"].([]any)
		named, isMap := m["kwargs"].(map[string]any)
		if isList && isMap {
			return Args{List: list, Named: named}, nil
		}
	}
	return Args{List: []any{v}}, nil
}

func (c *jsonClient) Close() error {
	c.fail(errors.New("by this side"))
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.conn.CloseNow() })
	err := c.conn.Close(websocket.StatusNormalClosure, "")
	stop()
	c.conn.CloseNow()
	c.reader.Wait()
	var ce websocket.CloseError
	if errors.As(err, &ce) || ctx.Err() != nil {
		return nil // the other side closed first, or says nothing any more
	}
	return err
}
