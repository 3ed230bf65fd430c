package hub

import (
	"fmt"
	"testing"

	"parley/msg"
)

// One publisher to n subscribers through the hub alone; per op: one publish and
// all of its deliveries.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := open(b, newMem(b), func(o *Options) { o.Limits.QueueMessages = 1 << 16 })
			pub := connect(b, h, msg.SessionParams{})
			subs := make([]*client, n)
			for i := range subs {
				subs[i] = connect(b, h, msg.SessionParams{})
				subs[i].subscribe("f/x", func(s *msg.Subscription) { s.QoS = 0 })
			}
			payload := make([]byte, 256)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				pub.Publish(&msg.Message{Topic: "f/x", Payload: msg.Bytes(payload), Via: msg.ViaMQTT}, nil)
				if i++; i%64 == 0 {
					for _, s := range subs {
						for range 64 {
							s.next()
						}
					}
				}
			}
		})
	}
}
