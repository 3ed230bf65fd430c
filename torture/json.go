package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/coder/websocket"
)

// jsonLink speaks the Centrifugo client protocol, version 2.
type jsonLink struct {
	*socket
	requests
	durable bool
	rest    []byte // what came in one frame with the connect reply; owned by the reader
}

type jsonReply struct {
	ID    uint64 `json:"id"`
	Error *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Connect *struct {
		Data struct {
			Session struct {
				Present bool `json:"present"`
			} `json:"session"`
		} `json:"data"`
	} `json:"connect"`
	Publish *struct {
		Offset uint64 `json:"offset"`
	} `json:"publish"`
	RPC *struct {
		Data json.RawMessage `json:"data"`
	} `json:"rpc"`
	Push *jsonPush `json:"push"`
}

type jsonPush struct {
	Channel string `json:"channel"`
	Pub     *struct {
		Data   json.RawMessage   `json:"data"`
		Offset uint64            `json:"offset"`
		Tags   map[string]string `json:"tags"`
	} `json:"pub"`
	Unsubscribe json.RawMessage `json:"unsubscribe"`
	Disconnect  json.RawMessage `json:"disconnect"`
	Message     *struct {
		Data json.RawMessage `json:"data"`
	} `json:"message"`
}

// fields is a JSON object.
type fields map[string]any

func openJSON(ctx context.Context, h handshake) (link, bool, error) {
	s, err := dialSocket(ctx, h.url, "json", websocket.MessageText)
	if err != nil {
		return nil, false, err
	}
	l := &jsonLink{socket: s, durable: h.durable}
	present, err := l.connect(ctx, h)
	if err != nil {
		s.cut()
		return nil, false, err
	}
	return l, present, nil
}

func (l *jsonLink) connect(ctx context.Context, h handshake) (bool, error) {
	connect := fields{"name": h.session}
	if h.durable {
		data := fields{"session": h.session, "expiry": sessionExpiry}
		if h.inFlight > 0 {
			data["window"] = h.inFlight
		}
		connect["data"] = data
	}
	if err := l.command(request{}, "connect", connect); err != nil {
		return false, err
	}
	b, err := l.socket.read(ctx)
	if err != nil {
		return false, err
	}
	b, l.rest, _ = bytes.Cut(b, []byte("\n"))
	var r jsonReply
	if err := json.Unmarshal(b, &r); err != nil {
		return false, fmt.Errorf("connect: %q: %w", b, err)
	}
	if r.Error != nil || r.Connect == nil {
		return false, fmt.Errorf("connect: %s", b)
	}
	return r.Connect.Data.Session.Present, nil
}

func (l *jsonLink) command(q request, name string, content any) error {
	b, err := json.Marshal(fields{"id": l.begin(q), name: content})
	if err != nil {
		return err
	}
	return l.write(b)
}

func (l *jsonLink) publish(n uint16, m *outgoing, _ bool) error {
	q := request{n: n, kind: inAcked}
	data := json.RawMessage(payload(m.id))
	if m.key == "" && !m.retain {
		return l.command(q, "publish", fields{"channel": m.topic, "data": data})
	}
	content := fields{"channel": m.topic, "data": data}
	if m.key != "" {
		content["key"] = m.key
	}
	if m.retain {
		content["retain"] = true
	}
	return l.command(q, "rpc", fields{"method": "parley.publish", "data": content})
}

func (l *jsonLink) subscribe(n uint16, filter string, _ byte) error {
	return l.command(request{n, inSubscribed, filter}, "subscribe", fields{"channel": filter})
}

func (l *jsonLink) unsubscribe(n uint16, filter string) error {
	return l.command(request{n, inUnsubscribed, filter}, "unsubscribe", fields{"channel": filter})
}

func (l *jsonLink) ack(d *delivery) (bool, error) {
	if !l.durable || d.offset == 0 || d.retained {
		return false, nil
	}
	return true, l.command(request{}, "rpc", fields{"method": "parley.ack", "data": fields{"channel": d.filter, "offset": d.offset}})
}

var errNoQoS2 = errors.New("this protocol has no QoS 2")

func (l *jsonLink) release(uint16) error  { return errNoQoS2 }
func (l *jsonLink) complete(uint16) error { return errNoQoS2 }

func (l *jsonLink) pong() error { return l.write([]byte("{}")) }

// goodbye leaves the closing handshake to the reader.
func (l *jsonLink) goodbye() error {
	go func() { _ = l.ws.Close(websocket.StatusNormalClosure, "") }() // ends with the connection
	return nil
}

func (l *jsonLink) read(ctx context.Context) ([]input, error) {
	b := l.rest
	if l.rest = nil; b == nil {
		var err error
		if b, err = l.socket.read(ctx); err != nil {
			return nil, err
		}
	}
	var out []input
	for line := range bytes.SplitSeq(b, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if bytes.Equal(line, []byte("{}")) {
			out = append(out, input{kind: inPing})
			continue
		}
		var r jsonReply
		if err := json.Unmarshal(line, &r); err != nil {
			return out, fmt.Errorf("%q: %w", line, err)
		}
		in, err := l.input(&r, line)
		if err != nil {
			return out, err
		}
		if in.kind != 0 {
			out = append(out, in)
		}
	}
	return out, nil
}

func (l *jsonLink) input(r *jsonReply, line []byte) (input, error) {
	if r.Push != nil {
		return l.push(r.Push, line)
	}
	q := l.end(r.ID)
	in := input{kind: q.kind, n: q.n, filter: q.filter}
	switch {
	case r.Error != nil && q.kind == inAcked:
		in.kind, in.note = inRefused, fmt.Sprintf("%d %s", r.Error.Code, r.Error.Message)
	case r.Error != nil:
		return in, fmt.Errorf("refused: %s", line)
	case r.Publish != nil:
		in.offset = r.Publish.Offset
	case r.RPC != nil && q.kind == inAcked:
		var got struct {
			Offset uint64 `json:"offset"`
		}
		if err := json.Unmarshal(r.RPC.Data, &got); err != nil {
			return in, fmt.Errorf("%s: %w", line, err)
		}
		in.offset = got.Offset
	}
	return in, nil
}

func (l *jsonLink) push(p *jsonPush, line []byte) (input, error) {
	switch {
	case p.Pub != nil:
		tags := p.Pub.Tags
		d := &delivery{filter: p.Channel, topic: tags["topic"], qos: 1, offset: p.Pub.Offset,
			marked: tags["redelivered"] == "true", retained: tags["retained"] == "true"}
		if d.topic == "" {
			d.topic = p.Channel
		}
		if d.offset == 0 {
			d.offset, _ = strconv.ParseUint(tags["offset"], 10, 64)
		}
		if d.offset == 0 {
			d.qos = 0
		}
		var err error
		d.id, err = parsePayload(p.Pub.Data)
		return input{kind: inDelivery, d: d}, err
	case p.Message != nil:
		var gap struct {
			Filter      string
			First, Last uint64
			Count       uint64
		}
		if json.Unmarshal(p.Message.Data, &gap) == nil && gap.Last > 0 {
			return input{kind: inGap, filter: gap.Filter, offset: gap.First, last: gap.Last, count: gap.Count}, nil
		}
		return input{}, nil
	case p.Unsubscribe != nil, p.Disconnect != nil:
		return input{}, fmt.Errorf("pushed %s", line)
	}
	return input{}, nil
}
