package hub

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/persist"
)

// sparse is a store whose offsets have gaps: only every gap-th is used.
type sparse struct {
	persist.Store
	gap msg.Offset
}

func (s sparse) Commit(b *persist.Batch, done func(error)) {
	for i := range b.Checkpoints {
		b.Checkpoints[i].At /= s.gap
	}
	s.Store.Commit(b, func(err error) {
		for i := range b.Appends {
			b.Appends[i].Message.Offset *= s.gap
		}
		done(err)
	})
}

func (s sparse) Read(ns string, from, to msg.Offset, l persist.Limits) ([]*msg.Message, msg.Offset, error) {
	inner := to / s.gap
	if to != 0 && inner == 0 {
		return nil, max(from, to+1), nil
	}
	ms, next, err := s.Store.Read(ns, (from+s.gap-1)/s.gap, inner, l)
	for _, m := range ms {
		m.Offset *= s.gap
	}
	if next = (next-1)*s.gap + 1; to != 0 && next > inner*s.gap { // read to the end
		next = to + 1
	}
	return ms, max(next, from), err
}

func (s sparse) State(ns string, v persist.Visitor) (persist.Info, error) {
	i, err := s.Store.State(ns, v)
	i.First, i.Head, i.At = i.First*s.gap, i.Head*s.gap, i.At*s.gap
	return i, err
}

type historyAnswer struct {
	msg.HistoryResult
	err error
}

func (c *client) history(q msg.HistoryQuery) historyAnswer {
	c.t.Helper()
	answers := make(chan historyAnswer, 1)
	c.History(q, func(r msg.HistoryResult, err error) { answers <- historyAnswer{r, err} })
	return await(c.t, answers)
}

// Random queries against a model, on a dense log and one with gaps.
func TestHistoryAnswersLikeItsModel(t *testing.T) {
	for _, gap := range []msg.Offset{1, 1000} {
		synctest.Test(t, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("gap %d, seed %d", gap, seed)
			r := rand.New(rand.NewPCG(seed, 0))
			store := sparse{newCuttable(), gap}
			h, _ := New(Options{Store: store, Policy: denying{}})
			stop := run(t, h)
			pub := connect(t, h, msg.SessionParams{})
			begin := time.Now().UnixMilli()
			var log []*msg.Message
			for i := range 1500 {
				m := &msg.Message{Topic: fmt.Sprint("t/", r.IntN(3)), QoS: 1, Payload: msg.Bytes([]byte(fmt.Sprint(i)))}
				if i%40 == 0 { // a read is bounded in bytes, too
					m.Payload.Data = append(m.Payload.Data, make([]byte, 60_000)...)
				}
				pub.Publish(m, func(msg.Offset, error) {})
				log = append(log, m)
				if r.IntN(20) == 0 {
					synctest.Wait()
					time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
				}
			}
			synctest.Wait()
			cut(t, store, 100)
			log = log[100:]
			span := time.Now().UnixMilli() - begin
			for range 300 {
				q := msg.HistoryQuery{Filter: levels([]string{"t/#", "t/1", "none"}[r.IntN(3)]), Limit: r.IntN(1000), Reverse: r.IntN(2) == 0}
				if r.IntN(2) == 0 {
					q.From = msg.Offset(r.IntN(1700)) * gap
				}
				if r.IntN(2) == 0 {
					q.To = msg.Offset(r.IntN(1700))*gap + 1
				}
				if r.IntN(3) == 0 {
					q.After = begin + r.Int64N(span+10) - 5
				}
				if r.IntN(3) == 0 {
					q.Before = begin + r.Int64N(span+10) - 5
				}
				got := pub.history(q)
				want, more := expected(log, q)
				if got.err != nil || got.More != more || !slices.EqualFunc(got.Messages, want, func(a, b *msg.Message) bool { return a.Offset == b.Offset && a.Topic == b.Topic }) {
					t.Fatalf("%+v: got %d messages, more %v, %v; want %d, %v", q, len(got.Messages), got.More, got.err, len(want), more)
				}
				if got.First != 101*gap || got.Head != 1500*gap || got.Epoch != h.spaces["default"].epoch {
					t.Fatalf("first %d, head %d, epoch %q", got.First, got.Head, got.Epoch)
				}
			}
			stop()
		})
	}
}

// expected is what q asks for, straightforwardly.
func expected(log []*msg.Message, q msg.HistoryQuery) (found []*msg.Message, more bool) {
	for _, m := range log {
		if q.Filter.Matches(m.Topic) && m.Offset >= q.From && (q.To == 0 || m.Offset <= q.To) &&
			(q.After == 0 || m.Time >= q.After) && (q.Before == 0 || m.Time <= q.Before) {
			found = append(found, m)
		}
	}
	if q.Reverse {
		slices.Reverse(found)
	}
	limit, bytes := q.Limit, 0
	if limit == 0 {
		limit = 100
	}
	for i, m := range found {
		if bytes += m.Size(); i == limit || i > 0 && bytes > 1<<20 {
			return found[:i], true
		}
	}
	return found, false
}

func TestHistoryWithholdsAndRefuses(t *testing.T) {
	h := open(t, newMem(t), nil)
	ann := connectAs(t, h, &auth.Identity{User: "ann"}, msg.SessionParams{})
	bob := connectAs(t, h, &auth.Identity{User: "bob"}, msg.SessionParams{})
	for text, change := range map[string]func(*msg.Message){
		"session": func(m *msg.Message) { m.Restrict = &msg.Restriction{Sessions: []uint64{bob.ID()}} },
		"user":    func(m *msg.Message) { m.Restrict = &msg.Restriction{ExcludeUsers: []string{"bob"}} },
		"expired": func(m *msg.Message) { m.Expires = 1 },
		"shown":   func(m *msg.Message) {},
	} {
		m := &msg.Message{Topic: "t", QoS: 1, Payload: msg.Bytes([]byte(text))}
		change(m)
		ann.send(m)
	}
	if r := bob.history(msg.HistoryQuery{Filter: levels("#")}); r.err != nil || len(r.Messages) != 1 || string(r.Messages[0].Payload.Data) != "shown" || r.More {
		t.Fatalf("%+v", r)
	}
	for _, c := range []struct {
		filter msg.Filter
		want   error
	}{
		{levels("denied"), msg.ErrNotAuthorized}, {levels("a/#/b"), msg.ErrFilterInvalid}, {levels(""), msg.ErrFilterInvalid},
		{msg.Filter{Pattern: "t", Group: "g"}, msg.ErrFilterInvalid}, {levels("$replay/1/t"), msg.ErrNotSupported},
	} {
		if r := bob.history(msg.HistoryQuery{Filter: c.filter}); !errors.Is(r.err, c.want) {
			t.Errorf("%v: %v", c.filter, r.err)
		}
	}
	bob.Close(msg.CloseGoodbye)
	if r := bob.history(msg.HistoryQuery{Filter: levels("t")}); !errors.Is(r.err, msg.ErrSessionClosed) {
		t.Fatal(r.err)
	}
}

func TestHistoryOfEmptyLog(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := connect(t, h, msg.SessionParams{})
	for _, reverse := range []bool{false, true} {
		r := c.history(msg.HistoryQuery{Filter: levels("#"), Reverse: reverse, After: 1, Before: 2})
		if r.err != nil || len(r.Messages) != 0 || r.More || r.First != 0 || r.Head != 0 || r.Epoch == "" {
			t.Fatalf("%+v", r)
		}
	}
}

// readGate lets reads of the store wait.
type readGate struct {
	persist.Store
	arrived chan struct{}
	proceed chan error
}

func (g *readGate) Read(ns string, from, to msg.Offset, l persist.Limits) ([]*msg.Message, msg.Offset, error) {
	g.arrived <- struct{}{}
	if err := <-g.proceed; err != nil {
		return nil, from, err
	}
	return g.Store.Read(ns, from, to, l)
}

func openReadGate(t *testing.T) (*client, *readGate, func()) {
	g := &readGate{Store: newMem(t), arrived: make(chan struct{}), proceed: make(chan error)}
	h, err := New(Options{Store: g, Policy: denying{}})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, h)
	c := connect(t, h, msg.SessionParams{})
	for range 10 * historyChunk {
		c.publish("t", "x", 1, func(msg.Offset, error) {})
	}
	c.store("t", "last")
	return c, g, stop
}

// A session that closes ends its histories; each is answered once, and so are
// those that the end of the hub, or a broken store, overtakes.
func TestHistoryIsAnsweredOnce(t *testing.T) {
	c, g, stop := openReadGate(t)
	answers := make(chan error, 10)
	ask := func() {
		c.History(msg.HistoryQuery{Filter: levels("t"), Limit: 1000}, func(_ msg.HistoryResult, err error) { answers <- err })
	}
	ask()
	await(t, g.arrived)
	g.proceed <- errors.New("disk gone")
	if err := await(t, answers); !errors.Is(err, msg.ErrUnavailable) {
		t.Fatal(err)
	}
	ask()
	for range 3 { // the oldest message and two chunks
		await(t, g.arrived)
		g.proceed <- nil
	}
	await(t, g.arrived)
	for range historyReads - 1 {
		ask()
	}
	ask() // one too many
	if err := await(t, answers); !errors.Is(err, msg.ErrQuota) {
		t.Fatal(err)
	}
	c.Close(msg.CloseGoodbye)
	go func() {
		for range g.arrived { // whatever was under way
			g.proceed <- nil
		}
	}()
	g.proceed <- nil
	for range historyReads {
		if err := await(t, answers); !errors.Is(err, msg.ErrSessionClosed) {
			t.Fatal(err)
		}
	}
	stop()
	close(g.arrived)
	if len(answers) != 0 {
		t.Fatal("answered twice")
	}
}

func TestHistoryIsAnsweredAtTheEnd(t *testing.T) {
	h, err := New(Options{Store: newMem(t), Policy: denying{}})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, h)
	c := connect(t, h, msg.SessionParams{})
	stop()
	if r := c.history(msg.HistoryQuery{Filter: levels("t")}); !errors.Is(r.err, msg.ErrDraining) {
		t.Fatal(r.err)
	}
}

// farGate lets reads from beyond an offset wait.
type farGate struct {
	persist.Store
	beyond   msg.Offset
	released chan struct{}
}

func (g *farGate) Read(ns string, from, to msg.Offset, l persist.Limits) ([]*msg.Message, msg.Offset, error) {
	if from > g.beyond {
		<-g.released
	}
	return g.Store.Read(ns, from, to, l)
}

// A long history does not hold a reader: after a turn others come first, here
// one that the second turns of the long ones wait for.
func TestHistoryTakesTurns(t *testing.T) {
	g := &readGate{Store: newMem(t), arrived: make(chan struct{}), proceed: make(chan error)}
	far := &farGate{Store: g, beyond: historyTurn * persist.ScanMessages, released: make(chan struct{})}
	h := open(t, far, nil)
	c := connect(t, h, msg.SessionParams{})
	for range (historyTurn + 1) * persist.ScanMessages {
		c.publish("t", "x", 1, func(msg.Offset, error) {})
	}
	c.store("t", "last")
	answers := make(chan string, 2*readerWorkers)
	history := func(filter string) {
		c.History(msg.HistoryQuery{Filter: levels(filter), Limit: 1}, func(msg.HistoryResult, error) { answers <- filter })
	}
	for range readerWorkers {
		history("none")
	}
	for range readerWorkers { // all readers are busy
		await(t, g.arrived)
	}
	history("t")
	ended := make(chan struct{})
	go func() {
		for range readerWorkers {
			g.proceed <- nil
		}
		for {
			select {
			case <-g.arrived:
				g.proceed <- nil
			case <-ended:
				return
			}
		}
	}()
	if first := await(t, answers); first != "t" {
		t.Fatalf("the history of %q came first", first)
	}
	close(far.released)
	for range readerWorkers {
		await(t, answers)
	}
	close(ended)
}

// Replays do not take offsets for dense.
func TestReplayWithGapsBetweenOffsets(t *testing.T) {
	h := open(t, sparse{newMem(t), 1000}, nil)
	c := connect(t, h, msg.SessionParams{})
	for i := range 700 {
		c.store("t", fmt.Sprint(i, strings.Repeat(" ", 600)))
	}
	c.replay(levels("t"), fromOffset(100_001))
	for i := 100; i < 700; i++ {
		if d := c.next(); d.Message.Offset != msg.Offset(1000*(i+1)) || !d.Replayed {
			t.Fatalf("%d: %+v", i, d.Message)
		}
	}
}
