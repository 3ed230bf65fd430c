package mqtt

import (
	"github.com/mochi-mqtt/server/v2/packets"
	"testing"
	"testing/synctest"
	"time"
)

// [MQTT-4.3.3-7]
func TestConfQoS2OutDoesNotExpireAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		w, pub := b.open(5, kept("c")), b.open(5, fresh("pub"))
		w.subscribe(2, "t")
		pub.publish(2, 0, 7, "t", "\x02"+u32(5), "short")
		pub.wantAck(packets.Pubrec, 7)
		m := w.expect("t", "short", 2)
		time.Sleep(time.Minute)
		w.lose()
		w = b.reopen(5, kept("c"))
		if again := w.expect("t", "short", 2); again.id != m.id {
			t.Fatalf("id %d, was %d", again.id, m.id)
		}
		w.ack(packets.Pubrec, m.id)
		w.wantAck(packets.Pubrel, m.id)
	})
}
