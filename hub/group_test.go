package hub

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"parley/msg"
)

func TestSharedGroupGivesEachMessageToOneMember(t *testing.T) {
	h := open(t, newMem(t), func(o *Options) { o.Shards = 2 })
	pub := connect(t, h, msg.SessionParams{})
	var members []*client
	for range 3 {
		c := connect(t, h, msg.SessionParams{})
		c.subscribe("$share/g/s/#")
		members = append(members, c)
	}
	for i := range 30 {
		pub.store("s/x", fmt.Sprint(i))
	}
	seen := map[string]int{}
	for _, c := range members {
		for range 10 {
			seen[string(c.next().Message.Payload.Data)]++
		}
	}
	if len(seen) != 30 {
		t.Fatalf("%d different messages", len(seen))
	}
	members[0].Close(msg.CloseGoodbye)
	members[1].Close(msg.CloseGoodbye)
	pub.store("s/x", "last")
	members[2].expect("last")
}

// member connects a durable session that is a member of group g on s/#.
func member(t testing.TB, h *Hub, name string, window int) *client {
	t.Helper()
	c, r := deviceWith(t, h, msg.SessionParams{ClientID: name, Expiry: time.Hour, Window: window, Exact: true})
	if !r.Present {
		c.subscribe("$share/g/s/#")
	}
	return c
}

// What a member was sent at QoS 1 and did not acknowledge goes to another at
// once, with what it was not sent yet.
func TestSharedGroupGoesOnWithAnotherMember(t *testing.T) {
	for _, ended := range []bool{false, true} {
		t.Run(fmt.Sprint("session ended ", ended), func(t *testing.T) {
			h := open(t, newMem(t), nil)
			pub := connect(t, h, msg.SessionParams{})
			first := member(t, h, "first", 10)
			for i := range 30 {
				pub.store("s/x", fmt.Sprint(i))
			}
			for range 5 {
				first.take()
			}
			second := member(t, h, "second", 100)
			if ended {
				first.SetExpiry(0)
			}
			first.Close(msg.CloseLost)
			seen := map[string]bool{}
			for range 30 {
				d := second.next()
				if d.Redelivered {
					t.Error("marked as redelivered to somebody who never had it")
				}
				seen[string(d.Message.Payload.Data)] = true
			}
			if len(seen) != 30 {
				t.Fatalf("%d different messages", len(seen))
			}
		})
	}
}

// A delivery at QoS 2 stays with its member's session [MQTT-4.8.2-4].
func TestSharedGroupKeepsQoS2WithItsSession(t *testing.T) {
	h := open(t, newMem(t), nil)
	pub := connect(t, h, msg.SessionParams{})
	first := member(t, h, "first", 10)
	first.subscribe("$share/g/s/#", func(s *msg.Subscription) { s.QoS = 2 })
	pub.send(&msg.Message{Topic: "s/x", QoS: 2, Payload: msg.Bytes([]byte("two"))})
	d := first.take()
	first.Assign(d.Ref, 9, func(error) {})
	second := member(t, h, "second", 10)
	first.Close(msg.CloseLost)
	pub.store("s/x", "one")
	second.expect("one")
	first = member(t, h, "first", 10)
	if d := first.take(); d.PacketID != 9 || !d.Redelivered {
		t.Fatalf("%+v", d)
	}
}

// With no member connected the group waits; with windows full it waits too.
func TestSharedGroupWaits(t *testing.T) {
	h := open(t, newMem(t), nil)
	pub := connect(t, h, msg.SessionParams{})
	c := member(t, h, "c", 2)
	c.Close(msg.CloseLost)
	for i := range 500 {
		pub.store("s/x", fmt.Sprint(i))
	}
	c = member(t, h, "c", 2)
	for i := range 500 {
		c.expect(fmt.Sprint(i))
	}
}

// Members come and go under load: every message is acknowledged by somebody.
func TestSharedGroupLosesNothing(t *testing.T) {
	h := open(t, newMem(t), func(o *Options) { o.Shards = 2; o.Limits.TailBytes = 64 << 10 })
	pub := connect(t, h, msg.SessionParams{})
	const count = 3000
	var mu sync.Mutex
	acked := map[string]bool{}
	all := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		c := member(t, h, fmt.Sprint(i), 20)
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 7))
			for {
				var d msg.Delivery
				for !c.Next(&d) {
					select {
					case <-c.wake:
					case <-all:
						return
					}
				}
				if r.IntN(20) == 0 {
					c.Close(msg.CloseLost)
					c = member(t, h, fmt.Sprint(i), 1+r.IntN(20))
					continue
				}
				c.Ack(d.Ref)
				mu.Lock()
				acked[string(d.Message.Payload.Data)] = true
				if len(acked) == count {
					close(all)
				}
				mu.Unlock()
			}
		})
	}
	for i := range count {
		pub.publish("s/"+fmt.Sprint(i%5), fmt.Sprint(i), 1, nil)
	}
	await(t, all)
	wg.Wait()
}
