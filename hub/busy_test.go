package hub

import (
	"sync/atomic"
	"testing"
	"time"

	"parley/msg"
	"parley/persist"
)

// busy is a store to which more is submitted with each commit, so that the
// committer never finds nothing to do, until a checkpoint comes.
type busy struct {
	persist.Store
	more         func()
	commits      int
	checkpointed atomic.Bool
}

func (b *busy) Commit(batch *persist.Batch, done func(error)) {
	b.Store.Commit(batch, done)
	switch {
	case len(batch.Checkpoints) > 0:
		b.checkpointed.Store(true)
	case len(batch.Appends) > 0 && !b.checkpointed.Load():
		b.commits++
		b.more()
	}
}

// A checkpoint is written under a load that never pauses.
func TestCheckpointUnderLoad(t *testing.T) {
	store := &busy{Store: newMem(t)}
	h := open(t, store, func(o *Options) { o.checkpoint = time.Millisecond })
	pub := connect(t, h, msg.SessionParams{})
	const many = 100_000
	over := make(chan int, 2)
	answered := func(msg.Offset, error) {
		if store.checkpointed.Load() {
			over <- store.commits
		}
	}
	store.more = func() {
		if store.commits == many {
			over <- many
			return
		}
		pub.publish("a", "more", 1, answered)
	}
	pub.publish("a", "first", 1, answered)
	d, _ := deviceWith(t, h, msg.SessionParams{ClientID: "d", Expiry: msg.Forever})
	d.subscribe("b") // something to write
	if n := await(t, over); n == many {
		t.Errorf("no checkpoint in %d commits", n)
	}
}
