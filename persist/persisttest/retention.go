package persisttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"parley/msg"
	"parley/persist"
)

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
