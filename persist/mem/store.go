// Package mem is a persist.Store that forgets everything when it is closed: for
// tests, and for brokers that are told not to keep anything.
//
// It keeps encoded records, like a disk: what Read returns was decoded anew and
// belongs to the caller, and a field that the record codec forgets is missing
// here too.
package mem

import (
	"encoding/binary"
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
	// SegmentMessages bounds a segment, the unit of Drop. Default 1,024.
	SegmentMessages int
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
	head      msg.Offset
	records   []record // sorted by offset; replaced, never changed in place
	time      int64    // of the newest message
	chains    [persist.Classes][]persist.Segment
	dropped   [][]byte // summaries
	summaries int      // bytes of them
	unknown   msg.Offset
	seq       uint64
	controls  []persist.Control
	at        msg.Offset
	atControl uint64
	table     map[string][]byte
}

// record is one message; kept ones are left of a dropped segment.
type record struct {
	at    msg.Offset
	class uint8
	kept  bool
	rec   []byte
}

// New makes an empty store without bounds.
func New() *Store { return NewWith(Options{}) }

// NewWith makes an empty store.
func NewWith(o Options) *Store {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.SegmentMessages <= 0 {
		o.SegmentMessages = 1024
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
		n.head++
		n.records = append(n.records, record{at: n.head, class: a.Class, rec: p.records[i]})
		n.time = p.times[i]
		a.Message.Offset, a.Message.Time = n.head, n.time
		s.grow(n, a.Class, len(p.records[i]))
		s.bytes += int64(len(p.records[i]))
	}
	for i := range b.Controls {
		c := &b.Controls[i]
		n := s.spaces[c.Namespace]
		n.seq++
		c.Seq = n.seq
		if c.Of != 0 {
			at := uint64(b.Appends[c.Of-1].Message.Offset)
			c.Value = append(binary.BigEndian.AppendUint64(nil, at), c.Value...)
		}
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
		if a.Class >= persist.Classes {
			return p, fmt.Errorf("retention class %d, there are %d", a.Class, persist.Classes)
		}
		if _, ok := next[a.Namespace]; !ok {
			next[a.Namespace], last[a.Namespace] = n.head, max(now, n.time)
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
		if c.Of < 0 || c.Of > len(b.Appends) {
			return p, fmt.Errorf("control of append %d, there are %d", c.Of, len(b.Appends))
		}
		p.grow += controlBytes(c) + 8
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
	n.at, n.atControl = max(n.at, min(c.At, n.head)), max(n.atControl, min(c.AtControl, n.seq))
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
			table: map[string][]byte{},
		}
		s.spaces[namespace] = n
	}
	i = persist.Info{Epoch: n.epoch, Head: n.head, First: n.first(), At: n.at, AtControl: n.atControl}
	return i, maps.Clone(n.table), slices.Clone(n.controls), nil
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
