package bolt_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

// crashChild commits batches until it is killed and prints the number of each
// batch once it is acknowledged. Batch n holds n%5+1 messages and one control.
func crashChild(dir string) error {
	s, err := bolt.Open(dir, bolt.Options{SegmentMessages: 50})
	if err != nil {
		return err
	}
	info, err := s.State("a", persist.Visitor{})
	if err != nil {
		return err
	}
	n := 0
	if info.Head > 0 {
		ms, _, err := s.Read("a", info.Head, 0, persist.Limits{})
		if err != nil {
			return err
		}
		fmt.Sscanf(string(ms[0].Payload.Data), "batch %d", &n)
		n++
	}
	for ; ; n++ {
		b := &persist.Batch{Controls: []persist.Control{{Namespace: "a", Kind: 1, Key: fmt.Sprint(n)}}}
		for j := range n%5 + 1 {
			m := &msg.Message{Topic: "t", Payload: msg.Bytes(fmt.Appendf(nil, "batch %d item %d", n, j))}
			b.Appends = append(b.Appends, persist.Append{Namespace: "a", Message: m})
		}
		s.Commit(b, func(e error) { err = e })
		if err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
	}
}

// TestKillLosesNothing kills a process in the middle of commits: everything it
// acknowledged is there, and of what it did not, whole batches or nothing.
func TestKillLosesNothing(t *testing.T) {
	dir := t.TempDir()
	for round := range 6 {
		acked := killDuringCommits(t, dir, 10+rand.IntN(150))
		s, err := bolt.Open(dir, bolt.Options{SegmentMessages: 50})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		controls := 0
		if _, err := s.State("a", persist.Visitor{Control: func(persist.Control) error { controls++; return nil }}); err != nil {
			t.Fatal(err)
		}
		ms, err := readAll(s)
		if err != nil {
			t.Fatal(err)
		}
		batches, i := 0, 0
		for ; i < len(ms); batches++ {
			for j := range batches%5 + 1 {
				if want := fmt.Sprintf("batch %d item %d", batches, j); i >= len(ms) || string(ms[i].Payload.Data) != want {
					t.Fatalf("round %d: message %d of %d is not %q", round, i, len(ms), want)
				}
				i++
			}
		}
		if batches < acked+1 || controls != batches {
			t.Fatalf("round %d: %d batches, %d controls; %d were acknowledged", round, batches, controls, acked+1)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killDuringCommits returns the last batch that the child acknowledged, which
// it kills after some more.
func killDuringCommits(t *testing.T, dir string, after int) (acked int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=crash:"+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, acked := 0, -1
	for sc := bufio.NewScanner(out); sc.Scan(); lines++ {
		fmt.Sscan(sc.Text(), &acked)
		if lines == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if lines <= after {
		t.Fatalf("the child ended by itself after %d batches", lines)
	}
	return acked
}
