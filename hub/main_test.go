package hub

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parley/auth"
	"parley/msg"
	"parley/persist"
	"parley/persist/mem"
	"parley/subproto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test; no test passes because of it.
const patience = 20 * time.Second

// open runs a hub on store until the test ends.
func open(t testing.TB, store persist.Store, change func(*Options)) *Hub {
	t.Helper()
	o := Options{Store: store, Policy: denying{}}
	if change != nil {
		change(&o)
	}
	if o.Limits.Takeovers == 0 {
		o.Limits.Takeovers = -1 // most tests take over as fast as they can
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, h)
	return h
}

// run starts h and stops it at the end of the test, or when stop is called.
func run(t testing.TB, h *Hub) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); h.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// client is a peer with its session.
type client struct {
	subproto.Session
	t    testing.TB
	wake chan struct{}
}

func (c *client) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func connect(t testing.TB, h *Hub, p msg.SessionParams) *client {
	t.Helper()
	return connectAs(t, h, nil, p)
}

func connectAs(t testing.TB, h *Hub, id *auth.Identity, p msg.SessionParams) *client {
	t.Helper()
	c := &client{t: t, wake: make(chan struct{}, 1)}
	if p.Namespace == "" {
		p.Namespace = "default"
	}
	attached := make(chan error, 1)
	c.Session = h.Attach(c, id, p, func(_ msg.AttachResult, err error) { attached <- err })
	if err := await(t, attached); err != nil {
		t.Fatalf("attach: %v", err)
	}
	return c
}

func await[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing happened in time")
		panic("unreachable")
	}
}

func (c *client) subscribe(pattern string, options ...func(*msg.Subscription)) {
	c.t.Helper()
	f, err := msg.ParseFilter(pattern)
	if err != nil {
		c.t.Fatal(err)
	}
	sub := msg.Subscription{Filter: f, QoS: 1}
	for _, o := range options {
		o(&sub)
	}
	if err := c.trySubscribe(sub); err != nil {
		c.t.Fatalf("subscribe %s: %v", pattern, err)
	}
}

func (c *client) trySubscribe(sub msg.Subscription) error {
	results := make(chan []msg.SubscribeResult, 1)
	c.Subscribe([]msg.Subscription{sub}, func(r []msg.SubscribeResult) { results <- r })
	return await(c.t, results)[0].Err
}

// next waits for the next delivery.
func (c *client) next() msg.Delivery {
	c.t.Helper()
	var d msg.Delivery
	for !c.Next(&d) {
		await(c.t, c.wake)
	}
	if d.QoS > 0 {
		c.Ack(d.Ref)
	}
	return d
}

// expect waits for deliveries with these payloads, in this order.
func (c *client) expect(payloads ...string) {
	c.t.Helper()
	for _, want := range payloads {
		d := c.next()
		if d.Message == nil {
			c.t.Fatalf("got notice %+v, want %q", *d.Notice, want)
		}
		if got := string(d.Message.Payload.Data); got != want {
			c.t.Fatalf("got %q on %s, want %q", got, d.Message.Topic, want)
		}
	}
}

// publish submits and does not wait.
func (c *client) publish(topic, payload string, q msg.QoS, done func(msg.Offset, error)) {
	c.Publish(&msg.Message{Topic: topic, Payload: msg.Bytes([]byte(payload)), QoS: q, Via: msg.ViaMQTT}, done)
}

// store publishes at QoS 1 and waits for the ack.
func (c *client) store(topic, payload string) msg.Offset {
	c.t.Helper()
	return c.send(&msg.Message{Topic: topic, Payload: msg.Bytes([]byte(payload)), QoS: 1, Via: msg.ViaMQTT})
}

func (c *client) send(m *msg.Message) msg.Offset {
	c.t.Helper()
	o, err := c.try(m)
	if err != nil {
		c.t.Fatalf("publish to %s: %v", m.Topic, err)
	}
	return o
}

func (c *client) try(m *msg.Message) (msg.Offset, error) {
	type ack struct {
		offset msg.Offset
		err    error
	}
	acks := make(chan ack, 1)
	c.Publish(m, func(o msg.Offset, err error) { acks <- ack{o, err} })
	a := await(c.t, acks)
	return a.offset, a.err
}

// settle waits until everything that c published before has been fanned out,
// without a sleep: a marker to c itself comes behind it.
func (c *client) settle() {
	c.t.Helper()
	c.subscribe("marker/" + fmt.Sprint(c.ID()))
	c.store("marker/"+fmt.Sprint(c.ID()), "marker")
	c.expect("marker")
}

func newMem(t testing.TB) persist.Store {
	s := mem.New()
	t.Cleanup(func() { s.Close() })
	return s
}

// newCuttable makes a store that can let go of single messages.
func newCuttable() persist.Store { return mem.NewWith(mem.Options{SegmentMessages: 1}) }

// cut drops the messages of namespace default up to upTo.
func cut(t testing.TB, s persist.Store, upTo msg.Offset) {
	t.Helper()
	segments, err := s.Segments("default")
	if err != nil {
		t.Fatal(err)
	}
	for _, seg := range segments {
		if seg.Last > upTo {
			continue
		}
		if err := s.Drop("default", seg, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// denying refuses topics and filters that begin with "denied".
type denying struct{}

func (denying) Topic(_ *auth.Identity, _ string, _ auth.Action, topic string) error {
	if strings.HasPrefix(topic, "denied") {
		return msg.ErrNotAuthorized
	}
	return nil
}

func (denying) Filter(_ *auth.Identity, _ string, f msg.Filter) error {
	if strings.HasPrefix(f.Pattern, "denied") {
		return msg.ErrNotAuthorized
	}
	return nil
}

// switchable allows everything until deny is set.
type switchable struct{ deny atomic.Bool }

func (s *switchable) err() error {
	if s.deny.Load() {
		return msg.ErrNotAuthorized
	}
	return nil
}

func (s *switchable) Topic(*auth.Identity, string, auth.Action, string) error { return s.err() }
func (s *switchable) Filter(*auth.Identity, string, msg.Filter) error         { return s.err() }
