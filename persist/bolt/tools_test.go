package bolt_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

// numbered commits count messages to namespace a; their payloads count on from next.
func numbered(s *bolt.Store, next, count int) (err error) {
	b := &persist.Batch{}
	for i := range count {
		payload := fmt.Sprintf("%d %0200d", next+i, 0)
		b.Appends = append(b.Appends, persist.Append{Namespace: "a", Message: &msg.Message{Topic: "t", QoS: 1, Payload: msg.Bytes([]byte(payload))}})
	}
	s.Commit(b, func(e error) { err = e })
	return err
}

// states adds table entries and a control.
func states(t testing.TB, s *bolt.Store) {
	t.Helper()
	var failed error
	done := func(err error) { failed = errors.Join(failed, err) }
	puts := []persist.Put{{Key: "r/x", Value: []byte("1")}, {Key: "r/y", Value: []byte("2")}, {Key: "w/me", Value: []byte("will")}}
	s.Commit(&persist.Batch{Checkpoints: []persist.Checkpoint{{Namespace: "a", At: 1, Puts: puts}}}, done)
	s.Commit(&persist.Batch{Controls: []persist.Control{{Namespace: "a", Kind: 1, Key: "me", Value: []byte("will")}}}, done)
	if failed != nil {
		t.Fatal(failed)
	}
}

// contents is everything a start would see, in words.
func contents(t testing.TB, s *bolt.Store) (all []string) {
	t.Helper()
	i, err := s.State("a", persist.Visitor{
		Put: func(p persist.Put) error { all = append(all, fmt.Sprintf("put %s %s", p.Key, p.Value)); return nil },
		Control: func(c persist.Control) error {
			all = append(all, fmt.Sprintf("control %d %s %s", c.Seq, c.Key, c.Value))
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, fmt.Sprintf("first %d head %d at %d", i.First, i.Head, i.At))
	ms, err := readAll(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		all = append(all, fmt.Sprintf("%d %s %s", m.Offset, m.Topic, m.Payload.Data))
	}
	return all
}

// stored makes a store with some segments and closes it.
func stored(t *testing.T, messages int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir, bolt.Options{SegmentMessages: 100})
	for i := 0; i < messages; i += 50 {
		if err := numbered(s, i, 50); err != nil {
			t.Fatal(err)
		}
	}
	states(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func reopened(t *testing.T, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.OpenReadOnly(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestCheckOfAGoodStore(t *testing.T) {
	dir := stored(t, 1000)
	var done, total int64
	r, err := bolt.Check(dir, func(d, all int64) { done, total = d, all })
	if err != nil || len(r.Problems) > 0 {
		t.Fatalf("%v %v", err, r.Problems)
	}
	if done == 0 || done > total {
		t.Errorf("progress %d of %d", done, total)
	}
	n := r.Stats.Namespaces[0]
	if n.Name != "a" || n.First != 1 || n.Head != 1000 || n.Messages != 1000 || len(n.Segments) != 10 || n.Controls != 1 ||
		n.Table["r/"].Entries != 2 || n.Table["w/"].Entries != 1 || n.Checkpoint != 1 || len(n.Epoch) != 32 {
		t.Errorf("%+v", n)
	}
	if r.Stats.Format != 2 || r.Stats.FreePages >= r.Stats.Pages {
		t.Errorf("%+v", r.Stats)
	}
}

// Check names bucket, offset and place of everything that is damaged, not only
// of the first.
func TestCheckFindsAllDamage(t *testing.T) {
	dir := stored(t, 300)
	file := filepath.Join(dir, bolt.FileName)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, mark := range []string{"t57 000", "t258 000", "will"} {
		if !strings.Contains(text, mark) {
			t.Fatalf("no %q in the file", mark)
		}
		text = strings.ReplaceAll(text, mark, "x"+mark[1:]) // older copies of the page too
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := bolt.Check(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range r.Problems {
		all = append(all, p.String())
	}
	text = strings.Join(all, "\n")
	for _, want := range []string{
		`namespace "a", class 0, segment from offset 1: offset 58: record checksum`, `segment from offset 201: offset 259: record checksum`,
		`namespace "a", controls: control 0000000000000001: checksum mismatch`, `namespace "a", checkpoint table: table entry "\x00w/me": checksum mismatch`, "of the file)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if len(r.Problems) != 4 || !errors.Is(r.Err(), persist.ErrCorrupt) {
		t.Errorf("%d problems, %v", len(r.Problems), r.Err())
	}
}

// Every flipped byte of a page that counts is found, whatever it is; nothing panics.
func TestCheckSurvivesAnyDamage(t *testing.T) {
	dir := stored(t, 100)
	file := filepath.Join(dir, bolt.FileName)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for at := 0; at < len(good); at += len(good)/200 + 1 {
		bad := slices.Clone(good)
		bad[at] ^= 0x81
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := bolt.Check(dir, nil)
		if err == nil && len(r.Problems) == 0 {
			// It must be harmless: what a start sees is what was stored.
			s, err := bolt.OpenReadOnly(dir, bolt.Options{})
			if err != nil {
				t.Fatalf("byte %d: check finds nothing, but: %v", at, err)
			}
			if ms, err := readAll(s); err != nil || len(ms) != 100 {
				t.Fatalf("byte %d: check finds nothing, but %d messages, %v", at, len(ms), err)
			}
			s.Close()
			continue
		}
		found++
	}
	if found == 0 {
		t.Error("no damage was found")
	}
}

func TestCheckOfWhatIsNoStore(t *testing.T) {
	dir := t.TempDir()
	if _, err := bolt.Check(dir, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	file := filepath.Join(dir, "x")
	if err := os.WriteFile(file, make([]byte, 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := bolt.Check(file, nil); err != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].What, "not a bbolt file") {
		t.Errorf("zeros: %v %v", r.Problems, err)
	}
	s := open(t, dir, bolt.Options{})
	if _, err := bolt.Check(dir, nil); !errors.Is(err, persist.ErrLocked) {
		t.Errorf("of an open store: %v", err)
	}
	if _, err := bolt.OpenReadOnly(dir, bolt.Options{}); !errors.Is(err, persist.ErrLocked) {
		t.Errorf("read an open store: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ro := reopened(t, dir)
	if err := numbered(ro, 0, 1); err == nil {
		t.Error("wrote to a store opened for reading")
	}
	if _, err := ro.State("unknown", persist.Visitor{}); err == nil {
		t.Error("made a namespace in a store opened for reading")
	}
}

// A snapshot made while messages are committed and segments trimmed is the store
// as of one moment: everything acknowledged before it began, in order, without a
// hole, states included.
func TestSnapshotWhileServing(t *testing.T) {
	s := open(t, t.TempDir(), bolt.Options{SegmentMessages: 200})
	for i := 0; i < 4000; i += 100 {
		if err := numbered(s, i, 100); err != nil {
			t.Fatal(err)
		}
	}
	states(t, s)
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 4000; ; n += 20 {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := numbered(s, n, 20); err != nil {
				stopped <- err
				return
			}
			if n%400 == 0 {
				if err := trim(s, msg.Offset(n-3000)); err != nil {
					stopped <- err
					return
				}
			}
		}
	}()
	for range 5 {
		acked := head(t, s)
		f, err := s.Snapshot(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "copy")
		if err := bolt.Receive(name, func(to *os.File) error {
			defer to.Close()
			_, err := io.Copy(to, f)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		f.Close()
		all := contents(t, reopened(t, name))
		var first, last, at msg.Offset
		if _, err := fmt.Sscanf(all[4], "first %d head %d at %d", &first, &last, &at); err != nil {
			t.Fatal(err)
		}
		if last < acked || at != 1 || !slices.Equal(all[:4], []string{"put r/x 1", "put r/y 2", "put w/me will", "control 1 me will"}) {
			t.Fatalf("after offset %d: %q", acked, all[:5])
		}
		for i, line := range all[5:] {
			if want := fmt.Sprintf("%d t %d ", int(first)+i, int(first)+i-1); !strings.HasPrefix(line, want) {
				t.Fatalf("message %d is %.40q, want %q", i, line, want)
			}
		}
		if got := len(all) - 5; got != int(last-first)+1 {
			t.Fatalf("%d messages from %d to %d", got, first, last)
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(s.Path()), "*backup*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSnapshotEndsWithItsContext(t *testing.T) {
	s := open(t, stored(t, 500), bolt.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Snapshot(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestCompact(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, bolt.Options{SegmentMessages: 100})
	for i := 0; i < 20000; i += 500 {
		if err := numbered(s, i, 500); err != nil {
			t.Fatal(err)
		}
	}
	states(t, s)
	if err := trim(s, 18000); err != nil {
		t.Fatal(err)
	}
	want := contents(t, s)
	if _, _, err := bolt.Compact(dir, nil); !errors.Is(err, persist.ErrLocked) {
		t.Errorf("of an open store: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file, stale := filepath.Join(dir, bolt.FileName), filepath.Join(dir, bolt.FileName+".compact-123")
	if err := errors.Join(os.Chmod(file, 0o640), os.WriteFile(stale, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	before, after, err := bolt.Compact(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Size() != after || after*4 > before || info.Mode().Perm() != 0o640 {
		t.Errorf("%d -> %d bytes, %v %v", before, after, info.Mode(), err)
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	s = open(t, dir, bolt.Options{SegmentMessages: 100})
	if got := contents(t, s); !slices.Equal(got, want) {
		t.Errorf("%d lines, want %d; %.200q", len(got), len(want), got)
	}
	if err := numbered(s, 20000, 500); err != nil || head(t, s) != 20500 {
		t.Errorf("goes on with %d, %v", head(t, s), err)
	}
}

func TestCompactLeavesADamagedStoreAlone(t *testing.T) {
	dir := stored(t, 300)
	file := filepath.Join(dir, bolt.FileName)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bad := []byte(strings.ReplaceAll(string(b), "t57 000", "t75 000"))
	if err := os.WriteFile(file, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := bolt.Compact(dir, nil); !errors.Is(err, persist.ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != string(bad) {
		t.Errorf("the file has changed, %v", err)
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBackupAndRestore(t *testing.T) {
	dir := stored(t, 300)
	was := reopened(t, dir)
	want, old := contents(t, was), epoch(t, was)
	backup := filepath.Join(t.TempDir(), "b.db")
	if err := bolt.Backup(dir, backup, nil); err != nil {
		t.Fatal(err)
	}
	if err := was.Close(); err != nil {
		t.Fatal(err)
	}
	if err := bolt.Restore(backup, dir, false, nil); !errors.Is(err, bolt.ErrNotEmpty) {
		t.Errorf("into a store: %v", err)
	}
	fresh := filepath.Join(t.TempDir(), "new", "data")
	if err := bolt.Restore(backup, fresh, false, nil); err != nil {
		t.Fatal(err)
	}
	s := open(t, fresh, bolt.Options{})
	if got := contents(t, s); !slices.Equal(got, want) {
		t.Errorf("%d lines, want %d", len(got), len(want))
	}
	if now := epoch(t, s); now == old {
		t.Error("the epoch is the old one")
	}
	if err := bolt.Restore(backup, fresh, true, nil); !errors.Is(err, persist.ErrLocked) {
		t.Errorf("over an open store: %v", err)
	}
	if err := bolt.Restore(backup, dir, true, nil); err != nil {
		t.Errorf("over a closed store: %v", err)
	}
	// A damaged backup is refused, and what was there stays.
	b, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(backup, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := bolt.Restore(backup, dir, true, nil); !errors.Is(err, persist.ErrCorrupt) {
		t.Errorf("half a backup: %v", err)
	}
	if got := contents(t, reopened(t, dir)); !slices.Equal(got, want) {
		t.Errorf("after a refused restore: %d lines, want %d", len(got), len(want))
	}
}

func epoch(t *testing.T, s *bolt.Store) string {
	t.Helper()
	i, err := s.State("a", persist.Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	return i.Epoch
}

// The tools know retention classes, kept messages, summaries and indexes.
func TestToolsOfAStoreWithDroppedSegments(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, bolt.Options{SegmentMessages: 50})
	for n := range 40 {
		var failed error
		b := &persist.Batch{}
		for i := range 10 {
			m := &msg.Message{Topic: fmt.Sprintf("t/%d", i), QoS: 1, Payload: msg.Bytes(fmt.Appendf(nil, "%d", n*10+i))}
			b.Appends = append(b.Appends, persist.Append{Namespace: "a", Class: uint8(i % 3), Message: m})
		}
		s.Commit(b, func(err error) { failed = err })
		if failed != nil {
			t.Fatal(failed)
		}
	}
	states(t, s)
	segments, err := s.Segments("a")
	if err != nil {
		t.Fatal(err)
	}
	keep := []msg.Offset{segments[0].First, segments[0].First + 10}
	if err := s.Drop("a", segments[0], keep); err != nil {
		t.Fatal(err)
	}
	want := contents(t, s)
	f, err := s.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	if err := bolt.Receive(snapshot, func(to *os.File) error {
		defer to.Close()
		_, err := io.Copy(to, f)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := bolt.Compact(dir, nil); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{snapshot, dir} {
		if got := contents(t, reopened(t, path)); !slices.Equal(got, want) {
			t.Errorf("%s: %d lines, want %d", path, len(got), len(want))
		}
		r, err := bolt.Check(path, nil)
		if err != nil || len(r.Problems) > 0 {
			t.Fatalf("%v %v", err, r.Problems)
		}
		n := r.Stats.Namespaces[0]
		classes := map[uint8]uint64{}
		for _, seg := range n.Segments {
			classes[seg.Class] += seg.Messages
		}
		if n.Head != 400 || n.Kept != 2 || n.Summaries != 1 || n.Dropped != 50 || n.Messages != 350 ||
			classes[segments[0].Class] != 160-50 || len(classes) != 3 {
			t.Errorf("%+v, by class %v", n, classes)
		}
	}
}

// A file of the format before is checked and read as it is.
func TestToolsOfFormat1(t *testing.T) {
	dir := format1(t)
	r, err := bolt.Check(dir, nil)
	if err != nil || len(r.Problems) > 0 || r.Stats.Format != 1 || r.Stats.Namespaces[0].Messages != 160 {
		t.Fatalf("%v %+v", err, r)
	}
	backup := filepath.Join(t.TempDir(), "b.db")
	if err := bolt.Backup(dir, backup, nil); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(t.TempDir(), "data")
	if err := bolt.Restore(backup, fresh, false, nil); err != nil {
		t.Fatal(err)
	}
	if ms, err := readAll(open(t, fresh, bolt.Options{})); err != nil || len(ms) != 160 {
		t.Errorf("%d messages, %v", len(ms), err)
	}
}

// Whoever waits for the lock of a file that is then replaced (Compact, Restore)
// must not go on with a file that has no name any more.
func TestOpenOfAFileReplacedMeanwhile(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("whether Open has the file is seen in /proc")
	}
	dir := stored(t, 100)
	backup := filepath.Join(t.TempDir(), "b.db")
	if err := bolt.Backup(dir, backup, nil); err != nil {
		t.Fatal(err)
	}
	holder := reopened(t, dir)
	opened := make(chan error, 1)
	go func() {
		s, err := bolt.Open(dir, bolt.Options{LockTimeout: 20 * time.Second})
		if err == nil {
			s.Close()
		}
		opened <- err
	}()
	for deadline := time.Now().Add(20 * time.Second); !writable(t, holder.Path()); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("Open does not wait for the lock")
		}
	}
	if err := os.Rename(backup, holder.Path()); err != nil {
		t.Fatal(err)
	}
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; !errors.Is(err, persist.ErrLocked) {
		t.Errorf("%v", err)
	}
}

// writable tells whether this process has path open for writing (proc(5),
// /proc/pid/fdinfo: flags in octal).
func writable(t *testing.T, path string) bool {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range all {
		if at, err := os.Readlink("/proc/self/fd/" + fd.Name()); err != nil || at != path {
			continue
		}
		info, _ := os.ReadFile("/proc/self/fdinfo/" + fd.Name())
		_, rest, _ := strings.Cut(string(info), "flags:")
		if fields := strings.Fields(rest); len(fields) > 0 && fields[0][len(fields[0])-1]&3 == 2 {
			return true
		}
	}
	return false
}
