package bolt

import (
	"fmt"
	"os"
	"runtime/debug"
	"sync"

	"go.etcd.io/bbolt"

	"parley/msg"
	"parley/persist"
)

// Store is a persist.Store in one bbolt file. It is safe for concurrent use.
type Store struct {
	// fixed after Open
	opts     Options
	path     string
	pageSize int64
	db       *bbolt.DB
	file     *os.File // bbolt's own descriptor

	chunks chunks // copy buffers of Read
	syncer syncer
	stats  counters

	// committing is held by Commit until its follower has returned, so that dones
	// and followers run in order. writing is held by whoever writes: Commit
	// (within committing, and no longer when done runs), State while it reads or
	// creates, Drop and Forget per slice, Close.
	committing sync.Mutex
	writing    sync.Mutex
	// owned by the holder of writing
	plan     plan
	fileSize int64 // at least this much of the file is allocated
	segments int   // of all namespaces
	stuck    bool  // a transaction was left open by a panic

	mu sync.RWMutex
	// guarded by mu, written only by the holder of writing
	spaces map[string]*space
	follow func([]persist.Append)
	failed error
	closed bool
}

var _ persist.Store = (*Store)(nil)

// space is one namespace. Guarded by Store.mu, written only by the holder of
// Store.writing; staged belongs to the latter alone.
type space struct {
	name string
	info
	newest   msg.Offset // the head; info.head is only as of the last change of info
	time     int64      // of the newest message
	seq      uint64
	controls uint64 // oldest control that is still in the file
	chains   [persist.Classes]chain
	keptLast msg.Offset // newest message that Drop has kept; 0: none
	sums     []summary  // of what was dropped, as they lie in the file
	drops    int        // how often something was taken away

	staged staged
}

// chain is the segments of one class.
type chain struct {
	full  []segment     // oldest first; only appended to and cut at the front
	open  segment       // the one appended to; base 0: none
	index *segmentIndex // of open
}

// segment holds messages of one class; all of them are in the bucket that its
// base names.
type segment struct {
	base, last msg.Offset // its oldest and newest message
	messages   int
	bytes      int64 // of its records
	newest     int64 // time of its newest message
}

// summary is one that lies in the file.
type summary struct {
	class byte
	base  msg.Offset
	last  msg.Offset
	bytes int
}

// count takes a message in.
func (g *segment) count(at msg.Offset, bytes int, time int64) {
	g.last, g.newest = at, time
	g.messages++
	g.bytes += int64(bytes)
}

// oldest is what info.first must be.
func (n *space) oldest() msg.Offset {
	first := n.newest + 1
	for i := range n.chains {
		c := &n.chains[i]
		if len(c.full) > 0 {
			first = min(first, c.full[0].base)
		} else if c.open.base != 0 {
			first = min(first, c.open.base)
		}
	}
	return first
}

// Follow implements persist.Store.
func (s *Store) Follow(f func([]persist.Append)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.follow = f
}

// usable returns why the store cannot be used; nil if it can.
func (s *Store) usable() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return persist.ErrClosed
	}
	return nil
}

// writable returns why nothing can be written any more; nil if it can.
func (s *Store) writable() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return persist.ErrClosed
	}
	return s.failed
}

// space finds an opened namespace; call with mu or writing held.
func (s *Store) space(name string) (*space, error) {
	if n := s.spaces[name]; n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("%w: %q", persist.ErrNoNamespace, name)
}

// poison makes err the answer to every later write. Reads go on.
func (s *Store) poison(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = fmt.Errorf("%s: %w: %w", s.path, persist.ErrFailed, err)
	}
	return s.failed
}

// Close implements persist.Store. Closing twice is not an error.
func (s *Store) Close() error {
	s.committing.Lock()
	defer s.committing.Unlock()
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return nil
	}
	var failed error
	if !s.stuck {
		failed = s.unmark()
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	if s.stuck {
		// bbolt's Close would wait for ever for the transaction that is still
		// open. Closing the descriptor gives the lock back; the mapping stays.
		return s.file.Close()
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return failed
}

// guard runs f, which touches bbolt's mapped pages, and turns a panic of bbolt
// or a fault of the mapping (a file truncated underneath) into ErrCorrupt.
func guard(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v: %w", p, persist.ErrCorrupt)
		}
	}()
	return f()
}
