package bolt_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

// childEnv names what a copy of the test binary is to do instead of testing.
const childEnv = "PARLEY_BOLT_TEST_CHILD"

func TestMain(m *testing.M) {
	what, dir, _ := strings.Cut(os.Getenv(childEnv), ":")
	var err error
	switch what {
	case "":
		code := m.Run()
		// bbolt walks a file in a goroutine, which a panic would leave behind.
		if err := goleak.Find(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	case "crash":
		err = crashChild(dir)
	case "limit":
		err = limitChild(dir)
	default:
		err = fmt.Errorf("unknown child %q", what)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

func open(t testing.TB, dir string, o bolt.Options) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.State("a", persist.Visitor{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// publish commits messages with payloads of size bytes to namespace a.
func publish(s *bolt.Store, count, size int) (err error) {
	b := &persist.Batch{}
	for range count {
		b.Appends = append(b.Appends, persist.Append{Namespace: "a", Message: &msg.Message{Topic: "t", QoS: 1, Payload: msg.Bytes(make([]byte, size))}})
	}
	s.Commit(b, func(e error) { err = e })
	return err
}

func head(t testing.TB, s *bolt.Store) msg.Offset {
	t.Helper()
	i, err := s.State("a", persist.Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	return i.Head
}

// readAll reads namespace a from the beginning.
func readAll(s *bolt.Store) (ms []*msg.Message, err error) {
	for from := msg.Offset(1); ; {
		some, next, err := s.Read("a", from, 0, persist.Limits{})
		if err != nil || len(some) == 0 {
			return ms, err
		}
		ms, from = append(ms, some...), next
	}
}

// trim drops what segments of namespace a lie up to upTo.
func trim(s *bolt.Store, upTo msg.Offset) error {
	segments, err := s.Segments("a")
	if err != nil {
		return err
	}
	for _, seg := range segments {
		if seg.Last > upTo {
			continue
		}
		if err := s.Drop("a", seg, nil); err != nil {
			return err
		}
	}
	return nil
}
