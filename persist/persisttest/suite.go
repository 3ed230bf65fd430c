package persisttest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"parley/msg"
	"parley/persist"
)

// Place is where one store lives during one test.
type Place struct {
	// Open opens the store; if Durable, again after Close.
	Open func(t *testing.T) persist.Store
	// Durable tells whether a store opened again holds what it held.
	Durable bool
	// SetTime sets the clock that the store gives times from. Nil: not tested.
	SetTime func(time.Time)
}

// Run runs the suite; place makes a fresh place for each test.
func Run(t *testing.T, place func(t *testing.T) Place) {
	for _, c := range []struct {
		name string
		run  func(*env)
	}{
		{"OffsetsGrow", offsetsGrow},
		{"NamespacesAreApart", namespacesAreApart},
		{"BatchIsAtomic", batchIsAtomic},
		{"DoneBeforeFollow", doneBeforeFollow},
		{"FollowInLogOrder", followInLogOrder},
		{"EveryFieldSurvives", everyFieldSurvives},
		{"ReadReturnsCopies", readReturnsCopies},
		{"ReadLimits", readLimits},
		{"ReadNext", readNext},
		{"LargeMessage", largeMessage},
		{"TimesNeverGoBack", timesNeverGoBack},
		{"ControlsAndTable", controlsAndTable},
		{"CheckpointForgetsControls", checkpointForgetsControls},
		{"TableKeys", tableKeys},
		{"VisitorStops", visitorStops},
		{"DropNeverDropsMore", dropNeverDropsMore},
		{"HeadNeverFalls", headNeverFalls},
		{"Close", closing},
		{"ClassesAreMerged", classesAreMerged},
		{"ControlOfAnAppend", controlOfAnAppend},
		{"FilteredRead", filteredRead},
		{"FilteredReadIsBounded", filteredReadIsBounded},
		{"SegmentsAndMayHold", segmentsAndMayHold},
		{"DropKeepsAndTells", dropKeepsAndTells},
		{"DropRefuses", dropRefuses},
		{"SummariesGiveWay", summariesGiveWay},
		{"ReopenKeepsEverything", reopenKeepsEverything},
		{"ReadsWhileCommitting", readsWhileCommitting},
		{"DropsBesideReads", dropsBesideReads},
		{"Model", model},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &env{T: t, Place: place(t)}
			e.s = e.Open(t)
			t.Cleanup(func() { e.s.Close() })
			c.run(e)
		})
	}
}

// env is one test with its store.
type env struct {
	*testing.T
	Place
	s persist.Store
}

// state opens a namespace and fails the test if it cannot.
func (e *env) state(namespace string) persist.Info {
	e.Helper()
	i, err := e.s.State(namespace, persist.Visitor{})
	if err != nil {
		e.Fatal(err)
	}
	return i
}

// commit waits for done and returns its error.
func (e *env) commit(b *persist.Batch) error {
	e.Helper()
	result := make(chan error, 2)
	e.s.Commit(b, func(err error) { result <- err })
	select {
	case err := <-result:
		return err
	case <-time.After(time.Minute):
		e.Fatal("done was not called")
		return nil
	}
}

func (e *env) must(b *persist.Batch) {
	e.Helper()
	if err := e.commit(b); err != nil {
		e.Fatal(err)
	}
}

// publish commits messages with the given payloads in one batch.
func (e *env) publish(namespace string, payloads ...string) []*msg.Message {
	e.Helper()
	var ms []*msg.Message
	b := &persist.Batch{}
	for _, p := range payloads {
		m := &msg.Message{Topic: "t", QoS: 1, Via: msg.ViaMQTT, Payload: msg.Bytes([]byte(p))}
		ms = append(ms, m)
		b.Appends = append(b.Appends, persist.Append{Namespace: namespace, Message: m})
	}
	e.must(b)
	return ms
}

// all reads [from, to] to the end, however often it has to ask.
func (e *env) all(namespace string, from, to msg.Offset, l persist.Limits) []*msg.Message {
	e.Helper()
	if to == 0 {
		to = e.state(namespace).Head
	}
	var out []*msg.Message
	for from <= to {
		ms, next, err := e.s.Read(namespace, from, to, l)
		if err != nil {
			e.Fatal(err)
		}
		for _, m := range ms {
			if m.Offset < from || m.Offset > to || m.Offset >= next {
				e.Fatalf("offset %d read from [%d, %d], next %d", m.Offset, from, to, next)
			}
			from = m.Offset + 1
		}
		if next < from || len(ms) == 0 && next <= to {
			e.Fatalf("read from %d to %d: %d messages, next %d", from, to, len(ms), next)
		}
		out, from = append(out, ms...), next
	}
	return out
}

// payloads joins what a namespace holds.
func (e *env) payloads(namespace string) string {
	e.Helper()
	var out []string
	for _, m := range e.all(namespace, 0, 0, persist.Limits{}) {
		out = append(out, string(m.Payload.Data))
	}
	return strings.Join(out, " ")
}

func offsetsGrow(e *env) {
	if i := e.state("a"); i.First != 0 || i.Head != 0 || i.At != 0 || i.AtControl != 0 || i.Epoch == "" {
		e.Fatalf("new namespace: %+v", i)
	}
	var last msg.Offset
	for range 5 {
		for _, m := range e.publish("a", "x", "y", "z") {
			if m.Offset <= last || m.Time == 0 {
				e.Fatalf("offset %d time %d after offset %d", m.Offset, m.Time, last)
			}
			last = m.Offset
		}
	}
	if i := e.state("a"); i.First == 0 || i.Head != last {
		e.Fatalf("%+v, last %d", i, last)
	}
}

func namespacesAreApart(e *env) {
	e.state("a")
	e.state("b")
	if a, b := e.state("a").Epoch, e.state("b").Epoch; a == b {
		e.Errorf("two namespaces with epoch %q", a)
	}
	b := &persist.Batch{}
	for i := range 20 {
		ns := []string{"a", "b"}[i%2]
		b.Appends = append(b.Appends, persist.Append{Namespace: ns, Message: &msg.Message{Topic: "t", Payload: msg.Bytes(fmt.Append(nil, i))}})
	}
	e.must(b)
	if got := e.payloads("a"); got != "0 2 4 6 8 10 12 14 16 18" {
		e.Errorf("a: %s", got)
	}
	if got := e.payloads("b"); got != "1 3 5 7 9 11 13 15 17 19" {
		e.Errorf("b: %s", got)
	}
	if _, _, err := e.s.Read("c", 1, 0, persist.Limits{}); !errors.Is(err, persist.ErrNoNamespace) {
		e.Errorf("read: %v", err)
	}
	if err := e.s.Drop("c", persist.Segment{First: 1, Last: 1}, nil); !errors.Is(err, persist.ErrNoNamespace) {
		e.Errorf("drop: %v", err)
	}
	if err := e.s.Forget("c", []msg.Offset{1}); !errors.Is(err, persist.ErrNoNamespace) {
		e.Errorf("forget: %v", err)
	}
	if _, err := e.s.Segments("c"); !errors.Is(err, persist.ErrNoNamespace) {
		e.Errorf("segments: %v", err)
	}
	if _, err := e.s.Missed("c", nil, 1, 0); !errors.Is(err, persist.ErrNoNamespace) {
		e.Errorf("missed: %v", err)
	}
	if _, err := e.s.MayHold("c", persist.Segment{First: 1, Last: 1}, nil); !errors.Is(err, persist.ErrNoNamespace) {
		e.Errorf("may hold: %v", err)
	}
}

// batchIsAtomic: a batch that cannot be stored leaves nothing, wherever in it
// the reason lies, and the store works on.
func batchIsAtomic(e *env) {
	e.state("a")
	e.publish("a", "before")
	good := func() persist.Append {
		return persist.Append{Namespace: "a", Message: &msg.Message{Topic: "t", Payload: msg.Bytes([]byte("no"))}}
	}
	refused := []*persist.Batch{
		{Appends: []persist.Append{good(), {Namespace: "none", Message: &msg.Message{Topic: "t"}}}},
		{Appends: []persist.Append{good(), {Namespace: "a", Message: &msg.Message{Topic: "t", QoS: 9}}}},
		{Appends: []persist.Append{good(), {Namespace: "a", Class: persist.Classes, Message: &msg.Message{Topic: "t"}}}},
		{Appends: []persist.Append{good()}, Controls: []persist.Control{{Namespace: "a", Key: "k", Of: 2}}},
		{Appends: []persist.Append{good()}, Controls: []persist.Control{{Namespace: "a", Key: "k", Of: -1}}},
		{Appends: []persist.Append{good()}, Controls: []persist.Control{{Namespace: "a", Key: "k"}, {Namespace: "none"}}},
		{Appends: []persist.Append{good()}, Checkpoints: []persist.Checkpoint{{Namespace: "a", At: 1, Puts: []persist.Put{{Key: "k", Value: []byte("v")}}}, {Namespace: "none"}}},
	}
	for i, b := range refused {
		if err := e.commit(b); err == nil || errors.Is(err, persist.ErrFailed) {
			e.Fatalf("batch %d: %v", i, err)
		}
		if m := b.Appends[0].Message; m.Offset != 0 || m.Time != 0 {
			e.Errorf("batch %d: message has offset %d time %d", i, m.Offset, m.Time)
		}
	}
	e.publish("a", "after")
	if got := e.payloads("a"); got != "before after" {
		e.Errorf("log: %s", got)
	}
	if puts, controls, i := e.contents("a"); len(puts) != 0 || len(controls) != 0 || i.At != 0 {
		e.Errorf("%v %v %+v", puts, controls, i)
	}
}

func doneBeforeFollow(e *env) {
	e.state("a")
	var events []string
	finished := make(chan struct{}, 8)
	e.s.Follow(func(as []persist.Append) {
		events = append(events, fmt.Sprintf("follow %d", len(as)))
		finished <- struct{}{}
	})
	for n := 1; n < 4; n++ {
		b := &persist.Batch{}
		for range n {
			b.Appends = append(b.Appends, persist.Append{Namespace: "a", Message: &msg.Message{Topic: "t"}})
		}
		e.s.Commit(b, func(err error) { events = append(events, fmt.Sprintf("done %v", err)) })
		<-finished
	}
	want := "done <nil>,follow 1,done <nil>,follow 2,done <nil>,follow 3"
	if got := strings.Join(events, ","); got != want {
		e.Errorf("got %s, want %s", got, want)
	}
}

func followInLogOrder(e *env) {
	e.state("a")
	e.state("b")
	var got []*msg.Message
	done := make(chan struct{}, 64)
	e.s.Follow(func(as []persist.Append) {
		for _, a := range as {
			got = append(got, a.Message)
			if a.Message.Offset == 0 {
				e.Error("followed before it had an offset")
			}
		}
		done <- struct{}{}
	})
	var want []*msg.Message
	for i := range 20 {
		b := &persist.Batch{}
		for j := range i%3 + 1 {
			m := &msg.Message{Topic: "t", Payload: msg.Bytes(fmt.Append(nil, i, j))}
			want = append(want, m)
			b.Appends = append(b.Appends, persist.Append{Namespace: []string{"a", "b"}[(i+j)%2], Message: m})
		}
		e.must(b)
		<-done
	}
	// What holds no message is not followed.
	e.must(&persist.Batch{Controls: []persist.Control{{Namespace: "a", Key: "k"}}})
	_ = e.commit(&persist.Batch{Appends: []persist.Append{{Namespace: "none", Message: &msg.Message{}}}})
	e.publish("a", "last")
	<-done
	if len(got) != len(want)+1 {
		e.Fatalf("%d followed, %d published", len(got), len(want)+1)
	}
	for i := range want {
		if got[i] != want[i] {
			e.Fatalf("message %d is another one", i)
		}
	}
}

func everyFieldSurvives(e *env) {
	e.state("a")
	b := &persist.Batch{}
	for n := range 8 {
		b.Appends = append(b.Appends, persist.Append{Namespace: "a", Message: Full(n)})
	}
	b.Appends = append(b.Appends, persist.Append{Namespace: "a", Message: &msg.Message{Topic: "bare"}})
	e.must(b)
	got := e.all("a", 0, 0, persist.Limits{})
	if len(got) != len(b.Appends) {
		e.Fatalf("%d messages", len(got))
	}
	for i, m := range got {
		if d := Diff(m, b.Appends[i].Message); d != "" {
			e.Errorf("message %d: %s", i, d)
		}
	}
}

func readReturnsCopies(e *env) {
	e.state("a")
	published := e.publish("a", "original")[0]
	first := e.all("a", 0, 0, persist.Limits{})[0]
	if first == published {
		e.Fatal("the published message itself was returned")
	}
	copy(first.Payload.Data, "XXXXXXXX")
	if got := e.payloads("a"); got != "original" {
		e.Errorf("read again: %s", got)
	}
	if string(published.Payload.Data) != "original" {
		e.Error("the publisher's payload was changed")
	}
}

func largeMessage(e *env) {
	e.state("a")
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB, beyond the default limit of a read
	e.must(&persist.Batch{Appends: []persist.Append{
		{Namespace: "a", Message: &msg.Message{Topic: "t", Payload: msg.Bytes([]byte("small"))}},
		{Namespace: "a", Message: &msg.Message{Topic: "t", Payload: msg.Bytes(data)}},
		{Namespace: "a", Message: &msg.Message{Topic: "t", Payload: msg.Bytes([]byte("small"))}},
	}})
	ms := e.all("a", 0, 0, persist.Limits{})
	if len(ms) != 3 || !bytes.Equal(ms[1].Payload.Data, data) || string(ms[2].Payload.Data) != "small" {
		e.Errorf("%d messages", len(ms))
	}
}
