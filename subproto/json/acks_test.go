package json

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"parley/msg"
	"parley/subproto"
)

// TestAcksModel: random pushes and acknowledgements against a map of what each
// channel still owes: a delivery is acknowledged once, when the last of its
// channels has, and the count of what is remembered is right.
func TestAcksModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	channels := []*channel{{name: "a"}, {name: "b"}, {name: "c"}}
	a := acks{window: 64}
	owed := map[uint64]map[*channel]bool{} // by ref
	seqs, offsets := map[uint64]uint64{}, map[uint64]msg.Offset{}
	done := map[uint64]int{}
	ack := func(ref uint64) { done[ref]++ }
	want := map[uint64]bool{}
	settle := func(ref uint64) {
		if len(owed[ref]) == 0 {
			want[ref] = true
			delete(owed, ref)
		}
	}
	for ref := uint64(1); ref < 3000; ref++ {
		f := flight{ref: ref, offset: msg.Offset(r.IntN(2000) + 1)}
		owed[ref] = map[*channel]bool{}
		for _, i := range r.Perm(3)[:1+r.IntN(3)] {
			f.add(channels[i])
			owed[ref][channels[i]] = true
		}
		a.add(f)
		seqs[ref], offsets[ref] = a.seq, f.offset
		ch, last := channels[r.IntN(3)], msg.Offset(r.IntN(2000))
		switch r.IntN(40) {
		case 0:
			mark := a.seq - min(a.seq, uint64(r.IntN(20)))
			a.cover(mark, ack)
			for ref := range owed {
				if seqs[ref] <= mark {
					clear(owed[ref])
					settle(ref)
				}
			}
		case 1:
			last = ^msg.Offset(0)
			a.drop(ch, ack)
			fallthrough
		case 2, 3, 4:
			a.through(ch, last, ack)
			for ref := range owed {
				if offsets[ref] <= last {
					delete(owed[ref], ch)
					settle(ref)
				}
			}
		}
		pairs := 0
		for _, o := range owed {
			pairs += len(o)
		}
		if len(done) != len(want) || a.pairs != pairs || len(a.flights) != len(owed) {
			t.Fatalf("at %d: %d acknowledged, want %d; %d pairs, want %d; %d flights, want %d", ref, len(done), len(want), a.pairs, pairs, len(a.flights), len(owed))
		}
	}
	for ref, n := range done {
		if n != 1 || !want[ref] {
			t.Fatalf("delivery %d acknowledged %d times, want %v", ref, n, want[ref])
		}
	}
}

// TestAcksBounded: many filters make much of one delivery; what is remembered
// stays bounded all the same, and acknowledging goes on.
func TestAcksBounded(t *testing.T) {
	s := &fakeSession{}
	c := open(t, New(Options{Attach: s.attach, Window: 8}), subproto.Info{})
	c.talk(hello)
	var all []*msg.Subscription
	for i := range 20 {
		f := fmt.Sprintf("a/%d/#", i)
		c.send(fmt.Sprintf(`{"id":2,"subscribe":{"channel":%q}}`, f))
		c.next()
		all = append(all, &msg.Subscription{Filter: msg.Filter{Pattern: f}, Handle: uint64(i + 1)})
	}
	for i := range 6 {
		s.give(msg.Delivery{
			Message: &msg.Message{Topic: "a", Offset: msg.Offset(i + 1), Payload: msg.Bytes([]byte("1"))},
			Matches: all, QoS: 1, Ref: uint64(i + 1),
		})
	}
	c.c.Wake()
	for i := range 6 {
		for range 20 {
			if got := c.next(); len(got) < 50 {
				t.Fatal(got)
			}
		}
		if i%2 == 1 { // 40 pairs are over 4 times the window
			c.talk("< {}")
			if left := s.left(); left != 5-i {
				t.Fatalf("%d wait in the session, want %d", left, 5-i)
			}
			c.send("{}")
		}
	}
	if !slices.Equal(s.acked, []uint64{1, 2, 3, 4, 5, 6}) {
		t.Fatal(s.acked)
	}
}

// TestAckUnwanted: what nobody wants any more is acknowledged without a push.
func TestAckUnwanted(t *testing.T) {
	s := &fakeSession{}
	c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
	c.talk(hello)
	s.give(msg.Delivery{Message: &msg.Message{Topic: "a", Offset: 1}, Matches: []*msg.Subscription{{Filter: msg.Filter{Pattern: "a"}, Handle: 9}}, QoS: 1, Ref: 5})
	c.talk("> {\"id\":2,\"ping\":{}}\n< {\"id\":2,\"ping\":{}}")
	if !slices.Equal(s.acked, []uint64{5}) {
		t.Fatal(s.acked)
	}
}
