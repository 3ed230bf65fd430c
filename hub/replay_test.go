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
)

func earliest(s *msg.Subscription) { s.From.Kind = msg.ReplayEarliest }

func fromOffset(o msg.Offset) func(*msg.Subscription) {
	return func(s *msg.Subscription) { s.From = msg.Replay{Kind: msg.ReplayOffset, Offset: o} }
}

// replay subscribes and returns the answer.
func (c *client) replay(f msg.Filter, options ...func(*msg.Subscription)) msg.SubscribeResult {
	c.t.Helper()
	sub := msg.Subscription{Filter: f, QoS: 1}
	for _, o := range options {
		o(&sub)
	}
	return c.subscribeAll([]msg.Subscription{sub})[0]
}

func levels(pattern string) msg.Filter { return msg.Filter{Pattern: pattern} }

func TestReplayThenLive(t *testing.T) {
	h := open(t, newMem(t), func(o *Options) {
		o.StoreRules = []StoreRule{{Filter: levels("all/#"), Store: StoreAll}}
	})
	pub := connect(t, h, msg.SessionParams{})
	pub.retain("a/r", "retained")
	for i := range 5 {
		pub.store(fmt.Sprint("a/", i%2), fmt.Sprint(i))
		pub.store("other", "x")
		pub.store("ab/c", "prefix"+fmt.Sprint(i))
		pub.publish("all/x", fmt.Sprint("zero", i), 0, nil)
	}
	pub.settle()
	for _, c := range []struct {
		filter msg.Filter
		want   []string
	}{
		{levels("a/+"), []string{"retained", "0", "1", "2", "3", "4"}},
		{levels("a/1"), []string{"1", "3"}},
		{levels("all/#"), []string{"zero0", "zero1", "zero2", "zero3", "zero4"}}, // QoS 0, but stored
		{msg.Filter{Kind: msg.FilterPrefix, Pattern: "ab"}, []string{"prefix0", "prefix1", "prefix2", "prefix3", "prefix4"}},
		{levels("nothing/#"), nil},
	} {
		sub := connect(t, h, msg.SessionParams{})
		r := sub.replay(c.filter, earliest)
		if r.Err != nil || r.From != 1 || r.Start != h.Heads()["default"] || r.Gap != nil {
			t.Fatalf("%v: %+v", c.filter, r)
		}
		last := msg.Offset(0)
		for _, want := range c.want {
			d := sub.next()
			if string(d.Message.Payload.Data) != want || !d.Replayed || d.Retained || d.Message.Offset <= last || d.QoS != min(1, d.Message.QoS) {
				t.Fatalf("%v: got %q %+v, want %q", c.filter, d.Message.Payload.Data, d, want)
			}
			last = d.Message.Offset
		}
		sub.subscribe("live")
		pub.store("live", "now")
		if d := sub.next(); d.Replayed || string(d.Message.Payload.Data) != "now" {
			t.Fatalf("%v: %+v", c.filter, d)
		}
		sub.Close(msg.CloseGoodbye)
	}
}

// Where a replay begins.
func TestReplayBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newCuttable()
		h, _ := New(Options{Store: store, Policy: denying{}})
		stop := run(t, h)
		pub := connect(t, h, msg.SessionParams{})
		begin := time.Now().UnixMilli()
		for i := range 10 { // offset i+1 at second i
			pub.store("t", fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		at := func(ms int64) func(*msg.Subscription) {
			return func(s *msg.Subscription) { s.From = msg.Replay{Kind: msg.ReplayTime, Time: begin + ms} }
		}
		check := func(name string, option func(*msg.Subscription), from msg.Offset, gap *msg.Gap) {
			t.Helper()
			c := connect(t, h, msg.SessionParams{})
			defer c.Close(msg.CloseGoodbye)
			r := c.replay(levels("t"), option)
			if r.Err != nil || r.From != from || r.Start != 10 {
				t.Fatalf("%s: %+v", name, r)
			}
			if (r.Gap == nil) != (gap == nil) || gap != nil && *r.Gap != *gap {
				t.Fatalf("%s: gap %+v", name, r.Gap)
			}
			for o := from; o <= 10; o++ {
				if d := c.next(); d.Message.Offset != o {
					t.Fatalf("%s: offset %d, want %d", name, d.Message.Offset, o)
				}
			}
		}
		check("offset", fromOffset(4), 4, nil)
		check("offset 0", fromOffset(0), 1, nil)
		check("head", fromOffset(10), 10, nil)
		check("next", fromOffset(11), 11, nil)
		check("future", fromOffset(1<<60), 11, nil)
		check("time before the first", at(-1_000_000), 1, nil)
		check("time of the first", at(0), 1, nil)
		check("time of one", at(3000), 4, nil)
		check("time between two", at(3001), 5, nil)
		check("time of the last", at(9000), 10, nil)
		check("time after the last", at(9001), 11, nil)
		cut(t, store, 6)
		check("earliest of what is left", earliest, 7, nil)
		check("cut", fromOffset(3), 7, &msg.Gap{Filter: levels("t"), First: 3, Last: 6, Count: 4, Reason: reasonRetention})
		check("just behind the cut", fromOffset(7), 7, nil)
		check("time before the cut", at(0), 7, nil)
		stop()
	})
}

func TestReplayOfEmptyLog(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := connect(t, h, msg.SessionParams{})
	if r := c.replay(levels("t"), earliest); r.Err != nil || r.From != 1 || r.Start != 0 {
		t.Fatalf("%+v", r)
	}
	c.store("t", "first")
	if d := c.next(); d.Replayed {
		t.Fatalf("%+v", d)
	}
}

func TestReplayRefused(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := connect(t, h, msg.SessionParams{})
	if r := c.replay(msg.Filter{Pattern: "t", Group: "g"}, earliest); !errors.Is(r.Err, msg.ErrNotSupported) {
		t.Fatalf("%+v", r)
	}
	if r := c.replay(levels("denied/#"), earliest); !errors.Is(r.Err, msg.ErrNotAuthorized) {
		t.Fatalf("%+v", r)
	}
	if r := c.replay(levels("t"), func(s *msg.Subscription) { s.From.Kind = 17 }); !errors.Is(r.Err, msg.ErrNotSupported) {
		t.Fatalf("%+v", r)
	}
}

// Restrictions, no-local and expiry apply to what is replayed.
func TestReplayWithholds(t *testing.T) {
	h := open(t, newMem(t), nil)
	pub := connectAs(t, h, &auth.Identity{User: "ann"}, msg.SessionParams{})
	sub := connectAs(t, h, &auth.Identity{User: "bob"}, msg.SessionParams{})
	send := func(c *client, text string, change func(*msg.Message)) {
		m := &msg.Message{Topic: "t", QoS: 1, Payload: msg.Bytes([]byte(text))}
		change(m)
		c.send(m)
	}
	send(pub, "for this session only", func(m *msg.Message) { m.Restrict = &msg.Restriction{Sessions: []uint64{sub.ID()}} })
	send(pub, "not for carl's session", func(m *msg.Message) { m.Restrict = &msg.Restriction{ExcludeSessions: []uint64{5}} })
	send(pub, "not for bob", func(m *msg.Message) { m.Restrict = &msg.Restriction{ExcludeUsers: []string{"bob"}} })
	send(pub, "for bob", func(m *msg.Message) { m.Restrict = &msg.Restriction{Users: []string{"bob"}} })
	send(pub, "expired", func(m *msg.Message) { m.Expires = 1 })
	send(sub, "own", func(m *msg.Message) {})
	send(sub, "no echo", func(m *msg.Message) { m.NoEcho = true })
	send(pub, "last", func(m *msg.Message) {})
	sub.replay(levels("t"), earliest)
	sub.expect("for bob", "own", "last")
	sub.replay(levels("t"), earliest, func(s *msg.Subscription) { s.NoLocal = true })
	sub.expect("for bob", "last")
}

// Replays of several filters are one pass, in order of offsets, each message
// with all the filters that want it.
func TestReplaysOfOneSessionMerge(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := connect(t, h, msg.SessionParams{})
	for i := range 1000 {
		c.publish(fmt.Sprint("t/", i%3), fmt.Sprint(i), 1, func(msg.Offset, error) {})
	}
	c.settle()
	results := c.subscribeAll([]msg.Subscription{
		{Filter: levels("t/0"), QoS: 1, From: msg.Replay{Kind: msg.ReplayOffset, Offset: 301}},
		{Filter: levels("t/#"), QoS: 0, From: msg.Replay{Kind: msg.ReplayOffset, Offset: 601}},
		{Filter: levels("t/1"), QoS: 1, From: msg.Replay{Kind: msg.ReplayOffset, Offset: 900}},
	})
	if results[0].From != 301 || results[1].From != 601 || results[2].From != 900 {
		t.Fatalf("%+v", results)
	}
	for i := 300; i < 1000; i++ {
		want := 0
		if i%3 == 0 {
			want++
		}
		if i >= 600 {
			want++
		}
		if i%3 == 1 && i >= 899 {
			want++
		}
		if want == 0 {
			continue
		}
		if d := c.next(); string(d.Message.Payload.Data) != fmt.Sprint(i) || len(d.Matches) != want {
			t.Fatalf("%d: got %s with %d filters, want %d", i, d.Message.Payload.Data, len(d.Matches), want)
		}
	}
}

// A repeated Subscribe begins anew; what the old one was still owed goes with it.
func TestReplayAgain(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := connect(t, h, msg.SessionParams{})
	for i := range 600 {
		c.publish("t", fmt.Sprint(i), 1, func(msg.Offset, error) {})
	}
	c.settle()
	c.replay(levels("t"), earliest)
	c.expect("0", "1", "2")
	c.replay(levels("t"), fromOffset(2))
	for i := 1; i < 600; i++ {
		c.expect(fmt.Sprint(i))
	}
	c.store("t", "live") // waits in the queue
	c.settleShard()
	c.replay(levels("t"), fromOffset(600))
	c.expect("599", "live")
	c.store("t", "live again")
	c.expect("live again")
}

// settleShard waits for the fan-out without reading what came.
func (c *client) settleShard() {
	other := connect(c.t, c.Session.(*hold).s.hub, msg.SessionParams{ID: c.ID() + uint64(len(c.Session.(*hold).s.hub.shards))})
	other.settle()
	other.Close(msg.CloseGoodbye)
}

func TestUnsubscribeEndsReplay(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := connect(t, h, msg.SessionParams{})
	for i := range 600 {
		c.publish("t", fmt.Sprint(i), 1, func(msg.Offset, error) {})
	}
	c.settle()
	c.replay(levels("t"), earliest)
	c.expect("0", "1")
	c.Unsubscribe([]msg.Filter{levels("t")}, func([]error) {})
	c.subscribe("u")
	c.store("u", "behind")
	c.expect("behind")
	if s := c.Session.(*hold).s; len(s.in.replays) != 0 {
		t.Fatal("the replay is still there")
	}
}

// Subscribers join at random times and places during a stream, some of them
// come and go; each gets everything from where it began, once, in order.
func TestPromiseReplayJoinsStream(t *testing.T) {
	for _, lim := range []Limits{{}, {QueueMessages: 8, TailBytes: 16 << 10}} {
		t.Run(fmt.Sprint(lim.QueueMessages), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			h := open(t, newMem(t), func(o *Options) { o.Limits = lim })
			const count = 3000
			pub := connect(t, h, msg.SessionParams{})
			published := make(chan struct{}, count)
			var wg sync.WaitGroup
			wg.Go(func() {
				acks := make(chan struct{}, 16)
				for i := range count { // offset i+1
					pub.publish(fmt.Sprint("t/", i%5), fmt.Sprint(i), 1, func(msg.Offset, error) { <-acks; published <- struct{}{} })
					acks <- struct{}{}
				}
			})
			for n := range 24 {
				for range r.IntN(count / 24) {
					<-published
				}
				own := rand.New(rand.NewPCG(seed, uint64(n+1)))
				wg.Go(func() { joiner(t, h, own, n, count) })
			}
			wg.Wait()
		})
	}
}

// joiner subscribes with a replay from somewhere and reads to the end.
func joiner(t *testing.T, h *Hub, r *rand.Rand, n, count int) {
	p := msg.SessionParams{ClientID: fmt.Sprint("joiner", n), Expiry: time.Hour, Window: 1 + r.IntN(100)}
	c, _ := deviceWith(t, h, p)
	filter, match := levels("t/#"), func(int) bool { return true }
	switch k := r.IntN(5); n % 3 {
	case 1:
		filter, match = levels(fmt.Sprint("t/", k)), func(i int) bool { return i%5 == k }
	case 2:
		filter = msg.Filter{Kind: msg.FilterPrefix, Pattern: "t/"}
	}
	head := int(h.Heads()["default"])
	res := c.replay(filter, fromOffset(msg.Offset(r.IntN(head+2))))
	if res.Err != nil {
		t.Error(res.Err)
		return
	}
	want, comesAndGoes := int(res.From)-1, r.IntN(2) == 0
	for {
		for want < count && !match(want) {
			want++
		}
		if want == count {
			c.Close(msg.CloseGoodbye)
			return
		}
		d := c.take()
		if d.Notice != nil || string(d.Message.Payload.Data) != fmt.Sprint(want) {
			t.Errorf("joiner %d: got %+v, want %d (replay %d to %d)", n, d, want, res.From, res.Start)
			return
		}
		if d.Replayed != (d.Message.Offset <= res.Start) {
			t.Errorf("joiner %d: offset %d replayed %v (replay %d to %d)", n, d.Message.Offset, d.Replayed, res.From, res.Start)
			return
		}
		if comesAndGoes && r.IntN(40) == 0 { // lost before it is acknowledged: it comes again
			if r.IntN(2) == 0 {
				c.Close(msg.CloseLost)
			}
			c, _ = deviceWith(t, h, p)
			continue
		}
		c.Ack(d.Ref)
		want++
	}
}

// A replay is positions only while nobody is connected.
func TestReplaySurvivesDisconnect(t *testing.T) {
	h := open(t, newMem(t), nil)
	pub := connect(t, h, msg.SessionParams{})
	for i := range 1000 {
		pub.publish("t", fmt.Sprint(i), 1, func(msg.Offset, error) {})
	}
	pub.settle()
	d, _ := device(t, h)
	d.replay(levels("t"), earliest)
	for i := range 1000 {
		d.expect(fmt.Sprint(i))
		if i%100 == 50 {
			d.Close(msg.CloseLost)
			if s := d.Session.(*hold).s; len(s.in.fetched)+len(s.in.backlog)+s.in.queue.n != 0 {
				t.Fatal("an absent session holds messages")
			}
			pub.store("t", "while away "+fmt.Sprint(i))
			d, _ = device(t, h)
		}
	}
	for i := 50; i < 1000; i += 100 {
		d.expect("while away " + fmt.Sprint(i))
	}
}

// A replay whose lookup the end of the hub overtakes is answered.
func TestReplayIsAnsweredAtTheEnd(t *testing.T) {
	h, err := New(Options{Store: newMem(t), Policy: denying{}})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, h)
	c := connect(t, h, msg.SessionParams{})
	stop()
	if r := c.replay(levels("t"), earliest); !errors.Is(r.Err, msg.ErrDraining) {
		t.Fatalf("%+v", r)
	}
}
