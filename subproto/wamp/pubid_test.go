package wamp

import (
	"math/rand/v2"
	"testing"

	"parley/msg"
)

// Ids are 1 to 2^53-1, different for different positions, and lead back to them.
func TestPublicationIDsAreAReversiblePermutation(t *testing.T) {
	p := newPubIDs("epoch", "default")
	seen := map[uint64]bool{}
	check := func(m *msg.Message) {
		t.Helper()
		id := p.of(m)
		if id == 0 || id >= maxID || seen[id] {
			t.Fatalf("id %d of %+v: out of range or taken", id, m)
		}
		seen[id] = true
		at, serial, stored, ok := p.position(id)
		switch {
		case !ok || stored != m.Stored():
			t.Fatalf("id %d of %+v leads nowhere", id, m)
		case stored && at != m.Offset,
			!stored && (at != m.After&(1<<afterBits-1) || serial != m.Serial):
			t.Fatalf("id %d of %+v leads to %d, %d", id, m, at, serial)
		}
	}
	for i := range msg.Offset(20000) {
		check(&msg.Message{Offset: i + 1})
		check(&msg.Message{After: i, Serial: uint16(i)})
	}
	for range 20000 {
		check(&msg.Message{Offset: 20001 + msg.Offset(rand.Uint64N(1<<52-20001))})
		check(&msg.Message{After: 20000 + msg.Offset(rand.Uint64N(1<<40)), Serial: uint16(rand.Uint32())})
	}
}

// Position 0 is nobody's, so that what would map to id 0 can take its id.
func TestPublicationIDIsNeverZero(t *testing.T) {
	p := newPubIDs("epoch", "default")
	unlucky := p.backward(0)
	id := p.id(unlucky)
	if id == 0 || id != p.forward(0) {
		t.Fatalf("position %d has id %d", unlucky, id)
	}
	at, serial, stored, ok := p.position(id)
	back := uint64(at)
	if !stored {
		back = transientBit | uint64(at)<<16 | uint64(serial)
	}
	if !ok || back != unlucky {
		t.Fatalf("id %d leads to %d, want %d", id, back, unlucky)
	}
	for _, id := range []uint64{0, maxID, maxID + 1} {
		if _, _, _, ok := p.position(id); ok {
			t.Errorf("%d is somebody's id", id)
		}
	}
}

// Ids of successive offsets differ in about half of their bits, and other logs
// and namespaces have other ids.
func TestPublicationIDsLookRandom(t *testing.T) {
	p := newPubIDs("epoch", "default")
	bits, n := 0, 10000
	for i := range n {
		x := p.id(uint64(i+1)) ^ p.id(uint64(i+2))
		for ; x != 0; x &= x - 1 {
			bits++
		}
	}
	if mean := float64(bits) / float64(n); mean < 26 || mean > 27 {
		t.Errorf("neighbours differ in %.2f of 53 bits on average", mean)
	}
	for _, other := range []*pubIDs{newPubIDs("epoch2", "default"), newPubIDs("epoch", "other"), newPubIDs("epochd", "efault")} {
		same := 0
		for i := range uint64(1000) {
			if p.id(i+1) == other.id(i+1) {
				same++
			}
		}
		if same > 0 {
			t.Errorf("%d ids are the same under another key", same)
		}
	}
}

func FuzzPublicationID(f *testing.F) {
	f.Add("e", "n", uint64(1))
	f.Fuzz(func(t *testing.T, epoch, namespace string, x uint64) {
		p := newPubIDs(epoch, namespace)
		x %= maxID
		if got := p.backward(p.forward(x)); got != x {
			t.Fatalf("%d comes back as %d", x, got)
		}
	})
}
