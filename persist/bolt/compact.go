package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Compact writes the store of directory dir anew, without the pages that are
// free, and puts the new file into the place of the old one, with its owner and
// permissions. It needs room for both on the disk. before and after are the
// sizes in bytes. The store must not be open (persist.ErrLocked), and cannot be
// opened meanwhile. A kill or a power cut at any moment leaves the old file or
// the new one in place, and at worst a file parley.db.compact-… beside it, which
// the next Compact removes. With an error the old file is in place, untouched.
func Compact(dir string, progress Progress) (before, after int64, err error) {
	path := filepath.Join(dir, FileName)
	st, err := os.Stat(path) // Open would create it
	if err == nil {
		before, after, err = compact(dir, path, st, progress)
	}
	if err != nil {
		return before, before, fmt.Errorf("compact %s: %w", path, err)
	}
	return before, after, nil
}

func compact(dir, path string, st os.FileInfo, progress Progress) (before, after int64, err error) {
	before = st.Size()
	s, err := Open(dir, Options{})
	if err != nil {
		return before, before, err
	}
	defer s.Close() // with it the lock, when the new file has its name
	if err := removeStale(dir, FileName+".compact-*"); err != nil {
		return before, before, err
	}
	f, err := os.CreateTemp(dir, FileName+".compact-")
	if err != nil {
		return before, before, noSpaceAsFull(err)
	}
	defer os.Remove(f.Name()) // fails if it has been renamed
	if err := roomFor(s.db, f); err != nil {
		f.Close()
		return before, before, err
	}
	if err := copyTo(context.Background(), s.db, f, progress); err != nil {
		return before, before, err
	}
	if err := proved(f.Name()); err != nil {
		return before, before, err
	}
	if err := likeOld(f.Name(), st); err != nil {
		return before, before, err
	}
	now, err := os.Stat(f.Name())
	if err != nil {
		return before, before, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return before, before, err
	}
	return before, now.Size(), syncDir(dir)
}

// removeStale removes what an earlier run that was killed has left.
func removeStale(dir, pattern string) error {
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// likeOld gives a file the permissions and the owner of the one it replaces.
func likeOld(name string, old os.FileInfo) error {
	if err := chownLike(name, old); err != nil {
		return err
	}
	return os.Chmod(name, old.Mode().Perm())
}
