package mqtt

import (
	"testing"

	"parley/msg"
)

// What comes again without an identifier must not take the one under which
// another delivery is still to come again: at QoS 2 it would come under a new one
// and be another message to the client [MQTT-4.3.3-4].
func TestIdentifiersOfWhatComesAgainAreReserved(t *testing.T) {
	h := &handler{}
	h.resume(msg.AttachResult{Present: true, Assigned: []uint16{1, 3}})
	for i, want := range []uint16{2, 4} {
		if id, ok := h.track(&msg.Delivery{Ref: uint64(i + 1), QoS: 1}); !ok || id != want {
			t.Errorf("got %d, want %d", id, want)
		}
	}
	if id, _ := h.track(&msg.Delivery{Ref: 3, QoS: 2, PacketID: 3}); id != 3 {
		t.Errorf("QoS 2 comes again under %d, want 3", id)
	}
	if id, _ := h.track(&msg.Delivery{Ref: 4, QoS: 1, PacketID: 1}); id != 1 {
		t.Errorf("QoS 1 comes again under %d, want 1", id)
	}
	if id, _ := h.track(&msg.Delivery{Ref: 5, QoS: 1}); id != 5 {
		t.Errorf("a new one under %d, want 5", id)
	}
}
