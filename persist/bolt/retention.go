package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"parley/msg"
	"parley/persist"
)

// Segments implements persist.Store, from memory.
func (s *Store) Segments(namespace string) ([]persist.Segment, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, fmt.Errorf("segments of %q: %w", namespace, persist.ErrClosed)
	}
	n, err := s.space(namespace)
	if err != nil {
		return nil, fmt.Errorf("segments: %w", err)
	}
	var out []persist.Segment
	for class := range n.chains {
		c := &n.chains[class]
		for i := range c.full {
			out = append(out, c.full[i].public(uint8(class), false))
		}
		if c.open.base != 0 {
			out = append(out, c.open.public(uint8(class), true))
		}
	}
	return out, nil
}

func (g *segment) public(class uint8, open bool) persist.Segment {
	return persist.Segment{
		Class: class, First: g.base, Last: g.last,
		Messages: g.messages, Bytes: g.bytes, Newest: g.newest, Open: open,
	}
}

// MayHold implements persist.Store, from the index.
func (s *Store) MayHold(namespace string, seg persist.Segment, filters []msg.Filter) (bool, error) {
	q := newQuery(filters)
	may, id, err := s.mayHoldOpen(namespace, seg, q)
	if err == nil && id != 0 {
		may, err = s.mayHoldFull(id, seg, q)
	}
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		err = persist.ErrClosed
	}
	if err != nil {
		return true, fmt.Errorf("may segment %d of %q hold a message: %w", seg.First, namespace, err)
	}
	return may, nil
}

// mayHoldOpen answers for what is in memory; if id is not 0, the index in the
// file of that namespace has to be asked.
func (s *Store) mayHoldOpen(namespace string, seg persist.Segment, q *query) (may bool, id uint32, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return true, 0, persist.ErrClosed
	}
	n, err := s.space(namespace)
	if err != nil {
		return true, 0, err
	}
	switch g, ok := n.find(seg); {
	case !ok:
		return false, 0, nil
	case q == nil:
		return true, 0, nil
	case g.base != n.chains[seg.Class].open.base:
		return true, n.id, nil
	}
	x := n.chains[seg.Class].index
	if may = q.mayHoldOpen(&x.block); !may {
		may, err = q.mayHoldAny(x.full, x.base)
	}
	return may, 0, err
}

// mayHoldFull answers from the index in the file; without one the segment has
// been dropped meanwhile.
func (s *Store) mayHoldFull(id uint32, seg persist.Segment, q *query) (may bool, err error) {
	err = guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			key := appendSegmentKey(nil, seg.Class, seg.First)
			bucket := tx.Bucket(indexName(id))
			if bucket == nil { // format 1, opened for reading only
				may = true
				return nil
			}
			sealed := bucket.Get(key)
			if sealed == nil {
				return nil
			}
			b, err := unseal(key, sealed)
			if err != nil {
				return fmt.Errorf("%w: %w", err, persist.ErrCorrupt)
			}
			_, blocks, err := decodeIndex(b, seg.First)
			if err == nil {
				may, err = q.mayHoldAny(blocks, seg.First)
			}
			return err
		})
	})
	return may, err
}

// mayHoldAny asks about all blocks.
func (q *query) mayHoldAny(blocks []byte, base msg.Offset) (bool, error) {
	for len(blocks) > 0 {
		b, rest, err := nextBlock(blocks, base)
		if err == nil {
			var may bool
			if may, err = q.mayHold(&b); may {
				return true, nil
			}
		}
		if err != nil {
			return true, fmt.Errorf("%w: %w", err, persist.ErrCorrupt)
		}
		blocks = rest
	}
	return false, nil
}

// Missed implements persist.Store, from the summaries.
func (s *Store) Missed(namespace string, filters []msg.Filter, from, to msg.Offset) (persist.Missed, error) {
	m := persist.Missed{Exact: true}
	s.mu.RLock()
	n, err := s.space(namespace)
	if s.closed {
		err = persist.ErrClosed
	}
	if err != nil {
		s.mu.RUnlock()
		return m, fmt.Errorf("missed: %w", err)
	}
	if to == 0 || to > n.newest {
		to = n.newest
	}
	id, unknown, sums := n.id, n.unknown, n.sums
	s.mu.RUnlock()
	m.AddUnknown(max(from, 1), min(to, unknown))
	for len(sums) > 0 && err == nil {
		some := sums[:min(len(sums), missedChunk)]
		sums = sums[len(some):]
		err = guard(func() error {
			return s.db.View(func(tx *bbolt.Tx) error { return addSummaries(tx, id, some, &m, filters, from, to) })
		})
	}
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		err = persist.ErrClosed
	}
	if err != nil {
		return m, fmt.Errorf("missed of %q in %s: %w", namespace, s.path, err)
	}
	return m.Result(), nil
}

// missedChunk is how many summaries are read within one transaction.
const missedChunk = 32

func addSummaries(tx *bbolt.Tx, id uint32, sums []summary, m *persist.Missed, filters []msg.Filter, from, to msg.Offset) error {
	b := tx.Bucket(droppedName(id))
	for _, sum := range sums {
		if sum.base > to || sum.last < from {
			continue
		}
		key := appendSegmentKey(nil, sum.class, sum.base)
		sealed := b.Get(key)
		if sealed == nil { // it has given way to newer ones meanwhile
			m.AddUnknown(max(from, sum.base), min(to, sum.last))
			continue
		}
		v, err := unseal(key, sealed)
		if err != nil {
			return fmt.Errorf("summary %x: %w: %w", key, err, persist.ErrCorrupt)
		}
		if err := m.AddSummary(v, filters, from, to); err != nil {
			return fmt.Errorf("summary %x: %w", key, err)
		}
	}
	return nil
}

// Forget implements persist.Store, in slices.
func (s *Store) Forget(namespace string, kept []msg.Offset) error {
	for len(kept) > 0 {
		some := kept[:min(len(kept), keepCount)]
		kept = kept[len(some):]
		if err := s.forget(namespace, some); err != nil {
			return fmt.Errorf("forget messages of %q: %w", namespace, err)
		}
	}
	return nil
}

func (s *Store) forget(namespace string, kept []msg.Offset) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	n, err := s.space(namespace)
	if err != nil {
		return err
	}
	if n.kept == 0 {
		return nil
	}
	after := n.change(0)
	err = s.write(int64(len(kept)+16)*s.pageSize, false, func(tx *bbolt.Tx) error {
		b := tx.Bucket(keptName(n.id))
		for _, at := range kept {
			key := binary.BigEndian.AppendUint64(nil, uint64(at))
			if b.Get(key) == nil {
				continue
			}
			after.info.kept--
			if err := b.Delete(key); err != nil {
				return err
			}
		}
		after.keptLast = 0
		if k, _ := b.Cursor().Last(); len(k) == 8 {
			after.keptLast = msg.Offset(binary.BigEndian.Uint64(k))
		}
		return writeInfo(tx, n.name, &after.info)
	})
	if err == nil {
		s.take(n, after)
	}
	return err
}
