package bolt

import (
	"fmt"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"parley/msg"
	"parley/persist"
)

// Commit implements persist.Store: one transaction, two fdatasyncs. It calls
// done and the follower before it returns.
func (s *Store) Commit(b *persist.Batch, done func(error)) {
	s.committing.Lock()
	defer s.committing.Unlock()
	err := s.commit(b)
	if err != nil {
		err = fmt.Errorf("commit batch: %w", err)
	}
	done(err)
	if err == nil && len(b.Appends) > 0 {
		s.mu.RLock()
		follow := s.follow
		s.mu.RUnlock()
		if follow != nil {
			follow(b.Appends)
		}
	}
}

func (s *Store) commit(b *persist.Batch) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	defer s.plan.reset()
	if err := s.writable(); err != nil {
		return err
	}
	if len(b.Appends)+len(b.Controls)+len(b.Checkpoints) == 0 {
		return nil
	}
	if err := s.prepare(b); err != nil {
		return err
	}
	if err := s.write(s.plan.need(s.pageSize), true, func(tx *bbolt.Tx) error {
		if s.plan.fresh > 0 {
			if err := putSegments(tx, s.segments+s.plan.fresh); err != nil {
				return err
			}
		}
		return s.plan.apply(tx, b)
	}); err != nil {
		return err
	}
	s.segments += s.plan.fresh
	s.settle(b)
	return nil
}

// settle takes the committed plan over into memory and gives the messages their
// offsets.
func (s *Store) settle(b *persist.Batch) {
	p := &s.plan
	for i := range p.records {
		m := b.Appends[i].Message
		m.Offset, m.Time = msg.Offset(p.records[i].number), p.records[i].time
	}
	for i := range p.controls {
		b.Controls[i].Seq = p.controls[i].number
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range p.touched {
		st := &n.staged
		if st.head > n.head {
			n.head, n.time = st.head, st.time
			if len(st.fresh) > 0 {
				n.segments = append(n.segments, st.fresh...)
			}
			n.segments[len(n.segments)-1] = st.seg
		}
		n.seq = st.seq
		if st.after != nil {
			n.info, n.controls = st.after.info, st.after.controls
		}
	}
}

// write runs one transaction that needs at most need bytes of new pages. After
// persist.ErrFull nothing has happened; after any other error the store is
// poisoned. ordinary writes leave the reserve untouched, so that there is always
// room to trim.
func (s *Store) write(need int64, ordinary bool, apply func(*bbolt.Tx) error) (err error) {
	var tx *bbolt.Tx
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			// The transaction stays open: rolling it back would make bbolt walk
			// the damaged pages in a goroutine of its own.
			s.stuck = true
			err = s.poison(fmt.Errorf("%v: %w", p, persist.ErrCorrupt))
		}
	}()
	if tx, err = s.db.Begin(true); err != nil {
		return s.poison(err)
	}
	if err := s.room(tx.Size(), need, ordinary); err != nil {
		tx.Rollback()
		return err
	}
	if err := apply(tx); err != nil {
		tx.Rollback()
		return s.poison(err)
	}
	id := uint64(tx.ID())
	if err := tx.Commit(); err != nil {
		return s.commitError(err, id)
	}
	return nil
}
