package bolt

import (
	"reflect"
	"unsafe"

	"golang.org/x/sys/unix"
)

// WriteAt is how bbolt writes pages.
type WriteAt = func(b []byte, at int64) (int, error)

// Intercept puts hook into the place of the function that bbolt writes pages
// with; next is that function. The field is bbolt's own.
func (s *Store) Intercept(hook func(next WriteAt, b []byte, at int64) (int, error)) {
	s.writing.Lock()
	defer s.writing.Unlock()
	f := reflect.ValueOf(s.db).Elem().FieldByName("ops").FieldByName("writeAt")
	field := (*WriteAt)(unsafe.Pointer(f.UnsafeAddr()))
	next := *field
	*field = func(b []byte, at int64) (int, error) { return hook(next, b, at) }
}

// Syncs tells whether bbolt syncs what it writes.
func (s *Store) Syncs() bool { return !s.db.NoSync }

// Descriptor is bbolt's own.
func (s *Store) Descriptor() int { return int(s.file.Fd()) }

// Pretend makes the store believe that size bytes of the file are allocated, so
// that a lack of room is found by bbolt, in the middle of a commit.
func (s *Store) Pretend(size int64) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.fileSize = size
}

// Redirect puts another file under bbolt's descriptor and returns what puts the
// store's own back.
func (s *Store) Redirect(path string) (restore func() error, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	own := int(s.file.Fd())
	kept, err := unix.Dup(own)
	if err != nil {
		return nil, err
	}
	other, err := unix.Open(path, unix.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Dup3(other, own, unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	return func() error {
		unix.Close(other)
		err := unix.Dup3(kept, own, unix.O_CLOEXEC)
		unix.Close(kept)
		return err
	}, nil
}

// SealUint makes a value of the file's own bucket.
func SealUint(key string, v uint64) []byte { return sealUint(key, v) }

// SyncNow does what happens in the background some time after a commit.
func (s *Store) SyncNow() { s.syncNow() }
