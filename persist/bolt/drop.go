package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"go.etcd.io/bbolt"

	"parley/msg"
	"parley/persist"
)

// Slices of the work of Drop and Forget: as much as one transaction does.
const (
	dropScan  = 2048 // records looked at, in a reading transaction
	keepCount = 32   // messages kept or forgotten; each may touch a page of its own
	keepBytes = 32 << 10
)

// Drop implements persist.Store. What the segment holds is read first, without
// a lock, then what is to be kept is copied in slices, and in the end one
// transaction removes the segment and adds its summary. A kill in between
// leaves copies, which Read does not show twice.
func (s *Store) Drop(namespace string, seg persist.Segment, keep []msg.Offset) error {
	n, err := s.droppable(namespace, seg)
	if n == nil || err != nil {
		return wrapDrop(namespace, err)
	}
	s.mu.RLock()
	d := drop{s: s, n: n, id: n.id, seg: seg, keep: keep}
	s.mu.RUnlock()
	d.sum = persist.Summary{First: seg.First, Last: seg.Last}
	for from := seg.First; from <= seg.Last; {
		if from, err = d.scan(from); err != nil {
			if again, _ := s.droppable(namespace, seg); again == nil && errors.Is(err, errMissing) {
				return nil // somebody else has dropped it meanwhile
			}
			return wrapDrop(namespace, err)
		}
		if err := d.copyKept(); err != nil {
			return wrapDrop(namespace, err)
		}
	}
	return wrapDrop(namespace, d.remove())
}

func wrapDrop(namespace string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("drop a segment of %q: %w", namespace, err)
}

// droppable returns nil if the segment is gone.
func (s *Store) droppable(namespace string, seg persist.Segment) (*space, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, persist.ErrClosed
	}
	if s.failed != nil {
		return nil, s.failed
	}
	n, err := s.space(namespace)
	if err != nil {
		return nil, err
	}
	if g, ok := n.find(seg); !ok {
		return nil, nil
	} else if first := n.chains[seg.Class].oldest(); g.base != first.base || g.last != seg.Last {
		return nil, fmt.Errorf("class %d, offsets %d to %d: %w", seg.Class, seg.First, seg.Last, persist.ErrSegment)
	}
	return n, nil
}

func (c *chain) oldest() segment {
	if len(c.full) > 0 {
		return c.full[0]
	}
	return c.open
}

// find looks a segment up; mu or writing is held.
func (n *space) find(seg persist.Segment) (segment, bool) {
	if seg.Class >= persist.Classes || seg.First == 0 {
		return segment{}, false
	}
	c := &n.chains[seg.Class]
	if c.open.base == seg.First {
		return c.open, true
	}
	i := sort.Search(len(c.full), func(i int) bool { return c.full[i].base >= seg.First })
	if i < len(c.full) && c.full[i].base == seg.First {
		return c.full[i], true
	}
	return segment{}, false
}

// drop is one Drop under way.
type drop struct {
	s    *Store
	n    *space
	id   uint32
	seg  persist.Segment
	keep []msg.Offset
	sum  persist.Summary

	kept      []msg.Offset // of the last scan, to be copied
	records   [][]byte
	keptBytes int
	stale     []msg.Offset // kept by a Drop that did not come to its end, and not to be kept now
}

// scan reads up to dropScan records and returns where to go on. It stops early
// when much is to be kept.
func (d *drop) scan(from msg.Offset) (next msg.Offset, err error) {
	next = d.seg.Last + 1
	err = guard(func() error {
		return d.s.db.View(func(tx *bbolt.Tx) error {
			b := tx.Bucket(appendSegmentName(nil, d.id, d.seg.Class, d.seg.First))
			if b == nil {
				return missing("segment", d.seg.First)
			}
			c, seen, kept := b.Cursor(), 0, tx.Bucket(keptName(d.id))
			for k, v := c.Seek(binary.BigEndian.AppendUint64(nil, uint64(from))); len(k) == 8; k, v = c.Next() {
				at := msg.Offset(binary.BigEndian.Uint64(k))
				if at > d.seg.Last || seen >= dropScan || len(d.kept) >= keepCount || d.keptBytes >= keepBytes {
					next = at
					return nil
				}
				seen++
				if err := d.look(kept, at, v); err != nil {
					return fmt.Errorf("offset %d: %w", at, err)
				}
			}
			return nil
		})
	})
	return next, err
}

// look counts one record, or takes it down to be kept. A damaged one cannot be
// dropped: nobody could say any more what is missing.
func (d *drop) look(kept *bbolt.Bucket, at msg.Offset, rec []byte) error {
	if err := persist.CheckRecord(rec, at); err != nil {
		return err
	}
	if _, keep := slices.BinarySearch(d.keep, at); keep {
		d.kept, d.records = append(d.kept, at), append(d.records, slices.Clone(rec))
		d.keptBytes += len(rec)
		return nil
	}
	if kept.Get(binary.BigEndian.AppendUint64(nil, uint64(at))) != nil {
		d.stale = append(d.stale, at)
	}
	topic, err := persist.RecordTopic(rec)
	if err == nil {
		d.sum.Add(topic, at)
	}
	return err
}

// copyKept writes what the last scan has found.
func (d *drop) copyKept() error {
	if len(d.kept) == 0 {
		return nil
	}
	s, n := d.s, d.n
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	if again, err := s.droppable(n.name, d.seg); again == nil || err != nil {
		return err // nothing is kept of what is not there
	}
	next := n.info
	err := s.write(int64(2*d.keptBytes)+int64(len(d.kept)/8+16)*s.pageSize, false, func(tx *bbolt.Tx) error {
		b := tx.Bucket(keptName(n.id))
		for i, at := range d.kept {
			key := binary.BigEndian.AppendUint64(nil, uint64(at))
			if b.Get(key) == nil {
				next.kept++
			}
			if err := b.Put(key, d.records[i]); err != nil {
				return err
			}
		}
		return writeInfo(tx, n.name, &next)
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	n.info, n.keptLast = next, max(n.keptLast, d.kept[len(d.kept)-1])
	s.mu.Unlock()
	d.kept, d.records, d.keptBytes = nil, nil, 0
	return nil
}

// remove removes the segment. Should there be no room for its summary, only
// that it was there is remembered.
func (d *drop) remove() error {
	err := d.tryRemove(d.sum.Encode(false))
	if errors.Is(err, persist.ErrFull) {
		err = d.tryRemove(d.sum.Encode(true))
	}
	return err
}

func (d *drop) tryRemove(sum []byte) error {
	s, n := d.s, d.n
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	// It may have been dropped, or have grown, while it was read.
	if again, err := s.droppable(n.name, d.seg); again == nil || err != nil {
		return err
	}
	before := n.change(d.seg.Class)
	after := before
	after.cut(n, d.seg, len(sum))
	after.info.kept -= uint64(len(d.stale))
	// Readers that miss the segment look again, so it goes from memory first.
	s.take(n, after)
	err := s.write(int64(2*len(sum))+24*s.pageSize, false, func(tx *bbolt.Tx) error {
		return d.apply(tx, &after, sum)
	})
	if errors.Is(err, persist.ErrFailed) {
		return err // it may have been removed: better not to look for it
	}
	if err != nil {
		s.take(n, before)
		return err
	}
	s.segments--
	return nil
}

func (d *drop) apply(tx *bbolt.Tx, after *change, sum []byte) error {
	n := d.n
	if err := tx.DeleteBucket(appendSegmentName(nil, n.id, d.seg.Class, d.seg.First)); err != nil {
		return err
	}
	key := appendSegmentKey(nil, d.seg.Class, d.seg.First)
	if err := tx.Bucket(indexName(n.id)).Delete(key); err != nil {
		return err
	}
	dropped := tx.Bucket(droppedName(n.id))
	for _, old := range after.gone {
		if err := dropped.Delete(appendSegmentKey(nil, old.class, old.base)); err != nil {
			return err
		}
	}
	for _, at := range d.stale {
		if err := tx.Bucket(keptName(n.id)).Delete(binary.BigEndian.AppendUint64(nil, uint64(at))); err != nil {
			return err
		}
	}
	if err := dropped.Put(key, seal(nil, key, sum)); err != nil {
		return err
	}
	if err := putSegments(tx, d.s.segments-1); err != nil {
		return err
	}
	return writeInfo(tx, n.name, &after.info)
}
