package bolt

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"parley/msg"
	"parley/persist"
)

// Commit implements persist.Store: one transaction, two fdatasyncs (with
// SyncAlways). It calls
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
		c := &b.Controls[i]
		c.Seq = p.controls[i].number
		if c.Of != 0 {
			at := p.records[c.Of-1].number
			c.Value = append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(c.Value)), at), c.Value...)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	start := 0
	for i := range p.records {
		r := &p.records[i]
		r.space.chains[r.class].append(b.Appends[i].Message, r.segment, r.end-start)
		start = r.end
	}
	for _, n := range p.touched {
		st := &n.staged
		if st.head > n.newest {
			n.newest, n.time = st.head, st.time
		}
		n.seq = st.seq
		if st.after != nil {
			n.info, n.controls = st.after.info, st.after.controls
		}
	}
}

// append counts a committed message of the segment that begins with base.
func (c *chain) append(m *msg.Message, base msg.Offset, bytes int) {
	if c.open.base != base {
		if c.open.base != 0 {
			c.full = append(c.full, c.open)
		}
		c.open, c.index = segment{base: base}, newIndex(base)
	}
	c.open.count(m.Offset, bytes, m.Time)
	c.index.add(m.Topic, m.Offset, bytes)
}

// write runs one transaction that needs at most need bytes of new pages. After
// persist.ErrFull nothing has happened; after any other error the store is
// poisoned. ordinary writes leave the reserve untouched, so that there is always
// room to drop something.
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
	if s.opts.Sync == SyncInterval {
		s.syncLater()
	}
	return nil
}
