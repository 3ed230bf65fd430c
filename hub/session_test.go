package hub

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"parley/auth"
	"parley/msg"
	"parley/persist"
)

func TestTakeover(t *testing.T) {
	h := open(t, newMem(t), nil)
	ann := &auth.Identity{User: "ann"}
	first := connectAs(t, h, ann, msg.SessionParams{ClientID: "c"})
	first.subscribe("a")
	second := connectAs(t, h, ann, msg.SessionParams{ClientID: "c"})
	if d := first.next(); d.Notice == nil || d.Notice.Kind != msg.NoticeTakenOver {
		t.Fatalf("%+v", d)
	}
	if _, err := first.try(&msg.Message{Topic: "a", QoS: 1}); !errors.Is(err, msg.ErrTakenOver) {
		t.Fatal(err)
	}
	if err := first.trySubscribe(msg.Subscription{Filter: msg.Filter{Pattern: "b"}}); !errors.Is(err, msg.ErrTakenOver) {
		t.Fatal(err)
	}
	first.Close(msg.CloseLost)
	second.subscribe("a")
	second.store("a", "x")
	second.expect("x")
	refused := make(chan error, 1)
	h.Attach(second, &auth.Identity{User: "eve"}, msg.SessionParams{Namespace: "default", ClientID: "c"},
		func(_ msg.AttachResult, err error) { refused <- err })
	if err := await(t, refused); !errors.Is(err, msg.ErrBadClientID) {
		t.Fatalf("another user's client id: %v", err)
	}
	if h.Sessions() != 1 {
		t.Fatalf("%d sessions", h.Sessions())
	}
}

func TestAttachErrors(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := connect(t, h, msg.SessionParams{ID: 7})
	if c.ID() != 7 {
		t.Fatalf("id %d", c.ID())
	}
	try := func(p msg.SessionParams) error {
		errs := make(chan error, 1)
		h.Attach(c, nil, p, func(_ msg.AttachResult, err error) { errs <- err })
		return await(t, errs)
	}
	if err := try(msg.SessionParams{Namespace: "nowhere"}); !errors.Is(err, msg.ErrNoNamespace) {
		t.Error(err)
	}
	if err := try(msg.SessionParams{Namespace: "default", ID: 7}); !errors.Is(err, msg.ErrBadClientID) {
		t.Error(err)
	}
	if err := h.Drain(context.Background(), 0); err != nil {
		t.Error(err)
	}
	if err := try(msg.SessionParams{Namespace: "default"}); !errors.Is(err, msg.ErrDraining) {
		t.Error(err)
	}
	if d := c.next(); d.Notice == nil || d.Notice.Kind != msg.NoticeDraining {
		t.Errorf("%+v", d)
	}
}

func TestUnsubscribe(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := connect(t, h, msg.SessionParams{})
	c.subscribe("a")
	c.subscribe("b")
	c.store("a", "queued")
	c.store("b", "b1")
	results := make(chan []error, 1)
	c.Unsubscribe([]msg.Filter{{Pattern: "a"}, {Pattern: "nope"}}, func(r []error) { results <- r })
	if r := await(t, results); r[0] != nil || !errors.Is(r[1], msg.ErrNoSubscription) {
		t.Fatal(r)
	}
	c.store("a", "later")
	c.store("b", "b2")
	c.expect("b1", "b2")
}

// A repeated SUBSCRIBE changes the options without losing what is queued [MQTT-3.8.4-3].
func TestReplacedSubscriptionLosesNothing(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := connect(t, h, msg.SessionParams{})
	c.subscribe("a", func(s *msg.Subscription) { s.Handle = 1 })
	for i := range 10 {
		c.store("a", fmt.Sprint(i))
		c.subscribe("a", func(s *msg.Subscription) { s.Handle = uint64(i + 2) })
	}
	for i := range 10 {
		d := c.next()
		if string(d.Message.Payload.Data) != fmt.Sprint(i) || d.Matches[0].Handle != 11 {
			t.Fatalf("%d: %+v", i, d)
		}
	}
}

func TestOwnMessages(t *testing.T) {
	h := open(t, newMem(t), nil)
	a, b := connect(t, h, msg.SessionParams{}), connect(t, h, msg.SessionParams{})
	a.subscribe("x", func(s *msg.Subscription) { s.NoLocal = true })
	a.subscribe("+")
	b.subscribe("+")
	a.store("x", "1")
	if d := a.next(); len(d.Matches) != 1 || d.Matches[0].Filter.Pattern != "+" {
		t.Fatalf("no-local: %+v", d)
	}
	a.send(&msg.Message{Topic: "x", QoS: 1, NoEcho: true, Payload: msg.Bytes([]byte("2"))})
	b.store("x", "3")
	a.expect("3")
	b.expect("1", "2", "3")
}

func TestRestrictions(t *testing.T) {
	h := open(t, newMem(t), nil)
	ann := connectAs(t, h, &auth.Identity{User: "ann", Roles: []string{"admin"}}, msg.SessionParams{})
	bob := connectAs(t, h, &auth.Identity{User: "bob"}, msg.SessionParams{})
	for _, c := range []*client{ann, bob} {
		c.subscribe("x")
	}
	for i, r := range []*msg.Restriction{
		{Users: []string{"ann"}}, {ExcludeUsers: []string{"ann"}}, {Roles: []string{"admin"}}, {ExcludeRoles: []string{"admin"}},
		{Sessions: []uint64{bob.ID()}}, {ExcludeSessions: []uint64{bob.ID()}}, {Users: []string{}}, {},
	} {
		ann.send(&msg.Message{Topic: "x", QoS: 1, Restrict: r, Payload: msg.Bytes([]byte(fmt.Sprint(i)))})
	}
	ann.expect("0", "2", "5", "7")
	bob.expect("1", "3", "4", "7")
}

func TestWindowHoldsBackAndAckGoesOn(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := connect(t, h, msg.SessionParams{Window: 2})
	c.subscribe("a")
	for i := range 4 {
		c.store("a", fmt.Sprint(i))
	}
	var d [3]msg.Delivery
	for i := range 2 {
		for !c.Next(&d[i]) {
			await(t, c.wake)
		}
	}
	if c.Next(&d[2]) {
		t.Fatalf("beyond the window: %+v", d[2])
	}
	c.Ack(d[1].Ref) // out of order
	c.Ack(d[1].Ref) // twice is once
	c.expect("2")
	c.Ack(d[0].Ref)
	c.expect("3")
}

func TestExpiredIsWithheld(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := connect(t, h, msg.SessionParams{})
	c.subscribe("a")
	c.send(&msg.Message{Topic: "a", QoS: 1, Expires: 1, Retain: true, Payload: msg.Bytes([]byte("old"))})
	c.store("a", "new")
	c.expect("new")
	late := connect(t, h, msg.SessionParams{})
	late.subscribe("a")
	c.store("a", "newer")
	late.expect("newer")
}

func TestOverlappingFiltersAreMerged(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := connect(t, h, msg.SessionParams{})
	c.subscribe("a/b", func(s *msg.Subscription) { s.QoS = 0 })
	c.subscribe("a/#", func(s *msg.Subscription) { s.QoS = 1 })
	if err := c.trySubscribe(msg.Subscription{Filter: msg.Filter{Kind: msg.FilterPrefix, Pattern: "a"}}); err != nil {
		t.Fatal(err)
	}
	c.store("a/b", "x")
	if d := c.next(); len(d.Matches) != 3 || d.QoS != 1 {
		t.Fatalf("%+v", d)
	}
}

func TestSubscriptionQuota(t *testing.T) {
	h := open(t, newMem(t), func(o *Options) { o.Limits.Subscriptions = 2 })
	c := connect(t, h, msg.SessionParams{})
	c.subscribe("a")
	c.subscribe("b")
	c.subscribe("b")
	if err := c.trySubscribe(msg.Subscription{Filter: msg.Filter{Pattern: "c"}}); !errors.Is(err, msg.ErrTooManySubs) {
		t.Fatal(err)
	}
	for _, f := range []string{"$replay/earliest/a", "$rpc/a"} {
		if err := c.trySubscribe(msg.Subscription{Filter: msg.Filter{Pattern: f}}); !errors.Is(err, msg.ErrNotSupported) {
			t.Fatalf("%s: %v", f, err)
		}
	}
}

// Messages that another node wrote into the same log are fanned out like ours.
func TestForeignCommitsAreFannedOut(t *testing.T) {
	store := newMem(t)
	h := open(t, store, nil)
	c := connect(t, h, msg.SessionParams{})
	c.subscribe("a")
	m := &msg.Message{Topic: "a", QoS: 1, Payload: msg.Bytes([]byte("foreign"))}
	store.Commit(&persist.Batch{Appends: []persist.Append{{Namespace: "default", Message: m}}}, func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
	c.expect("foreign")
}

// A peer that is gone gets nothing and blocks nobody; its publishes still count.
func TestCloseWithPublishesUnderWay(t *testing.T) {
	h, g := openGated(t, nil)
	sub := connect(t, h, msg.SessionParams{})
	sub.subscribe("a")
	c := connect(t, h, msg.SessionParams{})
	c.publish("a", "x", 1, nil)
	await(t, g.arrived)
	c.Close(msg.CloseLost)
	g.proceed <- nil
	sub.expect("x")
}

// A subscription to one's own gaps belongs to the session like any other; no
// message comes there.
func TestSubscriptionToGaps(t *testing.T) {
	h := open(t, newMem(t), nil)
	d, _ := device(t, h)
	d.subscribe("$gap/#")
	if err := d.trySubscribe(msg.Subscription{Filter: msg.Filter{Pattern: "$gap/#", Group: "g"}}); !errors.Is(err, msg.ErrFilterInvalid) {
		t.Fatalf("shared: %v", err)
	}
	d.Close(msg.CloseLost)
	d, r := device(t, h)
	if len(r.Subscriptions) != 1 || r.Subscriptions[0].Filter.Pattern != "$gap/#" {
		t.Fatalf("%+v", r.Subscriptions)
	}
	if _, err := d.try(&msg.Message{Topic: "$gap/a", QoS: 1}); !errors.Is(err, msg.ErrTopicReserved) {
		t.Fatal(err)
	}
}

// An engine whose Attach was refused may still have frames to handle.
func TestCallsAfterARefusedAttach(t *testing.T) {
	h := open(t, newMem(t), nil)
	c := &client{t: t, wake: make(chan struct{}, 1)}
	refused := make(chan error, 1)
	s := h.Attach(c, nil, msg.SessionParams{Namespace: "unknown"}, func(_ msg.AttachResult, err error) { refused <- err })
	if err := await(t, refused); !errors.Is(err, msg.ErrNoNamespace) {
		t.Fatal(err)
	}
	answers := 0
	note := func(err error) {
		if answers++; !errors.Is(err, msg.ErrSessionClosed) {
			t.Errorf("answer %d: %v", answers, err)
		}
	}
	s.Publish(&msg.Message{Topic: "a"}, func(_ msg.Offset, err error) { note(err) })
	s.PublishOnce(1, &msg.Message{Topic: "a", QoS: 2}, func(_ msg.Offset, err error) { note(err) })
	s.Release(1, note)
	s.Assign(1, 1, note)
	s.Assign(1, 1, nil)
	s.Received(1, note)
	s.Subscribe(make([]msg.Subscription, 1), func(r []msg.SubscribeResult) { note(r[0].Err) })
	s.Unsubscribe(make([]msg.Filter, 1), func(r []error) { note(r[0]) })
	s.History(msg.HistoryQuery{}, func(_ msg.HistoryResult, err error) { note(err) })
	s.SetWill(nil, note)
	s.Ack(1)
	s.SetExpiry(1)
	var d msg.Delivery
	var n msg.Notice
	if s.Next(&d) || s.NextNotice(&n) || s.Congested() || s.ID() != 0 {
		t.Error("a session that is none")
	}
	s.Close(msg.CloseLost)
	if answers != 9 {
		t.Errorf("%d answers", answers)
	}
}
