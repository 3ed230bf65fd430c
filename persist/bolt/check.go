package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"parley/msg"
	"parley/persist"
)

// maxProblems bounds what a Check lists; the rest is counted.
const maxProblems = 100

// Progress hears how much of a long piece of work is done; both are in bytes,
// and done may stay below total. It is called often and must return quickly.
type Progress func(done, total int64)

// Problem is one thing that is wrong with a file.
type Problem struct {
	Bucket string // what it belongs to, in words; "" = the file as a whole
	What   string // with page and byte offset
}

func (p Problem) String() string {
	if p.Bucket == "" {
		return p.What
	}
	return p.Bucket + ": " + p.What
}

// Report is what Check found.
type Report struct {
	Path     string
	Problems []Problem // at most 100; none: the store is good
	Omitted  int       // problems beyond these
	Stats    Stats     // of what could be read
}

// Err is nil if nothing is wrong, else persist.ErrCorrupt with the first problem.
func (r *Report) Err() error {
	if len(r.Problems) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s: %w", r.Path, r.Problems[0], persist.ErrCorrupt)
}

// Check reads all of a store, a directory's or a file, and verifies every page
// that can be reached, every checksum, that every record decodes, and whatever a
// start verifies. It changes nothing and goes on behind damage. The error says
// why the file could not be looked at at all: persist.ErrLocked, ErrNewer or the
// system's.
func Check(path string, progress Progress) (Report, error) {
	s := &survey{progress: progress}
	err := s.run(path)
	if err != nil {
		return s.report, fmt.Errorf("check store: %w", err)
	}
	if len(s.report.Problems) == 0 {
		err = s.asStarting()
	}
	if err != nil {
		return s.report, fmt.Errorf("check store: %w", err)
	}
	return s.report, nil
}

// survey looks at a file's pages, for Check and ReadStats.
type survey struct {
	report   Report
	progress Progress

	names   map[uint32]string // namespaces by id
	bucket  bucketSurvey      // that the walk is in
	buckets []bucketSurvey
	values  map[string]uint64 // of the file's own bucket
}

// bucketSurvey is what one bucket holds.
type bucketSurvey struct {
	name     string
	sequence uint64
	at       int64
	entries  uint64
	bytes    int64 // of keys and values
	first    uint64
	last     uint64
	time     int64 // newest record's
	prefixes map[string]TableStats
	info     info
}

func (s *survey) run(path string) error {
	path, err := locate(path)
	if err != nil {
		return err
	}
	s.report.Path = path
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	s.report.Stats = Stats{Path: path, FileBytes: st.Size()}
	if _, err = readMeta(f, st.Size()); err == nil {
		db, lockErr := lockShared(path, time.Second)
		if lockErr != nil {
			return fmt.Errorf("%s: %w", path, lockErr)
		}
		defer db.Close()
	}
	// Again, now that nobody can write to it.
	if st, err = f.Stat(); err != nil {
		return err
	}
	meta, err := readMeta(f, st.Size())
	if err != nil {
		s.problem("", err)
		return nil
	}
	if meta.freelist != noFreelist {
		s.problem("", errors.New("has a stored free list, which this store never writes"))
	}
	s.names, s.values = map[uint32]string{}, map[string]uint64{}
	w := newWalker(f, meta)
	w.bucket, w.element = s.enter, s.element
	w.damage = func(bucket []byte, err error) { s.problem(string(bucket), err) }
	if s.progress != nil {
		w.visited = func(pages uint64) { s.progress(int64(pages)*meta.pageSize, int64(meta.pages)*meta.pageSize) }
	}
	w.walk()
	s.leave()
	for i := range s.report.Problems { // now that all namespaces have names
		p := &s.report.Problems[i]
		p.Bucket = s.describe(p.Bucket)
	}
	s.summarize(meta, w.pages)
	return s.format()
}

// format refuses what a newer broker wrote.
func (s *survey) format() error {
	v, ok := s.values[keyFormat]
	switch {
	case !ok:
		s.problem("", fmt.Errorf("a bbolt file, but not one of this broker (bucket %q is missing or damaged)", rootName))
	case v > formatVersion:
		return fmt.Errorf("%s has format %d, this broker knows up to format %d: %w", s.report.Path, v, formatVersion, persist.ErrNewer)
	}
	return nil
}

// problem notes what is wrong; during the walk bucket is the bucket's own name.
func (s *survey) problem(bucket string, err error) {
	if len(s.report.Problems) == maxProblems {
		s.report.Omitted++
		return
	}
	s.report.Problems = append(s.report.Problems, Problem{Bucket: bucket, What: err.Error()})
}

func (s *survey) enter(name []byte, sequence uint64, at int64) {
	s.leave()
	s.bucket = bucketSurvey{name: string(name), sequence: sequence, at: at, prefixes: map[string]TableStats{}}
}

// leave judges the bucket that was read to its end.
func (s *survey) leave() {
	b := &s.bucket
	if b.name == "" {
		return
	}
	if isSegment(b.name) && b.entries > 0 && b.last != b.sequence {
		s.problem(b.name, fmt.Errorf("ends with offset %d, must end with %d (bucket at byte %d)", b.last, b.sequence, b.at))
	}
	s.buckets = append(s.buckets, *b)
	*b = bucketSurvey{}
}

func isSegment(name string) bool { return len(name) == segmentNameLen && name[0] == 's' }

func (s *survey) element(_, key, value []byte, at int64) {
	b := &s.bucket
	b.entries++
	b.bytes += int64(len(key) + len(value))
	if err := s.judge(b, key, value); err != nil {
		s.problem(b.name, fmt.Errorf("%w (value of %d bytes at byte %d of the file)", err, len(value), at))
	}
}

// judge checks one element of bucket b.
func (s *survey) judge(b *bucketSurvey, key, value []byte) error {
	switch {
	case isSegment(b.name):
		return s.record(b, key, value)
	case b.name == rootName:
		v, err := unsealUint(string(key), value)
		if err == nil {
			s.values[string(key)] = v
		}
		return err
	case b.name[0] == 'n' && string(key) == keyInfo:
		if err := b.info.decode(b.name[1:], value); err != nil {
			return fmt.Errorf("state: %w", err)
		}
		s.names[b.info.id] = b.name[1:]
	case b.name[0] == 'c' && len(b.name) == 5:
		if _, err := decodeControl("", key, value); err != nil {
			return fmt.Errorf("control %x: %w", key, err)
		}
	case b.name[0] == 't' && len(b.name) == 5:
		p, err := decodePut(key, value)
		if err != nil {
			return fmt.Errorf("table entry %q: %w", key, err)
		}
		prefix := tablePrefix(p.Key)
		t := b.prefixes[prefix]
		t.Entries++
		t.Bytes += int64(len(key) + len(value))
		b.prefixes[prefix] = t
	case b.name[0] == 'k' && len(b.name) == 5:
		return s.kept(key, value)
	default:
		if _, err := unseal(key, value); err != nil {
			return fmt.Errorf("entry %x: %w", key, err)
		}
	}
	return nil
}

func (s *survey) record(b *bucketSurvey, key, value []byte) error {
	if len(key) != 8 {
		return fmt.Errorf("key %x: %w", key, errShape)
	}
	at := binary.BigEndian.Uint64(key)
	previous := b.last
	if b.entries == 1 {
		b.first = at
	}
	b.last = at
	m, err := persist.DecodeRecord(value, msg.Offset(at))
	switch {
	case err != nil:
		return fmt.Errorf("offset %d: %w", at, err)
	case b.entries > 1 && m.Time < b.time:
		return fmt.Errorf("offset %d: its time %d is before %d, that of offset %d", at, m.Time, b.time, previous)
	}
	b.time = m.Time
	return nil
}

// kept checks a message that is left of a dropped segment.
func (s *survey) kept(key, value []byte) error {
	if len(key) != 8 {
		return fmt.Errorf("key %x: %w", key, errShape)
	}
	at := binary.BigEndian.Uint64(key)
	if _, err := persist.DecodeRecord(value, msg.Offset(at)); err != nil {
		return fmt.Errorf("offset %d: %w", at, err)
	}
	return nil
}

// describe puts a bucket's name into words.
func (s *survey) describe(name string) string {
	id := func() string {
		n := binary.BigEndian.Uint32([]byte(name[1:5]))
		if known, ok := s.names[n]; ok {
			return fmt.Sprintf("namespace %q", known)
		}
		return fmt.Sprintf("namespace number %08x", n)
	}
	switch {
	case name == "" || name == rootName:
		return name
	case name[0] == 'n':
		return fmt.Sprintf("namespace %q", name[1:])
	case isSegment(name):
		return fmt.Sprintf("%s, class %d, segment from offset %d", id(), name[5], binary.BigEndian.Uint64([]byte(name[6:])))
	case len(name) == 5 && name[0] == 'c':
		return id() + ", controls"
	case len(name) == 5 && name[0] == 't':
		return id() + ", checkpoint table"
	case len(name) == 5 && name[0] == 'x':
		return id() + ", index"
	case len(name) == 5 && name[0] == 'k':
		return id() + ", kept messages"
	case len(name) == 5 && name[0] == 'd':
		return id() + ", summaries of what was dropped"
	}
	return fmt.Sprintf("bucket %q", name)
}

// asStarting does what a start does, and reads the tables to their ends.
func (s *survey) asStarting() error {
	store, err := OpenReadOnly(s.report.Path, Options{})
	if errors.Is(err, persist.ErrCorrupt) {
		s.problem("", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer store.Close()
	for _, name := range store.Namespaces() {
		_, err := store.State(name, persist.Visitor{
			Put: func(persist.Put) error { return nil }, Control: func(persist.Control) error { return nil },
		})
		if err != nil {
			s.problem(fmt.Sprintf("namespace %q", name), err)
		}
		if err := store.readThrough(name); err != nil {
			s.problem(fmt.Sprintf("namespace %q", name), err)
		}
	}
	return nil
}

// readThrough reads a namespace's log as subscribers would.
func (s *Store) readThrough(namespace string) error {
	for from := msg.Offset(0); ; {
		ms, next, err := s.Read(namespace, from, 0, persist.Limits{Messages: 1024, Bytes: 1 << 20})
		if err != nil || len(ms) == 0 {
			return err
		}
		from = next
	}
}
