package wamp

import (
	"testing"

	"parley/msg"
	"parley/subproto"
)

// quiet is a connection that counts what it is sent.
type quiet struct {
	info        subproto.Info
	frames, len int
}

func (q *quiet) Info() *subproto.Info              { return &q.info }
func (q *quiet) Send(_ subproto.Kind, data []byte) { q.frames++; q.len += len(data) }
func (q *quiet) Room() bool                        { return true }
func (q *quiet) SetReading(bool)                   {}
func (q *quiet) Ready()                            {}
func (q *quiet) SetPing(bool)                      {}
func (q *quiet) Wake()                             {}
func (q *quiet) Close(int, string)                 {}

// BenchmarkEvent sends one message to one more subscriber: what is shared is
// encoded already.
func BenchmarkEvent(b *testing.B) {
	for _, protocol := range protocols {
		b.Run(protocol, func(b *testing.B) {
			w, _ := wireOf(protocol)
			h := newHandler(&Engine{}, &quiet{info: subproto.Info{Protocol: protocol}}, w)
			h.pubIDs = newPubIDs("epoch", "default")
			d := &msg.Delivery{Message: &msg.Message{Topic: "a/b", Offset: 1 << 30, Via: msg.ViaMQTT, Payload: msg.Bytes(make([]byte, 256))}}
			s := &sub{id: 1 << 50, filter: msg.Filter{Pattern: "a/b"}, told: true}
			b.ReportAllocs()
			for b.Loop() {
				h.event(s, d.Message, 0)
			}
		})
	}
}

// BenchmarkPublish reads one PUBLISH and submits it.
func BenchmarkPublish(b *testing.B) {
	h := newHandler(&Engine{}, &quiet{info: subproto.Info{Protocol: "wamp.2.json"}}, jsonWire{})
	h.state, h.session = stateOpen, swallow{}
	frame := []byte(`[16,12345,{},"com.example.topic",["some text of a usual length",12345,{"a":true}],{"k":"v"}]`)
	b.ReportAllocs()
	for b.Loop() {
		h.Frame(subproto.Text, frame)
	}
}

type swallow struct{ subproto.Session }

func (swallow) Publish(*msg.Message, func(msg.Offset, error)) {}
func (swallow) Next(*msg.Delivery) bool                       { return false }
func (swallow) Congested() bool                               { return false }

// An EVENT to one more subscriber allocates nothing.
func TestEventDoesNotAllocate(t *testing.T) {
	for _, protocol := range protocols {
		w, _ := wireOf(protocol)
		h := newHandler(&Engine{}, &quiet{info: subproto.Info{Protocol: protocol}}, w)
		h.pubIDs = newPubIDs("epoch", "default")
		d := &msg.Delivery{Message: &msg.Message{Topic: "a/b", Offset: 7, Via: msg.ViaMQTT, Payload: msg.Bytes([]byte("x"))}}
		s := &sub{id: 9, filter: msg.Filter{Pattern: "a/b"}, told: true}
		if n := testing.AllocsPerRun(100, func() { h.event(s, d.Message, 0) }); n > 0 {
			t.Errorf("%s: %.1f allocations", protocol, n)
		}
	}
}
