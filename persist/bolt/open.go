package bolt

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"parley/persist"
)

// mapping is how much address space is mapped at first; growing beyond waits
// for readers. It costs no memory.
const mapping = 256 << 20

// Open opens the store in directory dir, creating both if they do not exist.
// Errors: persist.ErrLocked, ErrNewer, ErrCorrupt (the file is then untouched),
// or the system's. Nothing runs until a method is called.
func Open(dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	if err := o.Sync.valid(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	path := filepath.Join(dir, FileName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(dir, path); err != nil {
			return nil, fmt.Errorf("create store %s: %w", path, err)
		}
	}
	for {
		proof, err := inspect(path, o.LockTimeout)
		if err != nil {
			return nil, fmt.Errorf("open store %s: %w", path, err)
		}
		s := &Store{opts: o, path: path, spaces: map[string]*space{}}
		err = guard(func() error { return s.open(proof) })
		if err == nil {
			return s, nil
		}
		if s.db != nil {
			s.db.Close()
		}
		if !errors.Is(err, errWritten) {
			return nil, fmt.Errorf("open store %s: %w", path, err)
		}
	}
}

// proof is what was learned by reading the whole file.
type proof struct {
	txid    uint64         // the transaction that it was true for
	entries map[string]int // of each bucket
}

// errWritten: somebody has written to the file since it was proved.
var errWritten = errors.New("written by another process meanwhile")

// create makes the file under another name first, so that a kill leaves either
// no store or a whole one; of two processes one wins.
func create(dir, path string) error {
	f, err := os.CreateTemp(dir, FileName+".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := f.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(f.Name(), 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: time.Second})
	if err != nil {
		return noSpaceAsFull(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte(rootName))
		if err != nil {
			return err
		}
		if err := b.Put([]byte(keyFormat), sealUint(keyFormat, formatVersion)); err != nil {
			return err
		}
		if err := b.Put([]byte(keySegments), sealUint(keySegments, 0)); err != nil {
			return err
		}
		return b.Put([]byte(keySpaces), sealUint(keySpaces, 0))
	})
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return noSpaceAsFull(err)
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		// A file system without hard links.
		if err := os.Rename(f.Name(), path); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

func sealUint(key string, v uint64) []byte {
	return seal(nil, []byte(key), binary.BigEndian.AppendUint64(nil, v))
}

func unsealUint(key string, b []byte) (uint64, error) {
	b, err := unseal([]byte(key), b)
	if err != nil || len(b) != 8 {
		return 0, fmt.Errorf("%s: %w: %w", key, errShape, persist.ErrCorrupt)
	}
	return binary.BigEndian.Uint64(b), nil
}

// inspect proves the file without opening it for writing.
func inspect(path string, timeout time.Duration) (p proof, err error) {
	f, err := os.Open(path)
	if err != nil {
		return p, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return p, err
	}
	if _, err := readMeta(f, st.Size()); err != nil {
		return p, err
	}
	err = guard(func() error {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: timeout})
		if err != nil {
			return openError(err)
		}
		defer db.Close()
		// Again, now that nobody can write to it.
		if st, err = f.Stat(); err != nil {
			return err
		}
		meta, err := readMeta(f, st.Size())
		if err != nil {
			return err
		}
		p.txid = meta.txid
		if p.entries, err = verify(f, meta); err != nil {
			return err
		}
		return db.View(func(tx *bbolt.Tx) error { _, err := checkFormat(tx); return err })
	})
	return p, err
}

// checkFormat returns the file's format, one that this package can read.
func checkFormat(tx *bbolt.Tx) (uint64, error) {
	b := tx.Bucket([]byte(rootName))
	if b == nil {
		return 0, fmt.Errorf("a bbolt file, but not one of this broker (bucket %q is missing): %w", rootName, persist.ErrCorrupt)
	}
	v, err := unsealUint(keyFormat, b.Get([]byte(keyFormat)))
	if err != nil {
		return 0, err
	}
	if v > formatVersion {
		return v, fmt.Errorf("the file has format %d, this broker knows up to format %d; use the newer broker that wrote it: %w", v, formatVersion, persist.ErrNewer)
	}
	if v == 0 {
		return v, fmt.Errorf("format %d: %w", v, persist.ErrCorrupt)
	}
	return v, nil
}

// openError gives bbolt's errors our names.
func openError(err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%w", persist.ErrLocked)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%w: %w", persist.ErrCorrupt, err)
	}
	return err
}

// open opens the inspected file for writing (which changes nothing in it unless
// it has an older format) and reads what is to be known in memory.
func (s *Store) open(p proof) error {
	db, err := bbolt.Open(s.path, 0o600, &bbolt.Options{
		Timeout: s.opts.LockTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, InitialMmapSize: mapping,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			// Not O_CREATE: if the file has vanished since, nobody wants a new one.
			f, err := os.OpenFile(name, flag&^os.O_CREATE, mode)
			s.file = f
			return f, err
		},
	})
	if err != nil {
		return openError(err)
	}
	s.db = db
	s.pageSize = int64(db.Info().PageSize)
	// The store allocates the file itself (see room); should its estimate ever
	// be too low, bbolt adds no more than it needs.
	db.AllocSize = 256 << 10
	st, err := s.file.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Stat(s.path); err != nil || !os.SameFile(st, now) {
		return fmt.Errorf("the file was replaced while it was being opened: %w", persist.ErrLocked)
	}
	s.fileSize = st.Size()
	var format uint64
	err = db.View(func(tx *bbolt.Tx) error {
		if uint64(tx.ID()) != p.txid {
			return errWritten
		}
		if format, err = checkFormat(tx); err != nil {
			return err
		}
		return s.load(tx, format, p.entries)
	})
	if err == nil && format < formatVersion {
		err = s.upgrade()
	}
	if err != nil {
		return err
	}
	return s.mark()
}

func newEpoch() (e [16]byte) {
	rand.Read(e[:]) // never fails
	return e
}

// newID picks a number for a namespace. It is random so that no damaged bit
// makes one namespace's buckets another's.
func (s *Store) newID() uint32 {
	for {
		var b [4]byte
		rand.Read(b[:])
		id, taken := binary.BigEndian.Uint32(b[:]), false
		for _, n := range s.spaces {
			taken = taken || n.id == id
		}
		if !taken {
			return id
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
