package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/coder/websocket"

	"parley/msg"
)

// Message types of WAMP (basic profile, "Message Codes and Direction").
const (
	wampHello        = 1
	wampWelcome      = 2
	wampGoodbye      = 6
	wampError        = 8
	wampPublish      = 16
	wampPublished    = 17
	wampSubscribe    = 32
	wampSubscribed   = 33
	wampUnsubscribe  = 34
	wampUnsubscribed = 35
	wampEvent        = 36
	wampCall         = 48
	wampResult       = 50
)

// wampLink speaks WAMP in JSON.
type wampLink struct {
	*socket
	requests
	durable bool
	filters map[uint64]string // by subscription; owned by the reader
	ids     map[string]uint64 // by filter; guarded by requests.mu
}

func openWAMP(ctx context.Context, h handshake) (link, bool, error) {
	s, err := dialSocket(ctx, h.url, "wamp.2.json", websocket.MessageText)
	if err != nil {
		return nil, false, err
	}
	l := &wampLink{socket: s, durable: h.durable, filters: map[uint64]string{}, ids: map[string]uint64{}}
	present, err := l.join(ctx, h)
	if err != nil {
		s.cut()
		return nil, false, err
	}
	return l, present, nil
}

func (l *wampLink) join(ctx context.Context, h handshake) (bool, error) {
	details := fields{"roles": fields{
		"publisher": fields{"features": fields{}}, "caller": fields{"features": fields{}},
		"subscriber": fields{"features": fields{"pattern_based_subscription": true, "event_retention": true}},
	}}
	if h.durable {
		details["_parley_session"], details["_parley_expiry"] = h.session, sessionExpiry
	}
	if err := l.send(wampHello, "default", details); err != nil {
		return false, err
	}
	m, err := l.next(ctx)
	if err != nil {
		return false, err
	}
	if m.kind != wampWelcome || len(m.rest) < 2 {
		return false, fmt.Errorf("no WELCOME but %s", m.raw)
	}
	var welcome struct {
		Present bool `json:"_parley_session_present"`
	}
	err = json.Unmarshal(m.rest[1], &welcome)
	return welcome.Present, err
}

func (l *wampLink) send(kind int, rest ...any) error {
	b, err := json.Marshal(append([]any{kind}, rest...))
	if err != nil {
		return err
	}
	return l.write(b)
}

// wampMessage is one message: its code and what follows it.
type wampMessage struct {
	kind int
	rest []json.RawMessage
	raw  []byte
}

func (l *wampLink) next(ctx context.Context) (wampMessage, error) {
	b, err := l.socket.read(ctx)
	if err != nil {
		return wampMessage{}, err
	}
	m := wampMessage{raw: b}
	if err := json.Unmarshal(b, &m.rest); err != nil || len(m.rest) < 2 {
		return m, fmt.Errorf("%q: %w", b, errors.Join(err, errPacket))
	}
	if err := json.Unmarshal(m.rest[0], &m.kind); err != nil {
		return m, fmt.Errorf("%q: %w", b, err)
	}
	m.rest = m.rest[1:]
	return m, nil
}

func (l *wampLink) publish(n uint16, m *outgoing, _ bool) error {
	uri := msg.URI(m.topic)
	options := fields{"acknowledge": m.qos > 0}
	if m.key != "" {
		options["_parley_key"] = m.key
	}
	if m.retain {
		options["retain"] = true
	}
	id := l.begin(request{n: n, kind: inAcked})
	if m.qos == 0 {
		l.end(id) // never answered
	}
	return l.send(wampPublish, id, options, uri, []json.RawMessage{payload(m.id)})
}

// pattern translates an MQTT filter to a URI and its way of matching. A prefix
// matches by characters; the topics of this package end their levels alike.
func pattern(filter string) (uri, match string) {
	if before, ok := strings.CutSuffix(filter, "/#"); ok {
		return msg.URI(before) + ".", "prefix"
	}
	if strings.Contains(filter, "+") {
		return strings.ReplaceAll(strings.ReplaceAll(filter, "/", "."), "+", ""), "wildcard"
	}
	return msg.URI(filter), "exact"
}

func (l *wampLink) subscribe(n uint16, filter string, _ byte) error {
	uri, match := pattern(filter)
	return l.send(wampSubscribe, l.begin(request{n, inSubscribed, filter}), fields{"match": match, "get_retained": true}, uri)
}

func (l *wampLink) unsubscribe(n uint16, filter string) error {
	id := l.begin(request{n, inUnsubscribed, filter})
	l.mu.Lock()
	sub := l.ids[filter]
	l.mu.Unlock()
	return l.send(wampUnsubscribe, id, sub)
}

func (l *wampLink) ack(d *delivery) (bool, error) {
	if !l.durable || d.offset == 0 || d.retained {
		return false, nil
	}
	return true, l.send(wampCall, l.begin(request{}), fields{}, "parley.ack", []uint64{d.subscription, d.publication})
}

func (l *wampLink) release(uint16) error  { return errNoQoS2 }
func (l *wampLink) complete(uint16) error { return errNoQoS2 }

func (l *wampLink) goodbye() error { return l.send(wampGoodbye, fields{}, "wamp.close.close_realm") }

func (l *wampLink) read(ctx context.Context) ([]input, error) {
	m, err := l.next(ctx)
	if err != nil {
		return nil, err
	}
	in, err := l.input(&m)
	if err != nil || in.kind == 0 {
		return nil, err
	}
	return []input{in}, nil
}

func (l *wampLink) input(m *wampMessage) (input, error) {
	switch m.kind {
	case wampEvent:
		return l.event(m)
	case wampPublished, wampUnsubscribed, wampResult:
		q := l.end(m.number(0))
		return input{kind: q.kind, n: q.n, filter: q.filter}, nil
	case wampSubscribed:
		q, id := l.end(m.number(0)), m.number(1)
		l.filters[id] = q.filter
		l.mu.Lock()
		l.ids[q.filter] = id
		l.mu.Unlock()
		return input{kind: inSubscribed, n: q.n, filter: q.filter}, nil
	case wampError:
		q := l.end(m.number(1))
		if q.kind != inAcked {
			return input{}, fmt.Errorf("refused: %s", m.raw)
		}
		return input{kind: inRefused, n: q.n, note: string(m.raw)}, nil
	case wampGoodbye:
		return input{}, fmt.Errorf("GOODBYE: %s", m.raw)
	}
	return input{}, fmt.Errorf("%s: %w", m.raw, errPacket)
}

// number is element i of the rest; 0 if it is not a number, which is no id.
func (m *wampMessage) number(i int) (n uint64) {
	if i < len(m.rest) {
		_ = json.Unmarshal(m.rest[i], &n)
	}
	return n
}

// event reads [EVENT, subscription, publication, details, arguments].
func (l *wampLink) event(m *wampMessage) (input, error) {
	d := &delivery{subscription: m.number(0), publication: m.number(1)}
	var details struct {
		Topic    string `json:"topic"`
		Offset   uint64 `json:"_parley_offset"`
		Marked   bool   `json:"_parley_redelivered"`
		Retained bool   `json:"retained"`
	}
	var args []json.RawMessage
	if len(m.rest) < 4 {
		return input{}, fmt.Errorf("%s: %w", m.raw, errPacket)
	}
	if err := errors.Join(json.Unmarshal(m.rest[2], &details), json.Unmarshal(m.rest[3], &args)); err != nil || len(args) != 1 {
		return input{}, fmt.Errorf("%s: %w", m.raw, errors.Join(err, errPacket))
	}
	filter, ok := l.filters[d.subscription]
	if !ok {
		return input{}, fmt.Errorf("EVENT on a subscription that is not held: %s", m.raw)
	}
	d.filter, d.topic = filter, filter
	d.offset, d.marked, d.retained = details.Offset, details.Marked, details.Retained
	if d.offset > 0 {
		d.qos = 1
	}
	var err error
	if details.Topic != "" {
		if d.topic, err = msg.TopicOfURI(details.Topic); err != nil {
			return input{}, err
		}
	}
	d.id, err = parsePayload(args[0])
	return input{kind: inDelivery, d: d}, err
}
