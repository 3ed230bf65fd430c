package bolt

import (
	"slices"

	"go.etcd.io/bbolt"

	"parley/msg"
	"parley/persist"
)

// change is what Drop and Forget change of a namespace.
type change struct {
	info     info
	class    uint8
	chain    chain
	sums     []summary
	gone     []summary // those that gave way
	keptLast msg.Offset
}

func (n *space) change(class uint8) change {
	return change{info: n.info, class: class, chain: n.chains[class], sums: n.sums, keptLast: n.keptLast}
}

// take makes a change visible.
func (s *Store) take(n *space, c change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.info, n.chains[c.class], n.sums, n.keptLast = c.info, c.chain, c.sums, c.keptLast
	n.drops++
}

// cut takes the oldest segment of a class away and adds its summary of so many
// bytes; the oldest summaries give way.
func (c *change) cut(n *space, seg persist.Segment, bytes int) {
	g := c.chain.oldest()
	if len(c.chain.full) > 0 {
		c.chain.full = c.chain.full[1:]
	} else {
		c.chain.open, c.chain.index = segment{}, nil
	}
	c.info.dropped += uint64(g.messages)
	c.info.sparse = max(c.info.sparse, g.last)
	c.info.head, c.info.time = n.newest, n.time
	c.info.first = n.newest + 1
	for i := range n.chains {
		ch := &n.chains[i]
		if i == int(seg.Class) {
			ch = &c.chain
		}
		if first := ch.oldest(); first.base != 0 {
			c.info.first = min(c.info.first, first.base)
		}
	}
	c.sums = append(slices.Clone(c.sums), summary{class: seg.Class, base: seg.First, last: seg.Last, bytes: bytes})
	c.giveWay()
	c.info.summaries = uint64(len(c.sums))
}

// summaryCost is what a summary takes besides its bytes, in file and memory.
const summaryCost = 64

// giveWay forgets the oldest summaries while they are too large together.
func (c *change) giveWay() {
	total := 0
	for _, s := range c.sums {
		total += s.bytes + summaryCost
	}
	for total > persist.SummaryBytes {
		oldest := 0
		for i, s := range c.sums {
			if s.last < c.sums[oldest].last {
				oldest = i
			}
		}
		c.info.unknown = max(c.info.unknown, c.sums[oldest].last)
		total -= c.sums[oldest].bytes + summaryCost
		c.gone = append(c.gone, c.sums[oldest])
		c.sums = slices.Delete(c.sums, oldest, oldest+1)
	}
}

// putSegments writes how many segments there are in all.
func putSegments(tx *bbolt.Tx, n int) error {
	return tx.Bucket([]byte(rootName)).Put([]byte(keySegments), sealUint(keySegments, uint64(n)))
}
