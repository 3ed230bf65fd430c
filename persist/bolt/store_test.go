package bolt_test

import (
	"sync/atomic"
	"testing"
	"time"

	"parley/persist"
	"parley/persist/bolt"
	"parley/persist/persisttest"
)

func TestStore(t *testing.T) {
	suite(t, bolt.Options{})
}

// TestStoreOfSmallSegments runs the suite with segments that begin and end
// within nearly every batch.
func TestStoreOfSmallSegments(t *testing.T) {
	suite(t, bolt.Options{SegmentMessages: 3})
}

func suite(t *testing.T, o bolt.Options) {
	persisttest.Run(t, func(t *testing.T) persisttest.Place {
		dir := ramDir(t)
		var now atomic.Int64
		now.Store(1)
		o := o
		o.Clock = func() time.Time { return time.UnixMilli(now.Load()) }
		return persisttest.Place{
			Open: func(t *testing.T) persist.Store {
				s, err := bolt.Open(dir, o)
				if err != nil {
					t.Fatal(err)
				}
				return s
			},
			Durable: true,
			SetTime: func(t time.Time) { now.Store(t.UnixMilli()) },
		}
	})
}
