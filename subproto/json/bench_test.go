package json

import (
	"log/slog"
	"strings"
	"testing"

	"parley/msg"
	"parley/subproto"
)

// sink is a connection that counts.
type sink struct {
	info  subproto.Info
	bytes int
}

func (s *sink) Info() *subproto.Info           { return &s.info }
func (s *sink) Send(_ subproto.Kind, b []byte) { s.bytes += len(b) }
func (s *sink) Room() bool                     { return true }
func (s *sink) SetReading(bool)                {}
func (s *sink) Ready()                         {}
func (s *sink) SetPing(bool)                   {}
func (s *sink) Wake()                          {}
func (s *sink) Close(int, string)              {}

// source yields the same message a number of times.
type source struct {
	fakeSession
	d    msg.Delivery
	left int
}

func (s *source) Next(d *msg.Delivery) bool {
	if s.left == 0 {
		return false
	}
	s.left--
	*d = s.d
	return true
}

// BenchmarkDeliver is one message to one subscriber, as part of a fan-out: the
// publication is encoded already. Expect no allocations.
func BenchmarkDeliver(b *testing.B) {
	for name, hand := range map[string]bool{"sdk": false, "by hand": true} {
		b.Run(name, func(b *testing.B) {
			src := &source{d: msg.Delivery{
				Message: &msg.Message{Topic: "a/b", Via: msg.ViaMQTT, Offset: 1 << 40, Time: 1 << 40, Payload: msg.Bytes(make([]byte, 256))},
				Matches: []*msg.Subscription{{Filter: msg.Filter{Pattern: "a"}, Handle: 1}},
			}}
			c := &sink{info: subproto.Info{Log: slog.New(slog.DiscardHandler)}}
			h, ch := deliverTo(src, c, hand)
			h.filters = map[msg.Filter]*channel{ch.sub.Filter: ch}
			b.ReportAllocs()
			for b.Loop() {
				src.left = 100
				h.Wake()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/message")
		})
	}
}

func deliverTo(s subproto.Session, c subproto.Conn, hand bool) (*conn, *channel) {
	h, _ := New(Options{}).Open(c)
	got := h.(*conn)
	got.session, got.state, got.byHand = s, stateConnected, hand
	return got, &channel{ready: true, encoded: text{}.channel("a/+"), sub: msg.Subscription{Filter: msg.Filter{Pattern: "a"}, Handle: 1}}
}

// TestDeliverAllocations holds the benchmark's expectation.
func TestDeliverAllocations(t *testing.T) {
	src := &source{d: msg.Delivery{
		Message: &msg.Message{Topic: "a", Via: msg.ViaMQTT, Payload: msg.Bytes([]byte("1"))},
		Matches: []*msg.Subscription{{Filter: msg.Filter{Pattern: "a"}, Handle: 1}},
	}}
	c := &sink{info: subproto.Info{Log: slog.New(slog.DiscardHandler)}}
	h, ch := deliverTo(src, c, false)
	h.filters = map[msg.Filter]*channel{ch.sub.Filter: ch}
	if n := testing.AllocsPerRun(100, func() { src.left = 100; h.Wake() }); n > 10 { // the race detector makes pools forget
		t.Fatalf("%v allocations for 100 deliveries", n)
	}
	if c.bytes == 0 {
		t.Fatal("nothing sent")
	}
}

// BenchmarkPublish is one publish command of 256 bytes and its reply.
func BenchmarkPublish(b *testing.B) {
	s := &fakeSession{publish: func(_ *msg.Message, done func(msg.Offset, error)) { done(1, nil) }}
	c := &sink{info: subproto.Info{Log: slog.New(slog.DiscardHandler)}}
	h, _ := deliverTo(s, c, false)
	frame := []byte(`{"id":7,"publish":{"channel":"a/b","data":{"text":"` + strings.Repeat("x", 256) + `"}}}`)
	b.ReportAllocs()
	for b.Loop() {
		h.Frame(subproto.Text, frame)
	}
}
