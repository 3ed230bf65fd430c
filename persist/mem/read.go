package mem

import (
	"fmt"
	"sort"

	"parley/msg"
	"parley/persist"
)

// Read implements persist.Store.
func (s *Store) Read(namespace string, from, to msg.Offset, l persist.Limits) ([]*msg.Message, msg.Offset, error) {
	l = l.WithDefaults()
	records, at, to, err := s.slice(namespace, from, to)
	if err != nil {
		return nil, from, fmt.Errorf("read %q: %w", namespace, err)
	}
	var ms []*msg.Message
	bytes, passed, passedBytes := 0, 0, 0
	for _, r := range records {
		if len(ms) >= l.Messages || passed >= persist.ScanMessages || passedBytes >= persist.ScanBytes {
			return ms, r.at, nil
		}
		m, err := persist.DecodeRecord(r.rec, r.at)
		if err != nil {
			return nil, from, fmt.Errorf("read %q offset %d: %w", namespace, r.at, err)
		}
		if !persist.MatchesAny(l.Filters, m.Topic) {
			passed++
			passedBytes += len(r.rec)
			continue
		}
		if bytes += m.Size(); bytes > l.Bytes && len(ms) > 0 {
			return ms, r.at, nil
		}
		ms = append(ms, m)
	}
	return ms, max(at, to+1), nil
}

// slice returns the records of [from, to], and the two with their meaning made
// plain. Records are never changed.
func (s *Store) slice(namespace string, from, to msg.Offset) ([]record, msg.Offset, msg.Offset, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n, err := s.space(namespace)
	if err != nil {
		return nil, 0, 0, err
	}
	if to == 0 || to > n.head {
		to = n.head
	}
	return between(n.records, from, to), from, to, nil
}

// between returns the part of sorted records that lies in [from, to].
func between(records []record, from, to msg.Offset) []record {
	i := sort.Search(len(records), func(i int) bool { return records[i].at >= from })
	end := sort.Search(len(records), func(i int) bool { return records[i].at > to })
	return records[i:max(i, end):max(i, end)]
}

// space finds an opened namespace; mu is held.
func (s *Store) space(name string) (*space, error) {
	if s.closed {
		return nil, persist.ErrClosed
	}
	n := s.spaces[name]
	if n == nil {
		return nil, noNamespace(name)
	}
	return n, nil
}
