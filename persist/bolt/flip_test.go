package bolt_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

// everything renders all that the store holds.
func everything(s *bolt.Store) (string, error) {
	var out bytes.Buffer
	for _, ns := range []string{"a", "b"} {
		info, err := s.State(ns, persist.Visitor{
			Put:     func(p persist.Put) error { fmt.Fprintf(&out, "%q=%q\n", p.Key, p.Value); return nil },
			Control: func(c persist.Control) error { fmt.Fprintf(&out, "%+v\n", c); return nil },
		})
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "%s %+v\n", ns, info)
		for from := msg.Offset(1); from <= info.Head; {
			ms, next, err := s.Read(ns, from, info.Head, persist.Limits{})
			if err != nil {
				return "", err
			}
			for _, m := range ms {
				fmt.Fprintf(&out, "%d %d %s %d %x\n", m.Offset, m.Time, m.Topic, m.QoS, m.Payload.Data)
			}
			from = next
		}
		if err := retention(&out, s, ns); err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

// retention renders what the store says about segments and what was dropped,
// and what it finds with the help of its index.
func retention(out *bytes.Buffer, s *bolt.Store, ns string) error {
	segments, err := s.Segments(ns)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%+v\n", segments)
	for _, pattern := range []string{"#", "t", "t/1", "u/+", "u/7/#"} {
		filters := []msg.Filter{{Pattern: pattern}}
		m, err := s.Missed(ns, filters, 1, 0)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s missed %+v, may hold", pattern, m)
		for _, seg := range segments {
			may, err := s.MayHold(ns, seg, filters)
			if err != nil {
				return err
			}
			fmt.Fprint(out, " ", may)
		}
		for from, end := msg.Offset(1), segments; len(end) > 0; {
			ms, next, err := s.Read(ns, from, 0, persist.Limits{Filters: filters})
			if err != nil {
				return err
			}
			for _, m := range ms {
				fmt.Fprint(out, " ", m.Offset)
			}
			if next == from {
				break
			}
			from = next
		}
		fmt.Fprintln(out)
	}
	return nil
}

// flips is how many triples of bits TestFlippedBits flips; more find more.
var flips = flag.Int("flips", 100, "flip three times this many bits")

// TestFlippedBits flips one bit at a random place of the used part of a file,
// many times over: opening or reading finds it, or it makes no difference.
// Never is anything else returned than what was written, and never does a file
// that is refused change.
func TestFlippedBits(t *testing.T) {
	home := t.TempDir()
	content, err := os.ReadFile(filled(t, home))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, home, bolt.Options{})
	want, err := everything(s)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	pages := usedBytes(t, content) / 4096
	var bits []int
	for range *flips {
		// What matters most is small: the two meta pages and the headers of all
		// pages get a third each.
		bits = append(bits, r.IntN(pages*4096*8), r.IntN(2)*4096*8+r.IntN(80*8), r.IntN(pages)*4096*8+r.IntN(48*8))
	}
	dir := t.TempDir()
	path := filepath.Join(dir, bolt.FileName)
	var refusedAtOpen, foundLater, harmless int
	for _, bit := range bits {
		bad := bytes.Clone(content)
		bad[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		what, err := openFlipped(dir, want)
		if err != nil {
			t.Fatalf("seed %d, bit %d (page %d, byte %d): %v", seed, bit, bit/8/4096, bit/8%4096, err)
		}
		switch what {
		case "refused":
			refusedAtOpen++
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, bad) {
				t.Fatalf("bit %d: the refused file was changed (%v)", bit, err)
			}
		case "found":
			foundLater++
		default:
			harmless++
		}
	}
	t.Logf("seed %d: %d flips: %d refused at open, %d found by a read, %d without effect", seed, len(bits), refusedAtOpen, foundLater, harmless)
	if refusedAtOpen == 0 || foundLater == 0 || harmless == 0 {
		t.Error("the test does not reach all three outcomes")
	}
}

// openFlipped says what became of a damaged file; an error is a failure.
func openFlipped(dir, want string) (string, error) {
	s, err := bolt.Open(dir, bolt.Options{})
	if err != nil {
		if !errors.Is(err, persist.ErrCorrupt) && !errors.Is(err, persist.ErrNewer) {
			return "", fmt.Errorf("refused with %w", err)
		}
		return "refused", nil
	}
	defer s.Close()
	got, err := everything(s)
	switch {
	case err != nil && !errors.Is(err, persist.ErrCorrupt):
		return "", err
	case err != nil:
		return "found", nil
	case got != want:
		return "", fmt.Errorf("silently %d bytes of contents instead of %d", len(got), len(want))
	}
	return "harmless", nil
}
