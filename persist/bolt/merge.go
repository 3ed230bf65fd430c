package bolt

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"parley/msg"
	"parley/persist"
)

// maxProbes bounds how many filters one Read asks about blocks; so many take
// about 2 ms.
const maxProbes = 1 << 17

// IndexStats counts what Reads with filters have done with the blocks of the index.
type IndexStats struct {
	BlocksRead    uint64 // held, or might have held, something
	BlocksSkipped uint64
}

type counters struct{ read, skipped atomic.Uint64 }

func (c *counters) add(w *merger) {
	if w.q != nil {
		c.read.Add(w.blocksRead)
		c.skipped.Add(w.blocksSkipped)
	}
}

// Stats returns the counts since the store was opened.
func (s *Store) Stats() IndexStats {
	return IndexStats{BlocksRead: s.stats.read.Load(), BlocksSkipped: s.stats.skipped.Load()}
}

// merger goes over the records of a view in the order of their offsets, within
// one transaction: one source per class, and one for what Drop has kept.
type merger struct {
	tx *bbolt.Tx
	v  *view
	q  *query // nil: everything

	sources [persist.Classes + 1]source
	n       int
	next    msg.Offset // everything below is done

	passed      int // messages looked at in vain
	passedBytes int
	probes      int

	blocksRead, blocksSkipped uint64
}

// source is one ascending run of records.
type source struct {
	class byte
	kept  bool
	full  []segment
	open  segment // base 0: nothing after full

	cursor *bbolt.Cursor // of the first of full, else of open; nil: not opened
	at     msg.Offset    // of rec; none: it has ended
	rec    []byte        // nil: not known what comes at at, the bound is reached

	blocks []byte     // of the segment's index, those not asked about
	until  msg.Offset // the segment can be read up to here, the index was asked
	asked  bool       // something was asked or looked at: there is progress
}

// none is beyond every offset.
const none = ^msg.Offset(0)

// reset makes w the zero value.
func (w *merger) reset() {
	clear(w.sources[:w.n])
	w.tx, w.v, w.q, w.n, w.next = nil, nil, nil, 0, 0
	w.passed, w.passedBytes, w.probes, w.blocksRead, w.blocksSkipped = 0, 0, 0, 0, 0
}

// begin positions all sources.
func (w *merger) begin() error {
	for i := range w.v.chains {
		c := &w.v.chains[i]
		if c.open.base != 0 {
			w.sources[w.n] = source{class: byte(i), full: c.full, open: c.open}
			w.n++
		}
	}
	if w.v.keptLast >= w.v.at {
		w.sources[w.n] = source{kept: true}
		w.n++
	}
	for i := range w.n {
		if err := w.move(&w.sources[i], w.v.at); err != nil {
			return err
		}
	}
	return nil
}

// candidate is the oldest record that is not passed; its rec is nil if the
// bound of passing over was reached there. Without filters a missing offset is
// an error.
func (w *merger) candidate() (msg.Offset, []byte, error) {
	best := &source{at: none}
	for i := range w.n {
		if s := &w.sources[i]; s.at < best.at || s.at == best.at && s.rec == nil {
			best = s
		}
	}
	if w.q == nil {
		want := max(w.next, w.v.sparse+1)
		if want <= w.v.to && best.at > want {
			return 0, nil, missing("offset", want)
		}
	}
	return best.at, best.rec, nil
}

// pass moves all sources beyond offset at.
func (w *merger) pass(at msg.Offset) error {
	for i := range w.n {
		if s := &w.sources[i]; s.at == at {
			if err := w.move(s, at+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// wanted tells whether a filter selects the record, which is checked first:
// nothing is passed over because of a damaged topic.
func (w *merger) wanted(rec []byte, at msg.Offset) (bool, error) {
	if err := persist.CheckRecord(rec, at); err != nil {
		return false, err
	}
	topic, err := persist.RecordTopic(rec)
	if err != nil {
		return false, err
	}
	if w.q.matches(topic) {
		return true, nil
	}
	w.passed++
	w.passedBytes += len(rec)
	return false, nil
}

// tired tells whether enough was passed over for one call.
func (w *merger) tired() bool {
	return w.passed >= persist.ScanMessages || w.passedBytes >= persist.ScanBytes || w.probes >= maxProbes
}

// move positions a source at its first record from offset from on.
func (w *merger) move(s *source, from msg.Offset) error {
	if s.kept {
		return w.moveKept(s, from)
	}
	for {
		g, ok := s.segment()
		if !ok || from > w.v.to {
			s.at, s.rec = none, nil
			return nil
		}
		if g.last < from {
			s.leave()
			continue
		}
		if w.q != nil {
			if w.tired() && s.asked {
				s.at, s.rec = max(from, g.base), nil
				return nil
			}
			skipTo, err := w.skip(s, g, from)
			if err != nil {
				return err
			}
			if skipTo != from {
				from = skipTo
				s.at = 0 // not where the cursor is
				continue
			}
		}
		found, err := w.seek(s, g, from)
		if err != nil || found {
			return err
		}
		s.leave()
	}
}

// segment is the one that is read.
func (s *source) segment() (segment, bool) {
	if len(s.full) > 0 {
		return s.full[0], true
	}
	return s.open, s.open.base != 0
}

// leave goes on to the next segment.
func (s *source) leave() {
	if len(s.full) > 0 {
		s.full = s.full[1:]
	} else {
		s.open = segment{}
	}
	s.cursor, s.blocks, s.until, s.at = nil, nil, 0, 0
}

// seek finds the first record from offset from on in segment g.
func (w *merger) seek(s *source, g segment, from msg.Offset) (bool, error) {
	var k, v []byte
	if s.cursor != nil && s.at != 0 && s.at+1 == from {
		k, v = s.cursor.Next()
	} else {
		if s.cursor == nil {
			var name [segmentNameLen]byte
			b := w.tx.Bucket(appendSegmentName(name[:0], w.v.id, s.class, g.base))
			if b == nil {
				return false, missing("segment", g.base)
			}
			s.cursor = b.Cursor()
		}
		var key [8]byte
		binary.BigEndian.PutUint64(key[:], uint64(from))
		k, v = s.cursor.Seek(key[:])
	}
	if k == nil {
		return false, nil
	}
	if len(k) != 8 {
		return false, fmt.Errorf("found key %x: %w", k, persist.ErrCorrupt)
	}
	s.at, s.rec = msg.Offset(binary.BigEndian.Uint64(k)), v
	if s.at > w.v.to {
		s.at, s.rec = none, nil
	} else if v == nil {
		return false, fmt.Errorf("offset %d: not a record: %w", s.at, persist.ErrCorrupt)
	}
	return true, nil
}

func (w *merger) moveKept(s *source, from msg.Offset) error {
	if from > w.v.to {
		s.at, s.rec = none, nil
		return nil
	}
	if s.cursor == nil {
		b := w.tx.Bucket(keptName(w.v.id))
		if b == nil {
			return missing("kept messages from", from)
		}
		s.cursor = b.Cursor()
	}
	if w.q != nil && w.tired() && s.asked {
		s.at, s.rec = from, nil
		return nil
	}
	s.asked = true
	found, err := w.seek(s, segment{}, from)
	if err == nil && !found {
		s.at, s.rec = none, nil
	}
	return err
}

// skip asks the index where from offset from on something may be found in
// segment g. What it returns may lie behind the segment.
func (w *merger) skip(s *source, g segment, from msg.Offset) (msg.Offset, error) {
	if from <= s.until {
		return from, nil
	}
	if s.until == 0 {
		if err := w.openIndex(s, g); err != nil {
			return 0, err
		}
		if from <= s.until {
			return from, nil
		}
	}
	for len(s.blocks) > 0 && !(w.tired() && s.asked) {
		b, rest, err := nextBlock(s.blocks, g.base)
		if err != nil {
			return 0, fmt.Errorf("segment %d: %w: %w", g.base, err, persist.ErrCorrupt)
		}
		s.until = b.last
		s.blocks = rest
		if b.last < from {
			continue
		}
		s.asked = true
		w.probes += len(w.q.filters)
		may, err := w.q.mayHold(&b)
		if err != nil {
			return 0, fmt.Errorf("segment %d: %w: %w", g.base, err, persist.ErrCorrupt)
		}
		if may {
			w.blocksRead++
			return max(from, b.first), nil
		}
		w.blocksSkipped++
		from = b.last + 1
	}
	if len(s.blocks) > 0 {
		return from, nil // tired
	}
	if len(s.full) > 0 {
		s.until = g.last
		return g.last + 1, nil
	}
	// The block that is being filled is read.
	s.until, s.asked = g.last, true
	w.blocksRead++
	return from, nil
}

// openIndex finds the blocks of segment g.
func (w *merger) openIndex(s *source, g segment) error {
	s.until = g.base - 1
	if len(s.full) == 0 {
		s.blocks = w.v.chains[s.class].blocks
		return nil
	}
	key := appendSegmentKey(make([]byte, 0, segmentKeyLen), s.class, g.base)
	bucket := w.tx.Bucket(indexName(w.v.id))
	if bucket == nil { // format 1, opened for reading only
		s.until = g.last
		return nil
	}
	sealed := bucket.Get(key)
	if sealed == nil {
		return missing("index of segment", g.base)
	}
	b, err := unseal(key, sealed)
	if err == nil {
		_, s.blocks, err = decodeIndex(b, g.base)
	}
	if err != nil {
		return fmt.Errorf("index of segment %d: %w: %w", g.base, err, persist.ErrCorrupt)
	}
	return nil
}
