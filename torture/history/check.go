package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"parley/msg"
)

// Rule names a promise that a fault breaks.
type Rule string

// The rules that Check judges.
const (
	RuleLost       Rule = "lost"       // acknowledged, and never delivered to a subscription that was confirmed before
	RuleOrder      Rule = "order"      // an offset or a publisher's sequence went backwards, unmarked or within a connection
	RuleDuplicate  Rule = "duplicate"  // delivered again where that is not allowed
	RuleUnmarked   Rule = "unmarked"   // delivered again after a reconnect, without the mark
	RuleMark       Rule = "mark"       // marked as sent before on a session's first connection
	RuleUnknown    Rule = "unknown"    // nobody has published it, or it was on another topic
	RuleOffset     Rule = "offset"     // one message at two offsets
	RuleSession    Rule = "session"    // a durable session is gone, or one that must not be there is
	RuleUnanswered Rule = "unanswered" // a publish without an answer at the end
	RuleRefused    Rule = "refused"    // a publish that must be taken was answered with an error
	RuleGap        Rule = "gap"        // announced, but nothing is missing
	RuleWill       Rule = "will"       // published though it must not be, too early, or not at all
	RuleProtocol   Rule = "protocol"   // a Complaint
	RuleRetained   Rule = "retained"   // an older value than the last acknowledged one, or none
)

// Fault is one broken promise.
type Fault struct {
	Rule   Rule
	Text   string
	Events []Event // that show it, in order
}

func (f Fault) String() string { return fmt.Sprintf("%s: %s", f.Rule, f.Text) }

// Limits are the times that judging wills needs. The zero value is usable.
type Limits struct {
	WillGrace time.Duration // will.restart_grace of the broker; 0 = 30 s
	Tolerance time.Duration // how much later or earlier than promised a will may be; 0 = 5 s
}

// Check judges a history and returns what is wrong with it, in the order in
// which it became wrong. events is not changed.
func Check(events []Event, lim Limits) []Fault {
	lim.WillGrace = cmp.Or(lim.WillGrace, 30*time.Second)
	lim.Tolerance = cmp.Or(lim.Tolerance, 5*time.Second)
	c := &checker{events: events, lim: lim}
	c.index()
	c.messagesAndOffsets()
	c.streamRules()
	c.sessions()
	c.gaps()
	c.retained()
	c.wills()
	c.losses()
	slices.SortStableFunc(c.faults, func(a, b found) int { return a.at - b.at })
	out := make([]Fault, len(c.faults))
	for i, f := range c.faults {
		out[i] = f.Fault
	}
	return out
}

// checker is one run of Check. Events are named by their index.
type checker struct {
	events []Event
	lim    Limits
	faults []found

	messages  map[ID]*message
	order     []*message // in the order of their first publish
	settled   map[string]uint64
	streams   map[streamKey]*stream
	streamKey []streamKey // in the order of their first delivery
	clients   map[string]*client
	names     []string // of clients, in order of appearance
	kills     []int
	starts    []int
	quiesced  []int
	filters   map[string]msg.Filter
}

type found struct {
	at int
	Fault
}

// message is one ID.
type message struct {
	id       ID
	topic    string
	qos      byte
	key      string
	retain   bool
	will     bool
	sent     int // first Publish
	publish  int // newest Publish
	acked    int // first Published, -1 = none
	answered int // newest answer, -1 = none
	offset   uint64
	offsetAt int
	offered  []int // first and second event that tell different offsets
}

type streamKey struct{ client, filter string }

// stream is what one subscription saw.
type stream struct {
	deliveries []int
	seen       []int // Settled
}

// client is one session.
type client struct {
	name     string
	connects []int
	ends     []int
	changes  []int // Subscribe, Subscribed, Unsubscribe
	gaps     []int
	retained []int // deliveries of retained values
}

func (c *checker) fault(at int, rule Rule, events []int, format string, args ...any) {
	f := found{at: at, Fault: Fault{Rule: rule, Text: fmt.Sprintf(format, args...)}}
	slices.Sort(events)
	for _, i := range slices.Compact(events) {
		if i >= 0 {
			f.Events = append(f.Events, c.events[i])
		}
	}
	c.faults = append(c.faults, f)
}

func (c *checker) index() {
	c.messages, c.settled = map[ID]*message{}, map[string]uint64{}
	c.streams, c.clients = map[streamKey]*stream{}, map[string]*client{}
	c.filters = map[string]msg.Filter{}
	for i := range c.events {
		e := &c.events[i]
		switch e.Kind {
		case Start:
			c.starts = append(c.starts, i)
		case Kill:
			c.kills = append(c.kills, i)
		case Quiesced:
			c.quiesced = append(c.quiesced, i)
		case Publish, Published, Refused:
			c.indexMessage(i, e)
		case Settled:
			if e.Client == "" {
				c.settled[e.Message.Publisher] = e.Message.Seq
				continue
			}
			s := c.stream(e)
			s.seen = append(s.seen, i)
		case Deliver:
			if e.Retained {
				k := c.client(e.Client)
				k.retained = append(k.retained, i)
			}
			s := c.stream(e)
			s.deliveries = append(s.deliveries, i)
		default:
			c.indexClient(i, e)
		}
	}
}

func (c *checker) indexClient(i int, e *Event) {
	k := c.client(e.Client)
	switch e.Kind {
	case Connect:
		k.connects = append(k.connects, i)
		if w := e.Will; w != nil {
			c.messages[w.Message] = &message{id: w.Message, topic: w.Topic, qos: w.QoS, will: true, sent: i, publish: i, acked: -1, answered: i}
		}
	case Disconnect:
		k.ends = append(k.ends, i)
	case Subscribe, Subscribed, Unsubscribe:
		k.changes = append(k.changes, i)
	case Gap:
		k.gaps = append(k.gaps, i)
	}
}

func (c *checker) indexMessage(i int, e *Event) {
	m := c.messages[e.Message]
	if m == nil {
		if e.Kind != Publish {
			return // an answer to what Compact has removed
		}
		m = &message{id: e.Message, topic: e.Topic, qos: e.QoS, key: e.Key, retain: e.Retain, sent: i, acked: -1, answered: -1}
		c.messages[e.Message] = m
		c.order = append(c.order, m)
	}
	switch e.Kind {
	case Publish:
		m.publish = i
	case Published:
		m.answered = i
		if m.acked < 0 {
			m.acked = i
		}
		c.offset(m, i)
	case Refused:
		m.answered = i
	}
}

// offset notes where a message is in the log, as event i tells it.
func (c *checker) offset(m *message, i int) {
	at := c.events[i].Offset
	switch {
	case at == 0 || at == m.offset:
	case m.offset == 0:
		m.offset, m.offsetAt = at, i
	case m.offered == nil:
		m.offered = []int{m.offsetAt, i}
	}
}

func (c *checker) stream(e *Event) *stream {
	k := streamKey{e.Client, e.Filter}
	s := c.streams[k]
	if s == nil {
		s = &stream{}
		c.streams[k] = s
		c.streamKey = append(c.streamKey, k)
	}
	return s
}

func (c *checker) client(name string) *client {
	k := c.clients[name]
	if k == nil {
		k = &client{name: name}
		c.clients[name] = k
		c.names = append(c.names, name)
	}
	return k
}

func (c *checker) matches(filter, topic string) bool {
	f, ok := c.filters[filter]
	if !ok {
		var err error
		if f, err = msg.ParseFilter(filter); err != nil {
			return false
		}
		c.filters[filter] = f
	}
	return f.Matches(topic)
}

// firstAfter returns the first of the ascending indexes after i, or -1.
func firstAfter(indexes []int, i int) int {
	n, _ := slices.BinarySearch(indexes, i+1)
	if n == len(indexes) {
		return -1
	}
	return indexes[n]
}
