package hub

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"parley/msg"
	"parley/persist"
)

// A shared group waits for its durable members over a crash, and gives out again
// what they had not acknowledged; QoS 2 that was sent stays with its member
// ([MQTT-4.8.2-4], [MQTT-4.8.2-5]).
func TestSharedGroupOverACrash(t *testing.T) {
	l := live(t, newMem(t))
	join := func(name string, q msg.QoS) *client {
		d, _ := l.device(msg.SessionParams{ClientID: name, Window: 3})
		d.subscribe("$share/g/a", func(s *msg.Subscription) { s.QoS = q })
		return d
	}
	one, two := join("one", 1), join("two", 2)
	pub := l.publisher()
	const n = 20
	for i := range n {
		pub.send(&msg.Message{Topic: "a", QoS: 2, Payload: msg.Bytes(fmt.Append(nil, i))})
	}
	pub.settle()
	one.take()
	kept := two.take()
	assigned := make(chan error, 1)
	two.Assign(kept.Ref, 4, func(err error) { assigned <- err })
	if err := await(t, assigned); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l = l.crash()
	}
	l.publisher().send(&msg.Message{Topic: "a", QoS: 1, Payload: msg.Bytes(fmt.Append(nil, n))})
	two, _ = l.device(msg.SessionParams{ClientID: "two", Window: 3})
	if d := two.take(); payload(d) != payload(kept) || d.PacketID != 4 || d.QoS != 2 {
		t.Fatalf("got %q id %d QoS %d, want %q", payload(d), d.PacketID, d.QoS, payload(kept))
	} else {
		two.Ack(d.Ref)
	}
	seen := map[string]int{payload(kept): 1}
	for len(seen) <= n {
		seen[payload(two.next())]++
	}
	if seen[payload(kept)] > 1 {
		t.Fatal("the delivery at QoS 2 came twice")
	}
}

// After an orderly end nothing is given out twice.
func TestSharedGroupOverARestart(t *testing.T) {
	l := live(t, newMem(t))
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("$share/g/a")
	pub := l.publisher()
	for i := range 4 {
		pub.store("a", fmt.Sprint(i))
	}
	d.expect("0", "1")
	d.Close(msg.CloseDrain)
	pub.store("a", "4")
	l = l.restart()
	l.publisher().store("a", "5")
	l = l.restart()
	d = l.back()
	d.expect("2", "3", "4", "5")
}

// A delivery of an own filter from before a restart, whose filters are found again
// by its topic, does not disturb a group that the session leaves.
func TestLeaveGroupWithFlightsOfAnEarlierRun(t *testing.T) {
	l := live(t, newMem(t))
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("$share/g/a")
	d.subscribe("b")
	l.publisher().store("b", "flight")
	d.take()
	d.Close(msg.CloseDrain)
	l = l.restart()
	d = l.back()
	if got := d.take(); payload(got) != "flight" {
		t.Fatalf("got %q", payload(got))
	}
	left := make(chan []error, 1)
	d.Unsubscribe([]msg.Filter{{Group: "g", Pattern: "a"}}, func(errs []error) { left <- errs })
	if errs := await(t, left); errs[0] != nil {
		t.Fatal(errs[0])
	}
}

// counting is a store that counts what is read of it.
type counting struct {
	persist.Store
	reads atomic.Int64
}

func (s *counting) Read(namespace string, from, to msg.Offset, l persist.Limits) ([]*msg.Message, msg.Offset, error) {
	s.reads.Add(1)
	return s.Store.Read(namespace, from, to, l)
}

// A group whose only member with room may not have what waits is not looked at
// again until something changes.
func TestSharedGroupWaitsWithoutReading(t *testing.T) {
	store := &counting{Store: newMem(t)}
	h := open(t, store, nil)
	params := msg.SessionParams{ClientID: "away", Expiry: msg.Forever}
	away, _ := deviceWith(t, h, params)
	away.subscribe("$share/g/a")
	away.Close(msg.CloseLost)
	pub := connect(t, h, msg.SessionParams{})
	pub.subscribe("$share/g/a")
	pub.send(&msg.Message{Topic: "a", QoS: 1, NoEcho: true, Payload: msg.Bytes([]byte("not for its publisher"))})
	for i := range 200 {
		pub.store("b", fmt.Sprint(i))
	}
	if n := store.reads.Load(); n > 100 {
		t.Errorf("%d reads", n)
	}
	away, _ = deviceWith(t, h, params)
	away.expect("not for its publisher")
}

// What a durable group has not given out stays in the log up to the quota, however
// far its members have come with their own filters.
func TestRetentionKeepsWhatAGroupWants(t *testing.T) {
	l := retaining(t, small(t), 1<<20)
	pub := l.publisher()
	d, _ := l.device(msg.SessionParams{Window: 1})
	d.subscribe("$share/g/a")
	const n = 50
	for i := range n {
		pub.store("a", fmt.Sprint(i))
	}
	d.take() // and the window is full: the group waits
	for range 100 {
		pub.store("c", "fills the log")
	}
	for range 2 {
		l = l.restart() // writes the checkpoint
		l.Retain()
		if o := first(t, l.store); o != 1 {
			t.Fatalf("the log begins at %d, a group wants it from 1", o)
		}
	}
	d = l.back()
	for i := range n {
		d.expect(fmt.Sprint(i))
	}
	l = l.restart()
	l.Retain()
	if o := first(t, l.store); o == 1 {
		t.Fatal("kept although nobody wants it any more")
	}
}

// What a member completed at QoS 2 is given to nobody again after a crash, though
// neither was saved since and the packet id has been used again; its own filter's
// copy of the same message is another delivery, and comes ([MQTT-4.3.3],
// [MQTT-4.8.2-5]).
func TestSharedGroupExactlyOnceOverACrash(t *testing.T) {
	crash := func(l *life) *life { return l.crash() }
	saved := func(l *life) *life { return l.restart() }
	for name, ends := range map[string][]func(*life) *life{
		"once": {crash}, "again": {crash, crash}, "saved between": {crash, saved, crash},
	} {
		t.Run(name, func(t *testing.T) {
			l := liveWith(t, newMem(t), Options{Policy: denying{}, Shards: 2, checkpoint: time.Hour})
			exactly := func(s *msg.Subscription) { s.QoS = 2 }
			d, _ := l.device(msg.SessionParams{})
			d.subscribe("$share/g/a", exactly)
			d.subscribe("a", exactly)
			pub := l.publisher()
			const n = 3
			for i := range n {
				pub.send(&msg.Message{Topic: "a", QoS: 2, Payload: msg.Bytes(fmt.Append(nil, i))})
			}
			for completed := 0; completed < n-1; {
				if got := d.take(); got.Matches[0].Filter.Group != "" {
					d.complete(got.Ref, 4)
					completed++
				}
			}
			for _, end := range ends {
				l = end(l)
			}
			d, _ = l.device(msg.SessionParams{})
			l.publisher().send(&msg.Message{Topic: "a", QoS: 2, Payload: msg.Bytes([]byte("3"))})
			want := map[string]int{" 0": 1, " 1": 1, " 2": 1, " 3": 1, "g 2": 1, "g 3": 1}
			got := map[string]int{}
			for len(got) < len(want) {
				x := d.next()
				key := x.Matches[0].Filter.Group + " " + payload(x)
				if got[key]++; got[key] > want[key] {
					t.Fatalf("%q came %d times after %v", key, got[key], got)
				}
			}
		})
	}
}

// complete takes a delivery at QoS 2 to its end.
func (c *client) complete(ref uint64, packetID uint16) {
	c.t.Helper()
	done := make(chan error, 1)
	answer := func(err error) { done <- err }
	c.Assign(ref, packetID, answer)
	if err := await(c.t, done); err != nil {
		c.t.Fatal(err)
	}
	c.Received(ref, answer)
	if err := await(c.t, done); err != nil {
		c.t.Fatal(err)
	}
	c.Ack(ref)
}

// A checkpoint leaves a delivery with the group until its packet id is on disk: in
// between it would be nobody's after a crash.
func TestSharedGroupKeepsWhatIsNotAssigned(t *testing.T) {
	h, g := openGated(t, nil)
	d, _ := deviceWith(t, h, msg.SessionParams{ClientID: "d", Expiry: msg.Forever, Exact: true})
	d.subscribe("$share/g/a", func(s *msg.Subscription) { s.QoS = 2 })
	done := make(chan error, 1)
	d.publish("a", "shared", 2, func(_ msg.Offset, err error) { done <- err })
	await(t, g.arrived)
	g.controls = true // from the next commit on
	g.proceed <- nil
	await(t, done)
	got := d.take()
	group := h.findGroup(h.spaces["default"], got.Matches[0].Filter)
	d.Assign(got.Ref, 4, func(err error) { done <- err })
	await(t, g.arrived) // on its way
	if st := group.snapshot(); !slices.Equal(st.back, []msg.Offset{got.Message.Offset}) {
		t.Errorf("saved %+v, want %d in back", st, got.Message.Offset)
	}
	g.proceed <- nil
	await(t, done)
	if st := group.snapshot(); len(st.back) > 0 {
		t.Errorf("saved %+v, want nothing in back that is a member's own", st)
	}
}
