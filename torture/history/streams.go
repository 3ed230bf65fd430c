package history

import "slices"

// messagesAndOffsets judges what is true of every message wherever it is seen.
func (c *checker) messagesAndOffsets() {
	for i := range c.events {
		e := &c.events[i]
		if e.Kind == Refused {
			c.fault(i, RuleRefused, []int{i}, "%s: %s was refused: %s", e.Client, e.Message, e.Note)
		}
		if e.Kind == Complaint {
			c.fault(i, RuleProtocol, []int{i}, "%s: %s", e.Client, e.Note)
		}
		if e.Kind != Deliver {
			continue
		}
		m := c.messages[e.Message]
		switch {
		case m == nil && e.Message.Seq <= c.settled[e.Message.Publisher]:
		case m == nil:
			c.fault(i, RuleUnknown, []int{i}, "%s received %s, which nobody has published", e.Client, e.Message)
		case m.sent > i:
			c.fault(i, RuleUnknown, []int{i, m.sent}, "%s received %s before it was published", e.Client, e.Message)
		case m.topic != e.Topic:
			c.fault(i, RuleUnknown, []int{m.sent, i}, "%s received %s on %s; it was published on %s", e.Client, e.Message, e.Topic, m.topic)
		default:
			c.offset(m, i)
		}
	}
	for _, m := range c.messages {
		if m.offered != nil {
			c.fault(m.offered[1], RuleOffset, append([]int{m.sent}, m.offered...), "%s is at two offsets, %d and %d",
				m.id, c.events[m.offered[0]].Offset, c.events[m.offered[1]].Offset)
		}
	}
}

// marks are the highest positions of a stream, and which events show them.
type marks struct {
	offset   uint64
	offsetAt int
	seq      map[group]int // index of the event with the highest sequence
}

// group is a set of messages whose sequences must not go backwards.
type group struct {
	publisher string
	attempt   int
	conn      int // of a publisher without a session of its own; else 0
}

func newMarks() *marks { return &marks{offsetAt: -1, seq: map[group]int{}} }

func (c *checker) streamRules() {
	for _, k := range c.streamKey {
		s := c.streams[k]
		// A connection that was taken over may be read to its end after the next one
		// has begun; what counts is the order of the connections.
		byConn := slices.Clone(s.deliveries)
		slices.SortStableFunc(byConn, func(a, b int) int { return c.events[a].Conn - c.events[b].Conn })
		c.orderOf(s, byConn)
		c.duplicatesOf(s, byConn)
	}
}

// orderOf: nothing goes backwards, not even from one connection to the next, but
// what is marked as redelivered. That has an order of its own within a connection
// and a quality of service: MQTT orders messages of the same one only
// ([MQTT-4.6.0-1], [MQTT-4.6.0-6]), and what is in flight at QoS 2 comes first.
func (c *checker) orderOf(s *stream, byConn []int) {
	all, here, conn := newMarks(), [3]*marks{newMarks(), newMarks(), newMarks()}, 0
	seen, came := s.seen, map[ID]bool{}
	for _, i := range byConn {
		e := &c.events[i]
		if e.Retained || e.Replayed {
			continue
		}
		if e.Conn != conn {
			here, conn = [3]*marks{newMarks(), newMarks(), newMarks()}, e.Conn
		}
		if came[e.Message] {
			continue // duplicatesOf judges it
		}
		came[e.Message] = true
		for ; len(seen) > 0 && seen[0] < i; seen = seen[1:] {
			c.raise(all, seen[0])
		}
		against := all
		if e.Marked {
			against = here[e.QoS%3]
		}
		if e.Offset != 0 && e.Offset <= against.offset && against.offsetAt >= 0 {
			c.fault(i, RuleOrder, []int{against.offsetAt, i}, "%s received offset %d after offset %d", e.Client, e.Offset, against.offset)
		}
		g := c.groupOf(e)
		if at, ok := against.seq[g]; ok && e.Message.Seq < c.events[at].Message.Seq {
			c.fault(i, RuleOrder, []int{at, i}, "%s received %s after %s", e.Client, e.Message, c.events[at].Message)
		}
		c.raise(here[e.QoS%3], i)
		c.raise(all, i)
	}
}

func (c *checker) raise(m *marks, i int) {
	e := &c.events[i]
	if e.Offset > m.offset {
		m.offset, m.offsetAt = e.Offset, i
	}
	g := c.groupOf(e)
	if at, ok := m.seq[g]; !ok || e.Message.Seq > c.events[at].Message.Seq {
		m.seq[g] = i
	}
}

// groupOf: the connections of an MQTT publisher follow one another, for the next
// one takes the session over. Those of others may overlap on their way to the
// broker, so what was published on them can be compared only if its order is held
// by keys.
func (c *checker) groupOf(e *Event) group {
	g := group{publisher: e.Message.Publisher, attempt: e.Message.Attempt}
	m := c.messages[e.Message]
	if m == nil || m.will {
		return g
	}
	if p := &c.events[m.sent]; p.Protocol != "mqtt" && p.Key == "" {
		g.conn = p.Conn
	}
	return g
}

// duplicatesOf: nothing twice on one connection, nothing twice at QoS 0 and 2,
// and what comes again on a later connection is marked.
func (c *checker) duplicatesOf(s *stream, byConn []int) {
	first := map[ID]int{}
	seen := map[string]uint64{}
	for _, i := range s.seen {
		m := c.events[i].Message
		seen[m.Publisher] = max(seen[m.Publisher], m.Seq)
	}
	for _, i := range byConn {
		e := &c.events[i]
		if e.Retained || e.Replayed {
			continue
		}
		if e.Marked && e.Conn == 1 {
			c.fault(i, RuleMark, []int{i}, "%s received %s marked as sent before, on its first connection", e.Client, e.Message)
		}
		before, again := first[e.Message]
		if !again {
			first[e.Message] = i
			if c.messages[e.Message] == nil && e.Message.Seq <= seen[e.Message.Publisher] {
				c.again(i, -1, e)
			}
			continue
		}
		c.again(i, before, e)
	}
}

// again judges event i, a delivery of what was delivered by event before already
// (-1: an event that Compact has removed).
func (c *checker) again(i, before int, e *Event) {
	var sent int = -1
	if m := c.messages[e.Message]; m != nil {
		sent = m.sent
	}
	shown := []int{sent, before, i}
	switch {
	case before >= 0 && c.events[before].Conn == e.Conn:
		c.fault(i, RuleDuplicate, shown, "%s received %s twice on one connection", e.Client, e.Message)
	case e.QoS == 2:
		c.fault(i, RuleDuplicate, shown, "%s received %s twice at QoS 2", e.Client, e.Message)
	case e.QoS == 0:
		c.fault(i, RuleDuplicate, shown, "%s received %s twice, the second time at QoS 0", e.Client, e.Message)
	case !e.Marked:
		c.fault(i, RuleUnmarked, shown, "%s received %s again without the mark", e.Client, e.Message)
	}
}
