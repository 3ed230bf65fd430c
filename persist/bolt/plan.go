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
	end     int // in the arena; it begins where the one before ends
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
	seg   segment       // the segment appended to; base 0 = none
	fresh []segment     // segments that the batch begins
	after *checkpointed // nil: no checkpoint in the batch
}

// reset forgets the batch.
func (p *plan) reset() {
	for _, n := range p.touched {
		n.staged = staged{}
	}
	clear(p.touched)
	clear(p.records)
	clear(p.controls)
	if cap(p.arena) > keepArena {
		*p = plan{}
		return
	}
	p.arena, p.records, p.controls = p.arena[:0], p.records[:0], p.controls[:0]
	p.puts, p.touched, p.fresh = p.puts[:0], p.touched[:0], 0
}

// stage returns n's staged state, beginning with its present one.
func (p *plan) stage(n *space, now int64) *staged {
	if !n.staged.on {
		n.staged = staged{on: true, head: n.head, time: max(now, n.time), seq: n.seq}
		if len(n.segments) > 0 {
			n.staged.seg = n.segments[len(n.segments)-1]
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
		if err := s.prepareAppend(n, p.stage(n, now), a.Message); err != nil {
			return err
		}
	}
	for i := range b.Controls {
		c := &b.Controls[i]
		if n, err = s.space(c.Namespace); err != nil {
			return err
		}
		st := p.stage(n, now)
		st.seq++
		binary.BigEndian.PutUint64(p.key[:], st.seq)
		p.arena = appendControl(p.arena, c, p.key[:])
		p.controls = append(p.controls, planned{space: n, number: st.seq, end: len(p.arena)})
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

func (s *Store) prepareAppend(n *space, st *staged, m *msg.Message) (err error) {
	p := &s.plan
	st.head++
	full := st.seg.base == 0 || st.seg.bytes >= s.opts.SegmentBytes || int(st.head-st.seg.base) >= s.opts.SegmentMessages
	if full {
		if st.fresh != nil {
			st.fresh[len(st.fresh)-1] = st.seg
		}
		st.seg = segment{base: st.head}
		st.fresh = append(st.fresh, st.seg)
		p.fresh++
	}
	start := len(p.arena)
	if p.arena, err = persist.AppendRecord(p.arena, m, st.head, st.time); err != nil {
		return fmt.Errorf("message to %q: %w", n.name, err)
	}
	st.seg.bytes += int64(len(p.arena) - start)
	p.records = append(p.records, planned{space: n, number: uint64(st.head), time: st.time, segment: st.seg.base, end: len(p.arena)})
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
			name := appendSegmentName(p.name[:0], r.space.id, 0, r.segment)
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
