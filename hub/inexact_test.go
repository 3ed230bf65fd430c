package hub

import (
	"fmt"
	"slices"
	"testing"

	"parley/msg"
)

// inexact connects the session "d" by a protocol without QoS 2.
func (l *life) inexact(window int) (*client, msg.AttachResult) {
	l.t.Helper()
	return deviceWith(l.t, l.Hub, msg.SessionParams{ClientID: "d", Expiry: msg.Forever, Window: window})
}

func (c *client) publishExactly(from, to int) {
	c.t.Helper()
	for i := from; i < to; i++ {
		c.send(&msg.Message{Topic: "a", QoS: 2, Payload: msg.Bytes([]byte(fmt.Sprint(i)))})
	}
}

// What a session at QoS 2 was sent under a packet id waits for a peer that
// completes it [MQTT-4.3.3-1]; all else comes to another peer at QoS 1, also over
// a crash in between.
func TestExactDeliveriesWaitForAnExactPeer(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint(crash), func(t *testing.T) {
			l := live(t, newMem(t))
			next := func(d *client) {
				d.Close(msg.CloseLost)
				if crash {
					l = l.crash()
				}
			}
			d, _ := l.device(msg.SessionParams{})
			d.subscribe("a", func(s *msg.Subscription) { s.QoS = 2 })
			l.publisher().publishExactly(0, 4)
			errs := make(chan error, 3)
			note := func(err error) { errs <- err }
			refs := []uint64{d.take().Ref, d.take().Ref, d.take().Ref}
			d.Assign(refs[0], 5, note)
			d.Assign(refs[1], 6, note)
			d.Received(refs[1], note) // PUBREC; the third has no packet id
			for range 3 {
				if err := await(t, errs); err != nil {
					t.Fatal(err)
				}
			}
			next(d)

			other, r := l.inexact(0)
			if !r.Present || len(r.Received) != 0 {
				t.Fatalf("%+v", r)
			}
			for i, want := range []string{"2", "3"} {
				got := other.take()
				if payload(got) != want || got.QoS != 1 || got.PacketID != 0 || i == 0 && !got.Redelivered {
					t.Fatalf("got %+v %s, want %s", got, payload(got), want)
				}
				other.Ack(got.Ref)
			}
			l.publisher().publishExactly(4, 5)
			if got := other.take(); payload(got) != "4" || got.QoS != 1 || got.Redelivered {
				t.Fatalf("%+v", got)
			} // not acknowledged
			other.Close(msg.CloseGoodbye)

			d, r = l.device(msg.SessionParams{})
			if len(r.Received) != 1 || r.Received[0].PacketID != 6 {
				t.Fatalf("%+v", r.Received)
			}
			d.Ack(r.Received[0].Ref)
			if got := d.take(); payload(got) != "0" || got.PacketID != 5 || got.QoS != 2 || !got.Redelivered {
				t.Fatalf("%+v", got)
			} else {
				d.Ack(got.Ref)
			}
			if got := d.take(); payload(got) != "4" || got.QoS != 1 || !got.Redelivered {
				t.Fatalf("what was sent at QoS 1 comes again so: %+v", got)
			} else {
				d.Ack(got.Ref)
			}
			l.publisher().publishExactly(5, 6)
			if got := d.take(); payload(got) != "5" || got.QoS != 2 {
				t.Fatalf("%+v", got)
			}
		})
	}
}

// Deliveries that wait for an exact peer take up half of the window at most.
func TestWindowWhileExactDeliveriesWait(t *testing.T) {
	l := live(t, newMem(t))
	d, _ := l.device(msg.SessionParams{Window: 10})
	d.subscribe("a", func(s *msg.Subscription) { s.QoS = 2 })
	l.publisher().publishExactly(0, 20)
	for i := range 8 {
		errs := make(chan error, 1)
		d.Assign(d.take().Ref, uint16(i+1), func(err error) { errs <- err })
		await(t, errs)
	}
	for _, c := range []struct{ window, want int }{{1, 1}, {4, 2}, {10, 5}, {20, 12}} {
		d.Close(msg.CloseLost)
		d, _ = l.inexact(c.window)
		var got []string
		for range min(c.want, 12) {
			got = append(got, payload(d.take()))
		}
		var more msg.Delivery
		if d.Next(&more) {
			t.Fatalf("window %d: got %q and more", c.window, got)
		}
		if want := []string{"8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19"}[:c.want]; !slices.Equal(got, want) {
			t.Fatalf("window %d: got %q", c.window, got)
		}
	}
}
