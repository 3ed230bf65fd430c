package bolt_test

import (
	"errors"
	"testing"

	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

// TestFailedWritePoisons: after a sync or a write that failed for another
// reason than room, nothing is acknowledged any more, reads go on, and opening
// again finds everything that was acknowledged.
func TestFailedWritePoisons(t *testing.T) {
	for _, c := range []struct{ name, instead string }{
		{"sync fails", "/dev/null"},                                     // takes the pages, fdatasync gives EINVAL
		{"write fails and the meta page cannot be judged", "/dev/full"}, // gives ENOSPC, but reads as zeros
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, bolt.Options{})
			if err := publish(s, 10, 100); err != nil {
				t.Fatal(err)
			}
			restore, err := s.Redirect(c.instead)
			if err != nil {
				t.Fatal(err)
			}
			if err := publish(s, 1, 100); !errors.Is(err, persist.ErrFailed) || errors.Is(err, persist.ErrFull) {
				t.Errorf("got %v, want ErrFailed", err)
			}
			if err := restore(); err != nil {
				t.Fatal(err)
			}
			m := &msg.Message{Topic: "t"}
			s.Commit(&persist.Batch{Appends: []persist.Append{{Namespace: "a", Message: m}}}, func(e error) { err = e })
			if !errors.Is(err, persist.ErrFailed) || m.Stored() {
				t.Errorf("later: got %v, offset %d, want ErrFailed", err, m.Offset)
			}
			if err := s.Drop("a", persist.Segment{First: 1, Last: 10}, nil); !errors.Is(err, persist.ErrFailed) {
				t.Errorf("drop: got %v, want ErrFailed", err)
			}
			if _, err := s.State("new", persist.Visitor{}); !errors.Is(err, persist.ErrFailed) {
				t.Errorf("new namespace: got %v, want ErrFailed", err)
			}
			if ms, err := readAll(s); len(ms) != 10 || err != nil {
				t.Errorf("%d messages, %v", len(ms), err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, bolt.Options{})
			if err := publish(s, 1, 100); err != nil {
				t.Fatal(err)
			}
			if ms, err := readAll(s); len(ms) != 11 || err != nil {
				t.Errorf("opened again: %d messages, %v", len(ms), err)
			}
		})
	}
}

func isFailed(err error) bool {
	return errors.Is(err, persist.ErrFailed) && !errors.Is(err, persist.ErrFull)
}
