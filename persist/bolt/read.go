package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"parley/msg"
	"parley/persist"
)

// errMissing: a record is not where it must be. It may just have been trimmed.
var errMissing = errors.New("record is missing")

// Read implements persist.Store. It holds a transaction only while it copies.
func (s *Store) Read(namespace string, from, to msg.Offset, l persist.Limits) ([]*msg.Message, msg.Offset, error) {
	l = l.WithDefaults()
	for {
		r, err := s.reading(namespace, from, to, l.Messages)
		if err != nil {
			return nil, from, fmt.Errorf("read %q: %w", namespace, err)
		}
		if r.at > r.to {
			return nil, max(from, r.to+1), nil
		}
		ms, next, err := s.readChunk(&r, l)
		if err == nil {
			return ms, next, nil
		}
		if errors.Is(err, errMissing) && s.trimmed(namespace, r.first) {
			continue
		}
		if errors.Is(err, berrors.ErrDatabaseNotOpen) {
			err = persist.ErrClosed
		}
		return nil, from, fmt.Errorf("read %s, namespace %q, offset %d: %w", s.path, namespace, next, err)
	}
}

// reading is one Read's view of a namespace.
type reading struct {
	id       uint32
	first    msg.Offset
	at, to   msg.Offset
	segments []segment // from the one that holds at on
}

// reading looks up what is needed to read at most limit messages.
func (s *Store) reading(namespace string, from, to msg.Offset, limit int) (r reading, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return r, persist.ErrClosed
	}
	n, err := s.space(namespace)
	if err != nil {
		return r, err
	}
	if to == 0 || to > n.head {
		to = n.head
	}
	r = reading{id: n.id, first: n.first, at: max(from, n.first), to: to}
	if r.at <= r.to {
		i := sort.Search(len(n.segments), func(i int) bool { return n.segments[i].base > r.at }) - 1
		end := sort.Search(len(n.segments), func(i int) bool { return n.segments[i].base > r.to })
		// No segment is empty, so limit of them are enough.
		r.segments = slices.Clone(n.segments[i:min(end, i+min(limit, len(n.segments)))])
	}
	return r, nil
}

// trimmed tells whether the namespace has lost messages since first was its oldest.
func (s *Store) trimmed(namespace string, first msg.Offset) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.spaces[namespace]
	return n != nil && n.first > first
}

// chunk is a run of copied records with consecutive offsets.
type chunk struct {
	buf  []byte
	ends []int
}

// chunks are reused, so that a Read allocates only what it returns.
type chunks struct{ pool sync.Pool }

func (c *chunks) get() *chunk {
	if v, ok := c.pool.Get().(*chunk); ok {
		return v
	}
	return &chunk{}
}

func (c *chunks) put(v *chunk) {
	if cap(v.buf) <= 1<<20 {
		v.buf, v.ends = v.buf[:0], v.ends[:0]
		c.pool.Put(v)
	}
}

// readChunk copies within a transaction and decodes after it. With an error,
// next is the offset it is about.
func (s *Store) readChunk(r *reading, l persist.Limits) (ms []*msg.Message, next msg.Offset, err error) {
	c := s.chunks.get()
	defer s.chunks.put(c)
	err = guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error { return c.copy(tx, r, l) })
	})
	if err != nil {
		return nil, r.at + msg.Offset(len(c.ends)), err
	}
	ms = make([]*msg.Message, 0, len(c.ends))
	start, bytes := 0, 0
	for _, end := range c.ends {
		at := r.at + msg.Offset(len(ms))
		m, err := persist.DecodeRecord(c.buf[start:end], at)
		if err != nil {
			return nil, at, err
		}
		if bytes += m.Size(); bytes > l.Bytes && len(ms) > 0 {
			return ms, at, nil
		}
		ms = append(ms, m)
		start = end
	}
	return ms, r.at + msg.Offset(len(ms)), nil
}

// copy fills c with records from r.at on.
func (c *chunk) copy(tx *bbolt.Tx, r *reading, l persist.Limits) error {
	var name [segmentNameLen]byte
	next := r.at
	for _, seg := range r.segments {
		b := tx.Bucket(appendSegmentName(name[:0], r.id, 0, seg.base))
		if b == nil {
			return missing(nil)
		}
		cur := b.Cursor()
		k, v := cur.Seek(binary.BigEndian.AppendUint64(nil, uint64(next)))
		for ; k != nil && next <= r.to; k, v = cur.Next() {
			if len(k) != 8 || msg.Offset(binary.BigEndian.Uint64(k)) != next {
				return missing(k)
			}
			// 256 is what Size counts besides content; it is exact only after decoding.
			if n := len(c.ends); n >= l.Messages || n > 0 && len(c.buf)+len(v)+256*(n+1) > l.Bytes {
				return nil
			}
			c.buf = append(c.buf, v...)
			c.ends = append(c.ends, len(c.buf))
			next++
		}
	}
	if next <= r.to && len(c.ends) < l.Messages {
		return missing(nil)
	}
	return nil
}

func missing(found []byte) error {
	return fmt.Errorf("%w (found key %x): %w", errMissing, found, persist.ErrCorrupt)
}
