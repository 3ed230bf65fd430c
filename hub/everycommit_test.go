package hub

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

// doomed dies at its commit number at: that one is lost, or (late) on disk
// without anybody hearing of it.
type doomed struct {
	persist.Store
	n, at int
	late  bool
}

func (s *doomed) Commit(b *persist.Batch, done func(error)) {
	if s.n++; s.n < s.at {
		s.Store.Commit(b, done)
		return
	}
	if s.n == s.at && s.late {
		s.Store.Commit(b, func(error) {})
	}
	done(persist.ErrClosed)
}

// exactWorld is a publisher and a subscriber at QoS 2 and what they remember, as
// MQTT clients do.
type exactWorld struct {
	t        *testing.T
	pub, sub *client
	phase    [3]int          // of each publish: 0 to be sent, 1 PUBREC has come, 2 complete
	held     map[uint16]bool // packet ids received and not released
	got      map[string]int
	died     bool
}

// call waits for a session call; false if the broker has died.
func (w *exactWorld) call(f func(done func(error))) bool {
	if w.died {
		return false
	}
	c := make(chan error, 1)
	f(func(err error) { c <- err })
	if err := await(w.t, c); err != nil && !errors.Is(err, msg.ErrNoPacketID) {
		w.died = true
	}
	return !w.died
}

func (w *exactWorld) attach(h *Hub, name string) (*client, msg.AttachResult) {
	c := &client{t: w.t, wake: make(chan struct{}, 1)}
	var r msg.AttachResult
	w.call(func(done func(error)) {
		c.Session = h.Attach(c, nil, msg.SessionParams{Namespace: "default", ClientID: name, Expiry: time.Hour, Exact: true},
			func(res msg.AttachResult, err error) { r = res; done(err) })
	})
	return c, r
}

// live goes on until everything is complete or the broker dies.
func (w *exactWorld) live(h *Hub) {
	var r msg.AttachResult
	w.died = false
	w.sub, r = w.attach(h, "sub")
	if w.died {
		return
	}
	for _, f := range r.Received { // PUBREL again, PUBCOMP
		delete(w.held, f.PacketID)
		w.sub.Ack(f.Ref)
	}
	if !w.call(func(done func(error)) {
		w.sub.Subscribe([]msg.Subscription{{Filter: msg.Filter{Pattern: "a"}, QoS: 2}}, func(r []msg.SubscribeResult) { done(r[0].Err) })
	}) {
		return
	}
	if w.pub, _ = w.attach(h, "pub"); w.died {
		return
	}
	for i := range w.phase {
		w.publish(i)
		w.receive(i + 1)
	}
}

func (w *exactWorld) publish(i int) {
	id := uint16(i + 1)
	m := &msg.Message{Topic: "a", QoS: 2, Payload: msg.Bytes(fmt.Append(nil, i))}
	if w.phase[i] == 0 && w.call(func(done func(error)) { w.pub.PublishOnce(id, m, func(_ msg.Offset, err error) { done(err) }) }) {
		w.phase[i] = 1
	}
	if w.phase[i] == 1 && w.call(func(done func(error)) { w.pub.Release(id, done) }) {
		w.phase[i] = 2
	}
}

// receive takes deliveries until n messages have come.
func (w *exactWorld) receive(n int) {
	for !w.died && (len(w.got) < n || len(w.held) > 0) {
		var d msg.Delivery
		for !w.sub.Next(&d) {
			select {
			case <-w.sub.wake:
			case <-time.After(patience):
				w.t.Fatalf("got %v, %v held, and nothing more comes", w.got, w.held)
			}
		}
		id := d.PacketID
		if id == 0 {
			for id = 1; w.held[id]; id++ {
			}
			if !w.call(func(done func(error)) { w.sub.Assign(d.Ref, id, done) }) {
				return
			}
		}
		if !w.held[id] {
			w.held[id] = true
			w.got[payload(d)]++
		}
		if !w.call(func(done func(error)) { w.sub.Received(d.Ref, done) }) {
			return
		}
		delete(w.held, id)
		w.sub.Ack(d.Ref)
	}
}

// Promise 4 at every point: the broker dies before and after each of the commits
// that three messages at QoS 2 take from publisher to subscriber.
func TestPromiseExactlyOnceAtEveryCommit(t *testing.T) {
	for _, late := range []bool{false, true} {
		at := 1
		for died := true; died; at++ {
			w := &exactWorld{t: t, held: map[uint16]bool{}, got: map[string]int{}}
			dir := t.TempDir()
			died = false
			for life := range 2 {
				store, err := bolt.Open(dir, bolt.Options{})
				if err != nil {
					t.Fatal(err)
				}
				s := &doomed{Store: store, at: at, late: late}
				if life > 0 {
					s.at = 1 << 30
				}
				h, err := New(Options{Store: s, Policy: denying{}, checkpoint: time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				stop := run(t, h)
				w.live(h)
				died = died || w.died
				stop()
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if len(w.held) > 0 {
				t.Fatalf("death at commit %d, late %v: packet ids %v are held at the end", at, late, w.held)
			}
			for i, p := range w.phase {
				if n := w.got[fmt.Sprint(i)]; p != 2 || n != 1 {
					t.Fatalf("death at commit %d, late %v: message %d in phase %d came %d times", at, late, i, p, n)
				}
			}
			if at > 500 {
				t.Fatal("it never ends")
			}
		}
		if at < 15 {
			t.Errorf("only %d commits were tried", at)
		}
	}
}
