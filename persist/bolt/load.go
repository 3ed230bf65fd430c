package bolt

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"parley/msg"
	"parley/persist"
)

// load reads all namespaces and checks what is cheap to check: that nothing of
// them is missing, and the records of each last segment.
func (s *Store) load(tx *bbolt.Tx) error {
	want, err := unsealUint(keySpaces, tx.Bucket([]byte(rootName)).Get([]byte(keySpaces)))
	if err != nil {
		return err
	}
	c := tx.Cursor()
	for k, _ := c.Seek([]byte{'n'}); len(k) > 0 && k[0] == 'n'; k, _ = c.Next() {
		n := &space{name: string(k[1:])}
		if err := n.load(tx); err != nil {
			return fmt.Errorf("namespace %q: %w", n.name, err)
		}
		s.spaces[n.name] = n
		s.segments += len(n.segments)
	}
	if uint64(len(s.spaces)) != want {
		return fmt.Errorf("%d namespaces, %d were written: %w", len(s.spaces), want, persist.ErrCorrupt)
	}
	if want, err = unsealUint(keySegments, tx.Bucket([]byte(rootName)).Get([]byte(keySegments))); err != nil {
		return err
	}
	if uint64(s.segments) != want {
		return fmt.Errorf("%d segments, %d were written: %w", s.segments, want, persist.ErrCorrupt)
	}
	return nil
}

func (n *space) load(tx *bbolt.Tx) error {
	if err := n.info.decode(n.name, tx.Bucket(infoName(n.name)).Get([]byte(keyInfo))); err != nil {
		return fmt.Errorf("state: %w: %w", err, persist.ErrCorrupt)
	}
	controls := tx.Bucket(controlsName(n.id))
	if controls == nil || tx.Bucket(tableName(n.id)) == nil {
		return fmt.Errorf("controls or table are missing: %w", persist.ErrCorrupt)
	}
	n.seq = controls.Sequence()
	n.controls = n.seq + 1
	last := n.atControl
	if k, _ := controls.Cursor().First(); len(k) == 8 {
		n.controls = binary.BigEndian.Uint64(k)
		k, _ = controls.Cursor().Last()
		last = binary.BigEndian.Uint64(k)
	}
	if last != n.seq {
		return fmt.Errorf("controls end with %d, must end with %d: %w", last, n.seq, persist.ErrCorrupt)
	}
	n.time = n.info.time
	n.head = n.first - 1
	if err := n.loadSegments(tx); err != nil {
		return err
	}
	return n.loadLast(tx)
}

// loadSegments lists the segments; the first must hold the first message.
func (n *space) loadSegments(tx *bbolt.Tx) error {
	prefix := appendSegmentName(nil, n.id, 0, 0)[:6]
	c := tx.Cursor()
	for k, _ := c.Seek(prefix); len(k) == segmentNameLen && string(k[:6]) == string(prefix); k, _ = c.Next() {
		n.segments = append(n.segments, segment{base: msg.Offset(binary.BigEndian.Uint64(k[6:]))})
	}
	if len(n.segments) > 0 && n.segments[0].base != n.first {
		return fmt.Errorf("begins with offset %d, must begin with %d: %w", n.segments[0].base, n.first, persist.ErrCorrupt)
	}
	return nil
}

// loadLast finds the head and checks the last segment's records.
func (n *space) loadLast(tx *bbolt.Tx) error {
	if len(n.segments) == 0 {
		return nil
	}
	seg := &n.segments[len(n.segments)-1]
	b := tx.Bucket(appendSegmentName(nil, n.id, 0, seg.base))
	next := seg.base
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if len(k) != 8 || msg.Offset(binary.BigEndian.Uint64(k)) != next {
			return fmt.Errorf("offset %d: found key %x instead: %w", next, k, persist.ErrCorrupt)
		}
		if err := persist.CheckRecord(v, next); err != nil {
			return fmt.Errorf("offset %d: %w", next, err)
		}
		if t, ok := persist.RecordTime(v); ok {
			n.time = max(n.time, t)
		}
		seg.bytes += int64(len(v))
		next++
	}
	n.head = msg.Offset(b.Sequence())
	if next == seg.base || n.head != next-1 {
		return fmt.Errorf("ends with offset %d, must end with %d: %w", next-1, n.head, persist.ErrCorrupt)
	}
	return nil
}
