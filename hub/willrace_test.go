package hub

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"parley/auth"
	"parley/msg"
)

// Every connection that is lost or taken over publishes its will without a delay
// once, however its end and the next connection meet [MQTT-3.1.2-8],
// [MQTT-3.1.4-3].
func TestWillOfEveryConnectionInARace(t *testing.T) {
	h := open(t, newMem(t), nil)
	watch := connect(t, h, msg.SessionParams{})
	watch.subscribe("w/#")
	params := func(i int) msg.SessionParams {
		return msg.SessionParams{
			ClientID: "c", CleanStart: i%3 == 0, Expiry: msg.Forever,
			Will: &msg.Will{Message: &msg.Message{Topic: "w/c", QoS: 1, Payload: msg.Bytes(fmt.Append(nil, i))}},
		}
	}
	const rounds = 400
	c := connect(t, h, params(0))
	for i := 1; i <= rounds; i++ {
		var wg sync.WaitGroup
		wg.Go(func() { c.Close(msg.CloseLost) })
		next := connect(t, h, params(i))
		wg.Wait()
		c = next
	}
	c.Close(msg.CloseLost)
	came := map[string]int{}
	for range rounds + 1 {
		came[string(watch.next().Message.BytesView())]++
	}
	for i := range rounds + 1 {
		if n := came[fmt.Sprint(i)]; n != 1 {
			t.Errorf("will %d came %d times", i, n)
		}
	}
}

// A connection that is taken over before its will is stored has none, and that of
// the one that took over stays.
func TestWillOfOustedConnectionIsNotStored(t *testing.T) {
	for _, clean := range []bool{false, true} {
		h := open(t, newMem(t), nil)
		watch := connect(t, h, msg.SessionParams{})
		watch.subscribe("w/#")
		p := msg.SessionParams{Namespace: "default", ClientID: "c", Expiry: msg.Forever, CleanStart: clean, Will: willOn("w/late", 0)}
		late := &hold{peer: watch, params: p, who: &person{id: &auth.Identity{}}}
		if _, err := h.admit(late); err != nil {
			t.Fatal(err)
		}
		p.Will = willOn("w/newer", 0)
		newer := connect(t, h, p)
		var got error
		late.s.ns.storeWill(newWill(late), late, func(err error) { got = err })
		if !errors.Is(got, msg.ErrTakenOver) {
			t.Errorf("clean start %v: storing the will gave %v", clean, got)
		}
		newer.Close(msg.CloseLost)
		if d := watch.next(); d.Message.Topic != "w/newer" {
			t.Errorf("clean start %v: %s", clean, d.Message.Topic)
		}
	}
}

// hooked calls hook when the next publish is decided.
type hooked struct {
	denying
	hook func()
}

func (p *hooked) Topic(id *auth.Identity, ns string, a auth.Action, topic string) error {
	if f := p.hook; f != nil && a == auth.Publish {
		p.hook = nil
		f()
	}
	return p.denying.Topic(id, ns, a, topic)
}

// The will of a connection that comes while the one before publishes its own is
// in the store afterwards.
func TestWillStoredWhileAnotherFires(t *testing.T) {
	store := newMem(t)
	p := &hooked{}
	h := open(t, store, func(o *Options) { o.Policy = p })
	watch := connect(t, h, msg.SessionParams{})
	watch.subscribe("w/#")
	params := msg.SessionParams{ClientID: "c", Expiry: msg.Forever, Will: willOn("w/first", 0)}
	first := connect(t, h, params)
	params.Will = willOn("w/second", 0)
	p.hook = func() { connect(t, h, params) }
	first.Close(msg.CloseLost)
	if d := watch.next(); d.Message.Topic != "w/first" {
		t.Fatal(d.Message.Topic)
	}
	again, err := New(Options{Store: store, Policy: denying{}})
	if err != nil {
		t.Fatal(err)
	}
	if w := again.spaces["default"].wills["c/c"]; w == nil || w.msg.Topic != "w/second" {
		t.Errorf("in the store: %+v", w)
	}
}

// A timer of an earlier absence that fires late does not end the session in a
// later one.
func TestLateExpiryOfAnEarlierAbsence(t *testing.T) {
	h := open(t, newMem(t), nil)
	p := msg.SessionParams{ClientID: "c", Expiry: time.Hour}
	c := connect(t, h, p)
	c.subscribe("a")
	s := h.spaces["default"].clients["c"]
	c.Close(msg.CloseLost)
	gen := s.gen
	connect(t, h, p).Close(msg.CloseLost)
	s.expire(gen)
	if _, r := deviceWith(t, h, p); !r.Present {
		t.Error("the session is gone")
	}
	s.hold.Close(msg.CloseLost)
	s.expire(s.gen)
	if _, r := deviceWith(t, h, p); r.Present {
		t.Error("the session has not ended")
	}
}
