package bolt

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"parley/msg"
	"parley/persist"
)

// keepArena is how large an encode buffer may be to be kept for the next batch.
const keepArena = 4 << 20

// plan is a batch, encoded and with its offsets, before anything is written or
// changed. It is reused from commit to commit. Records lie in one arena, because
// bbolt keeps references to values until the transaction ends.
type plan struct {
	arena    []byte
	records  []planned
	controls []planned
	puts     []plannedPut
	indexes  []plannedIndex
	touched  []*space // those with staged.on
	fresh    int      // segments that the batch begins
	key      [8]byte
	name     [segmentNameLen]byte
}

type planned struct {
	space   *space
	number  uint64 // offset or seq
	time    int64
	segment msg.Offset
	class   uint8
	end     int // in the arena; it begins where the one before ends
}

// plannedIndex is the index of a segment that the batch fills.
type plannedIndex struct {
	space *space
	class uint8
	base  msg.Offset
	value []byte
}

type plannedPut struct {
	keyEnd, end int // in the arena; end == keyEnd: delete
}

// staged is what a namespace will be once the batch is committed.
type staged struct {
	on    bool
	head  msg.Offset
	time  int64
	seq   uint64
	open  [persist.Classes]segment // the segments appended to; base 0 = none
	after *checkpointed            // nil: no checkpoint in the batch
}

// reset forgets the batch.
func (p *plan) reset() {
	for _, n := range p.touched {
		n.staged = staged{}
	}
	clear(p.touched)
	clear(p.records)
	clear(p.controls)
	clear(p.indexes)
	if cap(p.arena) > keepArena {
		*p = plan{}
		return
	}
	p.arena, p.records, p.controls = p.arena[:0], p.records[:0], p.controls[:0]
	p.puts, p.touched, p.indexes, p.fresh = p.puts[:0], p.touched[:0], p.indexes[:0], 0
}

// stage returns n's staged state, beginning with its present one.
func (p *plan) stage(n *space, now int64) *staged {
	if !n.staged.on {
		n.staged = staged{on: true, head: n.newest, time: max(now, n.time), seq: n.seq}
		for i := range n.chains {
			n.staged.open[i] = n.chains[i].open
		}
		p.touched = append(p.touched, n)
	}
	return &n.staged
}

// prepare encodes b. It fails if b is not acceptable, and has then changed
// nothing but the plan.
func (s *Store) prepare(b *persist.Batch) (err error) {
	p := &s.plan
	now := s.opts.Clock().UnixMilli()
	var n *space
	for i := range b.Appends {
		a := &b.Appends[i]
		if n == nil || n.name != a.Namespace {
			if n, err = s.space(a.Namespace); err != nil {
				return err
			}
		}
		if err := s.prepareAppend(b, n, p.stage(n, now), a); err != nil {
			return err
		}
	}
	for i := range b.Controls {
		c := &b.Controls[i]
		if n, err = s.space(c.Namespace); err != nil {
			return err
		}
		if err := p.prepareControl(n, p.stage(n, now), c); err != nil {
			return err
		}
	}
	for i := range b.Checkpoints {
		c := &b.Checkpoints[i]
		if n, err = s.space(c.Namespace); err != nil {
			return err
		}
		p.stage(n, now)
		for j := range c.Puts {
			p.preparePut(&c.Puts[j])
		}
	}
	return nil
}

func (s *Store) prepareAppend(b *persist.Batch, n *space, st *staged, a *persist.Append) (err error) {
	p := &s.plan
	if a.Class >= persist.Classes {
		return fmt.Errorf("retention class %d, there are %d", a.Class, persist.Classes)
	}
	st.head++
	g := &st.open[a.Class]
	if g.base == 0 || g.bytes >= s.opts.SegmentBytes || g.messages >= s.opts.SegmentMessages {
		if g.base != 0 {
			p.indexes = append(p.indexes, plannedIndex{space: n, class: a.Class, base: g.base, value: p.fullIndex(b, n, a.Class, g)})
		}
		*g = segment{base: st.head}
		p.fresh++
	}
	start := len(p.arena)
	if p.arena, err = persist.AppendRecord(p.arena, a.Message, st.head, st.time); err != nil {
		return fmt.Errorf("message to %q: %w", n.name, err)
	}
	g.count(st.head, len(p.arena)-start, st.time)
	p.records = append(p.records, planned{space: n, number: uint64(st.head), time: st.time, segment: g.base, class: a.Class, end: len(p.arena)})
	return nil
}

// fullIndex makes the index of segment g, which the batch has just filled: of
// what was there before and of the batch's records.
func (p *plan) fullIndex(b *persist.Batch, n *space, class uint8, g *segment) []byte {
	x := newIndex(g.base)
	if c := &n.chains[class]; c.open.base == g.base {
		x = c.index.clone()
	}
	start := 0
	for i := range p.records {
		r := &p.records[i]
		if r.space == n && r.class == class && r.segment == g.base {
			x.add(b.Appends[i].Message.Topic, msg.Offset(r.number), r.end-start)
		}
		start = r.end
	}
	return seal(nil, appendSegmentKey(nil, class, g.base), x.encode(g))
}

func (p *plan) prepareControl(n *space, st *staged, c *persist.Control) error {
	var of uint64
	if c.Of != 0 {
		if c.Of < 0 || c.Of > len(p.records) {
			return fmt.Errorf("control of append %d, there are %d", c.Of, len(p.records))
		}
		of = p.records[c.Of-1].number
	}
	st.seq++
	binary.BigEndian.PutUint64(p.key[:], st.seq)
	p.arena = appendControl(p.arena, c, of, p.key[:])
	p.controls = append(p.controls, planned{space: n, number: st.seq, end: len(p.arena)})
	return nil
}

func (p *plan) preparePut(put *persist.Put) {
	start := len(p.arena)
	p.arena = appendTableKey(p.arena, put.Key)
	e := plannedPut{keyEnd: len(p.arena)}
	if put.Value != nil {
		p.arena = appendTableValue(p.arena, put, p.arena[start:e.keyEnd])
	}
	e.end = len(p.arena)
	p.puts = append(p.puts, e)
}

// apply writes the plan into tx. b is the batch it was made of.
func (p *plan) apply(tx *bbolt.Tx, b *persist.Batch) error {
	at, err := p.applyRecords(tx)
	if err != nil {
		return err
	}
	for i := range p.indexes {
		x := &p.indexes[i]
		if err := tx.Bucket(indexName(x.space.id)).Put(appendSegmentKey(nil, x.class, x.base), x.value); err != nil {
			return err
		}
	}
	var bucket *bbolt.Bucket
	for i := range p.controls {
		c := &p.controls[i]
		if i == 0 || p.controls[i-1].space != c.space {
			bucket = tx.Bucket(controlsName(c.space.id))
		}
		if err := p.put(bucket, c.number, p.arena[at:c.end]); err != nil {
			return err
		}
		at = c.end
		if i+1 == len(p.controls) || p.controls[i+1].space != c.space {
			if err := bucket.SetSequence(c.number); err != nil {
				return err
			}
		}
	}
	puts := p.puts
	for i := range b.Checkpoints {
		c := &b.Checkpoints[i]
		if at, err = p.applyPuts(tx, c, puts[:len(c.Puts)], at); err != nil {
			return err
		}
		puts = puts[len(c.Puts):]
	}
	return nil
}

// applyRecords returns where in the arena the records end.
func (p *plan) applyRecords(tx *bbolt.Tx) (at int, err error) {
	var bucket *bbolt.Bucket
	for i := range p.records {
		r := &p.records[i]
		if i == 0 || p.records[i-1].space != r.space || p.records[i-1].segment != r.segment {
			name := appendSegmentName(p.name[:0], r.space.id, r.class, r.segment)
			if r.number == uint64(r.segment) {
				bucket, err = tx.CreateBucket(name)
			} else {
				bucket = tx.Bucket(name)
			}
			if err != nil {
				return 0, err
			}
			bucket.FillPercent = 1 // keys ascend, nothing comes in between
		}
		if err := p.put(bucket, r.number, p.arena[at:r.end]); err != nil {
			return 0, err
		}
		at = r.end
		last := i+1 == len(p.records) || p.records[i+1].space != r.space || p.records[i+1].segment != r.segment
		if last {
			if err := bucket.SetSequence(r.number); err != nil {
				return 0, err
			}
		}
	}
	return at, nil
}

func (p *plan) put(b *bbolt.Bucket, number uint64, value []byte) error {
	binary.BigEndian.PutUint64(p.key[:], number)
	return b.Put(p.key[:], value[:len(value):len(value)])
}
