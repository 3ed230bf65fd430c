package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math/bits"

	"parley/persist"
)

// The parts of bbolt's file format (version 2) that are needed to prove a file
// before bbolt reads it and to tell what a failed commit left behind. Numbers
// are in the machine's byte order, as bbolt writes them.
const (
	pageHeader  = 16 // id uint64, flags uint16, count uint16, overflow uint32
	elementSize = 16
	flagBranch  = 1
	flagLeaf    = 2
	metaLen     = 64
	metaSumAt   = 56
	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = ^uint64(0)
	minPage     = 1 << 10
	maxPage     = 16 << 20
)

// metaPage is one of bbolt's two meta pages; the valid one with the higher txid counts.
type metaPage struct {
	pageSize int64
	root     uint64
	freelist uint64
	pages    uint64 // all pages are below
	txid     uint64
}

// parseMeta reads the struct behind the page header; false: it is not valid.
func parseMeta(b []byte) (m metaPage, ok bool) {
	if len(b) < metaLen {
		return m, false
	}
	h := fnv.New64a()
	h.Write(b[:metaSumAt])
	e := binary.NativeEndian
	if e.Uint32(b) != boltMagic || e.Uint32(b[4:]) != boltVersion || e.Uint64(b[metaSumAt:]) != h.Sum64() {
		return m, false
	}
	m = metaPage{
		pageSize: int64(e.Uint32(b[8:])), root: e.Uint64(b[16:]),
		freelist: e.Uint64(b[32:]), pages: e.Uint64(b[40:]), txid: e.Uint64(b[48:]),
	}
	ok = m.pageSize >= minPage && m.pageSize <= maxPage && bits.OnesCount64(uint64(m.pageSize)) == 1
	return m, ok
}

// oneBitOff tells whether b is a valid meta page but for one bit, and newer than
// the valid one: then what was committed last may be behind it. A write that was
// torn by a power cut can look like an older page with a bit off, but not like a
// newer one.
func oneBitOff(b []byte, valid metaPage) bool {
	c := append([]byte(nil), b[:metaLen]...)
	for i := range metaLen * 8 {
		c[i/8] ^= 1 << (i % 8)
		if m, ok := parseMeta(c); ok {
			return m.txid > valid.txid
		}
		c[i/8] ^= 1 << (i % 8)
	}
	return false
}

// readMeta finds the meta page that counts and checks it against the file's size.
func readMeta(r io.ReaderAt, size int64) (metaPage, error) {
	head := make([]byte, pageHeader+metaLen)
	if size < 2*minPage {
		return metaPage{}, fmt.Errorf("file of %d bytes is shorter than any store: %w", size, persist.ErrCorrupt)
	}
	if _, err := r.ReadAt(head, 0); err != nil {
		return metaPage{}, fmt.Errorf("read meta page 0: %w", err)
	}
	first, ok0 := parseMeta(head[pageHeader:])
	second, b, ok1 := secondMeta(r, size, first, ok0)
	switch {
	case !ok0 && !ok1:
		return metaPage{}, fmt.Errorf("begins with %x, neither meta page is valid: not a bbolt file, or damaged: %w", head[:24], persist.ErrCorrupt)
	case !ok0 && oneBitOff(head[pageHeader:], second):
		return metaPage{}, fmt.Errorf("a bit of meta page 0 is flipped: %w", persist.ErrCorrupt)
	case ok0 && !ok1 && b != nil && oneBitOff(b, first):
		return metaPage{}, fmt.Errorf("a bit of meta page 1 is flipped: %w", persist.ErrCorrupt)
	case !ok0 || ok1 && second.txid > first.txid:
		first = second
	}
	if int64(first.pages) > size/first.pageSize {
		return first, fmt.Errorf("file of %d bytes is truncated, its %d pages need %d: %w",
			size, first.pages, int64(first.pages)*first.pageSize, persist.ErrCorrupt)
	}
	return first, nil
}

// secondMeta reads meta page 1, whose place depends on the page size; without a
// valid page 0 it tries all sizes.
func secondMeta(r io.ReaderAt, size int64, first metaPage, ok bool) (metaPage, []byte, bool) {
	b := make([]byte, metaLen)
	if ok {
		if _, err := r.ReadAt(b, first.pageSize+pageHeader); err != nil {
			return metaPage{}, nil, false
		}
		m, ok := parseMeta(b)
		return m, b, ok && m.pageSize == first.pageSize
	}
	for at := int64(minPage); at <= maxPage && at < size; at *= 2 {
		if _, err := r.ReadAt(b, at+pageHeader); err != nil {
			break
		}
		if m, ok := parseMeta(b); ok && m.pageSize == at {
			return m, b, true
		}
	}
	return metaPage{}, nil, false
}
