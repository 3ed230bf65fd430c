package bolt_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"parley/persist"
	"parley/persist/bolt"
)

// differs says where contents first differ from each of those allowed.
func differs(holds string, allowed []string) error {
	var out []string
	for _, a := range allowed {
		got, want := strings.Split(holds, "\n"), strings.Split(a, "\n")
		for i := range got {
			if i >= len(want) || got[i] != want[i] {
				out = append(out, fmt.Sprintf("line %d: %.300s", i, got[i]))
				if i < len(want) {
					out = append(out, fmt.Sprintf("  want: %.300s", want[i]))
				}
				break
			}
		}
	}
	return errors.New("holds something else:\n" + strings.Join(out, "\n"))
}

// fault is what goes wrong with one write of a piece of work.
type fault struct {
	name string
	// write fails with it, half of the page having been written; 0: the sync
	// after it fails.
	write syscall.Errno
}

// breaker makes the nth write from now on, or the sync behind it, fail.
type breaker struct {
	t     *testing.T
	s     *bolt.Store
	f     fault
	n     int // counts down; the fault comes at 0
	done  bool
	saved int // bbolt's descriptor while another is in its place; -1: none
}

func (b *breaker) write(next bolt.WriteAt, p []byte, at int64) (int, error) {
	b.n--
	if b.n >= 0 || b.done {
		return next(p, at)
	}
	b.done = true
	if b.f.write != 0 {
		half, err := next(p[:len(p)/2], at)
		if err != nil {
			b.t.Error(err)
		}
		return half, &fs.PathError{Op: "write", Path: "parley.db", Err: b.f.write}
	}
	n, err := next(p, at)
	b.swap()
	return n, err
}

// swap puts /dev/null into the place of the file: it takes pages and loses them,
// as a disk may that cannot sync, and fdatasync of it fails.
func (b *breaker) swap() {
	saved, err := unix.Dup(b.s.Descriptor())
	if err == nil {
		var null int
		if null, err = unix.Open("/dev/null", unix.O_RDWR, 0); err == nil {
			err = unix.Dup3(null, b.s.Descriptor(), unix.O_CLOEXEC)
			unix.Close(null)
		}
	}
	if err != nil {
		b.t.Error(err)
	}
	b.saved = saved
}

func (b *breaker) restore() {
	if b.saved < 0 {
		return
	}
	if err := unix.Dup3(b.saved, b.s.Descriptor(), unix.O_CLOEXEC); err != nil {
		b.t.Error(err)
	}
	unix.Close(b.saved)
	b.saved = -1
}

// TestEveryFault makes every write of every kind of work fail, for lack of room
// and otherwise, and every sync. The store either says that it is full, holds
// what it held and works on; or it has failed: then nothing is acknowledged any
// more, reads go on, and opened again it holds everything acknowledged and the
// failed piece of work whole or not at all.
func TestEveryFault(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	dir := ramDir(t)
	s, err := openWork(dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		if err := work(s, workAppend, r.Uint64()); err != nil {
			t.Fatal(err)
		}
	}
	counts := map[string]int{}
	for _, f := range []fault{{"no room", syscall.ENOSPC}, {"write error", syscall.EIO}, {"sync error", 0}} {
		for kind := range workKinds {
			for n := 0; ; n++ {
				where := fmt.Sprintf("seed %d: %s, work %d, write %d", seed, f.name, kind, n)
				next, outcome := oneFault(t, s, dir, where, f, kind, n, r.Uint64())
				if t.Failed() {
					next.Close()
					return
				}
				s = next
				counts[f.name+": "+outcome]++
				if outcome == "done" || outcome == "nothing to do" && n > 5 {
					break
				}
				if err := level(s, kind, r.Uint64()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	s.Close()
	t.Logf("%v", counts)
	for _, want := range []string{"no room: full", "write error: failed", "sync error: failed"} {
		if counts[want] < 10 {
			t.Errorf("%s: only %d times", want, counts[want])
		}
	}
}

// level keeps the store from running empty, and from growing so large that the
// test takes long.
func level(s *bolt.Store, kind int, seed uint64) error {
	if kind != workAppend && kind != workCheckpoint {
		return work(s, workAppend, seed)
	}
	segments, err := s.Segments("a")
	if err != nil || len(segments) < 8 {
		return err
	}
	if err := s.Drop("a", segments[0], nil); err != nil {
		return err
	}
	return work(s, workForget, seed)
}

// told is contents without what Missed tells.
func told(contents string) string {
	lines := strings.Split(contents, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, " missed ") }), "\n")
}

// oneFault does one piece of work that the fault hits and judges the result. It
// returns the store, or the one that was opened in its place.
func oneFault(t *testing.T, s *bolt.Store, dir, where string, f fault, kind, n int, seed uint64) (*bolt.Store, string) {
	t.Helper()
	before, err := everything(s)
	if err != nil {
		t.Fatal(where, err)
	}
	old, err := readAll(s)
	if err != nil {
		t.Fatal(where, err)
	}
	messages := len(old)
	after := withoutFault(t, dir, kind, seed)
	b := &breaker{t: t, s: s, f: f, n: n, saved: -1}
	s.Intercept(b.write)
	err = work(s, kind, seed)
	b.restore()
	happened := b.done
	b.done = true // from now on nothing does
	holds, rerr := everything(s)
	if rerr != nil && !isFailed(rerr) {
		t.Fatal(where, rerr)
	}
	switch {
	case err == nil && happened && kind == workDrop:
		// It has done without the summary that there was no room for.
		if told(holds) != told(after) || !strings.Contains(holds, "Exact:false") {
			t.Error(where, differs(told(holds), []string{told(after)}))
		}
		return s, "done without a summary"
	case err == nil:
		if holds != after || happened {
			t.Error(where, differs(holds, []string{after}))
		}
		if before == after {
			return s, "nothing to do"
		}
		return s, "done"
	case errors.Is(err, persist.ErrFull) && !errors.Is(err, persist.ErrFailed):
		if holds != before {
			t.Error(where, differs(holds, []string{before}))
		}
		if err := work(s, workAppend, seed); err != nil {
			t.Error(where, "with room again:", err)
		}
		return s, "full"
	case !isFailed(err):
		t.Error(where, err)
	}
	if ms, err := readAll(s); err != nil || kind != workDrop && kind != workForget && len(ms) != messages {
		t.Errorf("%s: reading after a failure: %d messages of %d, %v", where, len(ms), messages, err)
	}
	for kind := range workKinds {
		if err := work(s, kind, seed); kind != workForget && !isFailed(err) && err != nil || kind == workAppend && err == nil {
			t.Errorf("%s: after a failure: work %d: %v, want ErrFailed", where, kind, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(where, err)
	}
	if s, err = openWork(dir); err != nil {
		t.Fatal(where, err)
	}
	if holds, err = everything(s); err != nil {
		t.Fatal(where, err)
	}
	if !slices.Contains([]string{before, after}, holds) {
		t.Error(where, "opened again: ", differs(holds, []string{before, after}))
	}
	return s, "failed"
}

// withoutFault is what the store in dir, of which this makes a copy, holds after
// the same work without a fault.
func withoutFault(t *testing.T, dir string, kind int, seed uint64) string {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(dir, bolt.FileName))
	if err != nil {
		t.Fatal(err)
	}
	dir = ramDir(t)
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, bolt.FileName), file, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := openWork(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := work(s, kind, seed); err != nil {
		t.Fatal(err)
	}
	after, err := everything(s)
	if err != nil {
		t.Fatal(err)
	}
	return after
}
