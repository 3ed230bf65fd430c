package hub

import (
	"fmt"
	"testing"

	"parley/msg"
)

func TestStoredMessageReachesSubscribersInOffsetOrder(t *testing.T) {
	h := open(t, newMem(t), nil)
	sub, pub := connect(t, h, msg.SessionParams{}), connect(t, h, msg.SessionParams{})
	sub.subscribe("a/+")
	var last msg.Offset
	for i := range 500 {
		o := pub.store("a/b", fmt.Sprint(i))
		if o <= last {
			t.Fatalf("offset %d after %d", o, last)
		}
		last = o
	}
	for i := range 500 {
		sub.expect(fmt.Sprint(i))
	}
}

func TestTransientReachesSubscribers(t *testing.T) {
	h := open(t, newMem(t), nil)
	sub, pub := connect(t, h, msg.SessionParams{}), connect(t, h, msg.SessionParams{})
	sub.subscribe("a/#")
	pub.publish("a", "x", 0, nil)
	d := sub.next()
	if d.Message.Stored() || d.QoS != 0 || d.Message.Serial == 0 {
		t.Fatalf("%+v", d)
	}
}
