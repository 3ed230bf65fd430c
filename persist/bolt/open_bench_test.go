package bolt_test

import (
	"testing"

	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

// BenchmarkOpen opens a store of 64 MiB, page cache warm.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s := open(b, dir, bolt.Options{})
	batch := &persist.Batch{}
	for range 2000 {
		m := &msg.Message{Topic: "site/1/sensor/7", QoS: 1, Via: msg.ViaMQTT, Payload: msg.Bytes(make([]byte, 256))}
		batch.Appends = append(batch.Appends, persist.Append{Namespace: "a", Message: m})
	}
	for range 100 {
		s.Commit(batch, func(err error) {
			if err != nil {
				b.Fatal(err)
			}
		})
	}
	s.Close()
	b.ReportAllocs()
	for b.Loop() {
		s, err := bolt.Open(dir, bolt.Options{})
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
