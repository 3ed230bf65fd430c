package hub

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/msg"
	"parley/persist"
	"parley/persist/bolt"
)

// small is a store with segments of ten messages.
func small(t *testing.T) persist.Store {
	t.Helper()
	s, err := bolt.Open(t.TempDir(), bolt.Options{SegmentMessages: 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// retaining is a run of the broker that keeps 20 messages, and quota bytes of what
// sessions want.
func retaining(t *testing.T, store persist.Store, quota int64) *life {
	t.Helper()
	return liveWith(t, store, Options{Policy: denying{}, Retention: Retention{Count: 20}, Quota: quota})
}

func first(t *testing.T, s persist.Store) msg.Offset {
	t.Helper()
	info, err := s.State("default", persist.Visitor{})
	if err != nil {
		t.Fatal(err)
	}
	return info.First
}

func TestRetentionDropsWhatNobodyWants(t *testing.T) {
	l := retaining(t, small(t), 0)
	pub := l.publisher()
	pub.send(&msg.Message{Topic: "r/1", QoS: 1, Retain: true, Payload: msg.Bytes([]byte("kept"))})
	quiet, _ := l.device(msg.SessionParams{})
	quiet.subscribe("quiet/#")
	quiet.Close(msg.CloseLost)
	for i := range 100 {
		pub.store("busy", fmt.Sprint(i))
	}
	l.Retain()
	if o := first(t, l.store); o < 60 || o > 90 {
		t.Fatalf("the log begins at %d", o)
	}
	sub := connect(t, l.Hub, msg.SessionParams{})
	sub.subscribe("r/#")
	sub.expect("kept")
	pub.store("quiet/1", "heard")
	quiet = l.back()
	quiet.expect("heard") // and no gap before it
}

// Promise 3: what a durable session wants stays up to the quota; beyond, it is
// told exactly what it missed, also over a crash.
func TestPromiseNoSilentLossOverTheQuota(t *testing.T) {
	for _, crash := range []bool{false, true} {
		l := retaining(t, small(t), 6000)
		pub := l.publisher()
		d, _ := l.device(msg.SessionParams{})
		d.subscribe("a/#")
		d.Close(msg.CloseLost)
		for i := range 50 {
			pub.store("a/1", fmt.Sprint(i))
			pub.store("b", "not wanted")
		}
		l.Retain()
		if o := first(t, l.store); o != 1 {
			t.Fatalf("cut to %d below the quota", o)
		}
		for i := range 100 {
			pub.store("a/1", fmt.Sprint(50+i))
		}
		l.Retain()
		begin := first(t, l.store)
		if begin == 1 {
			t.Fatal("nothing was cut over the quota")
		}
		if crash {
			l = l.crash()
		}
		d = l.back()
		got := d.take()
		if got.Notice == nil || got.Notice.Kind != msg.NoticeGap {
			t.Fatalf("got %+v, want a gap", got)
		}
		n := got.Notice
		if n.First == 0 || n.Last >= begin || n.Subscription.Filter.Pattern != "a/#" || n.Count == 0 {
			t.Fatalf("%+v with the log beginning at %d", n, begin)
		}
		for i := int(n.Count); i < 150; i++ {
			d.expect(fmt.Sprint(i))
		}
	}
}

// What was acknowledged before a crash and cut then is no gap.
func TestNoFalseGap(t *testing.T) {
	l := retaining(t, small(t), 1)
	pub := l.publisher()
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("a")
	for i := range 15 {
		pub.store("a", fmt.Sprint(i))
		d.expect(fmt.Sprint(i))
	}
	d.Close(msg.CloseLost)
	l = l.restart() // writes the checkpoint
	pub = l.publisher()
	for range 60 {
		pub.store("b", "x")
	}
	l = l.crash()
	l.Retain()
	pub = l.publisher()
	for range 60 {
		pub.store("b", "x")
	}
	l.Retain()
	if first(t, l.store) <= 20 {
		t.Fatal("nothing was cut")
	}
	d = l.back()
	pub.store("a", "next")
	d.expect("next")
}

// What was acknowledged before a crash is no gap, though it was cut before a
// checkpoint was due.
func TestNoFalseGapWithoutACheckpoint(t *testing.T) {
	l := liveWith(t, small(t), Options{Policy: denying{}, Retention: Retention{Count: 20}, Quota: 1, checkpoint: time.Hour})
	pub := l.publisher()
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("a")
	for i := range 15 {
		pub.store("a", fmt.Sprint(i))
		d.expect(fmt.Sprint(i))
	}
	for range 60 {
		pub.store("b", "x")
	}
	pub.settle()
	d.settleShard()
	l.Retain()
	if first(t, l.store) <= 15 {
		t.Fatal("nothing was cut")
	}
	l = l.crash()
	l.publisher().store("a", "next")
	d = l.back()
	d.expect("next")
}

// Topics with a rule have bounds of their own.
func TestRetentionRules(t *testing.T) {
	store := small(t)
	h := open(t, store, func(o *Options) {
		o.Retention = Retention{Age: time.Hour}
		o.RetentionRules = []RetentionRule{{Filter: msg.Filter{Pattern: "short/#"}, Retention: Retention{Count: 10}}}
	})
	pub := connect(t, h, msg.SessionParams{})
	for i := range 60 {
		pub.store("short/x", fmt.Sprint(i))
		if i%2 == 0 {
			pub.store("long", fmt.Sprint(i))
		}
	}
	h.Retain()
	counts := map[string]int{}
	for from := msg.Offset(1); ; {
		ms, next, err := store.Read("default", from, 0, persist.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			counts[m.Topic]++
		}
		if len(ms) == 0 {
			break
		}
		from = next
	}
	if counts["long"] != 30 || counts["short/x"] < 10 || counts["short/x"] > 25 {
		t.Fatal(counts)
	}
}

// Promise 3: a replay that retention overtakes says what it did not find any more.
func TestPromiseNoSilentLossInAReplay(t *testing.T) {
	l := liveWith(t, small(t), Options{Policy: denying{}, Retention: Retention{Count: 20}, Limits: Limits{TailBytes: 1}})
	pub := l.publisher()
	const count = 1000 // several reads
	acked := make(chan struct{}, count)
	for i := range count {
		pub.publish(fmt.Sprint("t/", i%2), fmt.Sprint(i), 1, func(msg.Offset, error) { acked <- struct{}{} })
	}
	for range count {
		await(t, acked)
	}
	c := connect(t, l.Hub, msg.SessionParams{})
	if r := c.replay(levels("t/0"), earliest); r.Err != nil || r.From != 1 || r.Gap != nil {
		t.Fatalf("%+v", r)
	}
	c.expect("0", "2")
	l.Retain()
	begin := int(first(t, l.store))
	if begin < count/2 {
		t.Fatalf("only %d are cut", begin)
	}
	pub.store("t/0", "live")
	want, missed := msg.Offset(5), 0 // t/0 has the odd offsets
	for want <= count {
		d := c.next()
		switch {
		case d.Notice == nil && d.Message.Offset == want:
			want += 2
		case d.Notice != nil && d.Notice.Kind == msg.NoticeGap && d.Notice.First <= want && d.Notice.Last >= want:
			for ; want <= d.Notice.Last; want += 2 {
				missed++
			}
		default:
			t.Fatalf("got %+v %+v, want offset %d", d.Message, d.Notice, want)
		}
	}
	if missed < 100 {
		t.Fatalf("%d are told as missed", missed)
	}
	c.expect("live")
}

// Promise 3: so does one that was interrupted, also when the broker was restarted
// since.
func TestPromiseNoSilentLossInAReplayOverARestart(t *testing.T) {
	l := liveWith(t, small(t), Options{Policy: denying{}, Retention: Retention{Count: 20}, Quota: 1})
	pub := l.publisher()
	const count = 200
	acked := make(chan struct{}, count)
	for i := range count {
		pub.publish("t", fmt.Sprint(i), 1, func(msg.Offset, error) { acked <- struct{}{} })
	}
	for range count {
		await(t, acked)
	}
	d, _ := l.device(msg.SessionParams{})
	d.replay(levels("t"), earliest)
	d.expect("0", "1")
	d.Close(msg.CloseLost)
	l.Retain()
	if o := first(t, l.store); o < count/2 {
		t.Fatalf("the log begins at %d", o)
	}
	l = l.restart()
	d = l.back()
	for want := 2; want < count; {
		got := d.next()
		switch {
		case got.Notice != nil && got.Notice.Kind == msg.NoticeGap && got.Notice.First == msg.Offset(want+1):
			want = int(got.Notice.Last)
		case got.Notice == nil && payload(got) == fmt.Sprint(want):
			want++
		default:
			t.Fatalf("got %+v %+v, want %d", got.Message, got.Notice, want)
		}
	}
}

// Whoever watches hears before and when something is cut that was wanted.
func TestRetentionIsAnnounced(t *testing.T) {
	l := retaining(t, small(t), 7000)
	watch := connect(t, l.Hub, msg.SessionParams{})
	watch.subscribe("$SYS/broker/retention/#", func(s *msg.Subscription) { s.QoS = 0 })
	pub := l.publisher()
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("a")
	d.Close(msg.CloseLost)
	for i := range 150 {
		pub.store("a", fmt.Sprint(i))
	}
	heard := map[string]bool{}
	for range 10 {
		l.Retain()
		for i := range 20 {
			pub.store("a", fmt.Sprint(i))
		}
	}
	for !heard["$SYS/broker/retention/warning"] || !heard["$SYS/broker/retention/cut"] {
		heard[watch.next().Message.Topic] = true
	}
}

// A segment that somebody wants keeps those behind it in its class, and no others.
func TestRetentionGoesOnPastWhatIsWanted(t *testing.T) {
	store := small(t)
	l := liveWith(t, store, Options{
		Policy: denying{}, Quota: 1 << 20, Retention: Retention{Count: 10},
		RetentionRules: []RetentionRule{{Filter: msg.Filter{Pattern: "other/#"}, Retention: Retention{Count: 10}}},
	})
	pub := l.publisher()
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("a")
	d.Close(msg.CloseLost)
	for range 15 {
		pub.store("a", "wanted")
	}
	for range 50 {
		pub.store("b", "not wanted")
		pub.store("other/x", "not wanted")
	}
	if err := l.spaces["default"].retainNow(); err != nil {
		t.Fatal(err)
	}
	segments, err := store.Segments("default")
	if err != nil {
		t.Fatal(err)
	}
	count := map[uint8]int{}
	for _, s := range segments {
		count[s.Class] += s.Messages
	}
	if count[0] != 65 || count[1] > 25 {
		t.Fatalf("messages by class: %v", count)
	}
}

// cutsBehind is a store that drops a segment right after it has been read.
type cutsBehind struct {
	persist.Store
	armed atomic.Bool
	cut   func()
}

func (s *cutsBehind) Read(namespace string, from, to msg.Offset, l persist.Limits) ([]*msg.Message, msg.Offset, error) {
	ms, next, err := s.Store.Read(namespace, from, to, l)
	if len(ms) > 0 && s.armed.CompareAndSwap(true, false) {
		s.cut()
	}
	return ms, next, err
}

// What is cut while it is read either comes or is told as a gap: not both.
func TestNoGapForWhatWasReadBeforeTheCut(t *testing.T) {
	for _, filter := range []string{"a", "$share/g/a", ""} { // "": a replay
		store := &cutsBehind{Store: small(t)}
		l := liveWith(t, store, Options{Policy: denying{}, Quota: 1, Retention: Retention{Count: 10}})
		store.cut = l.Retain
		pub := l.publisher()
		d, _ := l.device(msg.SessionParams{})
		if filter != "" {
			d.subscribe(filter)
			d.Close(msg.CloseLost)
		}
		const n = 50
		for i := range n {
			pub.store("a", fmt.Sprint(i))
		}
		if filter == "" {
			if r := d.replay(levels("a"), earliest); r.Err != nil {
				t.Fatal(r.Err)
			}
			store.armed.Store(true)
		} else {
			store.armed.Store(true)
			d, _ = l.device(msg.SessionParams{})
		}
		missed, seen := uint64(0), uint64(0)
		for missed+seen < n {
			got := d.next()
			if got.Notice != nil {
				missed += got.Notice.Count
				continue
			}
			seen++
		}
		var more msg.Delivery
		if missed+seen != n || d.Next(&more) {
			t.Fatalf("%q: %d came, %d are told as missed, of %d; %+v", filter, seen, missed, n, more)
		}
	}
}

// cutsLate is a store that something happens in just before a segment is dropped.
type cutsLate struct {
	persist.Store
	once   sync.Once
	before func()
}

func (s *cutsLate) Drop(namespace string, seg persist.Segment, keep []msg.Offset) error {
	s.once.Do(s.before)
	return s.Store.Drop(namespace, seg, keep)
}

// A replay that begins while a segment is about to be dropped either has it or says
// that it has not.
func TestReplayThatBeginsDuringACut(t *testing.T) {
	store := &cutsLate{Store: small(t)}
	l := liveWith(t, store, Options{Policy: denying{}, Retention: Retention{Count: 40}})
	c, pub := connect(t, l.Hub, msg.SessionParams{}), l.publisher()
	const n = 55 // over the bounds by one segment
	for i := range n {
		pub.store("a", fmt.Sprint(i))
	}
	store.before = func() {
		if r := c.replay(levels("a"), earliest); r.Err != nil || r.From != 1 {
			t.Errorf("%+v", r)
		}
	}
	l.Retain()
	if first(t, store) == 1 {
		t.Fatal("nothing was cut")
	}
	for sum := 0; sum < n; {
		if got := c.next(); got.Notice != nil {
			sum += int(got.Notice.Count)
		} else if sum++; payload(got) != fmt.Sprint(sum-1) {
			t.Fatalf("got %q, want %d or a gap", payload(got), sum-1)
		}
	}
}
