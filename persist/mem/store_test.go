package mem_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"parley/msg"
	"parley/persist"
	"parley/persist/mem"
	"parley/persist/persisttest"
)

func TestStore(t *testing.T) { suite(t, 0) }

// TestStoreOfSmallSegments runs the suite with segments that begin and end
// within nearly every batch.
func TestStoreOfSmallSegments(t *testing.T) { suite(t, 3) }

func suite(t *testing.T, segmentMessages int) {
	persisttest.Run(t, func(t *testing.T) persisttest.Place {
		var now atomic.Int64
		now.Store(1)
		return persisttest.Place{
			Open: func(*testing.T) persist.Store {
				return mem.NewWith(mem.Options{SegmentMessages: segmentMessages, Clock: func() time.Time { return time.UnixMilli(now.Load()) }})
			},
			SetTime: func(t time.Time) { now.Store(t.UnixMilli()) },
		}
	})
}

func TestFullStoreRecovers(t *testing.T) {
	s := mem.NewWith(mem.Options{MaxBytes: 4000, SegmentMessages: 1})
	if _, err := s.State("a", persist.Visitor{}); err != nil {
		t.Fatal(err)
	}
	publish := func() (err error) {
		m := &msg.Message{Topic: "t", Payload: msg.Bytes(make([]byte, 1000))}
		s.Commit(&persist.Batch{Appends: []persist.Append{{Namespace: "a", Message: m}}}, func(e error) { err = e })
		if (err == nil) != m.Stored() {
			t.Errorf("%v, offset %d", err, m.Offset)
		}
		return err
	}
	for range 3 {
		if err := publish(); err != nil {
			t.Fatal(err)
		}
	}
	if err := publish(); !errors.Is(err, persist.ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	if ms, _, err := s.Read("a", 1, 0, persist.Limits{}); len(ms) != 3 || err != nil {
		t.Fatalf("%d messages, %v", len(ms), err)
	}
	segments, err := s.Segments("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Drop("a", segments[0], nil); err != nil {
		t.Fatal(err)
	}
	if err := publish(); err != nil {
		t.Fatalf("with room again: %v", err)
	}
}
