package hub

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"parley/msg"
	"parley/persist"
)

// A PUBLISH at QoS 2 that is repeated on the next connection while the first one
// still waits for a full store waits with it, and what comes behind it waits too:
// neither is refused, and it is published once.
func TestPublishOnceWhileStoreIsFull(t *testing.T) {
	h, g := openGated(t, nil)
	sub := connect(t, h, msg.SessionParams{})
	sub.subscribe("a")
	params := msg.SessionParams{ClientID: "d", Expiry: msg.Forever, ParkWhenFull: true, Exact: true}
	full := fmt.Errorf("%w: no space", persist.ErrFull)
	type ack struct {
		name   string
		offset msg.Offset
		err    error
	}
	acks := make(chan ack, 10)
	send := func(d *client, name string) {
		m := &msg.Message{Topic: "a", QoS: 2, Payload: msg.Bytes([]byte("once"))}
		d.PublishOnce(7, m, func(o msg.Offset, err error) { acks <- ack{name, o, err} })
	}
	lost, _ := deviceWith(t, h, params)
	send(lost, "first")
	await(t, g.arrived)
	g.proceed <- full
	for !lost.Congested() {
		await(t, lost.wake)
	}
	lost.Close(msg.CloseLost)

	d, r := deviceWith(t, h, params)
	if !r.Present {
		t.Fatal("no session")
	}
	send(d, "repeated")
	d.publish("a", "behind", 1, func(o msg.Offset, err error) { acks <- ack{"behind", o, err} })
	for !d.Congested() {
		await(t, d.wake)
	}
	await(t, g.arrived) // the retry
	g.proceed <- full
	g.release()
	var last ack
	for i, want := range []string{"first", "repeated", "behind"} {
		got := await(t, acks)
		if got.name != want || got.err != nil || i == 1 && got.offset != last.offset || i != 1 && got.offset <= last.offset {
			t.Fatalf("%+v after %+v, want %s", got, last, want)
		}
		last = got
	}
	for d.Congested() {
		await(t, d.wake)
	}
	sub.expect("once", "behind")
}

// A SUBSCRIBE that waits for a full store behind a publish holds back what comes for
// the session; the connection that has taken it over meanwhile is woken at its end.
func TestTakeoverWhileASubscribeWaits(t *testing.T) {
	h, g := openGated(t, nil)
	g.pass.Store(true)
	params := msg.SessionParams{ClientID: "d", Expiry: msg.Forever, ParkWhenFull: true}
	before, _ := deviceWith(t, h, params)
	before.subscribe("a")
	g.pass.Store(false)
	before.publish("x", "parked", 1, nil)
	await(t, g.arrived)
	g.proceed <- fmt.Errorf("%w: no space", persist.ErrFull)
	for !before.Congested() {
		await(t, before.wake)
	}
	before.Subscribe([]msg.Subscription{{Filter: msg.Filter{Pattern: "b"}, QoS: 1}}, func([]msg.SubscribeResult) {})
	d, _ := deviceWith(t, h, params)
	pub := connect(t, h, msg.SessionParams{})
	pub.subscribe("marker")
	pub.publish("a", "transient", 0, nil)
	var none msg.Delivery
	if d.Next(&none) {
		t.Fatalf("%+v before the filter is on disk", none)
	}
	await(t, d.wake) // for the message
	if d.Next(&none) {
		t.Fatalf("%+v before the filter is on disk", none)
	}
	g.release()
	d.expect("transient")
}

// A will that its client took back while the store was full is not published after a
// restart.
func TestWillTakenBackWhileStoreIsFull(t *testing.T) {
	g := newGated(newMem(t))
	g.pass.Store(true)
	l := live(t, g)
	t.Cleanup(g.release)
	d, _ := l.device(msg.SessionParams{Will: &msg.Will{Message: &msg.Message{Topic: "will", QoS: 1}}})
	g.controls = true
	g.pass.Store(false)
	d.Close(msg.CloseGoodbye)
	await(t, g.arrived)
	g.proceed <- fmt.Errorf("%w: no space", persist.ErrFull)
	g.pass.Store(true)
	g.release()
	l = l.restart()
	ns := l.spaces["default"]
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if len(ns.wills) > 0 {
		t.Fatal("the will is there again")
	}
}

// Sessions that a full store refuses leave nothing behind.
func TestRefusedSessionsLeaveNothing(t *testing.T) {
	h, g := openGated(t, func(o *Options) { o.checkpoint = time.Hour })
	g.controls = true
	for i := range 3 {
		refused := make(chan error, 1)
		h.Attach(&client{wake: make(chan struct{}, 1)}, nil, msg.SessionParams{Namespace: "default", ClientID: fmt.Sprint(i), Expiry: msg.Forever},
			func(_ msg.AttachResult, err error) { refused <- err })
		await(t, g.arrived)
		g.proceed <- fmt.Errorf("%w: no space", persist.ErrFull)
		if err := await(t, refused); !errors.Is(err, msg.ErrStoreFull) {
			t.Fatal(err)
		}
	}
	if names := h.spaces["default"].touched.take(); len(names) > 0 {
		t.Errorf("%q wait for a checkpoint", names)
	}
	if n := h.Sessions(); n > 0 {
		t.Errorf("%d sessions", n)
	}
}
