package persisttest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

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

// dropKeepsAndTells: what is kept stays readable where it was, the rest is told.
func dropKeepsAndTells(e *env) {
	e.state("a")
	for i := range 30 {
		e.append("a", []uint8{0, 0, 1}, fmt.Sprintf("t/%d", i%3), "often", "other")
	}
	var keep, dropped []msg.Offset
	segments := e.segments("a")
	last := segments[0].Last
	for _, m := range e.all("a", 0, last, persist.Limits{}) {
		switch {
		case m.Topic == "t/1":
			keep = append(keep, m.Offset)
		case m.Topic != "other":
			dropped = append(dropped, m.Offset)
		}
	}
	before := e.all("a", 0, 0, persist.Limits{})
	if err := e.s.Drop("a", segments[0], append(slices.Clone(keep), 100_000)); err != nil {
		e.Fatal(err)
	}
	if err := e.s.Drop("a", segments[0], nil); err != nil {
		e.Errorf("dropping again: %v", err)
	}
	check := func(kept int) {
		e.Helper()
		want := slices.DeleteFunc(slices.Clone(before), func(m *msg.Message) bool {
			return slices.Contains(dropped, m.Offset) || slices.Contains(keep[kept:], m.Offset)
		})
		got := e.all("a", 0, 0, persist.Limits{Messages: 4})
		if len(got) != len(want) {
			e.Fatalf("%d messages, want %d", len(got), len(want))
		}
		for i := range got {
			if d := Diff(got[i], want[i]); d != "" {
				e.Fatalf("offset %d: %s", want[i].Offset, d)
			}
		}
		if kept > 0 {
			one := e.all("a", keep[0], keep[0], persist.Limits{Filters: []msg.Filter{{Pattern: "t/1"}}})
			if len(one) != 1 || one[0].Offset != keep[0] {
				e.Errorf("the kept message alone: %d messages", len(one))
			}
		}
		for pattern, want := range map[string]int{"often": -1, "t/1": 0, "other": 0, "#": len(dropped), "no/such": 0} {
			m, err := e.s.Missed("a", []msg.Filter{{Pattern: pattern}}, 0, 0)
			if err != nil || !m.Exact || want >= 0 && int(m.Count) != want || (m.Count == 0) != (m.First == 0) {
				e.Errorf("missed of %s: %+v, %v, want %d", pattern, m, err, want)
			}
			if m.Count > 0 && (m.First < dropped[0] || m.Last > dropped[len(dropped)-1]) {
				e.Errorf("missed of %s: %+v of %v", pattern, m, dropped)
			}
		}
		if m, err := e.s.Missed("a", nil, last+1, 0); err != nil || m != (persist.Missed{Exact: true}) {
			e.Errorf("missed beyond: %+v, %v", m, err)
		}
		if len(dropped) > 2 {
			if m, err := e.s.Missed("a", nil, dropped[1], 0); err != nil || m.First < dropped[1] || m.Last != dropped[len(dropped)-1] {
				e.Errorf("missed from within: %+v, %v", m, err)
			}
		}
	}
	check(len(keep))
	if e.Durable {
		e.reopen()
		check(len(keep))
	}
	forget := append(slices.Clone(keep[len(keep)/2:]), before[len(before)-1].Offset)
	if err := e.s.Forget("a", forget); err != nil {
		e.Fatal(err)
	}
	check(len(keep) / 2)
	if e.Durable {
		e.reopen()
		check(len(keep) / 2)
	}
}

func dropRefuses(e *env) {
	e.state("a")
	for range 10 {
		e.append("a", []uint8{0}, "t", "t")
	}
	segments := e.segments("a")
	if len(segments) > 1 {
		if err := e.s.Drop("a", segments[1], nil); !errors.Is(err, persist.ErrSegment) {
			e.Errorf("not the oldest: %v", err)
		}
	}
	open := segments[len(segments)-1]
	e.append("a", []uint8{0}, "t", "t", "t", "t", "t", "t")
	for _, s := range segments[:len(segments)-1] {
		if err := e.s.Drop("a", s, nil); err != nil {
			e.Fatal(err)
		}
	}
	if now := e.segments("a")[0]; now.Last != open.Last {
		if err := e.s.Drop("a", open, nil); !errors.Is(err, persist.ErrSegment) {
			e.Errorf("grown since: %v", err)
		}
	}
	if got := e.topics("a"); strings.Count(got, "t") < 6 {
		e.Errorf("left: %s", got)
	}
	// All of them, the open one included.
	for _, s := range e.segments("a") {
		if err := e.s.Drop("a", s, nil); err != nil {
			e.Fatal(err)
		}
	}
	for range 2 {
		if i := e.state("a"); i.First != 0 || i.Head != 26 || len(e.segments("a")) != 0 {
			e.Errorf("everything dropped: %+v", i)
		}
		if e.Durable {
			e.reopen()
		}
	}
	if ms := e.append("a", []uint8{0}, "t"); ms[0].Offset <= 26 || e.topics("a") != "t" {
		e.Errorf("offset %d, %s", ms[0].Offset, e.topics("a"))
	}
}

// summariesGiveWay: summaries are bounded; what they said is then unknown, not
// forgotten.
func summariesGiveWay(e *env) {
	e.state("a")
	long := strings.Repeat("long/", 4000)
	var first, last msg.Offset
	for i := range 30 {
		b := &persist.Batch{}
		for j := range 12 {
			topic := fmt.Sprintf("%02d%d/%s", i, j, long)
			b.Appends = append(b.Appends, persist.Append{Namespace: "a", Message: &msg.Message{Topic: topic}})
		}
		e.must(b)
		for _, s := range e.segments("a") {
			if err := e.s.Drop("a", s, nil); err != nil {
				e.Fatal(err)
			}
		}
		if last = b.Appends[11].Message.Offset; i == 0 {
			first = b.Appends[0].Message.Offset
		}
	}
	for range 2 {
		m, err := e.s.Missed("a", []msg.Filter{{Pattern: "000/#"}}, 0, 0)
		if err != nil || m.Exact || m.Count != 0 || m.First > first || m.Last < first+11 {
			e.Errorf("of the oldest: %+v, %v", m, err)
		}
		m, err = e.s.Missed("a", []msg.Filter{{Pattern: "290/#"}}, last-11, 0)
		if err != nil || !m.Exact || m.Count != 1 {
			e.Errorf("of the newest: %+v, %v", m, err)
		}
		if !e.Durable {
			break
		}
		e.reopen()
	}
}

// dropsBesideReads: commits to several classes, readers with and without
// filters, drops and forgetting run at a time; what is read is what was written,
// in order, and what is not read was dropped.
func dropsBesideReads(e *env) {
	e.state("a")
	const batches = 60
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 3 {
		var filters []msg.Filter
		if i > 0 {
			filters = []msg.Filter{{Pattern: []string{"t/3", "+/3"}[i-1]}}
		}
		wg.Go(func() { e.readOver(filters, stop) })
	}
	for range 2 {
		wg.Go(func() { e.dropOver(stop) })
	}
	for range batches {
		e.append("a", []uint8{0, 1, 5}, "t/0", "t/1", "t/2", "t/3", "t/4", "t/5", "t/6")
	}
	close(stop)
	wg.Wait()
	// What is gone is told.
	missed, err := e.s.Missed("a", nil, 0, 0)
	if err != nil {
		e.Fatal(err)
	}
	if left := len(e.all("a", 0, 0, persist.Limits{})); missed.Exact && int(missed.Count)+left > 7*batches {
		e.Errorf("%d left and %d missed of %d", left, missed.Count, 7*batches)
	}
}

// dropOver drops full segments of namespace a, over and over.
func (e *env) dropOver(stop chan struct{}) {
	for {
		segments, err := e.s.Segments("a")
		if err != nil {
			e.Error(err)
			return
		}
		for i, s := range segments {
			if i > 0 && segments[i-1].Class == s.Class || s.Open {
				continue
			}
			if err := e.s.Drop("a", s, []msg.Offset{s.First, s.Last}); err != nil {
				e.Error(err)
				return
			}
			if err := e.s.Forget("a", []msg.Offset{s.First}); err != nil {
				e.Error(err)
				return
			}
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

// readOver reads namespace a from the beginning, over and over.
func (e *env) readOver(filters []msg.Filter, stop chan struct{}) {
	for from := msg.Offset(1); ; {
		ms, next, err := e.s.Read("a", from, 0, persist.Limits{Messages: 40, Filters: filters})
		if err != nil {
			e.Error(err)
			return
		}
		for _, m := range ms {
			if want := fmt.Sprint("t/", (m.Offset-1)%7); m.Offset < from || m.Topic != want || !persist.MatchesAny(filters, m.Topic) {
				e.Errorf("offset %d from %d is of %s", m.Offset, from, m.Topic)
				return
			}
			from = m.Offset + 1
		}
		if next == from && len(ms) == 0 {
			from = 1 // the end: again
		} else {
			from = next
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}
