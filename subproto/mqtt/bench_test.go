package mqtt

import (
	"fmt"
	"runtime"
	"testing"

	"parley/auth"
	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// sink is a session that takes everything at once and yields deliver n times.
type sink struct {
	subproto.Session
	deliver msg.Delivery
	n       int
}

func (s *sink) attach(_ subproto.Peer, _ *auth.Identity, _ msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
	done(msg.AttachResult{}, nil)
	return s
}

func (s *sink) Publish(_ *msg.Message, done func(msg.Offset, error)) {
	if done != nil {
		done(1, nil)
	}
}

func (s *sink) Congested() bool { return false }

func (s *sink) Next(d *msg.Delivery) bool {
	if s.n == 0 {
		return false
	}
	s.n--
	*d = s.deliver
	return true
}

func (s *sink) PublishOnce(_ uint16, m *msg.Message, done func(msg.Offset, error)) {
	s.Publish(m, done)
}

func (s *sink) Release(_ uint16, done func(error)) { done(nil) }

func (s *sink) Assign(_ uint64, _ uint16, done func(error)) {
	if done != nil {
		done(nil)
	}
}

func (s *sink) Received(_ uint64, done func(error)) { done(nil) }

func (s *sink) Ack(uint64)         {}
func (s *sink) Close(msg.CloseHow) {}

func openSink(t testing.TB, s *sink, version byte, change func(*packets.Packet)) *handler {
	h, err := New(Options{Attach: s.attach, Auth: anybody{}}).Open(nowhere{})
	if err != nil {
		t.Fatal(err)
	}
	h.Frame(subproto.Binary, encode(t, connectPacket(version, "bench", change)))
	if hd := h.(*handler); hd.state != stateOpen {
		t.Fatal("not open")
	}
	return h.(*handler)
}

// publishFrames are one PUBLISH each: plain, and for v5 one with properties.
func publishFrame(t testing.TB, version, qos byte, props bool) []byte {
	pk := packets.Packet{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos}, TopicName: "site/7/sensor/1234/temperature", Payload: make([]byte, 256), PacketID: uint16(qos)}
	if props {
		pk.Properties.ContentType = "application/json"
		pk.Properties.User = []packets.UserProperty{{Key: "k", Val: "v"}}
	}
	return encode(t, pk)
}

// The road from a frame to Session.Publish: the message and its payload, and
// for properties what they are decoded into.
func TestPublishAllocations(t *testing.T) {
	for _, c := range []struct {
		version, qos byte
		props        bool
		most         float64
	}{{4, 0, false, 2}, {4, 1, false, 2}, {5, 0, false, 2}, {5, 1, false, 2}, {5, 1, true, 8}} {
		h := openSink(t, &sink{}, c.version, nil)
		frame := publishFrame(t, c.version, c.qos, c.props)
		if got := testing.AllocsPerRun(1000, func() { h.Frame(subproto.Binary, frame) }); got > c.most && !raceEnabled {
			t.Errorf("%+v: %v allocations", c, got)
		}
		h.Closed(nil)
	}
}

// A delivery allocates nothing once the message's shared part exists.
func TestDeliverAllocations(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for _, qos := range []msg.QoS{0, 1} {
			s := &sink{deliver: delivery(qos)}
			h := openSink(t, s, version, nil)
			ack := []byte{packets.Puback << 4, 2, 0, 0}
			got := testing.AllocsPerRun(1000, func() {
				s.n = 1
				h.Wake()
				if qos > 0 {
					ack[2], ack[3] = byte(h.lastID>>8), byte(h.lastID)
					h.Frame(subproto.Binary, ack)
				}
			})
			if got > 0.5 && !raceEnabled {
				t.Errorf("v%d QoS %d: %v allocations", version, qos, got)
			}
			h.Closed(nil)
		}
	}
}

func delivery(qos msg.QoS) msg.Delivery {
	m := &msg.Message{
		Topic: "site/7/sensor/1234/temperature", QoS: qos, Via: msg.ViaMQTT, Offset: 1234567,
		Payload: msg.Payload{Data: make([]byte, 256), ContentType: "application/octet-stream"},
		User:    []msg.Property{{Name: "k", Value: "v"}},
	}
	return msg.Delivery{Message: m, Matches: []*msg.Subscription{{QoS: qos, Handle: 5}}, QoS: qos, Ref: 1}
}

// QoS 2 costs what its session calls cost: a callback for Release in, for Assign
// and Received out.
func TestQoS2Allocations(t *testing.T) {
	for _, version := range []byte{4, 5} {
		h := openSink(t, &sink{}, version, nil)
		in := qos2Frames(t, version)
		if got := testing.AllocsPerRun(1000, func() { h.Frame(subproto.Binary, in[0]); h.Frame(subproto.Binary, in[1]) }); got > 3.5 && !raceEnabled {
			t.Errorf("v%d in: %v allocations", version, got)
		}
		h.Closed(nil)
		s, ack := &sink{deliver: delivery(2)}, make([]byte, 4)
		h = openSink(t, s, version, nil)
		if got := testing.AllocsPerRun(1000, func() { deliverQoS2(h, s, ack) }); got > 2.5 && !raceEnabled {
			t.Errorf("v%d out: %v allocations", version, got)
		}
		if len(h.inflight) > 0 || h.owed != 0 || len(h.two.held) > 0 {
			t.Error("something is left")
		}
		h.Closed(nil)
	}
}

// qos2Frames are a PUBLISH at QoS 2 and its PUBREL.
func qos2Frames(t testing.TB, version byte) [2][]byte {
	return [2][]byte{publishFrame(t, version, 2, false), {packets.Pubrel<<4 | 2, 2, 0, 2}}
}

// deliverQoS2 takes one delivery through its whole exchange.
func deliverQoS2(h *handler, s *sink, ack []byte) {
	s.n = 1
	h.Wake()
	ack = append(ack[:0], packets.Pubrec<<4, 2, byte(h.lastID>>8), byte(h.lastID))
	h.Frame(subproto.Binary, ack)
	ack[0] = packets.Pubcomp << 4
	h.Frame(subproto.Binary, ack)
}

// What the engine holds for a connection that is open and silent.
func TestIdleConnectionIsSmall(t *testing.T) {
	const n = 2000
	s := &sink{}
	e := New(Options{Attach: s.attach, Auth: anybody{}})
	connect := encode(t, connectPacket(5, "idle", func(pk *packets.Packet) { pk.Connect.Keepalive = 60 }))
	handlers := make([]subproto.Handler, n)
	before := heap()
	for i := range handlers {
		h, err := e.Open(nowhere{})
		if err != nil {
			t.Fatal(err)
		}
		h.Frame(subproto.Binary, connect)
		h.Frame(subproto.Binary, []byte{packets.Pingreq << 4, 0})
		handlers[i] = h
	}
	each := (heap() - before) / n
	t.Logf("%d bytes for an idle connection", each)
	if each > 1024 {
		t.Errorf("%d bytes for an idle connection, want at most 1024", each)
	}
	for _, h := range handlers {
		h.Closed(nil)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkPublish(b *testing.B) {
	for _, version := range []byte{4, 5} {
		for _, qos := range []byte{0, 1} {
			b.Run(fmt.Sprintf("v%d/qos%d", version, qos), func(b *testing.B) {
				h := openSink(b, &sink{}, version, nil)
				frame := publishFrame(b, version, qos, false)
				b.ReportAllocs()
				for b.Loop() {
					h.Frame(subproto.Binary, frame)
				}
				h.Closed(nil)
			})
		}
	}
	b.Run("v5/properties", func(b *testing.B) {
		h := openSink(b, &sink{}, 5, nil)
		frame := publishFrame(b, 5, 0, true)
		b.ReportAllocs()
		for b.Loop() {
			h.Frame(subproto.Binary, frame)
		}
		h.Closed(nil)
	})
}

func BenchmarkDeliver(b *testing.B) {
	for _, version := range []byte{4, 5} {
		for _, qos := range []msg.QoS{0, 1} {
			b.Run(fmt.Sprintf("v%d/qos%d", version, qos), func(b *testing.B) {
				s := &sink{deliver: delivery(qos)}
				h := openSink(b, s, version, nil)
				ack := []byte{packets.Puback << 4, 2, 0, 0}
				b.ReportAllocs()
				for b.Loop() {
					s.n = 1
					h.Wake()
					if qos > 0 {
						ack[2], ack[3] = byte(h.lastID>>8), byte(h.lastID)
						h.Frame(subproto.Binary, ack)
					}
				}
				h.Closed(nil)
			})
		}
	}
}

func BenchmarkQoS2(b *testing.B) {
	for _, version := range []byte{4, 5} {
		b.Run(fmt.Sprintf("v%d/in", version), func(b *testing.B) {
			h := openSink(b, &sink{}, version, nil)
			frames := qos2Frames(b, version)
			b.ReportAllocs()
			for b.Loop() {
				h.Frame(subproto.Binary, frames[0])
				h.Frame(subproto.Binary, frames[1])
			}
			h.Closed(nil)
		})
		b.Run(fmt.Sprintf("v%d/out", version), func(b *testing.B) {
			s, ack := &sink{deliver: delivery(2)}, make([]byte, 4)
			h := openSink(b, s, version, nil)
			b.ReportAllocs()
			for b.Loop() {
				deliverQoS2(h, s, ack)
			}
			h.Closed(nil)
		})
	}
}

// An alias instead of the topic.
func BenchmarkDeliverAliased(b *testing.B) {
	s := &sink{deliver: delivery(0)}
	h := openSink(b, s, 5, func(pk *packets.Packet) { pk.Properties.TopicAliasMaximum = 10 })
	b.ReportAllocs()
	for b.Loop() {
		s.n = 1
		h.Wake()
	}
	h.Closed(nil)
}

func (s *sink) NextNotice(*msg.Notice) bool { return false }
