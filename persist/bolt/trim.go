package bolt

import (
	"fmt"

	"go.etcd.io/bbolt"

	"parley/msg"
)

// Trim implements persist.Store. It drops whole segments, one per transaction.
func (s *Store) Trim(namespace string, upTo msg.Offset) error {
	for {
		more, err := s.trim(namespace, upTo)
		if err != nil {
			return fmt.Errorf("trim %q: %w", namespace, err)
		}
		if !more {
			return nil
		}
	}
}

// trim drops the oldest segment if it may go, and tells whether it did.
func (s *Store) trim(namespace string, upTo msg.Offset) (bool, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.writable(); err != nil {
		return false, err
	}
	n, err := s.space(namespace)
	if err != nil {
		return false, err
	}
	if len(n.segments) == 0 || n.last(0) > upTo {
		return false, nil
	}
	before, segments := n.info, n.segments
	next := before
	next.first, next.time = n.last(0)+1, n.time
	// Readers that miss the segment look at first again, so it moves before.
	s.setOldest(n, next, segments[1:])
	err = s.write(16*s.pageSize, false, func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket(appendSegmentName(nil, n.id, 0, segments[0].base)); err != nil {
			return err
		}
		if err := putSegments(tx, s.segments-1); err != nil {
			return err
		}
		return writeInfo(tx, n.name, &next)
	})
	if err != nil {
		s.setOldest(n, before, segments)
		return false, err
	}
	s.segments--
	return true, nil
}

// putSegments writes how many segments there are in all.
func putSegments(tx *bbolt.Tx, n int) error {
	return tx.Bucket([]byte(rootName)).Put([]byte(keySegments), sealUint(keySegments, uint64(n)))
}

func (s *Store) setOldest(n *space, i info, segments []segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.info, n.segments = i, segments
}
