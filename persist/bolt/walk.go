package bolt

import (
	"encoding/binary"
	"io"
)

// walker shows every element of a bbolt file by reading its pages, not through
// bbolt: damage is reported and walked around, and every element's place in the
// file is known. Slices shown are valid only during the call.
type walker struct {
	verifier
	bucket  func(name []byte, sequence uint64, at int64) // before its elements
	element func(bucket, key, value []byte, at int64)
	damage  func(bucket []byte, err error)
	visited func(pages uint64) // so far; may be nil

	in    []byte // the bucket it is in; nil = the top level
	pages uint64
}

func newWalker(r io.ReaderAt, m metaPage) *walker {
	return &walker{verifier: verifier{r: r, meta: m, seen: make([]uint64, m.pages/64+1)}}
}

// walk goes through everything that can be reached from the root.
func (w *walker) walk() { w.page(w.meta.root, bounds{}, 0) }

func (w *walker) page(id uint64, in bounds, depth int) {
	if depth >= maxDepth {
		w.damage(w.in, w.bad(id, "nested too deeply"))
		return
	}
	if id < 2 || id >= w.meta.pages {
		w.damage(w.in, w.bad(id, "beyond the file's %d pages", w.meta.pages))
		return
	}
	b, err := w.load(id, depth)
	if err != nil {
		w.damage(w.in, err)
		return
	}
	w.pages += 1 + uint64(binary.NativeEndian.Uint32(b[12:]))
	if w.visited != nil {
		w.visited(w.pages)
	}
	switch flags := binary.NativeEndian.Uint16(b[8:]); flags {
	case flagBranch:
		w.branch(id, b, in, depth)
	case flagLeaf:
		w.leaf(id, b, in, depth, int64(id)*w.meta.pageSize)
	default:
		w.damage(w.in, w.bad(id, "unexpected kind %#x", flags))
	}
}

func (w *walker) branch(id uint64, b []byte, in bounds, depth int) {
	keys, err := w.keys(id, b, 4, in)
	if err == nil && len(keys) == 0 {
		err = w.bad(id, "empty branch")
	}
	if err != nil {
		w.damage(w.in, err)
		return
	}
	for i, key := range keys {
		sub := bounds{low: key, high: in.high}
		if i+1 < len(keys) {
			sub.high = keys[i+1]
		}
		w.page(binary.NativeEndian.Uint64(b[pageHeader+i*elementSize+8:]), sub, depth+1)
	}
}

// leaf shows a leaf's elements; at is where b begins in the file.
func (w *walker) leaf(id uint64, b []byte, in bounds, depth int, at int64) {
	keys, err := w.keys(id, b, 8, in)
	if err != nil {
		w.damage(w.in, err)
		return
	}
	e := binary.NativeEndian
	for i, key := range keys {
		head := pageHeader + i*elementSize
		flags, vsize := e.Uint32(b[head:]), uint64(e.Uint32(b[head+12:]))
		start := uint64(head) + uint64(e.Uint32(b[head+4:])) + uint64(len(key))
		place := at + int64(start)
		switch {
		case start+vsize > uint64(len(b)):
			w.damage(w.in, w.bad(id, "value %d reaches beyond the page", i))
		case flags == 0 && w.in == nil:
			w.damage(nil, w.bad(id, "a value outside of any bucket"))
		case flags == 0:
			w.element(w.in, key, b[start:start+vsize], place)
		case flags != 1 || vsize < 16:
			w.damage(w.in, w.bad(id, "element %d has flags %#x", i, flags))
		case w.in != nil:
			w.damage(w.in, w.bad(id, "a bucket within a bucket"))
		default:
			w.enter(id, key, b[start:start+vsize], depth, place)
		}
	}
}

// enter shows a bucket, which is either inline or has a tree of its own.
func (w *walker) enter(id uint64, name, b []byte, depth int, at int64) {
	w.in = name
	defer func() { w.in = nil }()
	w.bucket(name, binary.NativeEndian.Uint64(b[8:]), at)
	if root := binary.NativeEndian.Uint64(b); root != 0 {
		w.page(root, bounds{}, depth+1)
		return
	}
	inline := b[16:]
	if len(inline) < pageHeader || binary.NativeEndian.Uint16(inline[8:]) != flagLeaf {
		w.damage(name, w.bad(id, "inline bucket without a leaf"))
		return
	}
	w.leaf(id, inline, bounds{}, depth, at+16)
}
