package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"parley/persist"
)

var errReadOnly = errors.New("store: opened for reading only")

// OpenReadOnly opens a store that no broker has open, for tools: a directory, or
// the file itself (a backup). Any number of processes may do so at a time, and a
// broker cannot start meanwhile. Whatever would write fails, State of an unknown
// namespace too. Errors are Open's; a path that does not exist is not created.
func OpenReadOnly(path string, o Options) (*Store, error) {
	o = o.withDefaults()
	path, err := locate(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	proved, err := inspect(path, o.LockTimeout)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	s := &Store{opts: o, path: path, spaces: map[string]*space{}, failed: errReadOnly}
	if err := guard(func() error { return s.openReadOnly(proved) }); err != nil {
		if s.db != nil {
			s.db.Close()
		}
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

func (s *Store) openReadOnly(p proof) error {
	db, err := lockShared(s.path, s.opts.LockTimeout)
	if err != nil {
		return err
	}
	s.db, s.pageSize = db, int64(db.Info().PageSize)
	return db.View(func(tx *bbolt.Tx) error {
		if uint64(tx.ID()) != p.txid {
			return fmt.Errorf("the file was written to while it was being opened: %w", persist.ErrLocked)
		}
		format, err := checkFormat(tx)
		if err != nil {
			return err
		}
		return s.load(tx, format, p.entries)
	})
}

// lockShared opens a file for reading, which keeps everybody from opening it for
// writing until it is closed. Only its meta pages are looked at.
func lockShared(path string, timeout time.Duration) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: timeout})
	if err != nil {
		return nil, openError(err)
	}
	return db, nil
}

// locate finds the store's file: path itself, or in the directory path.
func locate(path string) (string, error) {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		path = filepath.Join(path, FileName)
		_, err = os.Stat(path)
	}
	return path, err
}

// Namespaces lists what the store holds, sorted.
func (s *Store) Namespaces() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := make([]string, 0, len(s.spaces))
	for name := range s.spaces {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Path is the store's file.
func (s *Store) Path() string { return s.path }
