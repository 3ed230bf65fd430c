package bolt

import (
	"fmt"

	"go.etcd.io/bbolt"

	"parley/msg"
	"parley/persist"
)

// upgrade brings a loaded file of format 1 up to date: it adds the buckets and
// the indexes. The format is changed last, so that it begins anew after a kill.
func (s *Store) upgrade() error {
	for _, n := range s.spaces {
		if err := s.upgradeSpace(n); err != nil {
			return fmt.Errorf("upgrade namespace %q to format %d: %w", n.name, formatVersion, err)
		}
	}
	return s.write(4*s.pageSize, true, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(rootName)).Put([]byte(keyFormat), sealUint(keyFormat, formatVersion))
	})
}

func (s *Store) upgradeSpace(n *space) error {
	err := s.write(16*s.pageSize, true, func(tx *bbolt.Tx) error {
		for _, name := range bucketsOf(n.name, n.id) {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return writeInfo(tx, n.name, &n.info)
	})
	if err != nil {
		return err
	}
	for i := range n.chains[0].full {
		if err := s.upgradeSegment(n, n.chains[0].full[i].base); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) upgradeSegment(n *space, base msg.Offset) error {
	var value []byte
	key := appendSegmentKey(nil, 0, base)
	err := s.db.View(func(tx *bbolt.Tx) error {
		g := segment{base: base}
		l := loader{tx: tx}
		x, err := l.scan(appendSegmentName(nil, n.id, 0, base), &g)
		if err == nil {
			value = seal(nil, key, x.encode(&g))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("segment %d: %w", base, err)
	}
	return s.write(int64(2*len(value))+16*s.pageSize, true, func(tx *bbolt.Tx) error {
		return tx.Bucket(indexName(n.id)).Put(key, value)
	})
}

var _ persist.Retention = (*Store)(nil)
