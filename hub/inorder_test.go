package hub

import (
	"fmt"
	"testing"

	"parley/msg"
)

// What was sent at QoS 1 and 2 comes again after a crash in the order in which it
// was sent [MQTT-4.6.0-1], although only QoS 2 had its packet ids on disk; so it
// does on further connections, and in a window of one.
func TestResendOrderAfterACrash(t *testing.T) {
	const n = 7
	qos := func(i int) msg.QoS { return msg.QoS(1 + i%2) }
	for _, window := range []int{100, 1} {
		t.Run(fmt.Sprintf("window %d", window), func(t *testing.T) {
			l := live(t, newMem(t))
			d, _ := l.device(msg.SessionParams{})
			d.subscribe("a", func(s *msg.Subscription) { s.QoS = 2 })
			pub := l.publisher()
			for i := range n {
				pub.send(&msg.Message{Topic: "a", QoS: qos(i), Payload: msg.Bytes(fmt.Append(nil, i))})
			}
			step := make(chan error, 1)
			for i := range n {
				if got := d.take(); qos(i) == 2 {
					d.Assign(got.Ref, uint16(100+i), func(err error) { step <- err })
					if err := await(t, step); err != nil {
						t.Fatal(err)
					}
				}
			}
			l = l.crash()
			for range 2 { // and once more without a crash
				d, _ = l.device(msg.SessionParams{Window: window})
				if window == 1 {
					break
				}
				for i := range n {
					wantAgain(t, d.take(), i, qos(i))
				}
				d.Close(msg.CloseLost)
			}
			if window > 1 {
				l = l.crash()
				d, _ = l.device(msg.SessionParams{Window: window})
			}
			for i := range n {
				got := d.take()
				wantAgain(t, got, i, qos(i))
				d.Ack(got.Ref)
			}
			pub = l.publisher()
			pub.store("a", "live")
			if got := d.take(); payload(got) != "live" || got.Redelivered {
				t.Fatalf("%q, redelivered %v", payload(got), got.Redelivered)
			}
		})
	}
}

func wantAgain(t *testing.T, got msg.Delivery, i int, q msg.QoS) {
	t.Helper()
	id := uint16(0)
	if q == 2 {
		id = uint16(100 + i)
	}
	if payload(got) != fmt.Sprint(i) || got.QoS != q || got.PacketID != id || !got.Redelivered {
		t.Fatalf("%q at QoS %d, id %d, redelivered %v; want %d at QoS %d, id %d", payload(got), got.QoS, got.PacketID, got.Redelivered, i, q, id)
	}
}

// A message that is cut from the log while it waits for its turn takes no room in
// the window for ever.
func TestFlightThatWaitsForTheLogIsForgotten(t *testing.T) {
	in := inbound{}
	in.unacked = map[uint64]flight{1: {ref: 1, offset: 5, later: true}, 2: {ref: 2, offset: 3, later: true}, 3: {ref: 3, offset: 1}}
	in.lag = lag{on: true, from: 3, to: 9}
	in.comeBack(9, 0, true)
	if len(in.redo) != 1 || in.redo[0].ref != 3 || len(in.later) != 2 || in.later[0].ref != 2 || in.postponed != 2 {
		t.Fatalf("first %v, later %v, %d", in.redo, in.later, in.postponed)
	}
	in.forget(2)
	in.forget(3)
	if in.postponed != 1 || len(in.unacked) != 1 {
		t.Fatalf("%d of %d are still to come", in.postponed, len(in.unacked))
	}
	if f := in.renumber(in.unacked[1]); f.later || in.postponed != 0 || len(in.unacked) != 0 {
		t.Fatalf("%+v, %d", f, in.postponed)
	}
	in = inbound{unacked: map[uint64]flight{1: {ref: 1, offset: 5, later: true}}} // the log was read beyond it
	in.comeBack(9, 0, true)
	if len(in.redo) != 1 || in.redo[0].later || in.unacked[1].later || in.postponed != 0 {
		t.Fatalf("first %v, %d", in.redo, in.postponed)
	}
}
