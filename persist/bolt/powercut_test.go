package bolt_test

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"parley/persist/bolt"
)

// cuts is how many power cuts TestPowerCut makes.
var cuts = flag.Int("cuts", 80, "power cuts")

// pageWrite is one write to the file.
type pageWrite struct {
	at   int64
	data []byte
	meta bool
	size int64 // of the file by then
}

// recorder notes what is written to a store's file. Between two syncs the disk
// may carry out writes in any order and in parts. bbolt syncs before each meta
// page and behind it (TestEveryFault makes each of these syncs fail, and so
// shows that it is there).
type recorder struct {
	image  []byte // before the first write
	writes []pageWrite
}

func record(t *testing.T, s *bolt.Store, path string) *recorder {
	t.Helper()
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{image: image}
	s.Intercept(func(next bolt.WriteAt, b []byte, at int64) (int, error) {
		if !s.Syncs() {
			t.Error("a write without a sync to come")
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Error(err)
		} else {
			rec.writes = append(rec.writes, pageWrite{at: at, data: bytes.Clone(b), meta: at < 2*int64(os.Getpagesize()), size: st.Size()})
		}
		return next(b, at)
	})
	return rec
}

// cut is what is on the disk if the power fails when n writes have been given
// to the system: all up to the last sync, and of those after it any parts. The
// first acked ones were synced before the work that they belong to was done.
func (rec *recorder) cut(r *rand.Rand, n, acked int) []byte {
	synced := acked // what is certainly there
	for i, w := range rec.writes[:n] {
		switch {
		case w.meta && i+1 < n:
			synced = max(synced, i+1) // the next write came after the sync behind the meta page
		case w.meta:
			synced = max(synced, i) // the one before the meta page
		}
	}
	size := int64(len(rec.image))
	for _, w := range rec.writes[:n] {
		size = max(size, w.size)
	}
	image := make([]byte, size)
	copy(image, rec.image)
	for _, w := range rec.writes[:synced] {
		copy(image[w.at:], w.data)
	}
	grain := []int{512, 512, 4096, 64}[r.IntN(4)]
	odds := []float64{0, 0.1, 0.5, 0.9, 1}[r.IntN(5)]
	for _, w := range rec.writes[synced:n] {
		for at := 0; at < len(w.data); at += grain {
			if r.Float64() < odds {
				end := min(at+grain, len(w.data))
				copy(image[w.at+int64(at):], w.data[at:end])
			}
		}
	}
	return image
}

// step is one piece of work: how many writes there were when it was done, and
// what the store then held.
type step struct {
	writes int
	holds  string
}

// TestPowerCut works on a store, lets the power fail at random moments, with a
// random part of what was not synced on the disk, torn pages included, and opens
// what is left: it holds everything that was acknowledged, the piece of work
// under way whole or not at all, nothing else, and goes on working.
func TestPowerCut(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	dir := ramDir(t)
	s, err := openWork(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rec := record(t, s, filepath.Join(dir, bolt.FileName))
	holds, err := everything(s)
	if err != nil {
		t.Fatal(err)
	}
	steps := []step{{0, holds}}
	for range 60 {
		if err := work(s, workKind(r), r.Uint64()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if holds, err = everything(s); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		steps = append(steps, step{len(rec.writes), holds})
	}
	torn := 0
	for range *cuts {
		n := r.IntN(len(rec.writes) + 1)
		// steps[acked] was done by then, and of the next a part.
		acked, _ := slices.BinarySearchFunc(steps, n, func(s step, n int) int {
			if s.writes <= n {
				return -1
			}
			return 1
		})
		acked--
		allowed := []string{steps[acked].holds}
		if acked+1 < len(steps) {
			allowed = append(allowed, steps[acked+1].holds)
		}
		image := rec.cut(r, n, steps[acked].writes)
		which, err := afterCut(t, image, allowed)
		if err != nil {
			t.Fatalf("seed %d, power cut after write %d, %d pieces of work done: %v", seed, n, acked, err)
		}
		if steps[acked].writes != n && which == 0 {
			torn++
		}
	}
	t.Logf("%d writes, %d power cuts, %d within a piece of work", len(rec.writes), *cuts, torn)
	if torn == 0 {
		t.Error("no power cut came within a piece of work")
	}
}

// afterCut opens what a power cut has left and tells which of the allowed
// contents it has.
func afterCut(t *testing.T, image []byte, allowed []string) (int, error) {
	t.Helper()
	dir := ramDir(t)
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, bolt.FileName), image, 0o600); err != nil {
		return 0, err
	}
	s, err := openWork(dir)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	holds, err := everything(s)
	if err != nil {
		return 0, err
	}
	which := slices.Index(allowed, holds)
	if which < 0 {
		return 0, differs(holds, allowed)
	}
	if err := work(s, workAppend, 1); err != nil {
		return 0, err
	}
	if err := s.Close(); err != nil {
		return 0, err
	}
	r, err := bolt.Check(dir, nil)
	if err == nil {
		err = r.Err()
	}
	return which, err
}
