package bolt_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"parley/persist"
	"parley/persist/bolt"
)

// fill publishes until the store is full and checks that it was refused for
// that, that nothing of the refused batch is there and that reads go on.
func fill(s *bolt.Store, size int) (stored int, err error) {
	before, err := readAll(s)
	if err != nil {
		return 0, err
	}
	for err == nil && stored < 100_000 {
		if err = publish(s, 10, size); err == nil {
			stored += 10
		}
	}
	if !errors.Is(err, persist.ErrFull) || errors.Is(err, persist.ErrFailed) {
		return stored, fmt.Errorf("after %d messages: %v, want ErrFull", stored, err)
	}
	ms, err := readAll(s)
	if err != nil || len(ms) != len(before)+stored {
		return stored, fmt.Errorf("%d messages after %d and %d: %v", len(ms), len(before), stored, err)
	}
	return stored, nil
}

func TestQuotaIsKeptAndTrimMakesRoom(t *testing.T) {
	const limit = 2 << 20
	dir := t.TempDir()
	o := bolt.Options{MaxBytes: limit, SegmentMessages: 100}
	s := open(t, dir, o)
	first, err := fill(s, 1000)
	if err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		st, err := os.Stat(filepath.Join(dir, bolt.FileName))
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	if size() > limit || first*1000 < limit/3 {
		t.Errorf("%d messages in %d bytes, limit %d", first, size(), limit)
	}
	for round := range 5 {
		if err := trim(s, head(t, s)-100); err != nil {
			t.Fatal(err)
		}
		again, err := fill(s, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if again < first/3 || size() > limit {
			t.Errorf("round %d: only %d messages after trimming, %d at first; %d bytes", round, again, first, size())
		}
		s.Close()
		s = open(t, dir, o)
	}
}

// TestFullDisk fills a file system of 3 MiB.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("mounting is not permitted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, bolt.Options{SegmentMessages: 100})
	if _, err := fill(s, 1000); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if n, err := fill(s, 1000); err != nil || n < 500 {
		t.Fatalf("%d messages with a mebibyte more: %v", n, err)
	}
	if err := trim(s, head(t, s)-100); err != nil {
		t.Fatalf("trim on a full disk: %v", err)
	}
	if n, err := fill(s, 1000); err != nil || n < 500 {
		t.Fatalf("%d messages after trimming: %v", n, err)
	}
	s.Close()
	s = open(t, dir, bolt.Options{})
	if ms, err := readAll(s); err != nil || len(ms) == 0 {
		t.Fatalf("opened again: %d messages, %v", len(ms), err)
	}
}

// TestFileSizeLimit does the same under RLIMIT_FSIZE, which gives EFBIG, in a
// process of its own.
func TestFileSizeLimit(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=limit:"+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("recovered")) {
		t.Fatalf("%v: %s", err, out)
	}
}

func limitChild(dir string) error {
	// The kernel sends SIGXFSZ besides the error; by default it ends a Go program.
	signal.Ignore(syscall.SIGXFSZ)
	setLimit := func(n uint64) error {
		var l unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &l); err != nil {
			return err
		}
		l.Cur = min(n, l.Max)
		return unix.Setrlimit(unix.RLIMIT_FSIZE, &l)
	}
	s, err := bolt.Open(dir, bolt.Options{})
	if err != nil {
		return err
	}
	if _, err := s.State("a", persist.Visitor{}); err != nil {
		return err
	}
	if err := setLimit(2 << 20); err != nil {
		return err
	}
	if _, err := fill(s, 1000); err != nil {
		return err
	}
	// Now bbolt itself finds that the file cannot grow.
	s.Pretend(1 << 40)
	if err := publish(s, 3000, 1000); !errors.Is(err, persist.ErrFull) || !strings.Contains(err.Error(), "file resize error") {
		return fmt.Errorf("bbolt cannot grow the file: %w", err)
	}
	// Lower than the file already is: now the writes fail, not the allocation.
	if err := setLimit(64 << 10); err != nil {
		return err
	}
	s.Pretend(1 << 40)
	if err := publish(s, 100, 1000); !errors.Is(err, persist.ErrFull) || !strings.Contains(err.Error(), "write ") {
		return fmt.Errorf("limit below the file's size: %w", err)
	}
	if err := setLimit(1 << 30); err != nil {
		return err
	}
	if err := publish(s, 100, 1000); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	s, err = bolt.Open(dir, bolt.Options{})
	if err != nil {
		return err
	}
	ms, err := readAll(s)
	if err != nil {
		return err
	}
	fmt.Println("recovered with", len(ms), "messages")
	return s.Close()
}
