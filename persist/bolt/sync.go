package bolt

import (
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// Sync says when what is committed is forced to the disk.
type Sync string

const (
	// SyncAlways: before done is called. A kill and a power cut lose nothing
	// that was acknowledged. The default.
	SyncAlways Sync = "always"
	// SyncInterval: at most 100 ms later, in the background. A kill of the process
	// loses nothing; a power cut may lose what was acknowledged, or leave a file
	// that Open refuses.
	SyncInterval Sync = "interval"
	// SyncNever: when the system likes.
	SyncNever Sync = "never"
)

const syncEvery = 100 * time.Millisecond

// keyUnsynced marks a file that was opened without SyncAlways and not closed
// since: what it holds may be less than what was acknowledged. Absent: 0.
const keyUnsynced = "unsynced"

// syncer forces the file to the disk in the background.
type syncer struct {
	mu      sync.Mutex // held while it syncs
	timer   *time.Timer
	pending bool
	ended   bool
}

// mark writes, before the store is used, whether the file may become less than
// what is acknowledged, and gives all logs new epochs if it may be so already:
// then offsets may be given a second time.
func (s *Store) mark() error {
	var was uint64
	err := s.db.View(func(tx *bbolt.Tx) (err error) {
		if b := tx.Bucket([]byte(rootName)).Get([]byte(keyUnsynced)); b != nil {
			was, err = unsealUint(keyUnsynced, b)
		}
		return err
	})
	is := uint64(0)
	if s.opts.Sync != SyncAlways {
		is = 1
	}
	if err != nil || was == is && is == 0 {
		return err
	}
	if was == 1 {
		for _, n := range s.spaces {
			n.epoch = newEpoch()
		}
	}
	// bbolt still syncs: see open.
	err = s.write(int64(16+4*len(s.spaces))*s.pageSize, false, func(tx *bbolt.Tx) error {
		if was == 1 {
			for _, n := range s.spaces {
				if err := writeInfo(tx, n.name, &n.info); err != nil {
					return err
				}
			}
		}
		return tx.Bucket([]byte(rootName)).Put([]byte(keyUnsynced), sealUint(keyUnsynced, is))
	})
	s.db.NoSync = is == 1
	return err
}

// unmark makes everything durable and takes the mark back, at Close. writing is
// held.
func (s *Store) unmark() error {
	s.syncer.end()
	if s.opts.Sync == SyncAlways || s.writable() != nil {
		return nil
	}
	if err := s.db.Sync(); err != nil {
		return s.poison(fmt.Errorf("sync at close: %w", err))
	}
	s.db.NoSync = false
	return s.write(8*s.pageSize, false, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(rootName)).Put([]byte(keyUnsynced), sealUint(keyUnsynced, 0))
	})
}

// syncLater sees to it that what was written is synced soon.
func (s *Store) syncLater() {
	y := &s.syncer
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.pending || y.ended {
		return
	}
	y.pending = true
	if y.timer == nil {
		y.timer = time.AfterFunc(syncEvery, s.syncNow)
		return
	}
	y.timer.Reset(syncEvery)
}

func (s *Store) syncNow() {
	y := &s.syncer
	y.mu.Lock()
	defer y.mu.Unlock()
	y.pending = false
	if y.ended {
		return
	}
	if err := s.db.Sync(); err != nil {
		_ = s.poison(fmt.Errorf("sync in the background: %w", err)) // Commit returns it
	}
}

// end waits for a sync under way; there is none later.
func (y *syncer) end() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.ended = true
	if y.timer != nil {
		y.timer.Stop()
	}
}

// valid tells whether the mode is one of the three.
func (y Sync) valid() error {
	switch y {
	case SyncAlways, SyncInterval, SyncNever:
		return nil
	}
	return fmt.Errorf("sync mode %q: one of %s, %s, %s", y, SyncAlways, SyncInterval, SyncNever)
}
