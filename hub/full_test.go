package hub

import (
	"fmt"
	"testing"

	"parley/msg"
	"parley/persist"
)

// A PUBLISH at QoS 2 that is repeated on the next connection while the first one
// still waits for a full store waits with it, and what comes behind it waits too:
// neither is refused, and it is published once.
func TestPublishOnceWhileStoreIsFull(t *testing.T) {
	h, g := openGated(t, nil)
	sub := connect(t, h, msg.SessionParams{})
	sub.subscribe("a")
	params := msg.SessionParams{ClientID: "d", Expiry: msg.Forever, ParkWhenFull: true, Exact: true}
	full := fmt.Errorf("%w: no space", persist.ErrFull)
	type ack struct {
		name   string
		offset msg.Offset
		err    error
	}
	acks := make(chan ack, 10)
	send := func(d *client, name string) {
		m := &msg.Message{Topic: "a", QoS: 2, Payload: msg.Bytes([]byte("once"))}
		d.PublishOnce(7, m, func(o msg.Offset, err error) { acks <- ack{name, o, err} })
	}
	lost, _ := deviceWith(t, h, params)
	send(lost, "first")
	await(t, g.arrived)
	g.proceed <- full
	for !lost.Congested() {
		await(t, lost.wake)
	}
	lost.Close(msg.CloseLost)

	d, r := deviceWith(t, h, params)
	if !r.Present {
		t.Fatal("no session")
	}
	send(d, "repeated")
	d.publish("a", "behind", 1, func(o msg.Offset, err error) { acks <- ack{"behind", o, err} })
	for !d.Congested() {
		await(t, d.wake)
	}
	await(t, g.arrived) // the retry
	g.proceed <- full
	g.release()
	var last ack
	for i, want := range []string{"first", "repeated", "behind"} {
		got := await(t, acks)
		if got.name != want || got.err != nil || i == 1 && got.offset != last.offset || i != 1 && got.offset <= last.offset {
			t.Fatalf("%+v after %+v, want %s", got, last, want)
		}
		last = got
	}
	for d.Congested() {
		await(t, d.wake)
	}
	sub.expect("once", "behind")
}
