package bolt_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

// ramDir is a directory in memory if there is such a place: the tests of faults
// commit often, and what they judge does not depend on the disk.
func ramDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "parley-bolt-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// workOptions make segments end often; the time stands still, so that the same
// work has the same result.
func workOptions() bolt.Options {
	return bolt.Options{SegmentMessages: 12, Clock: func() time.Time { return time.UnixMilli(1_790_000_000_000) }}
}

// openWork opens a store with namespaces a and b.
func openWork(dir string) (*bolt.Store, error) {
	s, err := bolt.Open(dir, workOptions())
	if err != nil {
		return nil, err
	}
	for _, ns := range []string{"a", "b"} {
		if _, err := s.State(ns, persist.Visitor{}); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// work does one piece of work of a given kind to a store. What it does depends
// on seed and on what the store holds, on nothing else.
func work(s *bolt.Store, kind int, seed uint64) (err error) {
	r := rand.New(rand.NewPCG(seed, 7))
	switch kind {
	case workAppend, workCheckpoint:
		s.Commit(workBatch(r, kind == workCheckpoint), func(e error) { err = e })
		return err
	case workDrop:
		segments, err := s.Segments("a")
		if err != nil || len(segments) < 6 {
			return err
		}
		seg := segments[r.IntN(len(segments))]
		seg = segments[slices.IndexFunc(segments, func(o persist.Segment) bool { return o.Class == seg.Class })]
		var keep []msg.Offset
		for at := seg.First; at <= seg.Last; at++ {
			if at%4 == 0 {
				keep = append(keep, at)
			}
		}
		return s.Drop("a", seg, keep)
	}
	var forget []msg.Offset
	for at := msg.Offset(1); len(forget) < 30; at += msg.Offset(1 + r.IntN(8)) {
		forget = append(forget, at)
	}
	return s.Forget("a", forget)
}

const (
	workAppend = iota
	workCheckpoint
	workDrop
	workForget
	workKinds
)

func workBatch(r *rand.Rand, checkpoint bool) *persist.Batch {
	b := &persist.Batch{}
	for range 1 + r.IntN(20) {
		m := &msg.Message{
			Topic: fmt.Sprintf("%c/%d", "tu"[r.IntN(2)], r.IntN(60)), QoS: msg.QoS(r.IntN(3)),
			Payload: msg.Bytes(fmt.Appendf(nil, "%0*d", 1+r.IntN(60)*r.IntN(20), r.Uint64())),
		}
		b.Appends = append(b.Appends, persist.Append{Namespace: []string{"a", "a", "b"}[r.IntN(3)], Class: uint8(r.IntN(2) * r.IntN(3)), Message: m})
	}
	for i := range r.IntN(3) {
		b.Controls = append(b.Controls, persist.Control{Namespace: "a", Kind: 1, Key: fmt.Sprint(i), Value: []byte("v"), Of: r.IntN(len(b.Appends) + 1)})
	}
	if checkpoint {
		c := persist.Checkpoint{Namespace: "a", At: msg.Offset(r.IntN(200)), AtControl: uint64(r.IntN(20))}
		for i := range 40 {
			c.Puts = append(c.Puts, persist.Put{Key: fmt.Sprintf("key/%03d", i), Value: fmt.Append(nil, r.Uint64())})
		}
		b.Checkpoints = append(b.Checkpoints, c)
	}
	return b
}

// workKind picks a kind, mostly appends.
func workKind(r *rand.Rand) int {
	return []int{workAppend, workAppend, workAppend, workAppend, workCheckpoint, workDrop, workDrop, workForget}[r.IntN(8)]
}
