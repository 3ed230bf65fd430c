package bolt_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"parley/persist"
	"parley/persist/bolt"
)

// killed makes a copy of an open store's file, as a kill of the process would
// leave it, in a directory of its own.
func killed(t *testing.T, dir string) string {
	t.Helper()
	from, err := os.Open(filepath.Join(dir, bolt.FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	dir = t.TempDir()
	to, err := os.Create(filepath.Join(dir, bolt.FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSyncModes: whatever the mode, a clean close keeps everything and the
// epoch; an unclean start begins a new epoch unless the mode was always, once,
// and whatever the mode is then.
func TestSyncModes(t *testing.T) {
	for _, mode := range []bolt.Sync{bolt.SyncAlways, bolt.SyncInterval, bolt.SyncNever} {
		t.Run(string(mode), func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, bolt.Options{Sync: mode})
			begin := epoch(t, s)
			expect := func(s *bolt.Store, messages int, fresh bool, what string) {
				t.Helper()
				ms, err := readAll(s)
				if err != nil || len(ms) != messages || (epoch(t, s) != begin) != fresh {
					t.Errorf("%s: %d messages, want %d, epoch %s after %s, %v", what, len(ms), messages, epoch(t, s), begin, err)
				}
			}
			for range 20 {
				if err := publish(s, 10, 100); err != nil {
					t.Fatal(err)
				}
			}
			copied := killed(t, dir)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, bolt.Options{Sync: mode})
			expect(s, 200, false, "closed")
			s.Close()
			s = open(t, dir, bolt.Options{})
			expect(s, 200, false, "closed again")
			s.Close()

			s = open(t, copied, bolt.Options{})
			expect(s, 200, mode != bolt.SyncAlways, "killed")
			begin = epoch(t, s)
			copied = killed(t, copied)
			s.Close()
			s = open(t, copied, bolt.Options{Sync: mode})
			expect(s, 200, false, "killed later, with always")
			s.Close()
			if r, err := bolt.Check(copied, nil); err != nil || r.Err() != nil {
				t.Errorf("check: %v, %v", err, r.Err())
			}
		})
	}
	if _, err := bolt.Open(t.TempDir(), bolt.Options{Sync: "sometimes"}); err == nil {
		t.Error("an unknown mode is taken")
	}
}

// TestSuiteWithoutSync runs the suite of persisttest without waiting for the disk.
func TestSuiteWithoutSync(t *testing.T) {
	suite(t, bolt.Options{Sync: bolt.SyncInterval, SegmentMessages: 7})
}

// TestIntervalSyncs: with interval, what is committed is synced in the
// background, and a failure there ends the acknowledging.
func TestIntervalSyncs(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, bolt.Options{Sync: bolt.SyncInterval})
	if err := publish(s, 1, 10); err != nil {
		t.Fatal(err)
	}
	s.SyncNow()
	if err := publish(s, 1, 10); err != nil {
		t.Fatal(err)
	}
	restore, err := s.Redirect("/dev/null") // fdatasync of it fails with EINVAL
	if err != nil {
		t.Fatal(err)
	}
	s.SyncNow()
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	if err := publish(s, 1, 10); !isFailed(err) {
		t.Errorf("after a failed sync: %v, want ErrFailed", err)
	}
	s.Close()
	old := ""
	if ro, err := bolt.OpenReadOnly(dir, bolt.Options{}); err != nil {
		t.Fatal(err)
	} else {
		old = epoch(t, ro)
		ro.Close()
	}
	s = open(t, dir, bolt.Options{})
	if now := epoch(t, s); now == old {
		t.Error("the epoch is the old one, although it is unknown what is on disk")
	}
	if _, err := s.State("a", persist.Visitor{}); err != nil {
		t.Error(err)
	}
}
