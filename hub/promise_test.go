package hub

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"parley/auth"
	"parley/msg"
	"parley/persist"
)

// gated is a store whose commits wait for the test until release.
type gated struct {
	persist.Store
	arrived  chan int // number of messages of a commit that waits
	proceed  chan error
	released chan struct{}
	controls bool // commits of control records wait too
	pass     atomic.Bool
}

// newGated makes a gate that opens at the end of the test at the latest: call it
// after everything that must outlive the hub, before the hub.
func newGated(s persist.Store) *gated {
	return &gated{Store: s, arrived: make(chan int), proceed: make(chan error), released: make(chan struct{})}
}

func (g *gated) Commit(b *persist.Batch, done func(error)) {
	if g.pass.Load() || len(b.Appends) == 0 && (!g.controls || len(b.Controls) == 0) { // checkpoints pass
		g.Store.Commit(b, done)
		return
	}
	var err error
	select {
	case g.arrived <- len(b.Appends):
		select {
		case err = <-g.proceed:
		case <-g.released:
		}
	case <-g.released:
	}
	if err != nil {
		done(err)
		return
	}
	g.Store.Commit(b, done)
}

// openGated runs a hub on a gated store in memory.
func openGated(t *testing.T, change func(*Options)) (*Hub, *gated) {
	g := newGated(newMem(t))
	h := open(t, g, change)
	t.Cleanup(g.release) // runs before the hub is stopped
	return h, g
}

// release lets every further commit pass.
func (g *gated) release() {
	select {
	case <-g.released:
	default:
		close(g.released)
	}
}

// Promise 1: each subscription sees stored messages in offset order, and each
// publisher's messages in its order, stored or transient.
func TestPromiseOrder(t *testing.T) {
	h := open(t, newMem(t), func(o *Options) { o.Shards = 2 })
	const publishers, each = 6, 400
	var subs []*client
	for range 4 {
		c := connect(t, h, msg.SessionParams{})
		c.subscribe("o/#")
		subs = append(subs, c)
	}
	var wg sync.WaitGroup
	for p := range publishers {
		c := connect(t, h, msg.SessionParams{})
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(p)))
			for i := range each {
				c.publish(fmt.Sprintf("o/%d", p), fmt.Sprint(i), msg.QoS(r.IntN(2)), nil)
			}
		})
	}
	for _, s := range subs {
		wg.Go(func() {
			var last msg.Offset
			next := make([]int, publishers)
			for range publishers * each {
				d := s.next()
				if m := d.Message; m.Stored() {
					if m.Offset <= last {
						t.Errorf("offset %d after %d", m.Offset, last)
					}
					last = m.Offset
				}
				var p int
				fmt.Sscanf(d.Message.Topic, "o/%d", &p)
				if got := string(d.Message.Payload.Data); got != fmt.Sprint(next[p]) {
					t.Errorf("publisher %d: got %s, want %d", p, got, next[p])
					return
				}
				next[p]++
			}
		})
	}
	wg.Wait()
}

// Promise 2: neither the ack nor the delivery leaves before the commit; refusals
// keep their place among the acks.
func TestPromiseStateBeforePacket(t *testing.T) {
	h, g := openGated(t, nil)
	c := connect(t, h, msg.SessionParams{})
	c.subscribe("a/#")
	var mu sync.Mutex
	var got []string
	all := make(chan struct{})
	note := func(name string) func(msg.Offset, error) {
		return func(o msg.Offset, err error) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprintf("%s stored=%v denied=%v", name, o != 0, errors.Is(err, msg.ErrNotAuthorized)))
			if len(got) == 4 {
				close(all)
			}
		}
	}
	c.publish("a/1", "one", 1, note("1"))
	await(t, g.arrived)
	c.publish("denied/2", "two", 1, note("2"))
	c.publish("a/3", "three", 0, note("3"))
	c.publish("a/4", "four", 1, note("4"))
	var d msg.Delivery
	mu.Lock()
	if len(got) != 0 || c.Next(&d) {
		t.Fatalf("before the commit: acks %v, delivery %+v", got, d)
	}
	mu.Unlock()
	g.proceed <- nil
	await(t, g.arrived)
	g.proceed <- nil
	await(t, all)
	want := "1 stored=true denied=false,2 stored=false denied=true,3 stored=false denied=false,4 stored=true denied=false"
	if s := strings.Join(got, ","); s != want {
		t.Fatalf("acks: %s", s)
	}
	c.expect("one", "three", "four")
}

// Promise 3: a subscriber that cannot keep up gets every stored message, in
// order, whether from memory or from the log, while more is published.
func TestPromiseNoSilentLoss(t *testing.T) {
	for _, lim := range []Limits{
		{QueueMessages: 8, TailBytes: 64 << 20},       // the queue overflows
		{QueueMessages: 1 << 20, TailBytes: 16 << 10}, // the tail evicts what is queued
		{QueueMessages: 50, TailBytes: 16 << 10},
	} {
		t.Run(fmt.Sprintf("queue %d tail %d", lim.QueueMessages, lim.TailBytes), func(t *testing.T) {
			h := open(t, newMem(t), func(o *Options) { o.Limits = lim })
			pub := connect(t, h, msg.SessionParams{})
			subs := []*client{connect(t, h, msg.SessionParams{}), connect(t, h, msg.SessionParams{}), connect(t, h, msg.SessionParams{})}
			for _, s := range subs {
				s.subscribe("n/#")
			}
			const count = 5000
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := range count {
					pub.store("other/"+fmt.Sprint(i%7), "noise")
					pub.publish("n/"+fmt.Sprint(i%3), fmt.Sprint(i), 1, nil)
				}
			})
			for _, s := range subs {
				wg.Go(func() {
					for i := range count {
						d := s.next()
						if d.Message == nil || string(d.Message.Payload.Data) != fmt.Sprint(i) {
							t.Errorf("delivery %d: %+v %+v", i, d.Message, d.Notice)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// Promise 5: a publisher that is faster than the disk turns congested at its
// limit and is woken below half of it.
func TestPromiseBounded(t *testing.T) {
	h, g := openGated(t, func(o *Options) { o.Limits.ParkedMessages = 100 })
	c := connect(t, h, msg.SessionParams{})
	n := 0
	for ; !c.Congested(); n++ {
		c.publish("a", "x", 1, nil)
		if n > 1000 {
			t.Fatal("never congested")
		}
	}
	if n < 100 {
		t.Fatalf("congested after %d", n)
	}
	g.release()
	for c.Congested() {
		await(t, c.wake)
	}
}

// Promise 5: all publishers together are bounded too, and all are woken.
func TestPromiseBoundedInTotal(t *testing.T) {
	h, g := openGated(t, func(o *Options) { o.Limits.ParkedTotal = 20_000 })
	var cs []*client
	for range 10 {
		c := connect(t, h, msg.SessionParams{})
		for range 10 {
			c.publish("a", "x", 1, nil)
		}
		cs = append(cs, c)
	}
	if !cs[9].Congested() {
		t.Fatal("the last one is not congested")
	}
	g.release()
	for _, c := range cs {
		for c.Congested() {
			await(t, c.wake)
		}
	}
}

// Promise 5: a subscriber that never reads costs a bounded queue, and transient
// messages it does not get are dropped.
func TestPromiseBoundedSlowReader(t *testing.T) {
	h := open(t, newMem(t), func(o *Options) { o.Limits.QueueMessages = 16 })
	sub, pub := connect(t, h, msg.SessionParams{}), connect(t, h, msg.SessionParams{})
	sub.subscribe("a/#")
	for i := range 1000 {
		pub.publish("a/b", fmt.Sprint(i), 0, nil)
	}
	pub.settle()
	for i := range 16 {
		sub.expect(fmt.Sprint(i))
	}
	var d msg.Delivery
	if sub.Next(&d) {
		t.Fatalf("more than the queue holds: %+v", d.Message)
	}
}

// Promise 6: everything a session asks for is decided.
func TestPromiseOnePolicy(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := connect(t, h, msg.SessionParams{})
	for q := range msg.QoS(2) {
		for _, retain := range []bool{false, true} {
			m := &msg.Message{Topic: "denied/x", QoS: q, Retain: retain, Payload: msg.Bytes([]byte("x"))}
			if _, err := c.try(m); !errors.Is(err, msg.ErrNotAuthorized) {
				t.Errorf("publish QoS %d retain %v: %v", q, retain, err)
			}
		}
	}
	for _, f := range []msg.Filter{{Pattern: "denied/x"}, {Pattern: "denied/#", Group: "g"}, {Kind: msg.FilterPrefix, Pattern: "denied"}} {
		if err := c.trySubscribe(msg.Subscription{Filter: f}); !errors.Is(err, msg.ErrNotAuthorized) {
			t.Errorf("subscribe %v: %v", f, err)
		}
	}
	refused := make(chan error, 1)
	will := &msg.Will{Message: &msg.Message{Topic: "denied/will"}}
	h.Attach(c, nil, msg.SessionParams{Namespace: "default", Will: will}, func(_ msg.AttachResult, err error) { refused <- err })
	if err := await(t, refused); !errors.Is(err, msg.ErrNotAuthorized) {
		t.Errorf("will: %v", err)
	}
	set := make(chan error, 1)
	c.SetWill(will, func(err error) { set <- err })
	if err := await(t, set); !errors.Is(err, msg.ErrNotAuthorized) {
		t.Errorf("SetWill: %v", err)
	}
}

// Nobody publishes to the broker's own topics, whatever the policy says.
func TestReservedTopicsAreNotPublished(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := connect(t, h, msg.SessionParams{})
	for _, topic := range []string{"$SYS/x", "$share/g/x", "wamp/x", "parley/gap", "parley"} {
		if _, err := c.try(&msg.Message{Topic: topic, QoS: 1}); !errors.Is(err, msg.ErrTopicReserved) {
			t.Errorf("%s: %v", topic, err)
		}
	}
	if _, err := c.try(&msg.Message{Topic: "a/+", QoS: 1}); !errors.Is(err, msg.ErrTopicInvalid) {
		t.Errorf("wildcard: %v", err)
	}
	if _, err := c.try(&msg.Message{Topic: "wampum/x", QoS: 1}); err != nil {
		t.Errorf("wampum/x: %v", err)
	}
	big := &msg.Message{Topic: "a", QoS: 1, Payload: msg.Bytes(make([]byte, 2<<20))}
	if _, err := c.try(big); !errors.Is(err, msg.ErrTooLarge) {
		t.Errorf("large: %v", err)
	}
}

// A full store: who can be told is refused, who cannot waits in order; reads go
// on and everything recovers when there is room.
func TestFullStore(t *testing.T) {
	h, g := openGated(t, nil)
	sub := connect(t, h, msg.SessionParams{})
	sub.subscribe("f/#")
	told, parked := connect(t, h, msg.SessionParams{}), connect(t, h, msg.SessionParams{ParkWhenFull: true})
	full := fmt.Errorf("%w: no space", persist.ErrFull)
	refusal := make(chan error, 1)
	told.publish("f/told", "x", 1, func(_ msg.Offset, err error) { refusal <- err })
	await(t, g.arrived)
	g.proceed <- full
	if err := await(t, refusal); !errors.Is(err, msg.ErrStoreFull) {
		t.Fatalf("told: %v", err)
	}
	var mu sync.Mutex
	var acked []string
	all := make(chan struct{})
	note := func(name string) func(msg.Offset, error) {
		return func(_ msg.Offset, err error) {
			mu.Lock()
			defer mu.Unlock()
			acked = append(acked, fmt.Sprint(name, err == nil))
			if len(acked) == 4 {
				close(all)
			}
		}
	}
	parked.publish("f/1", "1", 1, note("1"))
	await(t, g.arrived)
	parked.publish("f/2", "2", 0, note("2"))
	parked.publish("denied/3", "3", 1, note("3"))
	g.proceed <- full
	parked.publish("f/4", "4", 1, note("4"))
	for !parked.Congested() {
		await(t, parked.wake)
	}
	await(t, g.arrived) // the retry
	g.proceed <- full
	if o := h.Ready(); o != nil {
		t.Fatalf("a full store is not a failed one: %v", o)
	}
	g.release()
	await(t, all)
	if s := strings.Join(acked, " "); s != "1true 2true 3false 4true" {
		t.Fatalf("acks: %s", s)
	}
	sub.expect("1", "2", "4")
	for parked.Congested() {
		await(t, parked.wake)
	}
	told.store("f/told", "again")
	sub.expect("again")
}

// After a failed sync nothing is acknowledged any more, and the hub says so.
func TestFailedStore(t *testing.T) {
	h, g := openGated(t, nil)
	c := connect(t, h, msg.SessionParams{ParkWhenFull: true})
	errs := make(chan error, 1)
	c.publish("a", "x", 1, func(_ msg.Offset, err error) { errs <- err })
	await(t, g.arrived)
	g.proceed <- fmt.Errorf("%w: sync: input/output error", persist.ErrFailed)
	if err := await(t, errs); !errors.Is(err, msg.ErrUnavailable) {
		t.Fatal(err)
	}
	await(t, h.Failed())
	if err := h.Ready(); !errors.Is(err, persist.ErrFailed) {
		t.Fatal(err)
	}
}

func TestStoreRules(t *testing.T) {
	filter := func(s string) msg.Filter { f, _ := msg.ParseFilter(s); return f }
	h := open(t, newMem(t), func(o *Options) {
		o.StoreRules = []StoreRule{{filter("none/#"), StoreNone}, {filter("all/#"), StoreAll}}
	})
	c := connectAs(t, h, &auth.Identity{User: "u", Roles: []string{"r"}}, msg.SessionParams{})
	c.subscribe("#")
	if _, err := c.try(&msg.Message{Topic: "none/x", QoS: 1}); !errors.Is(err, msg.ErrNotStored) {
		t.Errorf("QoS 1 on none: %v", err)
	}
	if o := c.send(&msg.Message{Topic: "none/x", QoS: 0, Retain: true, Payload: msg.Bytes([]byte("n"))}); o != 0 {
		t.Errorf("none was stored at %d", o)
	}
	if o := c.send(&msg.Message{Topic: "all/x", QoS: 0, Payload: msg.Bytes([]byte("a"))}); o == 0 {
		t.Error("all was not stored")
	}
	if o := c.send(&msg.Message{Topic: "some/x", QoS: 0, Payload: msg.Bytes([]byte("s"))}); o != 0 {
		t.Errorf("unacknowledged was stored at %d", o)
	}
	c.expect("n", "a", "s")
}
