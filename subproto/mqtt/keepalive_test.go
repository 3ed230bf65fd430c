package mqtt

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"parley/auth"
	"parley/msg"
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

// jump sets the engine's clock forward in the next call of the session, as if the
// broker had stood still in it.
type jump struct {
	e  *Engine
	by atomic.Int64
}

type jumpSession struct {
	subproto.Session
	j *jump
}

func (s jumpSession) Congested() bool {
	s.j.e.start = s.j.e.start.Add(-time.Duration(s.j.by.Swap(0)))
	return s.Session.Congested()
}

func (j *jump) around(a subproto.Attach) subproto.Attach {
	return func(p subproto.Peer, id *auth.Identity, params msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
		return jumpSession{a(p, id, params, done), j}
	}
}

// A broker that stood still, as when its process or machine was stopped, hears
// first what the peer sent meanwhile.
func TestKeepAliveAfterTheBrokerStoodStill(t *testing.T) {
	for _, sent := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, nil)
			clock := &jump{e: b.e}
			b.e.attach = clock.around(b.e.attach)
			p := b.connect(5, "c", keepAlive(10))
			time.Sleep(10 * time.Second)
			clock.by.Store(int64(20 * time.Second))
			p.quiet()
			time.Sleep(5 * time.Second)
			synctest.Wait() // the timer has fired, 20 s late, and nothing more was read yet
			if sent {
				p.raw(packets.Pingreq<<4, 0)
				p.want(packets.Pingresp)
				time.Sleep(14 * time.Second)
				p.quiet()
				time.Sleep(14 * time.Second)
			}
			begin := time.Now()
			p.c.WaitClose()
			if took := time.Since(begin); took != lateGrace {
				t.Errorf("sent %v: closed after %v", sent, took)
			}
			p.wantEnd(0x8d, subproto.ClosePolicy)
		})
	}
}
