package hub

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"parley/msg"
	"parley/persist/bolt"
)

// exactPublisher publishes numbers at QoS 2 as a client does that remembers
// everything and whose broker dies now and then.
type exactPublisher struct {
	c     *client
	next  int
	slots [8]exactSlot // by packet id - 1
}

type exactSlot struct {
	number   int // 0: free
	received bool
	waits    chan error
}

// step takes one random step; it never waits for an answer.
func (p *exactPublisher) step(r *rand.Rand) {
	i := r.IntN(len(p.slots))
	s := &p.slots[i]
	id := uint16(i + 1)
	if s.waits != nil {
		select {
		case err := <-s.waits:
			s.waits = nil
			switch {
			case err != nil: // the crash
			case !s.received:
				s.received = true
			default:
				*s = exactSlot{}
			}
		default:
		}
		return
	}
	if s.number == 0 {
		p.next++
		s.number = p.next
	}
	s.waits = make(chan error, 1)
	waits := s.waits
	if !s.received {
		m := &msg.Message{Topic: "a", QoS: 2, Payload: msg.Bytes(fmt.Append(nil, s.number))}
		p.c.PublishOnce(id, m, func(_ msg.Offset, err error) { waits <- err })
		return
	}
	p.c.Release(id, func(err error) {
		if err == msg.ErrNoPacketID {
			err = nil // released before the crash
		}
		waits <- err
	})
}

// lost forgets what was under way.
func (p *exactPublisher) lost() {
	for i := range p.slots {
		s := &p.slots[i]
		if s.waits != nil {
			select {
			case err := <-s.waits: // answered before the crash
				if err == nil && s.received {
					*s = exactSlot{}
				} else if err == nil {
					s.received = true
				}
			default:
			}
		}
		s.waits = nil
	}
}

// Promise 4 over crashes at random moments, on the real store, with checkpoints in
// between.
func TestPromiseExactlyOnceOverRandomCrashes(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	pub := &exactPublisher{}
	for range 12 {
		store, err := bolt.Open(dir, bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		l := liveWith(t, store, Options{Policy: denying{}, checkpoint: time.Duration(1+r.IntN(20)) * time.Millisecond})
		pub.c, _ = l.device(msg.SessionParams{ClientID: "pub"})
		for end := time.Now().Add(time.Duration(20+r.IntN(80)) * time.Millisecond); time.Now().Before(end); {
			pub.step(r)
		}
		l.store.last = r.IntN(2) == 0
		l.store.dead.Store(true)
		l.stop()
		pub.lost()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	store, err := bolt.Open(dir, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	l := liveWith(t, store, Options{Policy: denying{}})
	sub := connect(t, l.Hub, msg.SessionParams{})
	sub.subscribe("a", func(s *msg.Subscription) { s.From.Kind = msg.ReplayEarliest; s.QoS = 0 })
	pending := map[int]bool{}
	for _, s := range pub.slots {
		if s.number != 0 && !s.received {
			pending[s.number] = true
		}
	}
	seen := map[int]int{}
	for n := 0; len(seen) < pub.next-len(pending); {
		fmt.Sscan(payload(sub.next()), &n)
		if !pending[n] {
			seen[n]++
		}
		if seen[n] > 1 {
			t.Fatalf("seed %d: %d is stored twice", seed, n)
		}
	}
}
