package bolt_test

import (
	"fmt"
	"testing"
	"time"

	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

// BenchmarkCommit commits batches of 256-byte messages. A commit is two
// fdatasyncs (data pages, then the meta page), and every growStep of the file
// costs one more.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 3, 10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := bolt.Open(b.TempDir(), bolt.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			if _, err := s.State("default", persist.Visitor{}); err != nil {
				b.Fatal(err)
			}
			batch := &persist.Batch{}
			for i := range n {
				m := &msg.Message{Topic: fmt.Sprint("site/1/sensor/", i), QoS: 1, Via: msg.ViaMQTT, Payload: msg.Bytes(make([]byte, 256))}
				batch.Appends = append(batch.Appends, persist.Append{Namespace: "default", Message: m})
			}
			done := func(err error) {
				if err != nil {
					b.Fatal(err)
				}
			}
			cpu := cpuTime()
			b.ReportAllocs()
			for b.Loop() {
				s.Commit(batch, done)
			}
			commits := float64(b.N)
			b.ReportMetric(float64(n), "msgs/commit")
			b.ReportMetric(2, "fdatasyncs/commit")
			b.ReportMetric(float64(cpuTime()-cpu)/1e3/commits, "cpu-µs/commit")
			b.ReportMetric(float64(n)*commits/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	s, err := bolt.Open(b.TempDir(), bolt.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := s.State("default", persist.Visitor{}); err != nil {
		b.Fatal(err)
	}
	batch := &persist.Batch{}
	for range 1000 {
		m := &msg.Message{Topic: "site/1/sensor/7", QoS: 1, Via: msg.ViaMQTT, Payload: msg.Bytes(make([]byte, 256))}
		batch.Appends = append(batch.Appends, persist.Append{Namespace: "default", Message: m})
	}
	for range 20 {
		s.Commit(batch, func(err error) {
			if err != nil {
				b.Fatal(err)
			}
		})
	}
	for _, n := range []int{1, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			read := 0
			for from := msg.Offset(1); b.Loop(); from = from%19000 + 256 {
				ms, _, err := s.Read("default", from, 0, persist.Limits{Messages: n, Bytes: 1 << 20})
				if err != nil {
					b.Fatal(err)
				}
				read += len(ms)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(read), "ns/msg")
		})
	}
}

func BenchmarkDrop(b *testing.B) {
	s, err := bolt.Open(b.TempDir(), bolt.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := s.State("default", persist.Visitor{}); err != nil {
		b.Fatal(err)
	}
	batch := &persist.Batch{}
	for range 1 << 14 {
		m := &msg.Message{Topic: "site/1/sensor/7", QoS: 1, Via: msg.ViaMQTT, Payload: msg.Bytes(make([]byte, 256))}
		batch.Appends = append(batch.Appends, persist.Append{Namespace: "default", Message: m})
	}
	for b.Loop() {
		b.StopTimer()
		s.Commit(batch, func(err error) {
			if err != nil {
				b.Fatal(err)
			}
		})
		b.StartTimer()
		segments, err := s.Segments("default")
		if err != nil {
			b.Fatal(err)
		}
		for _, seg := range segments {
			if err := s.Drop("default", seg, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkCommitBesideDrop drops full segments (16 MiB, a kibibyte a message)
// while single messages are committed, and reports the slowest commit.
func BenchmarkCommitBesideDrop(b *testing.B) {
	s := open(b, ramDir(b), bolt.Options{})
	slowest := time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		for range 17 {
			if err := publish(s, 1000, 1000); err != nil {
				b.Fatal(err)
			}
		}
		segments, err := s.Segments("a")
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		dropped := make(chan error, 1)
		go func() { dropped <- s.Drop("a", segments[0], nil) }()
		for running := true; running; {
			select {
			case err := <-dropped:
				if err != nil {
					b.Fatal(err)
				}
				running = false
			default:
				begin := time.Now()
				if err := publish(s, 1, 1000); err != nil {
					b.Fatal(err)
				}
				slowest = max(slowest, time.Since(begin))
			}
		}
	}
	b.ReportMetric(float64(slowest.Microseconds())/1e3, "slowest-ms")
}
