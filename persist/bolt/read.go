package bolt

import (
	"errors"
	"fmt"
	"sort"
	"sync"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"parley/msg"
	"parley/persist"
)

// errMissing: something is not where it must be. It may just have been dropped.
var errMissing = errors.New("record is missing")

// Read implements persist.Store. It holds a transaction only while it copies.
func (s *Store) Read(namespace string, from, to msg.Offset, l persist.Limits) ([]*msg.Message, msg.Offset, error) {
	l = l.WithDefaults()
	q := newQuery(l.Filters)
	for {
		v, err := s.view(namespace, from, to)
		if err != nil {
			return nil, from, fmt.Errorf("read %q: %w", namespace, err)
		}
		if v.at > v.to {
			return nil, max(from, v.to+1), nil
		}
		ms, next, err := s.readChunk(&v, q, l)
		if err == nil {
			return ms, next, nil
		}
		if errors.Is(err, errMissing) && s.dropsOf(namespace) != v.drops {
			continue
		}
		if errors.Is(err, berrors.ErrDatabaseNotOpen) {
			err = persist.ErrClosed
		}
		return nil, from, fmt.Errorf("read %s, namespace %q, offset %d: %w", s.path, namespace, next, err)
	}
}

// view is what one Read knows of a namespace.
type view struct {
	id       uint32
	at, to   msg.Offset
	sparse   msg.Offset // beyond it no offset may be missing
	keptLast msg.Offset
	drops    int
	chains   [persist.Classes]chainView
}

// chainView is the part of a chain that holds what lies in [at, to].
type chainView struct {
	full   []segment // never changed in place
	open   segment   // base 0: none
	blocks []byte    // of the index of open, but for its last block
}

func (s *Store) view(namespace string, from, to msg.Offset) (v view, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return v, persist.ErrClosed
	}
	n, err := s.space(namespace)
	if err != nil {
		return v, err
	}
	if to == 0 || to > n.newest {
		to = n.newest
	}
	v = view{id: n.id, at: max(from, 1), to: to, sparse: n.sparse, keptLast: n.keptLast, drops: n.drops}
	for i := range n.chains {
		c := &n.chains[i]
		if c.open.base == 0 || c.open.last < v.at {
			continue
		}
		begin := sort.Search(len(c.full), func(i int) bool { return c.full[i].last >= v.at })
		v.chains[i].full = c.full[begin:]
		v.chains[i].open, v.chains[i].blocks = c.open, c.index.full
	}
	return v, nil
}

// dropsOf is how often something was taken away from a namespace.
func (s *Store) dropsOf(namespace string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := s.spaces[namespace]; n != nil {
		return n.drops
	}
	return 0
}

// chunk is copied records.
type chunk struct {
	buf     []byte
	ends    []int
	offsets []msg.Offset
	merger  merger
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
		v.buf, v.ends, v.offsets = v.buf[:0], v.ends[:0], v.offsets[:0]
		c.pool.Put(v)
	}
}

// readChunk copies within a transaction and decodes after it. With an error,
// next is the offset it is about.
func (s *Store) readChunk(v *view, q *query, l persist.Limits) (ms []*msg.Message, next msg.Offset, err error) {
	c := s.chunks.get()
	defer s.chunks.put(c)
	next = v.at
	err = guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			w := &c.merger
			w.tx, w.v, w.q, w.next = tx, v, q, v.at
			defer func() {
				next = w.next
				s.stats.add(w)
				w.reset()
			}()
			return w.fill(c, l)
		})
	})
	if err != nil {
		return nil, next, err
	}
	ms = make([]*msg.Message, 0, len(c.ends))
	start, bytes := 0, 0
	for i, end := range c.ends {
		at := c.offsets[i]
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
	return ms, next, nil
}

// fill copies records into c until a limit or the end of the view is reached;
// then w.next is where to go on.
func (w *merger) fill(c *chunk, l persist.Limits) error {
	if err := w.begin(); err != nil {
		return err
	}
	for {
		at, rec, err := w.candidate()
		if err != nil {
			return err
		}
		if at > w.v.to {
			w.next = max(w.next, w.v.to+1)
			return nil
		}
		w.next = at
		if rec == nil { // the bound of passing over is reached
			return nil
		}
		take := true
		if w.q != nil {
			if take, err = w.wanted(rec, at); err != nil {
				return err
			}
		}
		if take {
			// 256 is what Size counts besides content; it is exact only after decoding.
			if n := len(c.ends); n > 0 && len(c.buf)+len(rec)+256*(n+1) > l.Bytes {
				return nil
			}
			c.buf = append(c.buf, rec...)
			c.ends, c.offsets = append(c.ends, len(c.buf)), append(c.offsets, at)
		}
		w.next = at + 1
		if len(c.ends) >= l.Messages {
			return nil
		}
		if err := w.pass(at); err != nil {
			return err
		}
	}
}

func missing(what string, at msg.Offset) error {
	return fmt.Errorf("%s %d: %w: %w", what, at, errMissing, persist.ErrCorrupt)
}
