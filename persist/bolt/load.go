package bolt

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"parley/msg"
	"parley/persist"
)

// loader reads what is to be known in memory and checks what is cheap to check:
// that nothing is missing, and the records of the segments appended to.
type loader struct {
	tx      *bbolt.Tx
	format  uint64
	entries map[string]int // of each bucket, counted when the file was proved
}

func (s *Store) load(tx *bbolt.Tx, format uint64, entries map[string]int) error {
	l := loader{tx: tx, format: format, entries: entries}
	root := tx.Bucket([]byte(rootName))
	want, err := unsealUint(keySpaces, root.Get([]byte(keySpaces)))
	if err != nil {
		return err
	}
	c := tx.Cursor()
	for k, _ := c.Seek([]byte{'n'}); len(k) > 0 && k[0] == 'n'; k, _ = c.Next() {
		n := &space{name: string(k[1:])}
		if err := l.space(n); err != nil {
			return fmt.Errorf("namespace %q: %w", n.name, err)
		}
		s.spaces[n.name] = n
		for i := range n.chains {
			s.segments += n.chains[i].len()
		}
	}
	if uint64(len(s.spaces)) != want {
		return fmt.Errorf("%d namespaces, %d were written: %w", len(s.spaces), want, persist.ErrCorrupt)
	}
	if want, err = unsealUint(keySegments, root.Get([]byte(keySegments))); err != nil {
		return err
	}
	if uint64(s.segments) != want {
		return fmt.Errorf("%d segments, %d were written: %w", s.segments, want, persist.ErrCorrupt)
	}
	return nil
}

func (c *chain) len() int {
	if c.open.base == 0 {
		return 0
	}
	return len(c.full) + 1
}

func (l *loader) space(n *space) error {
	if err := n.info.decode(n.name, l.tx.Bucket(infoName(n.name)).Get([]byte(keyInfo))); err != nil {
		return fmt.Errorf("state: %w: %w", err, persist.ErrCorrupt)
	}
	for i, name := range bucketsOf(n.name, n.id) {
		if l.tx.Bucket(name) == nil && (i < 3 || l.format > 1) {
			return fmt.Errorf("bucket %q is missing: %w", name, persist.ErrCorrupt)
		}
	}
	if err := l.controls(n); err != nil {
		return err
	}
	n.time, n.newest = n.info.time, n.info.head
	if err := l.segments(n); err != nil {
		return err
	}
	messages := n.dropped
	for i := range n.chains {
		c := &n.chains[i]
		n.newest, n.time = max(n.newest, c.open.last), max(n.time, c.open.newest)
		messages += uint64(c.open.messages)
		for j := range c.full {
			messages += uint64(c.full[j].messages)
		}
	}
	// Offsets are given without gaps.
	if messages != uint64(n.newest) {
		return fmt.Errorf("%d messages with those dropped, %d were written: %w", messages, n.newest, persist.ErrCorrupt)
	}
	if first := n.oldest(); first != n.first {
		return fmt.Errorf("begins with offset %d, must begin with %d: %w", first, n.first, persist.ErrCorrupt)
	}
	if l.format == 1 {
		return nil
	}
	return l.dropped(n)
}

func (l *loader) controls(n *space) error {
	b := l.tx.Bucket(controlsName(n.id))
	n.seq = b.Sequence()
	n.controls = n.seq + 1
	last := n.atControl
	if k, _ := b.Cursor().First(); len(k) == 8 {
		n.controls = binary.BigEndian.Uint64(k)
		k, _ = b.Cursor().Last()
		last = binary.BigEndian.Uint64(k)
	}
	if last != n.seq {
		return fmt.Errorf("controls end with %d, must end with %d: %w", last, n.seq, persist.ErrCorrupt)
	}
	return nil
}

// segments lists the segments. The last of each class is the one to append to,
// all others have an index.
func (l *loader) segments(n *space) error {
	prefix := appendSegmentName(nil, n.id, 0, 0)[:5]
	c := l.tx.Cursor()
	full := 0
	for k, _ := c.Seek(prefix); len(k) == segmentNameLen && string(k[:5]) == string(prefix); k, _ = c.Next() {
		class, base := k[5], msg.Offset(binary.BigEndian.Uint64(k[6:]))
		if class >= persist.Classes || base == 0 {
			return fmt.Errorf("segment %x: %w", k, persist.ErrCorrupt)
		}
		ch := &n.chains[class]
		if ch.open.base != 0 {
			if err := l.full(n, class, ch); err != nil {
				return fmt.Errorf("class %d, segment %d: %w", class, ch.open.base, err)
			}
			full++
		}
		ch.open = segment{base: base}
	}
	if l.format > 1 && l.entries[string(indexName(n.id))] != full {
		return fmt.Errorf("%d indexes for %d full segments: %w", l.entries[string(indexName(n.id))], full, persist.ErrCorrupt)
	}
	for class := range n.chains {
		if ch := &n.chains[class]; ch.open.base != 0 {
			if err := l.open(n, byte(class), ch); err != nil {
				return fmt.Errorf("class %d, %w", class, err)
			}
		}
	}
	return nil
}

// full takes a segment that is followed by another one from ch.open.
func (l *loader) full(n *space, class byte, ch *chain) error {
	g := segment{base: ch.open.base}
	name := appendSegmentName(nil, n.id, class, g.base)
	if l.format == 1 {
		x, err := l.scan(name, &g)
		if err != nil {
			return err
		}
		ch.full, ch.index = append(ch.full, g), x
		return nil
	}
	key := appendSegmentKey(nil, class, g.base)
	b, err := unseal(key, l.tx.Bucket(indexName(n.id)).Get(key))
	if err != nil {
		return fmt.Errorf("index: %w: %w", err, persist.ErrCorrupt)
	}
	if g, _, err = decodeIndex(b, g.base); err != nil {
		return fmt.Errorf("%w: %w", err, persist.ErrCorrupt)
	}
	if got := l.entries[string(name)]; got != g.messages {
		return fmt.Errorf("%d messages, %d were written: %w", got, g.messages, persist.ErrCorrupt)
	}
	ch.full = append(ch.full, g)
	return nil
}

// open reads the segment that is appended to.
func (l *loader) open(n *space, class byte, ch *chain) error {
	name := appendSegmentName(nil, n.id, class, ch.open.base)
	x, err := l.scan(name, &ch.open)
	if err != nil {
		return err
	}
	ch.index = x
	if last := msg.Offset(l.tx.Bucket(name).Sequence()); last != ch.open.last {
		return fmt.Errorf("ends with offset %d, must end with %d: %w", ch.open.last, last, persist.ErrCorrupt)
	}
	return nil
}

// scan reads and checks a segment's records.
func (l *loader) scan(name []byte, g *segment) (*segmentIndex, error) {
	x := newIndex(g.base)
	c := l.tx.Bucket(name).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if len(k) != 8 {
			return nil, fmt.Errorf("found key %x: %w", k, persist.ErrCorrupt)
		}
		at := msg.Offset(binary.BigEndian.Uint64(k))
		if err := persist.CheckRecord(v, at); err != nil {
			return nil, fmt.Errorf("offset %d: %w", at, err)
		}
		topic, err := persist.RecordTopic(v)
		if err != nil {
			return nil, fmt.Errorf("offset %d: %w", at, err)
		}
		time, _ := persist.RecordTime(v)
		g.count(at, len(v), max(g.newest, time))
		x.add(string(topic), at, len(v))
	}
	if k, _ := c.First(); len(k) != 8 || msg.Offset(binary.BigEndian.Uint64(k)) != g.base {
		return nil, fmt.Errorf("begins with key %x, must begin with %d: %w", k, g.base, persist.ErrCorrupt)
	}
	return x, nil
}

// dropped reads what there is of dropped segments: kept messages and summaries.
func (l *loader) dropped(n *space) error {
	kept := l.tx.Bucket(keptName(n.id))
	if got := l.entries[string(keptName(n.id))]; uint64(got) != n.kept {
		return fmt.Errorf("%d kept messages, %d were written: %w", got, n.kept, persist.ErrCorrupt)
	}
	if k, _ := kept.Cursor().Last(); len(k) == 8 {
		n.keptLast = msg.Offset(binary.BigEndian.Uint64(k))
	}
	c := l.tx.Bucket(droppedName(n.id)).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		b, err := unseal(k, v)
		if err == nil && len(k) != segmentKeyLen {
			err = errShape
		}
		if err != nil {
			return fmt.Errorf("summary %x: %w: %w", k, err, persist.ErrCorrupt)
		}
		_, last, err := persist.SummaryRange(b)
		if err != nil {
			return fmt.Errorf("summary %x: %w", k, err)
		}
		n.sums = append(n.sums, summary{class: k[0], base: msg.Offset(binary.BigEndian.Uint64(k[1:])), last: last, bytes: len(v)})
	}
	if uint64(len(n.sums)) != n.summaries {
		return fmt.Errorf("%d summaries, %d were written: %w", len(n.sums), n.summaries, persist.ErrCorrupt)
	}
	return nil
}
