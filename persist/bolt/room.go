package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"parley/persist"
)

const (
	reservePages = 64       // kept for Drop, which frees pages but has to write some first
	growStep     = 16 << 20 // the file grows by its own size, at most by this
	growLeast    = 256 << 10
)

// need is an upper bound of the bytes of pages that the plan writes: leaves are
// at least half full (a split leaves two keys at least to each side), and every
// bucket and every table entry may touch a path of its own.
func (p *plan) need(pageSize int64) int64 {
	elements := len(p.records) + len(p.controls) + len(p.puts)
	buckets := 2 + 4*len(p.touched) + 2*p.fresh
	indexes := 0
	for i := range p.indexes {
		indexes += len(p.indexes[i].value)
	}
	paths := 6*buckets + min(len(p.puts), 4096)
	return int64(2*(len(p.arena)+indexes+32*elements)) + int64(paths)*pageSize
}

// room makes sure that need bytes of pages can be written behind size, the
// present end of the used pages, or from free pages. Allocating here, before
// anything is written, is what makes a full disk harmless: bbolt itself would
// notice in the middle of a commit and walk the whole file to find its free
// pages again. It also takes bbolt's truncate and fsync out of the commits.
func (s *Store) room(size, need int64, ordinary bool) error {
	want := size + need
	if ordinary {
		want += reservePages * s.pageSize
	}
	limit := s.opts.MaxBytes
	if want <= s.fileSize && (limit == 0 || want <= limit) {
		return nil
	}
	if free := int64(s.db.Stats().FreePageN) * s.pageSize; free >= 2*need {
		return nil // not all of it may be contiguous, hence twice
	}
	if limit > 0 && want > limit {
		return fmt.Errorf("%s: %d bytes and %d more would pass the limit of %d: %w", s.path, size, need, limit, persist.ErrFull)
	}
	target := want + max(growLeast, min(size, growStep))
	if limit > 0 {
		target = min(target, limit)
	}
	err := allocate(s.file, target)
	if err != nil && noSpace(err) {
		target = want
		err = allocate(s.file, target)
	}
	switch {
	case err == nil:
	case noSpace(err):
		return fmt.Errorf("%s: allocate %d bytes: %w: %w", s.path, need, persist.ErrFull, err)
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.ENOSYS):
		return nil // then bbolt will have to find out
	default:
		return s.poison(fmt.Errorf("allocate: %w", err))
	}
	s.fileSize = target
	if s.db.NoSync {
		return nil
	}
	if err := s.file.Sync(); err != nil {
		return s.poison(fmt.Errorf("sync after growing: %w", err))
	}
	return nil
}

// noSpace tells whether err says that there is no room: disk, quota or the
// process' file size limit.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG) || errors.Is(err, syscall.EDQUOT)
}

func noSpaceAsFull(err error) error {
	if noSpace(err) {
		return fmt.Errorf("%w: %w", persist.ErrFull, err)
	}
	return err
}

// commitError judges what a failed bbolt commit has left behind.
//
// bbolt rolls back whatever failed. Pages written until then are free ones, so
// a page write or a growth that failed for lack of room is harmless. It is not
// once the meta page may have been touched, and a failed sync says nothing about
// what is on disk (later syncs may succeed although pages were lost), so these
// poison the store. Sync errors are bare errnos, write errors *fs.PathError;
// a failed growth is only text.
func (s *Store) commitError(err error, txid uint64) error {
	var path *fs.PathError
	full := errors.As(err, &path) && noSpace(err)
	if strings.HasPrefix(err.Error(), "file resize error") {
		for _, e := range []syscall.Errno{syscall.ENOSPC, syscall.EFBIG, syscall.EDQUOT} {
			full = full || strings.Contains(err.Error(), e.Error())
		}
	}
	if full && s.metaUntouched(txid) {
		return fmt.Errorf("%s: %w: %w", s.path, persist.ErrFull, err)
	}
	return s.poison(err)
}

// metaUntouched tells whether the meta page that transaction txid would have
// written still holds the transaction before the last.
func (s *Store) metaUntouched(txid uint64) bool {
	b := make([]byte, metaLen)
	if _, err := s.file.ReadAt(b, int64(txid%2)*s.pageSize+pageHeader); err != nil {
		return false
	}
	m, ok := parseMeta(b)
	return ok && m.txid+2 == txid
}
