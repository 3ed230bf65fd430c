package hub

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/persist/mem"
)

// device connects the session "d" without a clean start.
func device(t testing.TB, h *Hub) (*client, msg.AttachResult) {
	t.Helper()
	return deviceWith(t, h, msg.SessionParams{ClientID: "d", Expiry: msg.Forever, Exact: true})
}

func deviceWith(t testing.TB, h *Hub, p msg.SessionParams) (*client, msg.AttachResult) {
	t.Helper()
	c := &client{t: t, wake: make(chan struct{}, 1)}
	p.Namespace = "default"
	var result msg.AttachResult
	attached := make(chan error, 1)
	c.Session = h.Attach(c, nil, p, func(r msg.AttachResult, err error) { result = r; attached <- err })
	if err := await(t, attached); err != nil {
		t.Fatal(err)
	}
	return c, result
}

// take waits for the next delivery and does not acknowledge it.
func (c *client) take() msg.Delivery {
	c.t.Helper()
	var d msg.Delivery
	for !c.Next(&d) {
		await(c.t, c.wake)
	}
	return d
}

func TestSessionCollectsWhileAway(t *testing.T) {
	h := open(t, newMem(t), func(o *Options) { o.Shards = 1 }) // so that settle speaks for all
	pub := connect(t, h, msg.SessionParams{})
	d, r := device(t, h)
	if r.Present {
		t.Fatal("present before it existed")
	}
	d.subscribe("a/#")
	d.subscribe("zero", func(s *msg.Subscription) { s.QoS = 0 })
	d.Close(msg.CloseLost)
	for i := range 3 {
		pub.store("a/b", fmt.Sprint(i))
		pub.store("zero", "not collected")
		pub.publish("a/b", "transient", 0, nil)
		pub.retain("a/kept", "stored, but QoS 0")
	}
	pub.settle()
	d, r = device(t, h)
	if !r.Present {
		t.Fatal("not present")
	}
	d.expect("0", "1", "2")
	pub.store("a/b", "live")
	pub.store("zero", "live too")
	d.expect("live", "live too")
}

func TestCleanStartDiscards(t *testing.T) {
	h := open(t, newMem(t), nil)
	pub := connect(t, h, msg.SessionParams{})
	d, _ := device(t, h)
	d.subscribe("a")
	d.Close(msg.CloseLost)
	pub.store("a", "old")
	d, r := deviceWith(t, h, msg.SessionParams{ClientID: "d", CleanStart: true, Expiry: time.Hour})
	if r.Present {
		t.Fatal("present")
	}
	d.subscribe("b")
	pub.store("a", "unwanted")
	pub.store("b", "new")
	d.expect("new")
	if n := h.Sessions(); n != 2 {
		t.Fatalf("%d sessions", n)
	}
}

// What was sent and not acknowledged comes first, in order, marked, under its id.
func TestUnacknowledgedComesAgain(t *testing.T) {
	h := open(t, newMem(t), nil)
	pub := connect(t, h, msg.SessionParams{})
	d, _ := device(t, h)
	d.subscribe("a")
	for i := range 6 {
		pub.store("a", fmt.Sprint(i))
	}
	for i := range 4 {
		got := d.take()
		d.Assign(got.Ref, uint16(10+i), nil)
		if i == 1 {
			d.Ack(got.Ref)
		}
	}
	for range 3 { // three connections that acknowledge nothing
		d.Close(msg.CloseLost)
		d, _ = device(t, h)
		for _, want := range []struct {
			payload string
			id      uint16
		}{{"0", 10}, {"2", 12}, {"3", 13}} {
			got := d.take()
			if string(got.Message.Payload.Data) != want.payload || got.PacketID != want.id || !got.Redelivered {
				t.Fatalf("got %s id %d redelivered %v, want %v", got.Message.Payload.Data, got.PacketID, got.Redelivered, want)
			}
		}
	}
	d.Close(msg.CloseLost)
	d, _ = device(t, h)
	d.expect("0", "2", "3")
	if got := d.next(); string(got.Message.Payload.Data) != "4" || got.Redelivered {
		t.Fatalf("%+v", got)
	}
	d.expect("5")
}

// At QoS 2 what the peer has received is not sent again: only PUBREL is.
func TestReceivedIsNotSentAgain(t *testing.T) {
	h := open(t, newMem(t), nil)
	pub := connect(t, h, msg.SessionParams{})
	d, _ := device(t, h)
	d.subscribe("a", func(s *msg.Subscription) { s.QoS = 2 })
	for i := range 3 {
		pub.send(&msg.Message{Topic: "a", QoS: 2, Payload: msg.Bytes([]byte(fmt.Sprint(i)))})
	}
	var refs []uint64
	for i := range 3 {
		got := d.take()
		refs = append(refs, got.Ref)
		d.Assign(got.Ref, uint16(i+1), func(error) {})
	}
	d.Received(refs[1], func(error) {})
	d.Received(refs[0], func(error) {})
	d.Close(msg.CloseLost)
	d, r := device(t, h)
	if len(r.Received) != 2 || r.Received[0] != (msg.InFlight{Ref: refs[1], PacketID: 2}) {
		t.Fatalf("%+v", r.Received)
	}
	if got := d.take(); got.PacketID != 3 || got.QoS != 2 {
		t.Fatalf("%+v", got)
	}
	d.Ack(r.Received[0].Ref)
	d.Ack(r.Received[1].Ref)
	d.Close(msg.CloseLost)
	if _, r := device(t, h); len(r.Received) != 0 {
		t.Fatalf("%+v", r.Received)
	}
}

// A repeated PUBLISH at QoS 2 is published once: before the commit, after it and
// on the next connection; after Release the id is free.
func TestPublishOnce(t *testing.T) {
	h, g := openGated(t, nil)
	sub := connect(t, h, msg.SessionParams{})
	sub.subscribe("a")
	d, _ := device(t, h)
	type ack struct {
		offset msg.Offset
		err    error
	}
	acks := make(chan ack, 10)
	once := func(topic string) {
		m := &msg.Message{Topic: topic, QoS: 2, Payload: msg.Bytes([]byte("x"))}
		d.PublishOnce(7, m, func(o msg.Offset, err error) { acks <- ack{o, err} })
	}
	once("a")
	await(t, g.arrived)
	once("a") // before the commit
	g.proceed <- nil
	first := await(t, acks)
	if first.offset == 0 || await(t, acks) != first {
		t.Fatal(first)
	}
	g.release()
	once("a") // after it
	d.Close(msg.CloseLost)
	d, _ = device(t, h)
	once("a") // on the next connection
	for range 2 {
		if again := await(t, acks); again != first {
			t.Fatal(again)
		}
	}
	release := func() error {
		errs := make(chan error, 1)
		d.Release(7, func(err error) { errs <- err })
		return await(t, errs)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := release(); !errors.Is(err, msg.ErrNoPacketID) {
		t.Fatal(err)
	}
	once("a")
	if second := await(t, acks); second.offset <= first.offset {
		t.Fatal(second)
	}
	sub.next()
	if got := sub.next(); got.Message.Offset <= first.offset {
		t.Fatalf("%+v", got)
	}
	release()
	once("denied")
	if refused := await(t, acks); !errors.Is(refused.err, msg.ErrNotAuthorized) {
		t.Fatal(refused)
	}
	if err := release(); !errors.Is(err, msg.ErrNoPacketID) {
		t.Fatalf("a refused publish holds its id: %v", err)
	}
}

// What Next lent to a connection stays as it is after another has taken the
// session over: the old one may still be encoding.
func TestTakeoverLeavesWhatNextLent(t *testing.T) {
	h := open(t, newMem(t), nil)
	pub := connect(t, h, msg.SessionParams{})
	old, _ := device(t, h)
	old.subscribe("a", func(s *msg.Subscription) { s.Handle = 1 })
	old.subscribe("b", func(s *msg.Subscription) { s.Handle = 2 })
	pub.store("a", "x")
	got := old.take()
	fresh, _ := device(t, h)
	fresh.Ack(got.Ref)
	pub.store("b", "y")
	fresh.expect("y")
	if got.Matches[0].Handle != 1 {
		t.Fatalf("handle %d", got.Matches[0].Handle)
	}
}

func TestSessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		h, _ := New(Options{Store: store, Policy: denying{}})
		stop := run(t, h)
		p := msg.SessionParams{ClientID: "d", Expiry: time.Minute}
		d, _ := deviceWith(t, h, p)
		d.subscribe("a")
		d.Close(msg.CloseGoodbye)
		time.Sleep(59 * time.Second)
		d, r := deviceWith(t, h, p)
		if !r.Present {
			t.Error("gone too early")
		}
		d.SetExpiry(10 * time.Second)
		d.Close(msg.CloseGoodbye)
		time.Sleep(11 * time.Second)
		if n := h.Sessions(); n != 0 {
			t.Errorf("%d sessions", n)
		}
		if x := h.shards[0].index(h.spaces["default"]); len(x.exact) != 0 {
			t.Error("an expired session left a subscription behind")
		}
		if _, r = deviceWith(t, h, p); r.Present {
			t.Error("present after its expiry")
		}
		stop()
	})
}

// 200 takeovers under load lose nothing and change no order; what was taken and
// not acknowledged comes again.
func TestTakeoverUnderLoadLosesNothing(t *testing.T) {
	for _, lim := range []Limits{{}, {QueueMessages: 10, TailBytes: 32 << 10}} {
		t.Run(fmt.Sprint(lim.QueueMessages), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			h := open(t, newMem(t), func(o *Options) { o.Limits = lim })
			first, _ := device(t, h)
			first.subscribe("t")
			const count = 4000
			pub := connect(t, h, msg.SessionParams{})
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := range count {
					pub.store("t", fmt.Sprint(i))
				}
			})
			acked := 0
			d := first
			for takeovers := 0; acked < count; {
				if takeovers < 200 && r.IntN(15) == 0 {
					if r.IntN(2) == 0 {
						d.Close(msg.CloseLost)
					}
					d, _ = device(t, h)
					takeovers++
				}
				got := d.take()
				if got.Notice != nil {
					t.Fatalf("notice %+v", got.Notice)
				}
				if s := string(got.Message.Payload.Data); s != fmt.Sprint(acked) {
					t.Fatalf("got %s, redelivered %v, want %d", s, got.Redelivered, acked)
				}
				if r.IntN(4) > 0 {
					d.Ack(got.Ref)
					acked++
					continue
				}
				d.Close(msg.CloseLost) // taken but not acknowledged
				d, _ = device(t, h)
			}
			wg.Wait()
		})
	}
}

// 40 connections at once with one name: one remains, all others are told.
func TestConcurrentAttachOfOneName(t *testing.T) {
	h := open(t, newMem(t), nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	told, live := 0, 0
	var all []*client
	for i := range 40 {
		wg.Go(func() {
			c := &client{t: t, wake: make(chan struct{}, 1)}
			done := make(chan error, 1)
			c.Session = h.Attach(c, &auth.Identity{}, msg.SessionParams{Namespace: "default", ClientID: "c", CleanStart: i%2 == 0, Expiry: time.Hour},
				func(_ msg.AttachResult, err error) { done <- err })
			if err := await(t, done); err != nil {
				t.Error(err)
			}
			mu.Lock()
			all = append(all, c)
			mu.Unlock()
		})
	}
	wg.Wait()
	for _, c := range all {
		var d msg.Delivery
		if c.Next(&d) && d.Notice.Kind == msg.NoticeTakenOver {
			told++
		} else if _, err := c.try(&msg.Message{Topic: "x", QoS: 1}); err == nil {
			live++
		}
	}
	if told != 39 || live != 1 || h.Sessions() != 1 {
		t.Fatalf("%d told, %d live, %d sessions", told, live, h.Sessions())
	}
}

func TestWindowOfResumedSession(t *testing.T) {
	h := open(t, newMem(t), nil)
	pub := connect(t, h, msg.SessionParams{})
	d, _ := device(t, h)
	d.subscribe("a")
	for i := range 10 {
		pub.store("a", fmt.Sprint(i))
	}
	for range 5 {
		d.take()
	}
	d.Close(msg.CloseLost)
	d, _ = deviceWith(t, h, msg.SessionParams{ClientID: "d", Expiry: time.Hour, Window: 2})
	for i := range 10 {
		got := d.take()
		if string(got.Message.Payload.Data) != fmt.Sprint(i) {
			t.Fatalf("%d: %s", i, got.Message.Payload.Data)
		}
		d.Ack(got.Ref)
	}
}
