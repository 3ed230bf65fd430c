package hub

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
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

// A checkpoint that is taken while a delivery becomes its member's own holds it.
func TestCheckpointHoldsWhatIsBeingAssigned(t *testing.T) {
	h, g := openGated(t, func(o *Options) { o.checkpoint = time.Hour })
	g.pass.Store(true)
	params := msg.SessionParams{ClientID: "a", Expiry: msg.Forever, Exact: true}
	member, _ := deviceWith(t, h, params)
	member.subscribe("$share/g/t", func(s *msg.Subscription) { s.QoS = 2 })
	params.ClientID = "z"
	last, _ := deviceWith(t, h, params)
	pub := connect(t, h, msg.SessionParams{})
	at := pub.send(&msg.Message{Topic: "t", QoS: 2})
	got := member.take()
	g.pass.Store(false)
	g.controls = true
	a, z := member.Session.(*hold).s, last.Session.(*hold).s
	z.mu.Lock()
	taken := make(chan persist.Checkpoint, 1)
	go func() {
		cp, _, _ := h.spaces["default"].takeCheckpoint(false)
		taken <- cp
	}()
	for dirty := true; dirty; runtime.Gosched() { // until a's state has been taken
		a.mu.Lock()
		dirty = a.dirty
		a.mu.Unlock()
	}
	member.Assign(got.Ref, 7, func(error) {})
	z.mu.Unlock()
	found := false
	ns := &namespace{loadingGroups: map[string]*groupState{}}
	for _, p := range await(t, taken).Puts {
		switch {
		case p.Key == sessionPrefix+"a":
			st, err := decodeState(p.Value)
			if err != nil {
				t.Fatal(err)
			}
			found = found || len(st.flights) > 0
		case strings.HasPrefix(p.Key, groupPrefix):
			if err := ns.loadGroup("g", p.Value); err != nil {
				t.Fatal(err)
			}
			found = found || slices.Contains(ns.loadingGroups["g"].back, at)
		}
	}
	if !found {
		t.Fatal("neither the group nor its member has the delivery")
	}
}
