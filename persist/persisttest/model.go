package persisttest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"parley/msg"
	"parley/persist"
)

// modelSpace is what a namespace must hold.
type modelSpace struct {
	messages []*msg.Message // all that are to be read
	classes  map[msg.Offset]uint8
	kept     map[msg.Offset]bool
	dropped  []*msg.Message
	controls []persist.Control
	table    map[string]string
	at       msg.Offset
	atSeq    uint64
}

// model commits random batches and compares the store with a simple model of it.
func model(e *env) {
	seed := rand.Uint64()
	e.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	names := []string{"a", "b", "long name/with: anything \x00 in it"}
	spaces := map[string]*modelSpace{}
	for _, n := range names {
		e.state(n)
		spaces[n] = &modelSpace{table: map[string]string{}, classes: map[msg.Offset]uint8{}, kept: map[msg.Offset]bool{}}
	}
	for step := range 120 {
		switch r.IntN(10) {
		case 0:
			n := names[r.IntN(len(names))]
			spaces[n].drop(e, n, r)
			spaces[n].missed(e, n, r, step)
		case 1:
			if e.Durable {
				e.reopen()
			}
			for n, m := range spaces {
				m.compare(e, n, step)
			}
		default:
			b := randomBatch(r, names, spaces)
			if err := e.commit(b); err != nil {
				e.Fatalf("step %d: %v", step, err)
			}
			learn(b, spaces)
		}
	}
	for n, m := range spaces {
		m.compare(e, n, -1)
	}
}

func randomBatch(r *rand.Rand, names []string, spaces map[string]*modelSpace) *persist.Batch {
	b := &persist.Batch{}
	name := func() string { return names[r.IntN(len(names))] }
	for range r.IntN(20) {
		b.Appends = append(b.Appends, persist.Append{Namespace: name(), Class: uint8(r.IntN(3) * r.IntN(4)), Message: Random(r)})
	}
	for i := range r.IntN(4) {
		c := persist.Control{Namespace: name(), Kind: uint8(r.IntN(256)), Key: fmt.Sprint("key", i)}
		if r.IntN(2) == 0 {
			c.Value = []byte(strings.Repeat("v", r.IntN(300)))
		}
		if len(b.Appends) > 0 && r.IntN(3) == 0 {
			c.Of = 1 + r.IntN(len(b.Appends))
		}
		b.Controls = append(b.Controls, c)
	}
	if r.IntN(3) == 0 {
		n := name()
		m := spaces[n]
		c := persist.Checkpoint{Namespace: n, At: m.at, AtControl: m.atSeq}
		if len(m.messages) > 0 {
			c.At = m.messages[r.IntN(len(m.messages))].Offset
		}
		if len(m.controls) > 0 {
			c.AtControl = m.controls[r.IntN(len(m.controls))].Seq
		}
		puts := map[string][]byte{}
		for range r.IntN(12) {
			puts[fmt.Sprint("topic/", r.IntN(40))] = [][]byte{nil, {}, []byte(fmt.Sprint(r.Uint64()))}[r.IntN(3)]
		}
		for _, k := range slices.Sorted(maps.Keys(puts)) {
			c.Puts = append(c.Puts, persist.Put{Key: k, Value: puts[k]})
		}
		b.Checkpoints = append(b.Checkpoints, c)
	}
	return b
}

func learn(b *persist.Batch, spaces map[string]*modelSpace) {
	for _, a := range b.Appends {
		m := spaces[a.Namespace]
		m.messages = append(m.messages, a.Message)
		m.classes[a.Message.Offset] = a.Class
	}
	for _, c := range b.Controls {
		m := spaces[c.Namespace]
		m.controls = append(m.controls, c)
	}
	for _, c := range b.Checkpoints {
		m := spaces[c.Namespace]
		m.at, m.atSeq = max(m.at, c.At), max(m.atSeq, c.AtControl)
		m.controls = slices.DeleteFunc(m.controls, func(c persist.Control) bool { return c.Seq <= m.atSeq })
		for _, p := range c.Puts {
			delete(m.table, p.Key)
			if p.Value != nil {
				m.table[p.Key] = string(p.Value)
			}
		}
	}
}

func (m *modelSpace) compare(e *env, name string, step int) {
	e.Helper()
	puts, controls, info := e.contents(name)
	keys := slices.Sorted(maps.Keys(m.table))
	if len(puts) != len(keys) || len(controls) != len(m.controls) || info.At != m.at || info.AtControl != m.atSeq {
		e.Fatalf("step %d, %q: %d puts, %d controls, %+v; want %d, %d, at %d,%d", step, name, len(puts), len(controls), info, len(keys), len(m.controls), m.at, m.atSeq)
	}
	for i, p := range puts {
		if p.Key != keys[i] || string(p.Value) != m.table[p.Key] {
			e.Fatalf("step %d, %q: put %d is %s=%s, want %s=%s", step, name, i, p.Key, p.Value, keys[i], m.table[keys[i]])
		}
	}
	for i, c := range controls {
		w := m.controls[i]
		if c.Namespace != name || c.Seq != w.Seq || c.Kind != w.Kind || c.Key != w.Key || string(c.Value) != string(w.Value) || (c.Value == nil) != (w.Value == nil) {
			e.Fatalf("step %d, %q: control %d is %+v, want %+v", step, name, i, c, w)
		}
	}
	got := e.all(name, 0, 0, persist.Limits{Messages: 17, Bytes: 4000})
	m.same(e, fmt.Sprintf("step %d, %q", step, name), got, m.messages)
	for _, f := range []string{"#", "a", "t/+", "+/1"} {
		filters := []msg.Filter{{Pattern: f}}
		want := slices.DeleteFunc(slices.Clone(m.messages), func(m *msg.Message) bool { return !filters[0].Matches(m.Topic) })
		m.same(e, fmt.Sprintf("step %d, %q, filter %s", step, name, f), e.all(name, 0, 0, persist.Limits{Messages: 5, Filters: filters}), want)
	}
}

func (m *modelSpace) same(e *env, what string, got, want []*msg.Message) {
	e.Helper()
	if len(got) != len(want) {
		e.Fatalf("%s: %d messages, want %d", what, len(got), len(want))
	}
	for i := range got {
		if d := Diff(got[i], want[i]); d != "" {
			e.Fatalf("%s, offset %d: %s", what, want[i].Offset, d)
		}
	}
}

// drop drops one segment, keeps some of its messages and forgets some older.
func (m *modelSpace) drop(e *env, name string, r *rand.Rand) {
	e.Helper()
	segments := e.segments(name)
	if len(segments) == 0 {
		return
	}
	s := segments[r.IntN(len(segments))]
	for _, o := range segments {
		if o.Class == s.Class && o.First < s.First {
			s = o
		}
	}
	var keep []msg.Offset
	m.messages = slices.DeleteFunc(m.messages, func(o *msg.Message) bool {
		if m.classes[o.Offset] != s.Class || o.Offset > s.Last || m.kept[o.Offset] {
			return false
		}
		if r.IntN(4) == 0 {
			keep = append(keep, o.Offset)
			m.kept[o.Offset] = true
			return false
		}
		m.dropped = append(m.dropped, o)
		return true
	})
	if err := e.s.Drop(name, s, keep); err != nil {
		e.Fatal(err)
	}
	forget := []msg.Offset{s.Last + 1000}
	for at := range m.kept {
		if r.IntN(3) == 0 {
			forget = append(forget, at)
			delete(m.kept, at)
			m.messages = slices.DeleteFunc(m.messages, func(o *msg.Message) bool { return o.Offset == at })
		}
	}
	slices.Sort(forget)
	if err := e.s.Forget(name, forget); err != nil {
		e.Fatal(err)
	}
}

// missed compares what the store says was dropped.
func (m *modelSpace) missed(e *env, name string, r *rand.Rand, step int) {
	e.Helper()
	head := e.state(name).Head
	from := msg.Offset(r.Uint64N(uint64(head) + 2))
	to := from + msg.Offset(r.Uint64N(uint64(head)+2))
	f := msg.Filter{Pattern: []string{"#", "a", "t/+"}[r.IntN(3)]}
	got, err := e.s.Missed(name, []msg.Filter{f}, from, to)
	if err != nil {
		e.Fatal(err)
	}
	var want persist.Missed
	for _, o := range m.dropped {
		if f.Matches(o.Topic) && o.Offset >= from && (o.Offset <= to || to == 0) {
			if want.Count == 0 || o.Offset < want.First {
				want.First = o.Offset
			}
			want.Last, want.Count = max(want.Last, o.Offset), want.Count+1
		}
	}
	switch {
	case got.Exact && (got.First != want.First || got.Last != want.Last || got.Count != want.Count),
		!got.Exact && (got.Count != 0 || want.Count > 0 && (want.First < got.First || want.Last > got.Last)),
		from <= 1 && (to == 0 || to >= head) && !got.Exact:
		e.Fatalf("step %d, %q: missed %+v, want %+v of %s in [%d, %d]", step, name, got, want, f.Pattern, from, to)
	}
}
