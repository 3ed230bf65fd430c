package bolt

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"

	"parley/msg"
)

// The index says which topics occur in which block of a segment's messages, so
// that a Read with filters passes over the blocks that hold nothing for it. It
// is built in memory while messages are appended and written once, when the
// segment is full, as one value:
//
//	last - base, messages, bytes, newest time (zigzag), number of blocks
//	per block: length of the rest, first offset - base, last - first, kind, and
//	  kind 0: the topics, each with its length
//	  kind 1: a Bloom filter of the topics and their beginnings, 2^n bytes
//
// Numbers are varints. The index of the segment that is appended to is made
// anew when the store is opened.
const (
	blockMessages = 512
	blockBytes    = 256 << 10 // of records
	listTopics    = 48        // more topics become a Bloom filter
	listBytes     = 1 << 10
)

const (
	kindList  = 0
	kindBloom = 1
)

// segmentIndex is the index of a segment that is appended to. Guarded by
// Store.mu, but for what full points to, which only grows.
type segmentIndex struct {
	base   msg.Offset
	full   []byte // encoded blocks
	blocks int
	block  block
}

// block gathers one block: its topics or, when they are many, a Bloom filter.
type block struct {
	first, last msg.Offset // first 0: no message yet
	messages    int
	bytes       int64
	recent      string // topic of the last message
	topics      map[string]struct{}
	topicBytes  int
	bloom       *bloom // nil: topics holds
}

func newIndex(base msg.Offset) *segmentIndex { return &segmentIndex{base: base} }

// add counts a message of so many encoded bytes. The topic is copied if it is
// kept for longer than the block's next message.
func (x *segmentIndex) add(topic string, at msg.Offset, bytes int) {
	b := &x.block
	if b.messages >= blockMessages || b.bytes >= blockBytes || b.bloom != nil && b.bloom.full() {
		x.full = b.append(x.full, x.base)
		x.blocks++
		b.next()
	}
	if b.first == 0 {
		b.first = at
	}
	b.last = at
	b.messages++
	b.bytes += int64(bytes)
	if b.messages == 1 || topic != b.recent {
		b.note(topic)
		b.recent = topic
	}
}

// next begins the next block. Where there were many topics there will be many
// again: it does without the list.
func (b *block) next() {
	if b.bloom == nil || b.bloom.entries <= listTopics {
		*b = block{}
		return
	}
	bloom := b.bloom
	bloom.reset()
	*b = block{bloom: bloom}
}

func (b *block) note(topic string) {
	if b.bloom != nil {
		b.bloom.add(topic)
		return
	}
	if b.topics == nil {
		b.topics = make(map[string]struct{}, 4)
	}
	if _, ok := b.topics[topic]; ok {
		return
	}
	b.topics[strings.Clone(topic)] = struct{}{}
	if b.topicBytes += len(topic); b.topicBytes <= listBytes && len(b.topics) <= listTopics {
		return
	}
	b.bloom = &bloom{}
	for t := range b.topics {
		b.bloom.add(t)
	}
	b.topics = nil
}

// clone is a copy to which messages can be added without changing x.
func (x *segmentIndex) clone() *segmentIndex {
	c := *x
	c.full = x.full[:len(x.full):len(x.full)]
	c.block.topics = maps.Clone(x.block.topics)
	if x.block.bloom != nil {
		bits := *x.block.bloom
		c.block.bloom = &bits
	}
	return &c
}

// encode returns the index of the whole segment seg.
func (x *segmentIndex) encode(seg *segment) []byte {
	b := binary.AppendUvarint(nil, uint64(seg.last-seg.base))
	b = binary.AppendUvarint(b, uint64(seg.messages))
	b = binary.AppendUvarint(b, uint64(seg.bytes))
	b = binary.AppendVarint(b, seg.newest)
	b = binary.AppendUvarint(b, uint64(x.blocks+1))
	b = append(b, x.full...)
	return x.block.append(b, x.base)
}

// append appends the encoded block.
func (b *block) append(dst []byte, base msg.Offset) []byte {
	body := binary.AppendUvarint(nil, uint64(b.first-base))
	body = binary.AppendUvarint(body, uint64(b.last-b.first))
	if b.bloom == nil {
		body = append(body, kindList)
		for _, t := range slices.Sorted(maps.Keys(b.topics)) {
			body = binary.AppendUvarint(body, uint64(len(t)))
			body = append(body, t...)
		}
	} else {
		body = append(body, kindBloom)
		body = b.bloom.append(body)
	}
	dst = binary.AppendUvarint(dst, uint64(len(body)))
	return append(dst, body...)
}

var errIndex = errors.New("malformed index")

// decodeIndex reads what the index says about the segment as a whole; blocks is
// what nextBlock reads, part of b.
func decodeIndex(b []byte, base msg.Offset) (seg segment, blocks []byte, err error) {
	d := numbers{rest: b}
	seg.base = base
	seg.last = base + msg.Offset(d.next())
	seg.messages = int(d.next())
	seg.bytes = int64(d.next())
	u := d.next()
	seg.newest = int64(u>>1) ^ -int64(u&1)
	d.next()
	if d.bad {
		return segment{}, nil, errIndex
	}
	return seg, d.rest, nil
}

// indexed is one block of an index.
type indexed struct {
	first, last msg.Offset
	kind        byte
	topics      []byte
}

// nextBlock takes one block off the front.
func nextBlock(blocks []byte, base msg.Offset) (b indexed, rest []byte, err error) {
	d := numbers{rest: blocks}
	n := d.next()
	if d.bad || n > uint64(len(d.rest)) {
		return b, nil, errIndex
	}
	rest = d.rest[n:]
	d.rest = d.rest[:n]
	b.first = base + msg.Offset(d.next())
	b.last = b.first + msg.Offset(d.next())
	if d.bad || len(d.rest) == 0 {
		return b, nil, errIndex
	}
	b.kind, b.topics = d.rest[0], d.rest[1:]
	return b, rest, nil
}

// numbers takes varints off the front of rest; after a fault they are zero.
type numbers struct {
	rest []byte
	bad  bool
}

func (d *numbers) next() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}
