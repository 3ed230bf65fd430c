package bolt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"parley/persist"
)

// spareBytes is what a copy made beside a store must leave free on the disk.
const spareBytes = 64 << 20

// Snapshot makes a copy of the store as it is at one moment during the call,
// while it serves, and returns it as a file that has no name and vanishes when
// the caller closes it; it is to be read from its beginning and has not been
// synced. It lies in the store's own directory and takes about as much room as
// the store uses; persist.ErrFull if the disk would be left with less than 64
// MiB. The copy ends with the newest message of that moment and holds all before
// it that had not been trimmed.
//
// Commits go on. The log is copied in transactions of 2 MiB; only the last one
// is longer, as long as it takes to copy the checkpoint tables and what of the
// log was written during the copy before it. While it is open the file may grow,
// because freed pages are not used again, and if it grows beyond what is mapped,
// commits wait for its end.
func (s *Store) Snapshot(ctx context.Context) (*os.File, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	f, err := s.snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", s.path, err)
	}
	return f, nil
}

func (s *Store) snapshot(ctx context.Context) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(s.path), FileName+".backup-")
	if err != nil {
		return nil, noSpaceAsFull(err)
	}
	kept, err := os.Open(f.Name())
	os.Remove(f.Name()) // the descriptors keep it, and a kill leaves nothing behind
	if err != nil {
		f.Close()
		return nil, err
	}
	if err := roomFor(s.db, f); err != nil {
		f.Close()
		kept.Close()
		return nil, err
	}
	if err := copyTo(ctx, s.db, f, nil); err != nil {
		kept.Close()
		return nil, err
	}
	return kept, nil
}

// roomFor refuses if the disk that f is on has no room for a copy of db.
func roomFor(db *bbolt.DB, f *os.File) error {
	var size int64
	err := db.View(func(tx *bbolt.Tx) error {
		size = tx.Size() - int64(db.Stats().FreePageN)*int64(db.Info().PageSize)
		return nil
	})
	if err != nil {
		return err
	}
	free, ok := freeBytes(f)
	if ok && free < size+spareBytes {
		return fmt.Errorf("a copy of %d bytes has to leave %d bytes free on the disk, which has %d: %w", size, int64(spareBytes), free, persist.ErrFull)
	}
	return nil
}

// Backup copies the store at path, a directory or a file that no broker has
// open, into file, which appears when it is whole, verified and on disk. An
// existing file is replaced.
func Backup(path, file string, progress Progress) error {
	s, err := OpenReadOnly(path, Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	return Receive(file, func(f *os.File) error { return copyTo(context.Background(), s.db, f, progress) })
}

// Receive makes the store file called file out of what fill writes, and closes:
// the result is verified, on disk, and only then gets its name.
func Receive(file string, fill func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".part-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails if it has been renamed
	if err := fill(f); err != nil {
		f.Close()
		return err
	}
	if err := proved(f.Name()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

// proved syncs a new store file and checks it.
func proved(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return noSpaceAsFull(err)
	}
	report, err := Check(name, nil)
	if err != nil {
		return err
	}
	return report.Err()
}
