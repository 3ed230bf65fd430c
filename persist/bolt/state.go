package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"parley/persist"
)

// stateChunk is how many entries State copies within one transaction.
const stateChunk = 512

// State implements persist.Store. Commits wait until v has seen everything, so
// v must not call Commit, State, Drop or Forget.
func (s *Store) State(namespace string, v persist.Visitor) (persist.Info, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	i, err := s.state(namespace, v)
	if err != nil {
		return i, fmt.Errorf("state of %q in %s: %w", namespace, s.path, err)
	}
	return i, nil
}

func (s *Store) state(namespace string, v persist.Visitor) (i persist.Info, err error) {
	if err := s.usable(); err != nil {
		return i, err
	}
	n := s.spaces[namespace]
	if n == nil {
		if n, err = s.create(namespace); err != nil {
			return i, err
		}
	}
	i = persist.Info{Epoch: n.epochName(), Head: n.newest, At: n.at, AtControl: n.atControl}
	if first := n.oldest(); first <= n.newest {
		i.First = first
	}
	if v.Put != nil || v.Control != nil {
		// What failed may be there all the same, but for the log, of which nothing
		// beyond the head is read.
		if err := s.writable(); errors.Is(err, persist.ErrFailed) {
			return i, err
		}
	}
	if v.Put != nil {
		if err := s.visitTable(n, v.Put); err != nil {
			return i, err
		}
	}
	if v.Control != nil {
		return i, s.visitControls(n, v.Control)
	}
	return i, nil
}

// create adds a namespace.
func (s *Store) create(namespace string) (*space, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	if len(namespace) > maxName {
		return nil, fmt.Errorf("name of %d bytes, at most %d: %w", len(namespace), maxName, persist.ErrNoNamespace)
	}
	n := &space{name: namespace, info: info{id: s.newID(), epoch: newEpoch(), first: 1}, controls: 1}
	err := s.write(16*s.pageSize, true, func(tx *bbolt.Tx) error {
		for _, name := range bucketsOf(namespace, n.id) {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		count := sealUint(keySpaces, uint64(len(s.spaces)+1))
		if err := tx.Bucket([]byte(rootName)).Put([]byte(keySpaces), count); err != nil {
			return err
		}
		return writeInfo(tx, namespace, &n.info)
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spaces[namespace] = n
	return n, nil
}

// visitTable shows the table in the order of its keys.
func (s *Store) visitTable(n *space, visit func(persist.Put) error) error {
	var seen uint64
	var long []persist.Put // long keys with one beginning, which their hashes have put out of order
	flush := func() error {
		slices.SortFunc(long, func(a, b persist.Put) int { return strings.Compare(a.Key, b.Key) })
		for _, p := range long {
			if err := visit(p); err != nil {
				return err
			}
		}
		long = long[:0]
		return nil
	}
	err := s.scan(tableName(n.id), []byte{0}, func(k, v []byte) (func() error, error) {
		p, err := decodePut(k, v)
		if err != nil {
			return nil, fmt.Errorf("table entry %q: %w: %w", k, err, persist.ErrCorrupt)
		}
		seen++
		return func() error {
			if len(long) > 0 && (len(p.Key) <= longKey || p.Key[:longKey] != long[0].Key[:longKey]) {
				if err := flush(); err != nil {
					return err
				}
			}
			if len(p.Key) > longKey {
				long = append(long, p)
				return nil
			}
			return visit(p)
		}, nil
	})
	if err == nil {
		err = flush()
	}
	if err == nil && seen != n.table {
		err = fmt.Errorf("%d table entries, %d were written: %w", seen, n.table, persist.ErrCorrupt)
	}
	return err
}

// visitControls shows the controls beyond the checkpoint.
func (s *Store) visitControls(n *space, visit func(persist.Control) error) error {
	next := n.atControl + 1
	err := s.scan(controlsName(n.id), binary.BigEndian.AppendUint64(nil, next), func(k, v []byte) (func() error, error) {
		c, err := decodeControl(n.name, k, v)
		if err != nil {
			return nil, fmt.Errorf("control %x: %w: %w", k, err, persist.ErrCorrupt)
		}
		if c.Seq != next {
			return nil, fmt.Errorf("control %d is missing: %w", next, persist.ErrCorrupt)
		}
		next++
		return func() error { return visit(c) }, nil
	})
	if err == nil && next != n.seq+1 {
		err = fmt.Errorf("controls end with %d, must end with %d: %w", next-1, n.seq, persist.ErrCorrupt)
	}
	return err
}

// scan walks a bucket from key from on, in transactions of stateChunk entries:
// decode copies an entry inside of one, what it returns is called after it. The
// caller holds writing, so nothing changes in between.
func (s *Store) scan(bucket, from []byte, decode func(k, v []byte) (func() error, error)) error {
	for from != nil {
		var calls []func() error
		err := guard(func() error {
			return s.db.View(func(tx *bbolt.Tx) error {
				c := tx.Bucket(bucket).Cursor()
				k, v := c.Seek(from)
				for ; k != nil && len(calls) < stateChunk; k, v = c.Next() {
					call, err := decode(k, v)
					if err != nil {
						return err
					}
					calls = append(calls, call)
				}
				from = slices.Clone(k)
				return nil
			})
		})
		if err != nil {
			return err
		}
		for _, call := range calls {
			if err := call(); err != nil {
				return err
			}
		}
	}
	return nil
}
