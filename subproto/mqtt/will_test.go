package mqtt

import (
	"io"
	"testing"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

func withWill(topic, payload string, retain bool) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		pk.Connect.WillFlag, pk.Connect.WillQos, pk.Connect.WillRetain = true, 1, retain
		pk.Connect.WillTopic, pk.Connect.WillPayload = topic, []byte(payload)
	}
}

// [MQTT-3.1.2-8], [MQTT-3.1.2-10], section 3.14: which ends publish the will.
func TestWill(t *testing.T) {
	for _, c := range []struct {
		name    string
		version byte
		end     func(*peer)
		sent    bool
	}{
		{"lost, 3.1.1", 4, func(p *peer) { p.c.Drop(io.EOF) }, true},
		{"lost, 5", 5, func(p *peer) { p.c.Drop(io.EOF) }, true},
		{"malformed packet", 5, func(p *peer) { p.raw(0, 0) }, true},
		{"DISCONNECT, 3.1.1", 4, func(p *peer) { p.raw(0xe0, 0) }, false},
		{"DISCONNECT of length 0", 5, func(p *peer) { p.raw(0xe0, 0) }, false},
		{"DISCONNECT of length 1, reason 0", 5, func(p *peer) { p.raw(0xe0, 1, 0) }, false},
		{"DISCONNECT of length 1, reason 4", 5, func(p *peer) { p.raw(0xe0, 1, 4) }, true},
		{"DISCONNECT with reason 4 and properties", 5, func(p *peer) { p.raw(0xe0, 2, 4, 0) }, true},
		{"DISCONNECT with an error", 5, func(p *peer) { p.raw(0xe0, 1, 0x80) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, nil)
			sub := b.connect(5, "sub", nil)
			sub.subscribe(1, "#")
			p := b.connect(c.version, "c", withWill("w", "gone", false))
			c.end(p)
			if c.sent {
				sub.receive("w", "gone")
			} else {
				sub.publish(1, "mark", "")
				sub.receive("mark", "")
			}
		})
	}
}

// An empty will payload is legal (section 3.1.3.4), and so is a retained will.
func TestWillEmptyAndRetained(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		sub := b.connect(version, "sub", nil)
		sub.subscribe(1, "#")
		b.connect(version, "c", withWill("w", "", false)).c.Drop(io.EOF)
		sub.receive("w", "")
		b.connect(version, "c", withWill("r", "kept", true)).c.Drop(io.EOF)
		sub.receive("r", "kept")
		late := b.connect(version, "late", nil)
		late.subscribe(1, "r")
		if pk := late.receive("r", "kept"); !pk.FixedHeader.Retain {
			t.Fatal("not marked as retained")
		}
	})
}

func TestWillRefused(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		for topic, want := range map[string][2]byte{"denied/w": {5, 0x87}, "$SYS/w": {5, 0x90}} {
			ack := b.dial(version).handshake("c", withWill(topic, "x", false))
			if ack.ReasonCode != want[version/5] {
				t.Errorf("%s: CONNACK %#x, want %#x", topic, ack.ReasonCode, want[version/5])
			}
		}
	})
}

// What the session is asked for.
func TestSessionParams(t *testing.T) {
	for _, c := range []struct {
		name                    string
		version                 byte
		expiry, delay, lifetime uint32
		receive                 uint16
		wantDelay, wantLifetime time.Duration
		wantWindow              int
	}{
		{"3.1.1", 4, 0, 0, 0, 0, 0, 0, 1024},
		{"delay within the session", 5, 60, 10, 7, 5, 10 * time.Second, 7 * time.Second, 5},
		{"delay ends with the session [MQTT-3.1.3-9]", 5, 0, 10, 0, 65535, 0, 0, 1024},
		{"session without end", 5, 0xffffffff, 3600, 0, 0, time.Hour, 0, 1024},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got msg.SessionParams
			s := &sink{}
			e := New(Options{Auth: anybody{}, Attach: func(p subproto.Peer, id *auth.Identity, params msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
				got = params
				return s.attach(p, id, params, done)
			}})
			h, err := e.Open(nowhere{})
			if err != nil {
				t.Fatal(err)
			}
			h.Frame(subproto.Binary, encode(t, connectPacket(c.version, "id", func(pk *packets.Packet) {
				withWill("w", "x", true)(pk)
				pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = c.expiry, c.expiry > 0
				pk.Properties.ReceiveMaximum = c.receive
				pk.Connect.WillProperties.WillDelayInterval, pk.Connect.WillProperties.MessageExpiryInterval = c.delay, c.lifetime
			})))
			h.Closed(nil)
			w := got.Will
			if w == nil || w.Delay != c.wantDelay || w.Lifetime != c.wantLifetime || w.Message.QoS != 1 || !w.Message.Retain {
				t.Errorf("will %+v", w)
			}
			if got.Window != c.wantWindow || got.ClientID != "id" || got.Namespace != "default" || got.ParkWhenFull != (c.version == 4) {
				t.Errorf("params %+v", got)
			}
		})
	}
}
