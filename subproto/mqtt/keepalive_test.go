package mqtt

import (
	"testing"
	"testing/synctest"
	"time"

	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

func keepAlive(seconds uint16) func(*packets.Packet) {
	return func(pk *packets.Packet) { pk.Connect.Keepalive = seconds }
}

// [MQTT-3.1.2-22]: one and a half times the keep-alive, from the last packet.
// 60,000 s shows that nothing overflows 16 bits.
func TestKeepAlive(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		for _, k := range []uint16{1, 10, 60_000} {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, nil)
				p := b.connect(version, "c", keepAlive(k))
				second := time.Duration(k) * time.Second
				for range 3 {
					time.Sleep(second * 14 / 10)
					p.quiet()
				}
				begin := time.Now()
				p.c.WaitClose()
				if took := time.Since(begin); took < second*3/2 || took > second*3/2+time.Second {
					t.Fatalf("closed after %v", took)
				}
				p.wantEnd(0x8d, subproto.ClosePolicy)
			})
		}
	})
}

func TestKeepAliveZeroIsNone(t *testing.T) { // [MQTT-3.1.2-10], section 3.1.2.10
	synctest.Test(t, func(t *testing.T) {
		b := start(t, nil)
		p := b.connect(5, "c", keepAlive(0))
		time.Sleep(100 * time.Hour)
		p.quiet()
	})
}

// While the broker does not read the peer, the peer's silence proves nothing.
func TestKeepAliveStandsStillWhileNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &congested{}
		b := start(t, nil)
		b.e.attach = s.around(b.e.attach)
		p := b.connect(5, "c", keepAlive(10))
		s.on.Store(true)
		p.raw(packets.Pingreq<<4, 0)
		if _, _, reading := p.c.State(); reading {
			t.Fatal("still reading")
		}
		time.Sleep(time.Hour)
		s.on.Store(false)
		p.c.Wake()
		p.want(packets.Pingresp)     // it had waited
		time.Sleep(14 * time.Second) // counted from when reading went on
		p.quiet()
		time.Sleep(16 * time.Second)
		p.wantEnd(0x8d, subproto.ClosePolicy)
	})
}
