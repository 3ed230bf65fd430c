package hub

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"parley/msg"
	"parley/persist/bolt"
)

func (c *client) retain(topic, payload string) msg.Offset {
	c.t.Helper()
	return c.send(&msg.Message{Topic: topic, Retain: true, Payload: msg.Bytes([]byte(payload)), Via: msg.ViaMQTT})
}

func TestRetainedComesBeforeAnythingNewer(t *testing.T) {
	h := open(t, newMem(t), nil)
	pub := connect(t, h, msg.SessionParams{})
	pub.retain("r/a", "old")
	first := pub.retain("r/a", "a")
	pub.retain("r/b", "b")
	pub.retain("r/gone", "x")
	pub.retain("r/gone", "")
	c := connect(t, h, msg.SessionParams{})
	c.subscribe("r/#")
	pub.store("r/a", "live")
	d := c.next()
	if !d.Retained || d.Message.Offset != first || string(d.Message.Payload.Data) != "a" {
		t.Fatalf("%+v", d)
	}
	c.expect("b")
	if d := c.next(); d.Retained || string(d.Message.Payload.Data) != "live" {
		t.Fatalf("%+v", d)
	}
}

func TestRetainHandling(t *testing.T) {
	h := open(t, newMem(t), nil)
	pub := connect(t, h, msg.SessionParams{})
	pub.retain("r", "kept")
	c := connect(t, h, msg.SessionParams{})
	with := func(r msg.RetainHandling) func(*msg.Subscription) {
		return func(s *msg.Subscription) { s.Retained = r }
	}
	c.subscribe("r", with(msg.RetainNone))
	c.subscribe("r", with(msg.RetainSendNew)) // not new
	pub.store("r", "1")
	c.expect("1")
	c.subscribe("r", with(msg.RetainSend))
	c.expect("kept")
	fresh := connect(t, h, msg.SessionParams{})
	fresh.subscribe("r", with(msg.RetainSendNew))
	fresh.expect("kept")
}

func TestTenThousandRetainedOnOneSubscribe(t *testing.T) {
	h := open(t, newMem(t), nil)
	pub := connect(t, h, msg.SessionParams{})
	const count = 10_000
	for i := range count {
		pub.Publish(&msg.Message{Topic: fmt.Sprintf("r/%d/x", i), Retain: true, Payload: msg.Bytes([]byte("v"))}, nil)
	}
	pub.settle()
	c := connect(t, h, msg.SessionParams{})
	c.subscribe("r/+/x")
	pub.store("r/live/x", "live")
	var last msg.Offset
	for range count {
		d := c.next()
		if !d.Retained || d.Message.Offset <= last {
			t.Fatalf("%+v after %d", d, last)
		}
		last = d.Message.Offset
	}
	c.expect("live")
}

// Retained values and the stream meet at one position: whoever subscribes at a
// random time sees each counter value from its retained one on, without gap or
// duplicate.
func TestRetainedAndStreamMeetAtOnePosition(t *testing.T) {
	h := open(t, newMem(t), nil)
	pub := connect(t, h, msg.SessionParams{})
	pub.retain("n", "0")
	const count = 2000
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 1; i <= count; i++ {
			pub.retain("n", fmt.Sprint(i))
		}
	})
	for range 8 {
		wg.Go(func() {
			for range 10 {
				c := connect(t, h, msg.SessionParams{})
				c.subscribe("n")
				var at, got int
				d := c.next()
				fmt.Sscan(string(d.Message.Payload.Data), &at)
				if !d.Retained {
					t.Errorf("the first is not the retained one")
				}
				for at < count && got < 20 {
					at++
					got++
					if d := c.next(); string(d.Message.Payload.Data) != fmt.Sprint(at) {
						t.Errorf("got %s, want %d", d.Message.Payload.Data, at)
						return
					}
				}
				c.Close(msg.CloseGoodbye)
			}
		})
	}
	wg.Wait()
}

func TestRetainedSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		store, err := bolt.Open(dir, bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		h, err := New(Options{Store: store, Policy: denying{}})
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, h)
		c := connect(t, h, msg.SessionParams{})
		if round > 0 {
			c.subscribe("keep/#")
			c.expect("kept", fmt.Sprint(round-1))
		} else {
			c.retain("keep/a", "kept")
		}
		c.retain("keep/b", fmt.Sprint(round))
		c.retain("keep/c", "gone")
		c.retain("keep/c", "")
		stop()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRetainedQuota(t *testing.T) {
	h := open(t, newMem(t), func(o *Options) { o.Limits.Retained = 1 })
	c := connect(t, h, msg.SessionParams{})
	c.retain("a", "1")
	c.retain("a", "2")
	m := &msg.Message{Topic: "b", Retain: true, QoS: 1, Payload: msg.Bytes([]byte("x"))}
	if _, err := c.try(m); !errors.Is(err, msg.ErrQuota) {
		t.Fatal(err)
	}
	c.retain("a", "")
	c.retain("b", "3")
}

// The tree finds exactly the topics that the filter matches.
func TestRetainedTreeAgreesWithFilter(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var tree retained
	have := map[string]msg.Offset{}
	for i := range 3000 {
		topic := randomTopic(r)
		if r.IntN(4) == 0 {
			_, had := have[topic]
			if tree.remove(topic) != had {
				t.Fatalf("remove %q", topic)
			}
			delete(have, topic)
		} else {
			tree.set(topic, msg.Offset(i+1))
			have[topic] = msg.Offset(i + 1)
		}
		f := randomFilter(r)
		var want, got []string
		for topic, o := range have {
			if f.Matches(topic) {
				want = append(want, fmt.Sprint(topic, o))
			}
		}
		s := search{filter: f, steps: 2*tree.nodes + 2, limit: tree.count} // a filter alone is never refused
		if !tree.find(&s) {
			t.Fatalf("%v: ended early, %d steps left, %d found of %d", f, s.steps, len(s.found), tree.count)
		}
		for _, found := range s.found {
			got = append(got, fmt.Sprint(found.topic, found.offset))
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%v: got %v, want %v", f, got, want)
		}
	}
	for topic := range have {
		tree.remove(topic)
	}
	if tree.count != 0 || tree.nodes != 0 || len(tree.root.children) != 0 {
		t.Fatalf("%d values, %d levels, %d branches are left", tree.count, tree.nodes, len(tree.root.children))
	}
}

func randomTopic(r *rand.Rand) string {
	levels := make([]string, 1+r.IntN(4))
	for i := range levels {
		levels[i] = []string{"a", "b", "ab", "", "wamp", "$x"}[r.IntN(6)]
	}
	topic := strings.Join(levels, "/")
	if topic == "" {
		return "a"
	}
	return topic
}

func randomFilter(r *rand.Rand) msg.Filter {
	if r.IntN(4) == 0 {
		topic := randomTopic(r)
		return msg.Filter{Kind: msg.FilterPrefix, Pattern: topic[:1+r.IntN(len(topic))]}
	}
	levels := strings.Split(randomTopic(r), "/")
	for i := range levels {
		if r.IntN(3) == 0 {
			levels[i] = "+"
		}
	}
	if r.IntN(3) == 0 {
		levels = append(levels, "#")
	}
	f := msg.Filter{Pattern: strings.Join(levels, "/")}
	if r.IntN(3) == 0 && !strings.Contains(f.Pattern, "#") {
		f.Kind = msg.FilterWildcard
	}
	return f
}
