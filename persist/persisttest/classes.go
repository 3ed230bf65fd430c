package persisttest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"parley/msg"
	"parley/persist"
)

// append commits one message per topic, classes by turns.
func (e *env) append(namespace string, classes []uint8, topics ...string) []*msg.Message {
	e.Helper()
	b := &persist.Batch{}
	var ms []*msg.Message
	for i, topic := range topics {
		m := &msg.Message{Topic: topic, QoS: 1, Payload: msg.Bytes([]byte(topic))}
		ms = append(ms, m)
		b.Appends = append(b.Appends, persist.Append{Namespace: namespace, Class: classes[i%len(classes)], Message: m})
	}
	e.must(b)
	return ms
}

// topics reads a namespace with filters and joins the topics.
func (e *env) topics(namespace string, patterns ...string) string {
	e.Helper()
	var filters []msg.Filter
	for _, p := range patterns {
		filters = append(filters, msg.Filter{Pattern: p})
	}
	var out []string
	for _, m := range e.all(namespace, 0, 0, persist.Limits{Filters: filters}) {
		out = append(out, m.Topic)
	}
	return strings.Join(out, " ")
}

func classesAreMerged(e *env) {
	e.state("a")
	var want []string
	for i := range 12 {
		var topics []string
		for j := range 4 {
			topics = append(topics, fmt.Sprintf("t/%d", i*4+j))
		}
		want = append(want, topics...)
		ms := e.append("a", []uint8{0, 7, 0, 3}, topics...)
		if i > 0 && ms[0].Offset <= 4*msg.Offset(i)-1 {
			e.Fatalf("offset %d", ms[0].Offset)
		}
	}
	check := func() {
		e.Helper()
		if got := e.topics("a"); got != strings.Join(want, " ") {
			e.Fatalf("read %s", got)
		}
		for _, m := range e.all("a", 5, 20, persist.Limits{Messages: 3}) {
			if m.Topic != want[m.Offset-1] {
				e.Errorf("offset %d holds %s", m.Offset, m.Topic)
			}
		}
	}
	check()
	count := map[uint8]int{}
	for _, s := range e.segments("a") {
		count[s.Class] += s.Messages
	}
	if count[0] < 24 || count[3] < 12 || count[7] < 12 || len(count) != 3 {
		e.Errorf("messages by class: %v", count)
	}
	if e.Durable {
		e.reopen()
		check()
		want = append(want, "more")
		e.append("a", []uint8{7}, "more")
		check()
	}
	// Dropping all of one class leaves the others, in order.
	for _, s := range e.segments("a") {
		if s.Class == 0 {
			if err := e.s.Drop("a", s, nil); err != nil {
				e.Fatal(err)
			}
		}
	}
	var left []string
	for i, topic := range want {
		if i%2 == 1 || topic == "more" {
			left = append(left, topic)
		}
	}
	want = left
	for range 2 {
		if got := e.topics("a"); got != strings.Join(want, " ") {
			e.Fatalf("without class 0: %s", got)
		}
		if i := e.state("a"); i.First != 2 || i.Head < 48 {
			e.Fatalf("%+v", i)
		}
		if e.Durable {
			e.reopen()
		}
	}
}

// controlOfAnAppend: a control knows the offset of the message it belongs to.
func controlOfAnAppend(e *env) {
	e.state("a")
	e.publish("a", "1", "2")
	b := &persist.Batch{
		Appends: []persist.Append{
			{Namespace: "a", Message: &msg.Message{Topic: "x"}},
			{Namespace: "a", Class: 2, Message: &msg.Message{Topic: "y"}},
		},
		Controls: []persist.Control{
			{Namespace: "a", Key: "second", Value: []byte("v"), Of: 2},
			{Namespace: "a", Key: "first", Of: 1},
			{Namespace: "a", Key: "none", Value: []byte("n")},
		},
	}
	e.must(b)
	want := []string{
		string(binary.BigEndian.AppendUint64(nil, uint64(b.Appends[1].Message.Offset))) + "v",
		string(binary.BigEndian.AppendUint64(nil, uint64(b.Appends[0].Message.Offset))),
		"n",
	}
	check := func(cs []persist.Control) {
		e.Helper()
		for i, c := range cs {
			if string(c.Value) != want[i] {
				e.Errorf("control %s: %q, want %q", c.Key, c.Value, want[i])
			}
		}
	}
	check(b.Controls)
	_, stored, _ := e.contents("a")
	check(stored)
	if e.Durable {
		e.reopen()
		_, stored, _ = e.contents("a")
		check(stored)
	}
	if len(stored) != 3 {
		e.Errorf("%d controls", len(stored))
	}
}

func filteredRead(e *env) {
	e.state("a")
	var want []string
	for i := range 40 {
		var topics []string
		for j := range 20 {
			topics = append(topics, fmt.Sprintf("site/%d/sensor/%d", j, i))
		}
		if i%13 == 5 {
			topics[7] = fmt.Sprintf("rare/%d", i)
			want = append(want, topics[7])
		}
		e.append("a", []uint8{0, 0, 0, 1}, topics...)
	}
	e.append("a", []uint8{0}, "$sys/x", "rare")
	for range 2 {
		for _, c := range []struct{ filter, want string }{
			{"rare/+", strings.Join(want, " ")},
			{"rare/#", strings.Join(append(slices.Clone(want), "rare"), " ")},
			{"rare/18", "rare/18"},
			{"rare", "rare"},
			{"nothing/here", ""},
			{"site/3/sensor/9", "site/3/sensor/9"},
			{"+/4/+/11", "site/4/sensor/11"},
			{"$sys/+", "$sys/x"},
			{"+/x", ""}, // [MQTT-4.7.2-1]
		} {
			if got := e.topics("a", c.filter); got != c.want {
				e.Errorf("filter %s: %s, want %s", c.filter, got, c.want)
			}
		}
		if got := strings.Count(e.topics("a", "site/3/#", "rare/#"), "/sensor/"); got != 40 {
			e.Errorf("two filters: %d messages of one", got)
		}
		if !e.Durable {
			break
		}
		e.reopen()
	}
	// Prefixes match by characters.
	ms := e.all("a", 0, 0, persist.Limits{Filters: []msg.Filter{{Kind: msg.FilterPrefix, Pattern: "site/1/sensor/3"}}})
	if len(ms) != 11 { // 3, 30 to 39
		e.Errorf("prefix: %d messages", len(ms))
	}
	// A limit stops behind what was returned.
	filters := []msg.Filter{{Pattern: "site/2/#"}}
	got, next, err := e.s.Read("a", 1, 0, persist.Limits{Messages: 2, Filters: filters})
	if err != nil || len(got) != 2 || next <= got[1].Offset || next > got[1].Offset+20 {
		e.Errorf("limited: %d messages, next %d, %v", len(got), next, err)
	}
}

// filteredReadIsBounded: what a filter passes over in one call is bounded, and
// every call goes on.
func filteredReadIsBounded(e *env) {
	e.state("a")
	const batches, each = 6, 1000
	data := make([]byte, 300)
	for i := range batches {
		b := &persist.Batch{}
		for j := range each {
			topic := fmt.Sprintf("t/%d", j%7)
			b.Appends = append(b.Appends, persist.Append{Namespace: "a", Class: uint8(j % 2), Message: &msg.Message{Topic: topic, Payload: msg.Bytes(data)}})
		}
		if i == batches-1 {
			b.Appends[each-1].Message.Topic = "wanted"
		}
		e.must(b)
	}
	// No index can answer this filter: every message has to be looked at.
	filters := []msg.Filter{{Pattern: "+"}}
	calls, found := 0, 0
	for from := msg.Offset(1); from <= batches*each; calls++ {
		ms, next, err := e.s.Read("a", from, 0, persist.Limits{Filters: filters})
		if err != nil || next <= from {
			e.Fatalf("from %d: next %d, %v", from, next, err)
		}
		found += len(ms)
		from = next
	}
	if found != 1 {
		e.Errorf("%d messages found", found)
	}
	if calls > batches*each/1000 {
		e.Errorf("%d calls for %d messages", calls, batches*each)
	}
}

func segmentsAndMayHold(e *env) {
	e.state("a")
	if s := e.segments("a"); len(s) != 0 {
		e.Fatalf("%d segments of an empty log", len(s))
	}
	for i := range 30 {
		e.append("a", []uint8{0, 4}, fmt.Sprintf("t/%d", i), fmt.Sprintf("u/%d", i))
	}
	for range 2 {
		open := map[uint8]int{}
		var total int
		segments := e.segments("a")
		for i, s := range segments {
			if i > 0 && (s.Class < segments[i-1].Class || s.Class == segments[i-1].Class && s.First <= segments[i-1].Last) {
				e.Errorf("segment %d: %+v after %+v", i, s, segments[i-1])
			}
			total += s.Messages
			if s.Open {
				open[s.Class]++
			}
			if s.Bytes == 0 || s.Newest == 0 || s.Last < s.First {
				e.Errorf("segment %d: %+v", i, s)
			}
		}
		if total < 60 || open[0] > 1 || open[4] > 1 {
			e.Errorf("%d messages, open %v", total, open)
		}
		for _, m := range e.all("a", 0, 0, persist.Limits{}) {
			class := uint8(0)
			if m.Topic[0] == 'u' {
				class = 4
			}
			i := slices.IndexFunc(segments, func(s persist.Segment) bool { return s.Class == class && m.Offset >= s.First && m.Offset <= s.Last })
			if i < 0 {
				e.Fatalf("offset %d is in no segment", m.Offset)
			}
			for _, f := range [][]msg.Filter{nil, {{Pattern: m.Topic}}, {{Pattern: "none"}, {Pattern: m.Topic[:1] + "/#"}}, {{Pattern: "+/" + m.Topic[2:]}}} {
				if may, err := e.s.MayHold("a", segments[i], f); !may || err != nil {
					e.Errorf("segment %+v of %s, filter %v: %v %v", segments[i], m.Topic, f, may, err)
				}
			}
			for _, f := range []string{"t/none", "w/#", "t/1/+"} {
				if may, err := e.s.MayHold("a", segments[i], []msg.Filter{{Pattern: f}}); may || err != nil {
					e.Errorf("segment %+v, filter %s: %v %v", segments[i], f, may, err)
				}
			}
		}
		if !e.Durable {
			break
		}
		e.reopen()
	}
	if may, err := e.s.MayHold("a", persist.Segment{First: 9999, Last: 99999}, nil); may || err != nil {
		e.Errorf("of a segment that is gone: %v %v", may, err)
	}
}
