package bolt_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

// refused opens the store and checks that it is refused with want, that the
// error names the file, and that the file is as before.
func refused(t *testing.T, dir string, want error) error {
	t.Helper()
	path := filepath.Join(dir, bolt.FileName)
	hash := func() [32]byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(b)
	}
	before := hash()
	s, err := bolt.Open(dir, bolt.Options{LockTimeout: 100 * time.Millisecond})
	if err == nil {
		s.Close()
	}
	if !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), path) {
		t.Errorf("got %v, want %v", err, want)
	}
	if hash() != before {
		t.Error("the file was changed")
	}
	return err
}

// filled makes a store with a bit of everything and returns its file.
func filled(t *testing.T, dir string) string {
	t.Helper()
	s := open(t, dir, bolt.Options{SegmentMessages: 40})
	for i := range 30 {
		if err := publish(s, 10, 200+i); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.State("b", persist.Visitor{}); err != nil {
		t.Fatal(err)
	}
	b := &persist.Batch{}
	for i := range 300 {
		b.Controls = append(b.Controls, persist.Control{Namespace: []string{"a", "b"}[i%2], Kind: 1, Key: fmt.Sprint(i), Value: []byte("value")})
	}
	c := persist.Checkpoint{Namespace: "a", At: 5, AtControl: 20}
	for i := range 300 {
		c.Puts = append(c.Puts, persist.Put{Key: fmt.Sprintf("key %04d", i), Value: []byte("value")})
	}
	b.Checkpoints = append(b.Checkpoints, c)
	var err error
	s.Commit(b, func(e error) { err = e })
	if err != nil {
		t.Fatal(err)
	}
	if err := trim(s, 100); err != nil {
		t.Fatal(err)
	}
	write(t, s, 300, func(i int) uint8 { return uint8(i % 3) }, func(i int) string { return fmt.Sprintf("u/%d", i%70) })
	for _, class := range []uint8{0, 1, 1, 2} {
		segments, err := s.Segments("a")
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(segments, func(s persist.Segment) bool { return s.Class == class })
		if err := s.Drop("a", segments[i], []msg.Offset{segments[i].First, segments[i].Last}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, bolt.FileName)
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, bolt.Options{})
	refused(t, dir, persist.ErrLocked)
	s.Close()
	open(t, dir, bolt.Options{})
}

func TestNewerFormat(t *testing.T) {
	dir := t.TempDir()
	path := filled(t, dir)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("parley")).Put([]byte("format"), bolt.SealUint("format", 3))
	}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	err = refused(t, dir, persist.ErrNewer)
	if errors.Is(err, persist.ErrCorrupt) || !strings.Contains(err.Error(), "format 3") || !strings.Contains(err.Error(), "up to format 2") {
		t.Errorf("not a clear text: %v", err)
	}
}

func TestForeignFiles(t *testing.T) {
	random := make([]byte, 100_000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	for name, content := range map[string][]byte{
		"empty":  {},
		"short":  []byte("hello"),
		"text":   bytes.Repeat([]byte("not a store\n"), 10_000),
		"zeros":  make([]byte, 1<<20),
		"random": random,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, bolt.FileName), content, 0o600); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, persist.ErrCorrupt)
		})
	}
	t.Run("another program's bbolt file", func(t *testing.T) {
		for _, noFreelist := range []bool{true, false} {
			dir := t.TempDir()
			db, err := bbolt.Open(filepath.Join(dir, bolt.FileName), 0o600, &bbolt.Options{NoFreelistSync: noFreelist})
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err }); err != nil {
				t.Fatal(err)
			}
			db.Close()
			refused(t, dir, persist.ErrCorrupt)
		}
	})
}

func TestTruncatedFile(t *testing.T) {
	dir := t.TempDir()
	content, err := os.ReadFile(filled(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	used := usedBytes(t, content)
	for _, n := range []int{1, 100, 4095, 4096, 8191, 8192, used / 2, used - 4096, used - 1} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, bolt.FileName), content[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, persist.ErrCorrupt)
	}
}

// usedBytes is how much of the file its newest meta page says is in use.
func usedBytes(t *testing.T, content []byte) int {
	t.Helper()
	used := 0
	for at := 16; at < 8192; at += 4096 {
		e := binary.NativeEndian
		used = max(used, int(e.Uint64(content[at+40:]))*int(e.Uint32(content[at+8:])))
	}
	if used < 8192 || used > len(content) {
		t.Fatalf("%d bytes used of %d", used, len(content))
	}
	return used
}

// TestTruncatedUnderneath: a file that is cut while it is open makes reads of
// what is gone fail, not the process.
func TestTruncatedUnderneath(t *testing.T) {
	dir := t.TempDir()
	path := filled(t, dir)
	s := open(t, dir, bolt.Options{})
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(s); !errors.Is(err, persist.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), path) {
		t.Errorf("read: got %v, want ErrCorrupt", err)
	}
	if _, err := s.State("a", persist.Visitor{Put: func(persist.Put) error { return nil }}); !errors.Is(err, persist.ErrCorrupt) {
		t.Errorf("state: got %v, want ErrCorrupt", err)
	}
	if err := publish(s, 1, 10); !errors.Is(err, persist.ErrFailed) {
		t.Errorf("commit: got %v, want ErrFailed", err)
	}
	if err := publish(s, 1, 10); !errors.Is(err, persist.ErrFailed) {
		t.Errorf("second commit: got %v, want ErrFailed", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	refused(t, dir, persist.ErrCorrupt) // and the lock is gone
}

// TestTornMetaPage: a power cut within the write of a meta page loses at most
// the commit that was not acknowledged yet.
func TestTornMetaPage(t *testing.T) {
	dir := t.TempDir()
	path := filled(t, dir)
	s := open(t, dir, bolt.Options{})
	if err := publish(s, 1, 10); err != nil {
		t.Fatal(err)
	}
	last := head(t, s)
	s.Close()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const meta, txid = 16, 16 + 48
	newest, other := 0, 4096
	if binary.NativeEndian.Uint64(content[other+txid:]) > binary.NativeEndian.Uint64(content[txid:]) {
		newest, other = other, newest
	}
	// The first half is new, the second is what the page held before.
	copy(content[newest+meta+40:newest+meta+64], content[other+meta+40:other+meta+64])
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, bolt.Options{})
	if got := head(t, s); got != last-1 {
		t.Errorf("head %d, want %d", got, last-1)
	}
	if _, err := readAll(s); err != nil {
		t.Error(err)
	}
	if err := publish(s, 1, 10); err != nil {
		t.Error(err)
	}
}
