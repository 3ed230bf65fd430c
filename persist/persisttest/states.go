package persisttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"parley/msg"
	"parley/persist"
)

// contents collects a namespace's table and controls.
func (e *env) contents(namespace string) (puts []persist.Put, controls []persist.Control, i persist.Info) {
	e.Helper()
	i, err := e.s.State(namespace, persist.Visitor{
		Put:     func(p persist.Put) error { puts = append(puts, p); return nil },
		Control: func(c persist.Control) error { controls = append(controls, c); return nil },
	})
	if err != nil {
		e.Fatal(err)
	}
	return puts, controls, i
}

// shown renders the contents for comparison.
func (e *env) shown(namespace string) string {
	e.Helper()
	puts, controls, i := e.contents(namespace)
	var out []string
	for _, p := range puts {
		out = append(out, fmt.Sprintf("%s=%s", p.Key, p.Value))
	}
	for _, c := range controls {
		value := string(c.Value)
		if c.Value == nil {
			value = "nil"
		}
		out = append(out, fmt.Sprintf("%s/%d:%s=%s", c.Namespace, c.Kind, c.Key, value))
	}
	return fmt.Sprintf("%s at %d,%d", strings.Join(out, " "), i.At, i.AtControl)
}

func controlsAndTable(e *env) {
	e.state("a")
	e.state("b")
	b := &persist.Batch{
		Controls: []persist.Control{
			{Namespace: "a", Kind: 1, Key: "x", Value: []byte("1")},
			{Namespace: "b", Kind: 2, Key: "", Value: []byte{}},
			{Namespace: "a", Kind: 255, Key: "y"},
		},
		Checkpoints: []persist.Checkpoint{
			{Namespace: "b", Puts: []persist.Put{{Key: "k", Value: []byte("v")}, {Key: "l", Value: []byte{}}}},
		},
	}
	e.must(b)
	if c := b.Controls; c[0].Seq == 0 || c[2].Seq <= c[0].Seq || c[1].Seq == 0 {
		e.Errorf("sequence numbers %d %d %d", c[0].Seq, c[1].Seq, c[2].Seq)
	}
	check := func() {
		e.Helper()
		if got := e.shown("a"); got != "a/1:x=1 a/255:y=nil at 0,0" {
			e.Errorf("a: %s", got)
		}
		if got := e.shown("b"); got != "k=v l= b/2:= at 0,0" {
			e.Errorf("b: %s", got)
		}
	}
	check()
	if e.Durable {
		e.reopen()
		check()
	}
	e.must(&persist.Batch{Checkpoints: []persist.Checkpoint{
		{Namespace: "b", Puts: []persist.Put{{Key: "a", Value: []byte("0")}, {Key: "k", Value: []byte("w")}, {Key: "l"}, {Key: "none"}}},
	}})
	if got := e.shown("b"); got != "a=0 k=w b/2:= at 0,0" {
		e.Errorf("b after puts and a deletion: %s", got)
	}
}

func checkpointForgetsControls(e *env) {
	e.state("a")
	e.publish("a", "1", "2", "3")
	control := func(key string) persist.Control {
		return persist.Control{Namespace: "a", Kind: 1, Key: key, Value: []byte("v")}
	}
	b := &persist.Batch{Controls: []persist.Control{control("1"), control("2"), control("3"), control("4")}}
	e.must(b)
	e.must(&persist.Batch{Checkpoints: []persist.Checkpoint{{Namespace: "a", At: 2, AtControl: b.Controls[1].Seq}}})
	want := fmt.Sprintf("a/1:3=v a/1:4=v at 2,%d", b.Controls[1].Seq)
	if got := e.shown("a"); got != want {
		e.Errorf("got %s, want %s", got, want)
	}
	// A checkpoint does not go back, and does not cover what is not there yet.
	e.must(&persist.Batch{Checkpoints: []persist.Checkpoint{{Namespace: "a", At: 1, AtControl: b.Controls[0].Seq}}})
	if got := e.shown("a"); got != want {
		e.Errorf("after an older one: got %s, want %s", got, want)
	}
	last := b.Controls[3].Seq
	e.must(&persist.Batch{Checkpoints: []persist.Checkpoint{{Namespace: "a", At: 1000, AtControl: 1000}}})
	if got := e.shown("a"); got != fmt.Sprintf(" at 3,%d", last) {
		e.Errorf("after one of the future: %s", got)
	}
	if e.Durable {
		e.reopen()
	}
	// A control and a checkpoint in one batch; numbers go on although none is left.
	b = &persist.Batch{Controls: []persist.Control{control("5")}, Checkpoints: []persist.Checkpoint{{Namespace: "a", At: 3, AtControl: last}}}
	e.must(b)
	if b.Controls[0].Seq <= last {
		e.Errorf("sequence number %d after %d", b.Controls[0].Seq, last)
	}
	if got, want := e.shown("a"), fmt.Sprintf("a/1:5=v at 3,%d", last); got != want {
		e.Errorf("got %s, want %s", got, want)
	}
}

// tableKeys: any key of up to 64 KiB, in order; a topic may be that long.
func tableKeys(e *env) {
	e.state("a")
	long := strings.Repeat("k", 40_000)
	keys := []string{"", "\x00", "a", "a/b", "b", "z\xff", "\xff\xff", long, long + "1", long + "0", long[:16_384], long[:16_385], strings.Repeat("k", 65_535), "ka"}
	slices.Sort(keys)
	var puts []persist.Put
	for i, k := range keys {
		puts = append(puts, persist.Put{Key: k, Value: fmt.Append(nil, i)})
	}
	e.must(&persist.Batch{Checkpoints: []persist.Checkpoint{{Namespace: "a", Puts: puts}}})
	if e.Durable {
		e.reopen()
	}
	got, _, _ := e.contents("a")
	if len(got) != len(puts) {
		e.Fatalf("%d entries, want %d", len(got), len(puts))
	}
	for i := range got {
		if got[i].Key != puts[i].Key || string(got[i].Value) != string(puts[i].Value) {
			e.Fatalf("entry %d: key of %d bytes, value %s; want %d, %s", i, len(got[i].Key), got[i].Value, len(puts[i].Key), puts[i].Value)
		}
	}
	e.must(&persist.Batch{Checkpoints: []persist.Checkpoint{{Namespace: "a", Puts: []persist.Put{{Key: long}, {Key: ""}}}}})
	if got, _, _ := e.contents("a"); len(got) != len(puts)-2 {
		e.Errorf("%d entries after deleting two of %d", len(got), len(puts))
	}
	// More than an implementation will copy at once.
	puts = puts[:0]
	for i := range 2000 {
		puts = append(puts, persist.Put{Key: fmt.Sprintf("n%05d", i), Value: []byte("v")})
	}
	e.must(&persist.Batch{Checkpoints: []persist.Checkpoint{{Namespace: "a", Puts: puts}}})
	got, _, _ = e.contents("a")
	if len(got) != len(keys)-2+2000 || !slices.IsSortedFunc(got, func(a, b persist.Put) int { return strings.Compare(a.Key, b.Key) }) {
		e.Errorf("%d entries, or not sorted", len(got))
	}
}

func visitorStops(e *env) {
	e.state("a")
	e.must(&persist.Batch{
		Controls:    []persist.Control{{Namespace: "a", Key: "1"}, {Namespace: "a", Key: "2"}},
		Checkpoints: []persist.Checkpoint{{Namespace: "a", Puts: []persist.Put{{Key: "1", Value: []byte{1}}, {Key: "2", Value: []byte{2}}}}},
	})
	stop := errors.New("stop")
	n := 0
	if _, err := e.s.State("a", persist.Visitor{Put: func(persist.Put) error { n++; return stop }}); !errors.Is(err, stop) || n != 1 {
		e.Errorf("puts: %v after %d", err, n)
	}
	n = 0
	if _, err := e.s.State("a", persist.Visitor{Control: func(persist.Control) error { n++; return stop }}); !errors.Is(err, stop) || n != 1 {
		e.Errorf("controls: %v after %d", err, n)
	}
}

// trim drops whatever segments lie below upTo.
func (e *env) trim(namespace string, upTo msg.Offset) {
	e.Helper()
	for _, s := range e.segments(namespace) {
		if s.Last > upTo {
			continue
		}
		if err := e.s.Drop(namespace, s, nil); err != nil {
			e.Fatal(err)
		}
	}
}

func (e *env) segments(namespace string) []persist.Segment {
	e.Helper()
	segments, err := e.s.Segments(namespace)
	if err != nil {
		e.Fatal(err)
	}
	return segments
}

func dropNeverDropsMore(e *env) {
	e.state("a")
	e.state("b")
	for range 10 {
		e.publish("a", "1", "2", "3", "4", "5")
		e.publish("b", "1")
	}
	head := e.state("a").Head
	for _, upTo := range []msg.Offset{0, 1, 7, 8, 30, 30, 20, head - 1} {
		e.trim("a", upTo)
		if e.Durable && upTo == 30 {
			e.reopen()
		}
		i := e.state("a")
		if i.First == 0 || i.First > max(upTo, 30)+1 && upTo <= 30 || i.Head != head {
			e.Fatalf("trimmed to %d: %+v", upTo, i)
		}
		ms := e.all("a", 0, 0, persist.Limits{})
		if len(ms) == 0 || ms[0].Offset != i.First || ms[len(ms)-1].Offset != head || len(ms) != int(head-i.First)+1 {
			e.Fatalf("trimmed to %d: %d messages, %+v", upTo, len(ms), i)
		}
		// From within what is gone one gets what is left.
		if i.First == 1 {
			continue
		}
		if got, next, err := e.s.Read("a", 1, i.First-1, persist.Limits{}); err != nil || len(got) != 0 || next < i.First {
			e.Fatalf("read what is gone: %d, next %d, %v", len(got), next, err)
		}
	}
	if i := e.state("b"); i.First != 1 {
		e.Errorf("the other namespace: %+v", i)
	}
}

func headNeverFalls(e *env) {
	e.state("a")
	var last msg.Offset
	for range 4 {
		for range 3 {
			last = e.publish("a", "1", "2", "3")[2].Offset
		}
		e.trim("a", last+100)
		if e.Durable {
			e.reopen()
		}
		i := e.state("a")
		if i.Head != last || i.First > last {
			e.Fatalf("%+v, last %d", i, last)
		}
		ms, next, err := e.s.Read("a", 1, 0, persist.Limits{})
		if err != nil || len(ms) == 0 && (i.First != 0 || next != last+1) {
			e.Fatalf("%d messages, next %d, %v, %+v", len(ms), next, err, i)
		}
		if got := e.publish("a", "x")[0].Offset; got <= last {
			e.Fatalf("offset %d after %d", got, last)
		}
	}
}

func closing(e *env) {
	e.state("a")
	e.publish("a", "x")
	if err := e.s.Close(); err != nil {
		e.Fatal(err)
	}
	if err := e.s.Close(); err != nil {
		e.Errorf("closing twice: %v", err)
	}
	m := &msg.Message{Topic: "t"}
	if err := e.commit(&persist.Batch{Appends: []persist.Append{{Namespace: "a", Message: m}}}); !errors.Is(err, persist.ErrClosed) || m.Offset != 0 {
		e.Errorf("commit: %v, offset %d", err, m.Offset)
	}
	if _, _, err := e.s.Read("a", 1, 0, persist.Limits{}); !errors.Is(err, persist.ErrClosed) {
		e.Errorf("read: %v", err)
	}
	if _, err := e.s.State("a", persist.Visitor{}); !errors.Is(err, persist.ErrClosed) {
		e.Errorf("state: %v", err)
	}
	if err := e.s.Drop("a", persist.Segment{First: 1, Last: 1}, nil); !errors.Is(err, persist.ErrClosed) {
		e.Errorf("drop: %v", err)
	}
	if _, err := e.s.Segments("a"); !errors.Is(err, persist.ErrClosed) {
		e.Errorf("segments: %v", err)
	}
	if _, err := e.s.Missed("a", nil, 1, 0); !errors.Is(err, persist.ErrClosed) {
		e.Errorf("missed: %v", err)
	}
	if err := e.s.Forget("a", []msg.Offset{1}); !errors.Is(err, persist.ErrClosed) {
		e.Errorf("forget: %v", err)
	}
}

func reopenKeepsEverything(e *env) {
	if !e.Durable {
		e.Skip("the store is not durable")
	}
	e.state("a")
	var want []*msg.Message
	epoch := e.state("a").Epoch
	for n := range 5 {
		b := &persist.Batch{
			Appends:     []persist.Append{{Namespace: "a", Message: Full(n)}, {Namespace: "a", Message: Full(n + 100)}},
			Controls:    []persist.Control{{Namespace: "a", Kind: uint8(n), Key: fmt.Sprint(n), Value: []byte("v")}},
			Checkpoints: []persist.Checkpoint{{Namespace: "a", At: msg.Offset(n), Puts: []persist.Put{{Key: fmt.Sprint(n), Value: []byte("v")}}}},
		}
		e.must(b)
		want = append(want, b.Appends[0].Message, b.Appends[1].Message)
		before := e.shown("a")
		e.reopen()
		if got := e.shown("a"); got != before {
			e.Fatalf("got %s, want %s", got, before)
		}
		if i := e.state("a"); i.Epoch != epoch || i.Head != want[len(want)-1].Offset || i.First != want[0].Offset {
			e.Fatalf("%+v", i)
		}
		got := e.all("a", 0, 0, persist.Limits{})
		if len(got) != len(want) {
			e.Fatalf("%d messages, want %d", len(got), len(want))
		}
		for i := range got {
			if d := Diff(got[i], want[i]); d != "" {
				e.Fatalf("message %d: %s", i, d)
			}
		}
	}
}
