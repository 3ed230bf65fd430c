package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"parley/persist"
)

// maxDepth bounds a path through the trees: a tree of 2^64 keys is not deeper.
const maxDepth = 64

// verify proves the structure of a bbolt file: every page that can be reached
// is where it says, is reached once, lies inside of the file, and holds
// elements inside of itself in ascending order within its parent's bounds.
// bbolt assumes all of that and panics, or reads wild memory, where it does not
// hold. The error is persist.ErrCorrupt and names page and byte offset. It
// returns how many entries each bucket has: an entry that a page hides is no
// fault of the structure.
func verify(r io.ReaderAt, m metaPage) (map[string]int, error) {
	if m.freelist != noFreelist {
		return nil, fmt.Errorf("has a stored free list, which this store never writes: %w", persist.ErrCorrupt)
	}
	v := &verifier{r: r, meta: m, seen: make([]uint64, m.pages/64+1), entries: map[string]int{}}
	return v.entries, v.page(m.root, bounds{}, 0)
}

type verifier struct {
	r    io.ReaderAt
	meta metaPage
	seen []uint64         // one bit per page
	bufs [maxDepth][]byte // one per level, reused

	entries map[string]int // by bucket
	inside  []byte         // the bucket that is walked; nil: none
}

// bounds are the keys that a page may hold: [low, high), nil = open.
type bounds struct{ low, high []byte }

func (v *verifier) bad(id uint64, format string, args ...any) error {
	return fmt.Errorf("page %d at byte %d: %s: %w", id, int64(id)*v.meta.pageSize, fmt.Sprintf(format, args...), persist.ErrCorrupt)
}

func (v *verifier) page(id uint64, in bounds, depth int) error {
	if depth >= maxDepth {
		return v.bad(id, "nested too deeply")
	}
	if id < 2 || id >= v.meta.pages {
		return v.bad(id, "beyond the file's %d pages", v.meta.pages)
	}
	b, err := v.load(id, depth)
	if err != nil {
		return err
	}
	switch flags := binary.NativeEndian.Uint16(b[8:]); flags {
	case flagBranch:
		return v.branch(id, b, in, depth)
	case flagLeaf:
		return v.leaf(id, b, in, depth)
	default:
		return v.bad(id, "unexpected kind %#x", flags)
	}
}

// load reads a page with its overflow pages and marks them as seen.
func (v *verifier) load(id uint64, depth int) ([]byte, error) {
	size := v.meta.pageSize
	b := v.buf(depth, size)
	if _, err := v.r.ReadAt(b, int64(id)*size); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	if got := binary.NativeEndian.Uint64(b); got != id {
		return nil, v.bad(id, "says that it is page %d", got)
	}
	overflow := uint64(binary.NativeEndian.Uint32(b[12:]))
	if id+overflow >= v.meta.pages {
		return nil, v.bad(id, "%d overflow pages reach beyond the file", overflow)
	}
	for i := id; i <= id+overflow; i++ {
		if v.seen[i/64]&(1<<(i%64)) != 0 {
			return nil, v.bad(i, "used twice")
		}
		v.seen[i/64] |= 1 << (i % 64)
	}
	if overflow > 0 {
		b = v.buf(depth, int64(overflow+1)*size)
		if _, err := v.r.ReadAt(b, int64(id)*size); err != nil {
			return nil, fmt.Errorf("read page %d: %w", id, err)
		}
	}
	return b, nil
}

func (v *verifier) buf(depth int, n int64) []byte {
	if int64(cap(v.bufs[depth])) < n {
		v.bufs[depth] = make([]byte, n)
	}
	return v.bufs[depth][:n]
}

// branch checks a branch page and everything below.
func (v *verifier) branch(id uint64, b []byte, in bounds, depth int) error {
	keys, err := v.keys(id, b, 4, in)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return v.bad(id, "empty branch")
	}
	for i, key := range keys {
		child := binary.NativeEndian.Uint64(b[pageHeader+i*elementSize+8:])
		sub := bounds{low: key, high: in.high}
		if i+1 < len(keys) {
			sub.high = keys[i+1]
		}
		if err := v.page(child, sub, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// leaf checks a leaf page and the buckets in it.
func (v *verifier) leaf(id uint64, b []byte, in bounds, depth int) error {
	keys, err := v.keys(id, b, 8, in)
	if err != nil {
		return err
	}
	e := binary.NativeEndian
	for i, key := range keys {
		at := pageHeader + i*elementSize
		flags, pos, vsize := e.Uint32(b[at:]), uint64(e.Uint32(b[at+4:])), uint64(e.Uint32(b[at+12:]))
		start := uint64(at) + pos + uint64(len(key))
		if start+vsize > uint64(len(b)) {
			return v.bad(id, "value %d reaches beyond the page", i)
		}
		switch {
		case flags == 0:
			continue
		case flags != 1 || vsize < 16 || v.inside != nil:
			return v.bad(id, "element %d has flags %#x", i, flags)
		}
		v.inside = key
		if err := v.bucket(id, b[start:start+vsize], depth); err != nil {
			return err
		}
		v.inside = nil
	}
	if v.inside != nil {
		v.entries[string(v.inside)] += len(keys)
	}
	return nil
}

// bucket checks a bucket's header and either its inline page or its tree.
func (v *verifier) bucket(id uint64, b []byte, depth int) error {
	if root := binary.NativeEndian.Uint64(b); root != 0 {
		return v.page(root, bounds{}, depth+1)
	}
	inline := b[16:]
	if len(inline) < pageHeader || binary.NativeEndian.Uint16(inline[8:]) != flagLeaf {
		return v.bad(id, "inline bucket without a leaf")
	}
	return v.leaf(id, inline, bounds{}, depth)
}

// keys checks the elements' keys and returns them, aliasing b. kindAt is where
// an element holds its key's size (leaf elements begin with flags and position,
// branch elements with the position).
func (v *verifier) keys(id uint64, b []byte, sizeAt int, in bounds) ([][]byte, error) {
	e := binary.NativeEndian
	n := int(e.Uint16(b[10:]))
	if pageHeader+n*elementSize > len(b) {
		return nil, v.bad(id, "%d elements do not fit", n)
	}
	keys := make([][]byte, n)
	for i := range keys {
		at := pageHeader + i*elementSize
		pos, size := uint64(e.Uint32(b[at+sizeAt-4:])), uint64(e.Uint32(b[at+sizeAt:]))
		start := uint64(at) + pos
		if start < uint64(pageHeader+n*elementSize) || start+size > uint64(len(b)) || size == 0 {
			return nil, v.bad(id, "key %d lies outside of the page", i)
		}
		key := b[start : start+size]
		switch {
		case i > 0 && bytes.Compare(keys[i-1], key) >= 0,
			in.low != nil && bytes.Compare(key, in.low) < 0,
			in.high != nil && bytes.Compare(key, in.high) >= 0:
			return nil, v.bad(id, "key %d is out of order", i)
		}
		keys[i] = key
	}
	return keys, nil
}
