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
	messages []*msg.Message // all that were committed
	trimmed  msg.Offset     // highest offset given to Trim
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
		spaces[n] = &modelSpace{table: map[string]string{}}
	}
	for step := range 120 {
		switch r.IntN(10) {
		case 0:
			n := names[r.IntN(len(names))]
			m := spaces[n]
			if len(m.messages) == 0 {
				continue
			}
			upTo := m.messages[r.IntN(len(m.messages))].Offset
			m.trimmed = max(m.trimmed, upTo)
			if err := e.s.Trim(n, upTo); err != nil {
				e.Fatalf("step %d: %v", step, err)
			}
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
		b.Appends = append(b.Appends, persist.Append{Namespace: name(), Message: Random(r)})
	}
	for i := range r.IntN(4) {
		c := persist.Control{Namespace: name(), Kind: uint8(r.IntN(256)), Key: fmt.Sprint("key", i)}
		if r.IntN(2) == 0 {
			c.Value = []byte(strings.Repeat("v", r.IntN(300)))
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
	want := m.messages[len(m.messages)-min(len(got), len(m.messages)):]
	if lost := m.messages[:len(m.messages)-len(want)]; len(got) != len(want) || len(lost) > 0 && lost[len(lost)-1].Offset > m.trimmed {
		e.Fatalf("step %d, %q: %d messages of %d, trimmed to %d", step, name, len(got), len(m.messages), m.trimmed)
	}
	for i := range got {
		if d := Diff(got[i], want[i]); d != "" {
			e.Fatalf("step %d, %q, offset %d: %s", step, name, want[i].Offset, d)
		}
	}
}
