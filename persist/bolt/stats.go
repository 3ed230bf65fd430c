package bolt

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"parley/msg"
)

// Stats is what a store holds. Sizes are in bytes.
type Stats struct {
	Path       string           `json:"path"`
	Format     uint64           `json:"format"`
	FileBytes  int64            `json:"file_bytes"`
	PageBytes  int64            `json:"page_bytes"`
	Pages      uint64           `json:"pages"`      // that were ever used
	FreePages  uint64           `json:"free_pages"` // of these
	Namespaces []NamespaceStats `json:"namespaces"`
}

// NamespaceStats is one namespace's part of it.
type NamespaceStats struct {
	Name       string                `json:"name"`
	Epoch      string                `json:"epoch"`
	First      msg.Offset            `json:"first"` // oldest message, 0 = none is left
	Head       msg.Offset            `json:"head"`  // newest that was ever stored
	Checkpoint msg.Offset            `json:"checkpoint"`
	Messages   uint64                `json:"messages"`
	Bytes      int64                 `json:"bytes"` // of records
	Newest     int64                 `json:"newest_unix_ms"`
	Kept       uint64                `json:"kept"`      // messages that outlived their segment
	Summaries  uint64                `json:"summaries"` // of dropped segments
	Dropped    uint64                `json:"dropped"`   // messages, kept ones among them
	Controls   uint64                `json:"controls"`
	Table      map[string]TableStats `json:"table"` // by the beginning of the keys, up to the first /
	Segments   []SegmentStats        `json:"segments"`
}

// TableStats counts entries of the checkpoint table.
type TableStats struct {
	Entries uint64 `json:"entries"`
	Bytes   int64  `json:"bytes"`
}

// SegmentStats is one segment of the log.
type SegmentStats struct {
	Class    uint8      `json:"class"`
	First    msg.Offset `json:"first"`
	Last     msg.Offset `json:"last"`
	Messages uint64     `json:"messages"`
	Bytes    int64      `json:"bytes"`
}

// ReadStats reads all of a store, a directory's or a file, and counts. Errors
// are Check's, and persist.ErrCorrupt for a file that is damaged.
func ReadStats(path string, progress Progress) (Stats, error) {
	s := &survey{progress: progress}
	err := s.run(path)
	if err == nil {
		err = s.report.Err()
	}
	if err != nil {
		return s.report.Stats, fmt.Errorf("store's statistics: %w", err)
	}
	return s.report.Stats, nil
}

// tablePrefix is what hub puts before a slash to say what a key is about.
func tablePrefix(key string) string {
	if i := strings.IndexByte(key, '/'); i >= 0 && i < 8 {
		return key[:i+1]
	}
	return ""
}

// summarize makes the statistics of the buckets read.
func (s *survey) summarize(meta metaPage, reached uint64) {
	st := &s.report.Stats
	st.Format, st.PageBytes, st.Pages = s.values[keyFormat], meta.pageSize, meta.pages
	if used := reached + 2; used <= meta.pages {
		st.FreePages = meta.pages - used
	}
	spaces := map[uint32]*NamespaceStats{}
	for id, name := range s.names {
		spaces[id] = &NamespaceStats{Name: name, Table: map[string]TableStats{}, Segments: []SegmentStats{}}
	}
	for i := range s.buckets {
		b := &s.buckets[i]
		if b.name[0] == 'n' {
			if n := spaces[b.info.id]; n != nil {
				n.Epoch, n.Checkpoint, n.Head = b.info.epochName(), b.info.at, max(n.Head, b.info.head)
				n.Dropped = b.info.dropped
			}
			continue
		}
		if len(b.name) < 5 || b.name == rootName {
			continue
		}
		if n := spaces[binary.BigEndian.Uint32([]byte(b.name[1:5]))]; n != nil {
			n.add(b)
		}
	}
	st.Namespaces = make([]NamespaceStats, 0, len(spaces))
	for _, n := range spaces {
		slices.SortFunc(n.Segments, func(a, b SegmentStats) int {
			return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Class, b.Class))
		})
		if len(n.Segments) > 0 {
			n.First = n.Segments[0].First
		}
		st.Namespaces = append(st.Namespaces, *n)
	}
	slices.SortFunc(st.Namespaces, func(a, b NamespaceStats) int { return strings.Compare(a.Name, b.Name) })
}

func (n *NamespaceStats) add(b *bucketSurvey) {
	switch {
	case isSegment(b.name):
		if b.entries == 0 {
			return
		}
		n.Messages += b.entries
		n.Bytes += b.bytes
		n.Head, n.Newest = max(n.Head, msg.Offset(b.last)), max(n.Newest, b.time)
		n.Segments = append(n.Segments, SegmentStats{b.name[5], msg.Offset(b.first), msg.Offset(b.last), b.entries, b.bytes})
	case b.name[0] == 'k':
		n.Kept += b.entries
	case b.name[0] == 'd':
		n.Summaries += b.entries
	case b.name[0] == 'c':
		n.Controls += b.entries
	case b.name[0] == 't':
		for prefix, t := range b.prefixes {
			sum := n.Table[prefix]
			sum.Entries, sum.Bytes = sum.Entries+t.Entries, sum.Bytes+t.Bytes
			n.Table[prefix] = sum
		}
	}
}
