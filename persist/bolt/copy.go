package bolt

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"go.etcd.io/bbolt"
)

const (
	// copyChunk is how much is copied within one transaction of the source while
	// the store serves: some milliseconds' worth.
	copyChunk = 2 << 20
	// copyRest is what may be left for the last transaction, of the log.
	copyRest = 1 << 20
	// copyPasses bounds the passes over the log; a writer that outruns the copy
	// leaves more to the last transaction.
	copyPasses = 8
)

// copying makes a new file with the same content, without what is free in the
// old one. It does so while the store serves: segments only ever grow at their
// end and vanish as a whole, so they are copied ahead, in many short transactions; a last transaction, which makes the copy that of one moment,
// takes what has been added since, and everything that is not log.
//
// A long transaction would be simpler. But pages freed while it is open cannot
// be used again (every commit frees some), and once the file has to be mapped
// anew, all commits wait for its end.
type copying struct {
	ctx      context.Context
	src, dst *bbolt.DB
	ahead    map[string]*copied // segments that dst has
	progress Progress
	done     int64
	total    int64
}

// copied is what dst has of one segment.
type copied struct{ first, last []byte }

// copyTo copies src into the empty file dst. dst is not synced.
func copyTo(ctx context.Context, src *bbolt.DB, dst *os.File, progress Progress) error {
	// The descriptor is bbolt's own from now on, and closed by it.
	db, err := bbolt.Open(dst.Name(), 0o600, &bbolt.Options{
		NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, NoSync: true, NoGrowSync: true, InitialMmapSize: mapping,
		PageSize: src.Info().PageSize,
		OpenFile: func(string, int, os.FileMode) (*os.File, error) { return dst, nil },
	})
	if err != nil {
		dst.Close()
		return noSpaceAsFull(err)
	}
	c := &copying{ctx: ctx, src: src, dst: db, ahead: map[string]*copied{}, progress: progress}
	err = guard(c.run)
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	return noSpaceAsFull(err)
}

func (c *copying) run() error {
	if err := c.src.View(func(tx *bbolt.Tx) error { c.total = tx.Size(); return nil }); err != nil {
		return err
	}
	for range copyPasses {
		before := c.done
		if err := c.pass(); err != nil {
			return err
		}
		if c.done-before < copyRest {
			break
		}
	}
	return c.src.View(c.finish)
}

// pass copies what the segments have now and dst does not.
func (c *copying) pass() error {
	var names [][]byte
	err := c.src.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
			if isSegment(string(name)) {
				names = append(names, bytes.Clone(name))
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		for more := true; more; {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			if more, err = c.chunk(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// pair is a key and its value.
type pair struct{ key, value []byte }

// chunk copies a piece of a segment, and tells whether it was a whole one.
func (c *copying) chunk(name []byte) (more bool, err error) {
	var arena []byte
	var ends []int
	err = c.src.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(name)
		if b == nil {
			return nil // trimmed
		}
		cur := b.Cursor()
		k, v := c.rest(cur, name)
		for ; k != nil && len(arena) < copyChunk; k, v = cur.Next() {
			arena = append(arena, k...)
			ends = append(ends, len(arena))
			arena = append(arena, v...)
			ends = append(ends, len(arena))
		}
		more = k != nil
		return nil
	})
	if err != nil || len(ends) == 0 {
		return false, err
	}
	at := 0
	next := func() pair {
		p := pair{arena[at:ends[0]:ends[0]], arena[ends[0]:ends[1]:ends[1]]}
		at, ends = ends[1], ends[2:]
		return p
	}
	return more, c.dst.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(name)
		if err != nil {
			return err
		}
		b.FillPercent = 1
		for len(ends) > 0 {
			if err := c.put(b, name, next()); err != nil {
				return err
			}
		}
		return nil
	})
}

// rest finds the first element of a segment that dst does not have.
func (c *copying) rest(cur *bbolt.Cursor, name []byte) (k, v []byte) {
	have := c.ahead[string(name)]
	if have == nil {
		return cur.First()
	}
	if k, v = cur.Seek(have.last); bytes.Equal(k, have.last) {
		return cur.Next()
	}
	return k, v
}

// put writes an element of a segment.
func (c *copying) put(b *bbolt.Bucket, name []byte, p pair) error {
	have := c.ahead[string(name)]
	if have == nil {
		have = &copied{first: bytes.Clone(p.key)}
		c.ahead[string(name)] = have
	}
	have.last = append(have.last[:0], p.key...)
	c.count(p)
	return b.Put(p.key, p.value)
}

func (c *copying) count(p pair) {
	c.done += int64(len(p.key) + len(p.value))
	if c.progress != nil {
		c.progress(c.done, c.total)
	}
}

// finish makes dst equal to what tx sees.
func (c *copying) finish(tx *bbolt.Tx) error {
	if err := c.forget(tx); err != nil {
		return err
	}
	w := &writer{db: c.dst}
	defer w.abandon()
	err := tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		segment := isSegment(string(name))
		if err := w.bucket(name, b.Sequence()); err != nil {
			return err
		}
		cur := b.Cursor()
		k, v := cur.First()
		if segment {
			k, v = c.rest(cur, name)
		}
		for ; k != nil; k, v = cur.Next() {
			if err := w.put(k, v); err != nil {
				return err
			}
			c.count(pair{k, v})
		}
		return nil
	})
	return w.end(err)
}

// forget drops from dst the segments that have been dropped in the meantime. They
// vanish whole; one that began anew would be copied anew.
func (c *copying) forget(tx *bbolt.Tx) error {
	for name, have := range c.ahead {
		if b := tx.Bucket([]byte(name)); b != nil {
			if first, _ := b.Cursor().First(); bytes.Equal(first, have.first) {
				continue
			}
		}
		delete(c.ahead, name)
		if err := c.dst.Update(func(dst *bbolt.Tx) error { return dst.DeleteBucket([]byte(name)) }); err != nil {
			return fmt.Errorf("drop a segment that is gone: %w", err)
		}
	}
	return nil
}

// writer writes buckets in transactions of about copyChunk bytes. What it is
// given must stay valid until end.
type writer struct {
	db      *bbolt.DB
	tx      *bbolt.Tx
	b       *bbolt.Bucket
	name    []byte
	pending int
}

// bucket goes on with a bucket, which need not exist.
func (w *writer) bucket(name []byte, sequence uint64) error {
	w.name = bytes.Clone(name)
	if err := w.begin(); err != nil {
		return err
	}
	return w.b.SetSequence(sequence)
}

func (w *writer) begin() (err error) {
	if w.tx == nil {
		if w.tx, err = w.db.Begin(true); err != nil {
			return err
		}
	}
	if w.b, err = w.tx.CreateBucketIfNotExists(w.name); err != nil {
		return err
	}
	w.b.FillPercent = 1
	return nil
}

func (w *writer) put(k, v []byte) error {
	if w.pending += len(k) + len(v); w.pending > copyChunk {
		if err := w.commit(); err != nil {
			return err
		}
		if err := w.begin(); err != nil {
			return err
		}
	}
	return w.b.Put(k, v)
}

func (w *writer) commit() error {
	err := w.tx.Commit()
	w.tx, w.b, w.pending = nil, nil, 0
	return err
}

// end commits what is left, unless there was an error.
func (w *writer) end(err error) error {
	if w.tx == nil {
		return err
	}
	if err != nil {
		return err
	}
	return w.commit()
}

// abandon undoes what was not committed; the database could not be closed else.
func (w *writer) abandon() {
	if w.tx != nil {
		_ = w.tx.Rollback() // ErrTxClosed after a failed commit
	}
}
