package bolt_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

// format1 makes a directory with a store that an earlier version wrote: 200
// messages t/1 to t/200 in segments of 40, of which the first was trimmed, 25
// controls and a checkpoint at message 30, control 5.
func format1(t *testing.T) string {
	t.Helper()
	packed, err := os.ReadFile(filepath.Join("testdata", "format1.db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	file, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, bolt.FileName), file, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func checkFormat1(t *testing.T, s *bolt.Store, head int) {
	t.Helper()
	var puts, controls int
	i, err := s.State("a", persist.Visitor{
		Put:     func(persist.Put) error { puts++; return nil },
		Control: func(persist.Control) error { controls++; return nil },
	})
	if err != nil || i.First != 41 || i.Head != msg.Offset(head) || i.At != 30 || i.AtControl != 5 || puts != 1 || controls != 20 {
		t.Fatalf("%+v, %d puts, %d controls, %v", i, puts, controls, err)
	}
	ms, err := readAll(s)
	if err != nil || len(ms) != head-40 {
		t.Fatalf("%d messages, %v", len(ms), err)
	}
	for i, m := range ms {
		if want := fmt.Sprintf("t/%d", 41+i); m.Topic != want || m.Offset != msg.Offset(41+i) {
			t.Fatalf("message %d is %s at %d", i, m.Topic, m.Offset)
		}
	}
	if found, _ := find(t, s, msg.Filter{Pattern: "t/77"}); len(found) != 1 || found[0] != 77 {
		t.Errorf("with a filter: %v", found)
	}
	m, err := s.Missed("a", nil, 0, 0)
	if err != nil || m.Exact || m.First != 1 || m.Last != 40 {
		t.Errorf("missed: %+v, %v", m, err)
	}
	segments, err := s.Segments("a")
	if err != nil || len(segments) < 4 || segments[0].Messages != 40 || segments[0].Newest != 1_790_000_000_000 {
		t.Fatalf("%+v, %v", segments, err)
	}
	if may, err := s.MayHold("a", segments[0], []msg.Filter{{Pattern: "t/41"}}); !may || err != nil {
		t.Errorf("may hold: %v, %v", may, err)
	}
}

// TestFormat1IsReadAndBroughtUpToDate: a file of the format before retention
// classes opens, has everything it had, and what came new works on it.
func TestFormat1IsReadAndBroughtUpToDate(t *testing.T) {
	dir := format1(t)
	before, err := os.ReadFile(filepath.Join(dir, bolt.FileName))
	if err != nil {
		t.Fatal(err)
	}
	ro, err := bolt.OpenReadOnly(dir, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkFormat1(t, ro, 200)
	if err := ro.Close(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, bolt.FileName)); err != nil || !bytes.Equal(after, before) {
		t.Errorf("opening for reading has changed the file, %v", err)
	}
	o := bolt.Options{SegmentMessages: 40}
	s := open(t, dir, o)
	checkFormat1(t, s, 200)
	s.Close()
	if r, err := bolt.Check(dir, nil); err != nil || r.Err() != nil || r.Stats.Format != 2 {
		t.Errorf("check: %v, %v, format %d", err, r.Err(), r.Stats.Format)
	}
	s = open(t, dir, o)
	write(t, s, 100, func(int) uint8 { return 0 }, func(i int) string { return fmt.Sprintf("t/%d", 201+i) })
	checkFormat1(t, s, 300)
	segments, err := s.Segments("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Drop("a", segments[0], []msg.Offset{50}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if m, err := s.Missed("a", []msg.Filter{{Pattern: "t/+"}}, 41, 0); err != nil || m != (persist.Missed{First: 41, Last: 80, Count: 39, Exact: true}) {
			// Each topic had one message, so the one kept is simply absent.
			t.Errorf("missed: %+v, %v", m, err)
		}
		if ms, err := readAll(s); err != nil || len(ms) != 221 || ms[0].Offset != 50 {
			t.Errorf("%d messages, %v", len(ms), err)
		}
		s.Close()
		s = open(t, dir, o)
	}
}
