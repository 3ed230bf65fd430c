package hub

import (
	"testing"
	"time"

	"parley/msg"
)

// A connection that takes no deliveries hears of its takeover all the same, and
// the new one of the filters it has now.
func TestNextNoticeLeavesDeliveries(t *testing.T) {
	h := open(t, newMem(t), nil)
	params := msg.SessionParams{Namespace: "default", ClientID: "d", Expiry: time.Hour}
	first := connect(t, h, params)
	first.subscribe("a/b")
	var n msg.Notice
	if first.NextNotice(&n) {
		t.Fatalf("notice %+v", n)
	}
	second := &client{t: t, wake: make(chan struct{}, 1)}
	results := make(chan msg.AttachResult, 1)
	second.Session = h.Attach(second, nil, params, func(r msg.AttachResult, err error) {
		if err != nil {
			t.Error(err)
		}
		results <- r
	})
	if r := await(t, results); !r.Present || len(r.Subscriptions) != 1 || r.Subscriptions[0].Filter.Pattern != "a/b" || r.Subscriptions[0].QoS != 1 {
		t.Errorf("result %+v", r)
	}
	if !first.NextNotice(&n) || n.Kind != msg.NoticeTakenOver || first.NextNotice(&n) {
		t.Errorf("notice %+v", n)
	}
}

// A gap that a session was not told of yet is among its notices.
func TestNextNoticeTellsGaps(t *testing.T) {
	h := open(t, newMem(t), nil)
	d, _ := device(t, h)
	d.subscribe("a")
	s := d.Session.(*hold).s
	s.mu.Lock()
	s.tellGaps([]gap{{filter: msg.Filter{Pattern: "a"}, first: 1, last: 3, count: 2, reason: reasonRetention}})
	s.mu.Unlock()
	var n msg.Notice
	if !d.NextNotice(&n) || n.Kind != msg.NoticeGap || n.Subscription.Filter.Pattern != "a" || n.First != 1 || n.Last != 3 || n.Count != 2 {
		t.Fatalf("%+v", n)
	}
	if d.NextNotice(&n) {
		t.Fatalf("again: %+v", n)
	}
}
