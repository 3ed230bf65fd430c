package hub

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
	"parley/persist/mem"
)

func withKey(key, payload string) *msg.Message {
	return &msg.Message{Topic: "t", QoS: 1, Key: key, Payload: msg.Bytes([]byte(payload)), Via: msg.ViaMQTT}
}

func TestPromiseExactlyOnceKeys(t *testing.T) {
	h := open(t, newMem(t), func(o *Options) {
		o.StoreRules = []StoreRule{{Filter: levels("none/#"), Store: StoreNone}}
	})
	sub := connect(t, h, msg.SessionParams{})
	sub.subscribe("t")
	ann := connectAs(t, h, &auth.Identity{User: "ann"}, msg.SessionParams{})
	bob := connectAs(t, h, &auth.Identity{User: "bob"}, msg.SessionParams{})
	first := ann.send(withKey("k", "x"))
	bob.store("t", "between")
	for range 3 {
		if again := ann.send(withKey("k", "x")); again != first {
			t.Fatalf("offset %d, then %d", first, again)
		}
	}
	other := connectAs(t, h, &auth.Identity{User: "ann"}, msg.SessionParams{Protocol: msg.ViaJSON})
	m := withKey("k", "x")
	m.QoS, m.Via = 2, msg.ViaJSON
	if again := other.send(m); again != first {
		t.Fatalf("over another protocol: %d, then %d", first, again)
	}
	if o := bob.send(withKey("k", "x")); o <= first {
		t.Fatalf("another user's key: %d", o)
	}
	for what, change := range map[string]func(*msg.Message){
		"payload": func(m *msg.Message) { m.Payload.Data = []byte("y") }, "topic": func(m *msg.Message) { m.Topic = "u" },
		"content type": func(m *msg.Message) { m.Payload.ContentType = "text/plain" }, "text": func(m *msg.Message) { m.Payload.Text = true },
		"QoS 0": func(m *msg.Message) { m.QoS = 0 }, "retain": func(m *msg.Message) { m.Retain = true },
		"property": func(m *msg.Message) { m.User = []msg.Property{{Name: "a", Value: "b"}} }, "correlation": func(m *msg.Message) { m.Correlation = []byte("c") },
		"response topic": func(m *msg.Message) { m.ResponseTopic = "r" }, "form": func(m *msg.Message) { m.Payload.Form = msg.FormArgs },
	} {
		m := withKey("k", "x")
		change(m)
		if o, err := ann.try(m); !errors.Is(err, msg.ErrKeyReused) || o != 0 {
			t.Errorf("%s: offset %d, %v", what, o, err)
		}
	}
	zero := withKey("zero", "z")
	zero.QoS = 0
	stored := ann.send(zero)
	if stored == 0 {
		t.Error("a publish at QoS 0 with a key was not stored")
	}
	for _, c := range []struct {
		topic, key string
		want       error
	}{{"none/t", "k2", msg.ErrNotStored}, {"t", strings.Repeat("k", maxKey+1), msg.ErrTooLarge}, {"denied", "k", msg.ErrNotAuthorized}} {
		m := withKey(c.key, "x")
		m.Topic, m.QoS = c.topic, 0
		if _, err := ann.try(m); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.topic, err)
		}
	}
	if o := ann.send(withKey(strings.Repeat("k", maxKey), "long")); o != stored+1 {
		t.Errorf("offset %d after %d", o, stored)
	}
	sub.expect("x", "between", "x", "z", "long")
}

// 100 duplicates at once, from several sessions, in one commit and several.
func TestConcurrentDuplicatesAreStoredOnce(t *testing.T) {
	h := open(t, newMem(t), nil)
	sub := connect(t, h, msg.SessionParams{})
	sub.subscribe("t")
	var wg sync.WaitGroup
	offsets := make(chan msg.Offset, 100)
	for range 10 {
		c := connect(t, h, msg.SessionParams{})
		wg.Go(func() {
			for range 10 {
				wg.Add(1)
				c.Publish(withKey("k", "x"), func(o msg.Offset, err error) {
					if err != nil {
						t.Error(err)
					}
					offsets <- o
					wg.Done()
				})
			}
		})
	}
	wg.Wait()
	for range 100 {
		if o := <-offsets; o != 1 {
			t.Fatalf("offset %d", o)
		}
	}
	if head := h.Heads()["default"]; head != 1 {
		t.Fatalf("head %d", head)
	}
	sub.expect("x")
	sub.store("t", "behind")
	sub.expect("behind")
}

// What joins a publish that is not committed yet is answered after it, in its own
// session's order; one with other content is refused.
func TestDuplicateOfPendingPublish(t *testing.T) {
	h, g := openGated(t, nil)
	a, b := connect(t, h, msg.SessionParams{}), connect(t, h, msg.SessionParams{})
	answers := make(chan string, 10)
	send := func(c *client, name string, m *msg.Message) {
		c.Publish(m, func(o msg.Offset, err error) { answers <- fmt.Sprint(name, " ", o, " ", err) })
	}
	send(a, "opens the batch", withKey("", "0"))
	await(t, g.arrived)
	send(b, "b before", withKey("", "1"))
	send(a, "first", withKey("k", "x"))
	send(b, "joins", withKey("k", "x"))
	send(b, "reused", withKey("k", "y"))
	send(b, "b behind", withKey("", "2"))
	send(a, "joins too", withKey("k", "x"))
	if len(answers) != 0 {
		t.Fatal("answered before the commit")
	}
	g.proceed <- nil
	if n := await(t, g.arrived); n != 3 {
		t.Fatalf("%d messages in the second batch", n)
	}
	send(b, "after its batch", withKey("k", "x"))
	g.release()
	for _, want := range []string{
		"opens the batch 1 <nil>", "b before 2 <nil>", "first 3 <nil>", "joins 3 <nil>", "reused 0 " + msg.ErrKeyReused.Error(),
		"b behind 4 <nil>", "joins too 3 <nil>", "after its batch 3 <nil>",
	} {
		if got := await(t, answers); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// After a failure the key is free again; what is parked for a full store joins
// the one that is stored in the end.
func TestKeyOfFailedPublishIsFree(t *testing.T) {
	h, g := openGated(t, nil)
	full := fmt.Errorf("%w: no space", persist.ErrFull)
	refused, parks := connect(t, h, msg.SessionParams{}), connect(t, h, msg.SessionParams{ParkWhenFull: true})
	answers := make(chan string, 10)
	send := func(c *client, name string, m *msg.Message) {
		c.Publish(m, func(o msg.Offset, err error) { answers <- fmt.Sprint(name, " ", o, " ", err) })
	}
	send(refused, "opens the batch", withKey("", "0"))
	await(t, g.arrived)
	send(refused, "first", withKey("k", "x"))
	send(refused, "joins", withKey("k", "x"))
	send(parks, "parked", withKey("k", "x"))
	send(parks, "parked too", withKey("k", "x"))
	send(parks, "other content", withKey("k", "y"))
	g.proceed <- nil
	await(t, g.arrived)
	g.proceed <- full
	for _, want := range []string{
		"opens the batch 1 <nil>", "first 0 " + msg.ErrStoreFull.Error(), "joins 0 " + msg.ErrStoreFull.Error(),
	} {
		if got := await(t, answers); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	send(refused, "again", withKey("k", "x")) // before the parked ones are tried again
	await(t, g.arrived)
	g.proceed <- nil
	g.release()
	for _, want := range []string{"again 2 <nil>", "parked 2 <nil>", "parked too 2 <nil>", "other content 0 " + msg.ErrKeyReused.Error()} {
		if got := await(t, answers); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	if send := parks.send(withKey("", "end")); send != 3 {
		t.Fatalf("offset %d", send)
	}
}

// A repeat of what is stored already needs no room.
func TestRepeatWhileStoreIsFull(t *testing.T) {
	h, g := openGated(t, nil)
	c := connect(t, h, msg.SessionParams{})
	errs := make(chan error, 3)
	note := func(_ msg.Offset, err error) { errs <- err }
	c.Publish(withKey("k", "x"), note)
	await(t, g.arrived)
	g.proceed <- nil
	c.Publish(withKey("", "opens the batch"), note)
	await(t, g.arrived)
	c.publish("t", "new", 1, note)
	c.Publish(withKey("k", "x"), note)
	g.proceed <- nil
	await(t, g.arrived)
	g.proceed <- fmt.Errorf("%w: no space", persist.ErrFull)
	for _, want := range []error{nil, nil, msg.ErrStoreFull, nil} {
		if err := await(t, errs); !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
	}
	g.release()
}

// tableKeys lists the checkpoint's entries of keys.
func tableKeys(t *testing.T, s persist.Store) (names []string) {
	t.Helper()
	_, err := s.State("default", persist.Visitor{Put: func(p persist.Put) error {
		if isKeys(p.Key) {
			names = append(names, p.Key)
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestKeyWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		h, _ := New(Options{Store: store, Policy: denying{}, KeyWindow: time.Minute})
		stop := run(t, h)
		c := connect(t, h, msg.SessionParams{})
		first := c.send(withKey("k", "x"))
		time.Sleep(59 * time.Second)
		if o := c.send(withKey("k", "x")); o != first {
			t.Fatalf("forgotten too early: %d", o)
		}
		if names := tableKeys(t, store); len(names) != 1 {
			t.Fatalf("%q are in the table", names)
		}
		time.Sleep(time.Second)
		second := c.send(withKey("k", "other content")) // the window has passed
		if second == first {
			t.Fatal("remembered too long")
		}
		if o := c.send(withKey("k", "other content")); o != second {
			t.Fatal(o)
		}
		time.Sleep(2 * time.Minute)
		if names := tableKeys(t, store); len(names) != 0 {
			t.Fatalf("%q are still in the table", names)
		}
		stop()
		if k := h.spaces["default"].keys; len(k.ring) != 0 || len(k.where) != 0 || len(k.chunks) != 0 {
			t.Fatalf("%d keys are remembered, %d chunks", len(k.ring), len(k.chunks))
		}
	})
}

func TestKeyBytes(t *testing.T) {
	h, err := New(Options{Store: newMem(t), Policy: denying{}, Limits: Limits{KeyBytes: 100 * keyCost}})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, h)
	c := connect(t, h, msg.SessionParams{})
	for i := range 101 {
		c.send(withKey(fmt.Sprint(i), "x"))
	}
	if o := c.send(withKey("1", "x")); o != 2 {
		t.Fatalf("the oldest but one: %d", o)
	}
	if o := c.send(withKey("0", "x")); o != 102 {
		t.Fatalf("the oldest should have gone first: %d", o)
	}
	stop()
	if k := h.spaces["default"].keys; len(k.ring) != 100 || len(k.where) != 100 {
		t.Fatalf("%d keys", len(k.ring))
	}
}

// What was committed within the window is known after a crash, whether the
// checkpoint holds it or only the log.
func TestKeysSurviveCrash(t *testing.T) {
	dir := t.TempDir()
	crashes := false
	openBolt := func(o Options) (*Hub, func()) {
		store, err := bolt.Open(dir, bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		o.Store, o.Policy = store, denying{}
		if crashes {
			o.Store = unsaved{store}
		}
		h, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, h)
		return h, func() {
			stop()
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	check := func(h *Hub, from, to int) {
		t.Helper()
		c := connect(t, h, msg.SessionParams{})
		for i := from; i < to; i++ {
			if o := c.send(withKey(fmt.Sprint(i), "x")); o != msg.Offset(i+1) {
				t.Fatalf("key %d: offset %d", i, o)
			}
		}
		if _, err := c.try(withKey(fmt.Sprint(from), "y")); !errors.Is(err, msg.ErrKeyReused) {
			t.Fatal(err)
		}
	}
	publish := func(h *Hub, from, to int) {
		var wg sync.WaitGroup
		c := connect(t, h, msg.SessionParams{})
		for i := from; i < to; i++ {
			wg.Add(1)
			c.Publish(withKey(fmt.Sprint(i), "x"), func(msg.Offset, error) { wg.Done() })
		}
		wg.Wait()
	}
	h, stop := openBolt(Options{})
	publish(h, 0, 2500)
	stop()
	crashes = true
	h, stop = openBolt(Options{}) // from the checkpoint alone
	if k := h.spaces["default"].keys; len(k.chunks) < 3 {
		t.Fatalf("%d chunks", len(k.chunks))
	}
	check(h, 0, 2500)
	publish(h, 2500, 2600)
	stop()
	h, stop = openBolt(Options{})
	check(h, 0, 2600)
	stop()
	h, stop = openBolt(Options{KeyWindow: time.Nanosecond}) // that is over
	if o := connect(t, h, msg.SessionParams{}).send(withKey("0", "x")); o != 2601 {
		t.Fatalf("offset %d", o)
	}
	stop()
}

// unsaved is a store that ends before any checkpoint is written.
type unsaved struct{ persist.Store }

func (u unsaved) Commit(b *persist.Batch, done func(error)) {
	if len(b.Checkpoints) > 0 {
		done(nil)
		return
	}
	u.Store.Commit(b, done)
}

func TestBrokenCheckpointOfKeys(t *testing.T) {
	for _, value := range [][]byte{{}, {1}, {2}, make([]byte, 1+keyRecord), append([]byte{1}, make([]byte, keyRecord-1)...)} {
		store := newMem(t)
		if _, err := store.State("default", persist.Visitor{}); err != nil {
			t.Fatal(err)
		}
		store.Commit(&persist.Batch{Checkpoints: []persist.Checkpoint{{Namespace: "default", Puts: []persist.Put{{Key: "k/1", Value: value}}}}}, func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		})
		if _, err := New(Options{Store: store, Policy: denying{}}); err == nil {
			t.Errorf("%d bytes were taken", len(value))
		}
	}
}
