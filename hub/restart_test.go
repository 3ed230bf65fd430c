package hub

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/persist"
)

// mortal is a store that a crash cuts off: from then on nothing reaches it.
type mortal struct {
	persist.Store
	dead atomic.Bool
	last bool // set before dead
}

func (s *mortal) Commit(b *persist.Batch, done func(error)) {
	if s.dead.Load() {
		if s.last { // this one reaches the disk, and nobody hears of it
			s.last = false
			s.Store.Commit(b, func(error) {})
		}
		done(persist.ErrClosed)
		return
	}
	s.Store.Commit(b, done)
}

// life is a run of the broker that can crash.
type life struct {
	*Hub
	t     *testing.T
	store *mortal
	stop  func()
	again func(persist.Store) *life // the next run
}

func live(t *testing.T, store persist.Store) *life {
	t.Helper()
	return liveWith(t, store, Options{Policy: denying{}, Shards: 2})
}

func liveWith(t *testing.T, store persist.Store, o Options) *life {
	t.Helper()
	m := &mortal{Store: store}
	o.Store = m
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &life{h, t, m, run(t, h), func(s persist.Store) *life { return liveWith(t, s, o) }}
}

// crash ends the run as a kill does, and begins the next one on what the store holds.
func (l *life) crash() *life {
	l.t.Helper()
	l.store.dead.Store(true)
	l.stop()
	return l.again(l.store.Store)
}

// restart ends the run in an orderly way.
func (l *life) restart() *life {
	l.t.Helper()
	l.stop()
	return l.again(l.store.Store)
}

func (l *life) device(p msg.SessionParams) (*client, msg.AttachResult) {
	l.t.Helper()
	if p.ClientID == "" {
		p.ClientID = "d"
	}
	if p.Expiry == 0 {
		p.Expiry = msg.Forever
	}
	p.Exact = true
	return deviceWith(l.t, l.Hub, p)
}

// back is the device again, whose session has to be there.
func (l *life) back() *client {
	l.t.Helper()
	d, r := l.device(msg.SessionParams{})
	if !r.Present {
		l.t.Fatal("the session is gone")
	}
	return d
}

func (l *life) publisher() *client {
	l.t.Helper()
	return connect(l.t, l.Hub, msg.SessionParams{})
}

func payload(d msg.Delivery) string { return string(d.Message.Payload.Data) }

// [MQTT-4.4.0-1], promise 3.
func TestPromiseDurableSessionsSurviveACrash(t *testing.T) {
	l := live(t, newMem(t))
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("a/#", func(s *msg.Subscription) { s.Handle = 7 })
	d.subscribe("b")
	d.subscribe("c")
	unsubscribed := make(chan []error, 1)
	d.Unsubscribe([]msg.Filter{{Pattern: "b"}}, func(e []error) { unsubscribed <- e })
	await(t, unsubscribed)
	pub := l.publisher()
	for i := range 6 {
		pub.store("a/x", fmt.Sprint(i))
	}
	for i := range 3 {
		got := d.take()
		d.Assign(got.Ref, uint16(20+i), nil)
		if i == 1 {
			d.Ack(got.Ref)
		}
	}
	l = l.crash()
	pub = l.publisher()
	pub.store("b", "unsubscribed")
	pub.store("c", "6")
	d = l.back()
	seen := map[string]bool{}
	for last := -1; !seen["6"]; {
		got := d.next()
		var n int
		if _, err := fmt.Sscan(payload(got), &n); err != nil || n <= last {
			t.Fatalf("got %q after %d", payload(got), last)
		}
		last = n
		seen[payload(got)] = true
		if n < 3 && !got.Redelivered {
			t.Errorf("%d may have come before and is not marked", n)
		}
		if got.Matches[0].Filter.Pattern == "a/#" && got.Matches[0].Handle != 7 {
			t.Errorf("handle %d", got.Matches[0].Handle)
		}
	}
	for _, i := range []string{"0", "2", "3", "4", "5"} {
		if !seen[i] {
			t.Errorf("%s was lost", i)
		}
	}
}

// What was sent after a return is marked when it comes again after a crash, though
// no checkpoint has seen the connection [MQTT-3.3.1-1].
func TestCrashMarksWhatWasSentSinceTheReturn(t *testing.T) {
	l := liveWith(t, newMem(t), Options{Policy: denying{}, Shards: 2, checkpoint: time.Hour})
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("a")
	d.Close(msg.CloseLost)
	l = l.restart() // with a checkpoint that knows of no connection
	l.publisher().store("a", "0")
	l = l.crash()
	d = l.back()
	if got := d.take(); payload(got) != "0" || got.Redelivered {
		t.Fatalf("got %q, redelivered %v, which nobody was sent before", payload(got), got.Redelivered)
	}
	for range 2 {
		l = l.crash()
		d = l.back()
		if got := d.take(); payload(got) != "0" || !got.Redelivered {
			t.Fatalf("got %q, redelivered %v", payload(got), got.Redelivered)
		}
	}
}

// A new expiry is on disk before CONNACK, like the session.
func TestCrashKeepsANewExpiry(t *testing.T) {
	l := liveWith(t, newMem(t), Options{Policy: denying{}, Shards: 2, checkpoint: time.Hour})
	for _, expiry := range []time.Duration{time.Hour, 2 * time.Hour, 3 * time.Hour} {
		d, _ := l.device(msg.SessionParams{Expiry: expiry})
		if expiry == 2*time.Hour {
			d.Close(msg.CloseLost) // else it is taken over
		}
		l = l.crash()
		if s := l.spaces["default"].clients["d"]; s == nil || s.expiry != expiry {
			t.Fatalf("%+v, want an expiry of %v", s, expiry)
		}
	}
	l.device(msg.SessionParams{Expiry: -1}) // ends with this connection
	l = l.crash()
	if l.spaces["default"].clients["d"] != nil {
		t.Error("there is a session that ended with its connection")
	}
}

// What was completed of a retained burst does not come again, though its packet id
// has been used again [MQTT-4.3.3].
func TestCrashKeepsRetainedBurstsExact(t *testing.T) {
	l := liveWith(t, newMem(t), Options{Policy: denying{}, Shards: 2, checkpoint: time.Hour})
	pub := l.publisher()
	for i := range 3 {
		pub.send(&msg.Message{Topic: fmt.Sprint("r/", i), QoS: 2, Retain: true, Payload: msg.Bytes(fmt.Append(nil, i))})
	}
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("r/#", func(s *msg.Subscription) { s.QoS = 2 })
	for range 2 {
		d.complete(d.take().Ref, 4)
	}
	for range 2 {
		l = l.crash()
	}
	d = l.back()
	d.expect("2")
}

// fillable is a store that can be full.
type fillable struct {
	persist.Store
	full atomic.Bool
}

func (s *fillable) Commit(b *persist.Batch, done func(error)) {
	if s.full.Load() {
		done(persist.ErrFull)
		return
	}
	s.Store.Commit(b, done)
}

// A full store keeps nobody from what waits for him.
func TestReturnWhileTheStoreIsFull(t *testing.T) {
	store := &fillable{Store: newMem(t)}
	l := live(t, store)
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("a")
	d.Close(msg.CloseLost)
	l.publisher().store("a", "0")
	store.full.Store(true)
	d = l.back()
	d.expect("0")
	if d.Congested() {
		t.Error("it is not read further")
	}
}

// After an orderly end nothing is delivered twice.
func TestRestartKeepsPositions(t *testing.T) {
	l := live(t, newMem(t))
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("a")
	pub := l.publisher()
	for i := range 4 {
		pub.store("a", fmt.Sprint(i))
	}
	d.expect("0", "1")
	unacked := d.take()
	d.Assign(unacked.Ref, 9, nil)
	d.Close(msg.CloseDrain)
	for range 3 {
		l = l.restart()
	}
	l.publisher().store("a", "4")
	d = l.back()
	if got := d.take(); payload(got) != "2" || !got.Redelivered || got.PacketID != 9 {
		t.Fatalf("got %q id %d redelivered %v", payload(got), got.PacketID, got.Redelivered)
	}
	if got := d.take(); payload(got) != "3" || got.Redelivered {
		t.Fatalf("got %q redelivered %v", payload(got), got.Redelivered)
	}
	d.expect("4")
}

// Outbound QoS 2: each step that completed is there after a crash [MQTT-4.3.3].
func TestPromiseExactlyOnceOutboundOverACrash(t *testing.T) {
	l := live(t, newMem(t))
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("a", func(s *msg.Subscription) { s.QoS = 2 })
	pub := l.publisher()
	for _, p := range []string{"acked", "received", "assigned", "waiting"} {
		pub.send(&msg.Message{Topic: "a", QoS: 2, Payload: msg.Bytes([]byte(p))})
	}
	step := make(chan error, 1)
	note := func(err error) { step <- err }
	assign := func(id uint16) uint64 {
		got := d.take()
		d.Assign(got.Ref, id, note)
		if err := await(t, step); err != nil {
			t.Fatal(err)
		}
		return got.Ref
	}
	first := assign(1)
	d.Received(first, note)
	await(t, step)
	d.Ack(first)
	second := assign(2)
	d.Received(second, note)
	await(t, step)
	third := assign(1) // the id of the first, which is complete
	_ = third
	for range 2 {
		l = l.crash()
		var r msg.AttachResult
		d, r = l.device(msg.SessionParams{})
		if len(r.Received) != 1 || r.Received[0].PacketID != 2 {
			t.Fatalf("received: %+v", r.Received)
		}
		got := d.take()
		if payload(got) != "assigned" || got.PacketID != 1 || !got.Redelivered {
			t.Fatalf("got %q id %d redelivered %v", payload(got), got.PacketID, got.Redelivered)
		}
		if got = d.take(); payload(got) != "waiting" || got.PacketID != 0 {
			t.Fatalf("got %q id %d", payload(got), got.PacketID)
		}
	}
}

// Inbound QoS 2: a repeated PUBLISH after a crash is not stored twice, and one
// after its PUBREL is new.
func TestPromiseExactlyOnceInboundOverACrash(t *testing.T) {
	l := live(t, newMem(t))
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("a")
	type answer struct {
		offset msg.Offset
		err    error
	}
	answers := make(chan answer, 1)
	publish := func(id uint16, payload string) answer {
		d.PublishOnce(id, &msg.Message{Topic: "a", QoS: 2, Payload: msg.Bytes([]byte(payload))},
			func(o msg.Offset, err error) { answers <- answer{o, err} })
		return await(t, answers)
	}
	first := publish(5, "one")
	l = l.crash()
	d = l.back()
	if again := publish(5, "one"); again != first || first.err != nil {
		t.Fatalf("first %+v, again %+v", first, again)
	}
	released := make(chan error, 1)
	d.Release(5, func(err error) { released <- err })
	if err := await(t, released); err != nil {
		t.Fatal(err)
	}
	l = l.crash()
	d = l.back()
	d.Release(5, func(err error) { released <- err })
	if err := await(t, released); !errors.Is(err, msg.ErrNoPacketID) {
		t.Fatalf("released before: %v", err)
	}
	publish(5, "two")
	d.expect("one", "two")
}

// A burst of retained values that a crash cuts goes on.
func TestRetainedBurstOverACrash(t *testing.T) {
	l := live(t, newMem(t))
	pub := l.publisher()
	const n = 500
	for i := range n {
		pub.Publish(&msg.Message{Topic: fmt.Sprint("r/", i), QoS: 1, Retain: true, Payload: msg.Bytes([]byte("v"))}, nil)
	}
	pub.store("other", "x")
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("r/#")
	seen := map[string]int{}
	take := func(k int) {
		for range k {
			got := d.next()
			if !got.Retained {
				t.Fatalf("%s is not retained", got.Message.Topic)
			}
			if seen[got.Message.Topic]++; seen[got.Message.Topic] > 1 && !got.Redelivered {
				t.Fatalf("%s came twice and is not marked", got.Message.Topic)
			}
		}
	}
	take(100)
	d.Close(msg.CloseLost)
	l = l.restart()
	d = l.back()
	take(100)
	if len(seen) != 200 {
		t.Fatalf("%d topics after an orderly restart, want 200", len(seen))
	}
	l = l.crash()
	d = l.back()
	for len(seen) < n {
		take(1)
	}
}

// A replay that a crash cuts goes on.
func TestReplayOverACrash(t *testing.T) {
	l := live(t, newMem(t))
	pub := l.publisher()
	for i := range 50 {
		pub.store("a", fmt.Sprint(i))
	}
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("a", func(s *msg.Subscription) { s.From.Kind = msg.ReplayEarliest })
	d.expect("0", "1", "2")
	l = l.crash()
	d = l.back()
	l.publisher().store("a", "50")
	seen := map[string]bool{}
	for last := -1; last < 50; {
		got := d.next()
		var n int
		fmt.Sscan(payload(got), &n)
		if n <= last || last >= 0 && n != last+1 || n > 3 && last < 0 {
			t.Fatalf("%d after %d", n, last)
		}
		if last = n; n < 3 && !got.Redelivered {
			t.Fatalf("%d is not marked", n)
		}
		seen[payload(got)] = true
	}
}

func TestEndedSessionsStayEnded(t *testing.T) {
	l := live(t, newMem(t))
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("a")
	l = l.crash()
	d, r := l.device(msg.SessionParams{CleanStart: true})
	if r.Present {
		t.Fatal("present after a clean start")
	}
	d.subscribe("b")
	l = l.crash()
	d, r = l.device(msg.SessionParams{})
	if !r.Present || len(r.Subscriptions) > 0 && r.Subscriptions[0].Filter.Pattern != "b" {
		t.Fatalf("%+v", r)
	}
	d.SetExpiry(0)
	d.Close(msg.CloseGoodbye)
	l.publisher().store("x", "so that the end is committed")
	l = l.crash()
	if _, r = l.device(msg.SessionParams{}); r.Present {
		t.Fatal("present after it ended")
	}
}

// The owner of a session stays its owner.
func TestRestoredSessionKeepsItsOwner(t *testing.T) {
	l := live(t, newMem(t))
	connectAs(t, l.Hub, &auth.Identity{User: "anna"}, msg.SessionParams{ClientID: "d", Expiry: time.Hour})
	l = l.crash()
	refused := make(chan error, 1)
	l.Attach(&client{wake: make(chan struct{}, 1)}, &auth.Identity{User: "bob"}, msg.SessionParams{Namespace: "default", ClientID: "d", Expiry: time.Hour},
		func(_ msg.AttachResult, err error) { refused <- err })
	if err := await(t, refused); !errors.Is(err, msg.ErrBadClientID) {
		t.Fatal(err)
	}
}

// Promise 2: a durable session is on disk before done of Attach, its filters
// before done of Subscribe, and nothing is delivered before that.
func TestPromiseStateBeforePacketSession(t *testing.T) {
	g := newGated(newMem(t))
	g.controls = true
	h := open(t, g, nil)
	t.Cleanup(g.release) // runs before the hub is stopped
	attached := make(chan error, 1)
	c := &client{t: t, wake: make(chan struct{}, 1)}
	c.Session = h.Attach(c, nil, msg.SessionParams{Namespace: "default", ClientID: "d", Expiry: time.Hour},
		func(_ msg.AttachResult, err error) { attached <- err })
	await(t, g.arrived)
	select {
	case <-attached:
		t.Fatal("attached before the commit")
	default:
	}
	g.proceed <- nil
	if err := await(t, attached); err != nil {
		t.Fatal(err)
	}
	subscribed := make(chan []msg.SubscribeResult, 1)
	c.Subscribe([]msg.Subscription{{Filter: msg.Filter{Pattern: "a"}, QoS: 1}}, func(r []msg.SubscribeResult) { subscribed <- r })
	await(t, g.arrived)
	select {
	case <-subscribed:
		t.Fatal("subscribed before the commit")
	default:
	}
	g.proceed <- persist.ErrFull
	if r := await(t, subscribed); !errors.Is(r[0].Err, msg.ErrStoreFull) {
		t.Fatalf("%+v", r)
	}
	g.release()
	if err := c.trySubscribe(msg.Subscription{Filter: msg.Filter{Pattern: "a"}, QoS: 1}); err != nil {
		t.Fatal(err)
	}
}

// What a connection noted is on disk before the one that takes the session over
// is told of it: else PUBREL or PUBCOMP would leave before its state, and after a
// crash a message would be lost (the packet id is still held) or come twice.
func TestPromiseStateBeforePacketOverATakeover(t *testing.T) {
	g := newGated(newMem(t))
	h := open(t, g, nil)
	t.Cleanup(g.release) // runs before the hub is stopped
	g.pass.Store(true)
	a, _ := deviceWith(t, h, msg.SessionParams{ClientID: "d", Expiry: time.Hour, Exact: true})
	published := make(chan error, 1)
	a.PublishOnce(3, &msg.Message{Topic: "x", QoS: 2}, func(_ msg.Offset, err error) { published <- err })
	if err := await(t, published); err != nil {
		t.Fatal(err)
	}
	g.pass.Store(false)
	g.controls = true
	a.Release(3, func(error) {})
	await(t, g.arrived)
	b := &client{t: t, wake: make(chan struct{}, 1)}
	attached := make(chan error, 1)
	b.Session = h.Attach(b, nil, msg.SessionParams{Namespace: "default", ClientID: "d", Expiry: time.Hour, Exact: true},
		func(_ msg.AttachResult, err error) { attached <- err })
	released := make(chan error, 1)
	b.Release(3, func(err error) { released <- err })
	select {
	case <-attached:
		t.Fatal("attached before the release was on disk")
	case <-released:
		t.Fatal("answered before the release was on disk")
	default:
	}
	g.proceed <- nil
	if err := await(t, attached); err != nil {
		t.Fatal(err)
	}
	if err := await(t, released); !errors.Is(err, msg.ErrNoPacketID) {
		t.Fatal(err)
	}
}

// A connection without anything to be put on disk does not wait for the disk; one
// that succeeds a durable session waits for its end.
func TestAttachWaitsOnlyForItsOwn(t *testing.T) {
	g := newGated(newMem(t))
	g.controls = true
	h := open(t, g, nil)
	t.Cleanup(g.release) // runs before the hub is stopped
	g.pass.Store(true)
	d := connect(t, h, msg.SessionParams{ClientID: "d", Expiry: time.Hour})
	g.pass.Store(false)
	d.publish("a", "x", 1, nil)
	await(t, g.arrived) // the disk stands still
	attach := func(name string) <-chan error {
		attached := make(chan error, 1)
		h.Attach(&client{t: t, wake: make(chan struct{}, 1)}, nil, msg.SessionParams{Namespace: "default", ClientID: name, CleanStart: true},
			func(_ msg.AttachResult, err error) { attached <- err })
		return attached
	}
	if err := await(t, attach("fresh")); err != nil {
		t.Fatal(err)
	}
	first := attach("d")
	second := attach("d") // the session that it ends was never durable, but for its name
	select {
	case <-first:
		t.Fatal("attached before the end of the durable session was on disk")
	case <-second:
		t.Fatal("attached before the end of the durable session was on disk")
	default:
	}
	g.release()
	for _, attached := range []<-chan error{first, second} {
		if err := await(t, attached); err != nil {
			t.Fatal(err)
		}
	}
}
