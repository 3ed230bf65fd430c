package mem

import (
	"fmt"
	"slices"

	"parley/msg"
	"parley/persist"
)

// grow counts a message that was appended to a class. mu is held.
func (s *Store) grow(n *space, class uint8, bytes int) {
	chain := n.chains[class]
	if i := len(chain) - 1; i < 0 || chain[i].Messages >= s.opts.SegmentMessages {
		if i >= 0 {
			chain[i].Open = false
		}
		chain = append(chain, persist.Segment{Class: class, First: n.head, Open: true})
		n.chains[class] = chain
	}
	seg := &chain[len(chain)-1]
	seg.Last, seg.Newest = n.head, n.time
	seg.Messages++
	seg.Bytes += int64(bytes)
}

// first is the oldest message in a segment; 0: there is none.
func (n *space) first() (first msg.Offset) {
	for _, chain := range n.chains {
		if len(chain) > 0 && (first == 0 || chain[0].First < first) {
			first = chain[0].First
		}
	}
	return first
}

// Segments implements persist.Store.
func (s *Store) Segments(namespace string) ([]persist.Segment, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n, err := s.space(namespace)
	if err != nil {
		return nil, fmt.Errorf("segments: %w", err)
	}
	return slices.Concat(n.chains[:]...), nil
}

// find returns where a segment stands in its chain; -1: it is gone.
func (n *space) find(seg persist.Segment) int {
	if seg.Class >= persist.Classes {
		return -1
	}
	return slices.IndexFunc(n.chains[seg.Class], func(o persist.Segment) bool { return o.First == seg.First })
}

// MayHold implements persist.Store; here it is exact.
func (s *Store) MayHold(namespace string, seg persist.Segment, filters []msg.Filter) (bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n, err := s.space(namespace)
	if err != nil {
		return false, fmt.Errorf("may hold: %w", err)
	}
	i := n.find(seg)
	if i < 0 {
		return false, nil
	}
	for _, r := range between(n.records, seg.First, n.chains[seg.Class][i].Last) {
		if r.class != seg.Class || r.kept {
			continue
		}
		topic, err := persist.RecordTopic(r.rec)
		if err != nil {
			return false, fmt.Errorf("may hold: %w", err)
		}
		if persist.MatchesAny(filters, string(topic)) {
			return true, nil
		}
	}
	return false, nil
}

// Drop implements persist.Store.
func (s *Store) Drop(namespace string, seg persist.Segment, keep []msg.Offset) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.space(namespace)
	if err != nil {
		return fmt.Errorf("drop: %w", err)
	}
	i := n.find(seg)
	if i < 0 {
		return nil
	}
	if i > 0 || n.chains[seg.Class][0].Last != seg.Last {
		return fmt.Errorf("drop: class %d, offsets %d to %d: %w", seg.Class, seg.First, seg.Last, persist.ErrSegment)
	}
	sum := persist.Summary{First: seg.First, Last: seg.Last}
	left := make([]record, 0, len(n.records))
	for _, r := range n.records {
		if r.class == seg.Class && !r.kept && r.at <= seg.Last {
			if _, kept := slices.BinarySearch(keep, r.at); !kept {
				topic, err := persist.RecordTopic(r.rec)
				if err != nil {
					return fmt.Errorf("drop: %w", err)
				}
				sum.Add(topic, r.at)
				s.bytes -= int64(len(r.rec))
				continue
			}
			r.kept = true
		}
		left = append(left, r)
	}
	n.records = left
	n.chains[seg.Class] = slices.Clone(n.chains[seg.Class][1:])
	n.remember(sum.Encode(false))
	return nil
}

// remember adds a summary; the oldest give way.
func (n *space) remember(sum []byte) {
	n.dropped = append(n.dropped, sum)
	n.summaries += len(sum)
	for n.summaries > persist.SummaryBytes {
		if _, last, err := persist.SummaryRange(n.dropped[0]); err == nil {
			n.unknown = max(n.unknown, last)
		}
		n.summaries -= len(n.dropped[0])
		n.dropped = n.dropped[1:]
	}
}

// Missed implements persist.Store.
func (s *Store) Missed(namespace string, filters []msg.Filter, from, to msg.Offset) (persist.Missed, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	m := persist.Missed{Exact: true}
	n, err := s.space(namespace)
	if err != nil {
		return m, fmt.Errorf("missed: %w", err)
	}
	if to == 0 || to > n.head {
		to = n.head
	}
	m.AddUnknown(max(from, 1), min(to, n.unknown))
	for _, sum := range n.dropped {
		if err := m.AddSummary(sum, filters, from, to); err != nil {
			return m, fmt.Errorf("missed: %w", err)
		}
	}
	return m.Result(), nil
}

// Forget implements persist.Store.
func (s *Store) Forget(namespace string, kept []msg.Offset) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.space(namespace)
	if err != nil {
		return fmt.Errorf("forget: %w", err)
	}
	gone := make(map[msg.Offset]bool, len(kept))
	for _, at := range kept {
		gone[at] = true
	}
	left := make([]record, 0, len(n.records))
	for _, r := range n.records {
		if r.kept && gone[r.at] {
			s.bytes -= int64(len(r.rec))
			continue
		}
		left = append(left, r)
	}
	n.records = left
	return nil
}
