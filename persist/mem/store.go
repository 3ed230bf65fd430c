// Package mem is a persist.Store that forgets everything when it is closed: for
// tests, and for brokers that are told not to keep anything.
//
// It keeps encoded records, like a disk: what Read returns was decoded anew and
// belongs to the caller, and a field that the record codec forgets is missing
// here too.
package mem

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"parley/msg"
	"parley/persist"
)

// Options of NewWith; the zero value is usable.
type Options struct {
	// MaxBytes bounds the encoded records, controls and table entries; a commit
	// beyond it gets persist.ErrFull. 0: no bound.
	MaxBytes int64
	// Clock gives the time of commits; nil: time.Now.
	Clock func() time.Time
}

// Store is a persist.Store in memory. It is safe for concurrent use.
type Store struct {
	// fixed after construction
	opts Options

	committing sync.Mutex // held from Commit's beginning until its follower has returned

	mu     sync.RWMutex
	spaces map[string]*space
	epochs int // for names of epochs
	bytes  int64
	follow func([]persist.Append)
	closed bool
}

var _ persist.Store = (*Store)(nil)

// space is one namespace.
type space struct {
	epoch     string
	first     msg.Offset // of records[0]; the next offset is first + len(records)
	records   [][]byte
	time      int64 // of the newest message
	seq       uint64
	controls  []persist.Control
	at        msg.Offset
	atControl uint64
	table     map[string][]byte
}

func (n *space) head() msg.Offset { return n.first + msg.Offset(len(n.records)) - 1 }

// New makes an empty store without bounds.
func New() *Store { return NewWith(Options{}) }

// NewWith makes an empty store.
func NewWith(o Options) *Store {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return &Store{opts: o, spaces: map[string]*space{}}
}

// Follow implements persist.Store.
func (s *Store) Follow(f func([]persist.Append)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.follow = f
}

// Commit implements persist.Store. It calls done and the follower before it
// returns.
func (s *Store) Commit(b *persist.Batch, done func(error)) {
	s.committing.Lock()
	defer s.committing.Unlock()
	follow, err := s.commit(b)
	if err != nil {
		err = fmt.Errorf("commit batch: %w", err)
	}
	done(err)
	if err == nil && follow != nil && len(b.Appends) > 0 {
		follow(b.Appends)
	}
}

func (s *Store) commit(b *persist.Batch) (func([]persist.Append), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, persist.ErrClosed
	}
	p, err := s.prepare(b)
	if err != nil {
		return nil, err
	}
	if s.opts.MaxBytes > 0 && p.grow > 0 && s.bytes+p.grow > s.opts.MaxBytes {
		return nil, fmt.Errorf("%d bytes of %d used: %w", s.bytes, s.opts.MaxBytes, persist.ErrFull)
	}
	for i, a := range b.Appends {
		n := s.spaces[a.Namespace]
		n.records = append(n.records, p.records[i])
		n.time = p.times[i]
		a.Message.Offset, a.Message.Time = n.head(), n.time
		s.bytes += int64(len(p.records[i]))
	}
	for i := range b.Controls {
		c := &b.Controls[i]
		n := s.spaces[c.Namespace]
		n.seq++
		c.Seq = n.seq
		kept := *c
		kept.Value = slices.Clone(c.Value)
		n.controls = append(n.controls, kept)
		s.bytes += controlBytes(kept)
	}
	for i := range b.Checkpoints {
		s.checkpoint(&b.Checkpoints[i])
	}
	return s.follow, nil
}

// prepared is a batch's appends, encoded before anything is changed.
type prepared struct {
	records [][]byte
	times   []int64
	grow    int64 // bytes that the batch adds at most
}

// prepare finds everything that can be wrong with the batch.
func (s *Store) prepare(b *persist.Batch) (p prepared, err error) {
	next := map[string]msg.Offset{}
	last := map[string]int64{}
	now := s.opts.Clock().UnixMilli()
	for _, a := range b.Appends {
		n := s.spaces[a.Namespace]
		if n == nil {
			return p, noNamespace(a.Namespace)
		}
		if _, ok := next[a.Namespace]; !ok {
			next[a.Namespace], last[a.Namespace] = n.head(), max(now, n.time)
		}
		next[a.Namespace]++
		rec, err := persist.AppendRecord(nil, a.Message, next[a.Namespace], last[a.Namespace])
		if err != nil {
			return p, err
		}
		p.records, p.times = append(p.records, rec), append(p.times, last[a.Namespace])
		p.grow += int64(len(rec))
	}
	for _, c := range b.Controls {
		if s.spaces[c.Namespace] == nil {
			return p, noNamespace(c.Namespace)
		}
		p.grow += controlBytes(c)
	}
	for _, c := range b.Checkpoints {
		n := s.spaces[c.Namespace]
		if n == nil {
			return p, noNamespace(c.Namespace)
		}
		for _, put := range c.Puts {
			p.grow += putBytes(put.Key, put.Value) - putBytes(put.Key, n.table[put.Key])
		}
	}
	return p, nil
}

func (s *Store) checkpoint(c *persist.Checkpoint) {
	n := s.spaces[c.Namespace]
	for _, p := range c.Puts {
		s.bytes -= putBytes(p.Key, n.table[p.Key])
		delete(n.table, p.Key)
		if p.Value != nil {
			n.table[p.Key] = append([]byte{}, p.Value...)
			s.bytes += putBytes(p.Key, p.Value)
		}
	}
	n.at, n.atControl = max(n.at, min(c.At, n.head())), max(n.atControl, min(c.AtControl, n.seq))
	for len(n.controls) > 0 && n.controls[0].Seq <= n.atControl {
		s.bytes -= controlBytes(n.controls[0])
		n.controls = n.controls[1:]
	}
}

func controlBytes(c persist.Control) int64 { return int64(16 + len(c.Key) + len(c.Value)) }

func putBytes(key string, value []byte) int64 {
	if value == nil {
		return 0
	}
	return int64(len(key) + len(value))
}

// Read implements persist.Store.
func (s *Store) Read(namespace string, from, to msg.Offset, l persist.Limits) ([]*msg.Message, msg.Offset, error) {
	l = l.WithDefaults()
	records, at, next, err := s.slice(namespace, from, to, l.Messages)
	if err != nil {
		return nil, from, fmt.Errorf("read %q: %w", namespace, err)
	}
	var ms []*msg.Message
	bytes := 0
	for i, rec := range records {
		m, err := persist.DecodeRecord(rec, at+msg.Offset(i))
		if err != nil {
			return nil, from, fmt.Errorf("read %q offset %d: %w", namespace, at+msg.Offset(i), err)
		}
		if bytes += m.Size(); bytes > l.Bytes && i > 0 {
			return ms, m.Offset, nil
		}
		ms = append(ms, m)
	}
	return ms, next, nil
}

// slice returns up to limit records of [from, to], the offset of the first of
// them and the offset to go on with. Records are never changed.
func (s *Store) slice(namespace string, from, to msg.Offset, limit int) ([][]byte, msg.Offset, msg.Offset, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, 0, 0, persist.ErrClosed
	}
	n := s.spaces[namespace]
	if n == nil {
		return nil, 0, 0, noNamespace(namespace)
	}
	if to == 0 || to > n.head() {
		to = n.head()
	}
	at := max(from, n.first)
	if at > to {
		return nil, at, max(from, to+1), nil
	}
	end := min(to+1, at+msg.Offset(limit))
	return slices.Clone(n.records[at-n.first : end-n.first]), at, end, nil
}

// State implements persist.Store.
func (s *Store) State(namespace string, v persist.Visitor) (persist.Info, error) {
	info, table, controls, err := s.state(namespace)
	if err != nil {
		return persist.Info{}, fmt.Errorf("state of %q: %w", namespace, err)
	}
	if v.Put != nil {
		for _, key := range slices.Sorted(maps.Keys(table)) {
			if err := v.Put(persist.Put{Key: key, Value: append([]byte{}, table[key]...)}); err != nil {
				return info, err
			}
		}
	}
	if v.Control != nil {
		for _, c := range controls {
			c.Value = slices.Clone(c.Value)
			if err := v.Control(c); err != nil {
				return info, err
			}
		}
	}
	return info, nil
}

// state copies what State shows; values in it are never changed in place.
func (s *Store) state(namespace string) (i persist.Info, table map[string][]byte, cs []persist.Control, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return i, nil, nil, persist.ErrClosed
	}
	n := s.spaces[namespace]
	if n == nil {
		s.epochs++
		n = &space{
			epoch: "mem-" + strconv.FormatInt(s.opts.Clock().UnixNano(), 36) + "-" + strconv.Itoa(s.epochs),
			first: 1, table: map[string][]byte{},
		}
		s.spaces[namespace] = n
	}
	i = persist.Info{Epoch: n.epoch, Head: n.head(), At: n.at, AtControl: n.atControl}
	if len(n.records) > 0 {
		i.First = n.first
	}
	return i, maps.Clone(n.table), slices.Clone(n.controls), nil
}

// Trim implements persist.Store; it drops exactly what it is asked to.
func (s *Store) Trim(namespace string, upTo msg.Offset) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("trim %q: %w", namespace, persist.ErrClosed)
	}
	n := s.spaces[namespace]
	if n == nil {
		return fmt.Errorf("trim: %w", noNamespace(namespace))
	}
	for len(n.records) > 0 && n.first <= upTo {
		s.bytes -= int64(len(n.records[0]))
		n.records[0] = nil
		n.records = n.records[1:]
		n.first++
	}
	return nil
}

// Close implements persist.Store. Closing twice is not an error.
func (s *Store) Close() error {
	s.committing.Lock()
	defer s.committing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.spaces = nil
	return nil
}

func noNamespace(name string) error {
	return fmt.Errorf("%w: %q", persist.ErrNoNamespace, name)
}
