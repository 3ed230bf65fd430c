package hub

import (
	"fmt"
	"testing"

	"parley/msg"
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
