package hub

import (
	"testing"

	"parley/msg"
)

// A transient message is the only thing that came by while nobody was there: the
// connection that comes back has caught up, and is sent the next one.
func TestAbsenceWithTransientMessagesOnly(t *testing.T) {
	h := open(t, newMem(t), func(o *Options) { o.Shards = 1 })
	pub := connect(t, h, msg.SessionParams{})
	params := msg.SessionParams{ClientID: "d", Expiry: msg.Forever}
	d, _ := deviceWith(t, h, params)
	d.subscribe("a")
	pub.store("a", "stored")
	d.expect("stored")
	d.Close(msg.CloseLost)
	pub.subscribe("marker")
	pub.publish("a", "missed", 0, nil)
	pub.publish("marker", "fanned out", 0, nil)
	pub.expect("fanned out")
	d, _ = deviceWith(t, h, params)
	var none msg.Delivery
	if d.Next(&none) {
		t.Fatalf("got %+v", none)
	}
	pub.publish("a", "transient", 0, nil)
	d.expect("transient")
	pub.store("a", "stored")
	d.expect("stored")
}
