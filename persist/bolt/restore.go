package bolt

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"parley/persist"
)

// ErrNotEmpty: the directory to restore into has something in it.
var ErrNotEmpty = errors.New("store: directory is not empty")

// Restore makes the store of directory dir out of a backup. The backup is
// verified first, and every namespace's log gets a new epoch, so that nobody
// takes an offset of the old log for one of this. dir is created if need be; it
// must be empty (ErrNotEmpty), unless replace is set: then its store is replaced,
// but not while it is open (persist.ErrLocked). Until the new one is whole and on
// disk dir keeps what it has.
func Restore(file, dir string, replace bool, progress Progress) error {
	if err := restore(file, dir, replace, progress); err != nil {
		return fmt.Errorf("restore %s into %s: %w", file, dir, err)
	}
	return nil
}

func restore(file, dir string, replace bool, progress Progress) error {
	if !replace {
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			return fmt.Errorf("%s: %w", dir, ErrNotEmpty)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	report, err := Check(file, progress)
	if err != nil {
		return err
	}
	if err := report.Err(); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	target := filepath.Join(dir, FileName)
	if _, err := os.Stat(target); err == nil {
		// Whoever opens it now waits until the lock is gone, and then finds that it
		// has been replaced. One that is not even a bbolt file nobody can have open.
		old, err := lockShared(target, time.Second)
		if errors.Is(err, persist.ErrLocked) {
			return err
		}
		if err == nil {
			defer old.Close()
		}
	}
	// report.Path: file may be a directory.
	return Receive(target, func(f *os.File) error { return renewed(report.Path, f) })
}

// renewed copies a verified file and gives its logs new epochs; it closes f.
func renewed(from string, f *os.File) error {
	src, err := os.Open(from)
	if err == nil {
		_, err = io.Copy(f, src)
		src.Close()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return noSpaceAsFull(err)
	}
	return guard(func() error {
		db, err := bbolt.Open(f.Name(), 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: time.Second})
		if err != nil {
			return openError(err)
		}
		err = db.Update(newEpochs)
		if cerr := db.Close(); err == nil {
			err = cerr
		}
		return noSpaceAsFull(err)
	})
}

// newEpochs renames all logs.
func newEpochs(tx *bbolt.Tx) error {
	infos := map[string]info{}
	c := tx.Cursor()
	for k, _ := c.Seek([]byte{'n'}); len(k) > 0 && k[0] == 'n'; k, _ = c.Next() {
		var i info
		name := string(k[1:])
		if err := i.decode(name, tx.Bucket(k).Get([]byte(keyInfo))); err != nil {
			return fmt.Errorf("namespace %q: %w: %w", name, err, persist.ErrCorrupt)
		}
		infos[name] = i
	}
	for name, i := range infos {
		i.epoch = newEpoch()
		if err := writeInfo(tx, name, &i); err != nil {
			return err
		}
	}
	return nil
}
