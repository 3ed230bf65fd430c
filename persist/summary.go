package persist

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"parley/msg"
)

// Bounds of the summaries of dropped segments.
const (
	SummaryBytes = 4 << 20   // of one namespace, encoded; the oldest give way
	summaryBytes = 512 << 10 // of one segment; beyond it only its range is known
)

// Summary gathers what a dropped segment held: topic -> first, last, count.
//
// Encoded, numbers are varints:
//
//	first, last - first      offsets of the segment
//	0 or 1                   1: the topics follow; 0: they were too many
//	per topic, sorted        bytes in common with the one before, length of the
//	                         rest, rest, first offset - the segment's first,
//	                         last - first, count
type Summary struct {
	First, Last msg.Offset
	topics      map[string]*topicRun
}

type topicRun struct {
	first, last msg.Offset
	count       uint64
}

// Add counts one message; offsets ascend. topic is copied.
func (s *Summary) Add(topic []byte, at msg.Offset) {
	if s.topics == nil {
		s.topics = map[string]*topicRun{}
	}
	t := s.topics[string(topic)]
	if t == nil {
		t = &topicRun{first: at}
		s.topics[string(topic)] = t
	}
	t.last = at
	t.count++
}

// Encode returns the encoded summary, without topics if there is no room for
// them or brief is set.
func (s *Summary) Encode(brief bool) []byte {
	b := binary.AppendUvarint(nil, uint64(s.First))
	b = binary.AppendUvarint(b, uint64(s.Last-s.First))
	head := len(b)
	if brief {
		return append(b, 0)
	}
	b = append(b, 1)
	before := ""
	for _, topic := range slices.Sorted(maps.Keys(s.topics)) {
		t := s.topics[topic]
		common := 0
		for common < len(before) && common < len(topic) && before[common] == topic[common] {
			common++
		}
		b = binary.AppendUvarint(b, uint64(common))
		b = binary.AppendUvarint(b, uint64(len(topic)-common))
		b = append(b, topic[common:]...)
		b = binary.AppendUvarint(b, uint64(t.first-s.First))
		b = binary.AppendUvarint(b, uint64(t.last-t.first))
		b = binary.AppendUvarint(b, t.count)
		if len(b) > summaryBytes {
			return append(b[:head:head], 0)
		}
		before = topic
	}
	return b
}

// SummaryRange reads the offsets that an encoded summary is about.
func SummaryRange(b []byte) (first, last msg.Offset, err error) {
	d := decoder{rest: b}
	first, last, _ = summaryHead(&d)
	if d.bad != "" {
		return 0, 0, fmt.Errorf("summary: %s: %w", d.bad, ErrCorrupt)
	}
	return first, last, nil
}

func summaryHead(d *decoder) (first, last msg.Offset, detailed bool) {
	first = msg.Offset(d.uvarint())
	last = first + msg.Offset(d.uvarint())
	switch d.uvarint() {
	case 0:
	case 1:
		detailed = true
	default:
		d.fail("kind")
	}
	return first, last, detailed
}

// AddSummary adds what an encoded summary says about [from, to] and the filters.
// The zero value of Missed with Exact set is where to begin.
func (m *Missed) AddSummary(b []byte, filters []msg.Filter, from, to msg.Offset) error {
	d := decoder{rest: b}
	first, last, detailed := summaryHead(&d)
	if d.bad == "" && (first > to || last < from) {
		return nil
	}
	if d.bad == "" && !detailed {
		m.AddUnknown(max(first, from), min(last, to))
	}
	var topic bytes.Buffer
	for len(d.rest) > 0 && d.bad == "" {
		common := d.uvarint()
		if common > uint64(topic.Len()) {
			d.fail("topic")
			break
		}
		topic.Truncate(int(common))
		topic.Write(d.bytes())
		t := topicRun{first: first + msg.Offset(d.uvarint())}
		t.last = t.first + msg.Offset(d.uvarint())
		t.count = d.uvarint()
		if d.bad != "" || t.first > to || t.last < from || !MatchesAny(filters, topic.String()) {
			continue
		}
		if t.first < from || t.last > to {
			m.AddUnknown(max(t.first, from), min(t.last, to))
			continue
		}
		m.widen(t.first, t.last)
		m.Count += t.count
	}
	if d.bad != "" {
		return fmt.Errorf("summary: %s: %w", d.bad, ErrCorrupt)
	}
	return nil
}

// AddUnknown says that something in [first, last] may have been removed.
func (m *Missed) AddUnknown(first, last msg.Offset) {
	if first <= last {
		m.widen(first, last)
		m.Exact = false
	}
}

func (m *Missed) widen(first, last msg.Offset) {
	if m.First == 0 || first < m.First {
		m.First = first
	}
	m.Last = max(m.Last, last)
}

// Result is m once everything is added.
func (m Missed) Result() Missed {
	if !m.Exact {
		m.Count = 0
	}
	return m
}
