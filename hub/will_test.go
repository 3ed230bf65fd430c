package hub

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/persist/mem"
)

func willOn(topic string, delay time.Duration) *msg.Will {
	return &msg.Will{Message: &msg.Message{Topic: topic, QoS: 1, Payload: msg.Bytes([]byte("will"))}, Delay: delay}
}

func TestWill(t *testing.T) {
	h := open(t, newMem(t), nil)
	watch := connect(t, h, msg.SessionParams{})
	watch.subscribe("w/#")
	connect(t, h, msg.SessionParams{Will: willOn("w/goodbye", 0)}).Close(msg.CloseGoodbye)
	connect(t, h, msg.SessionParams{Will: willOn("w/drain", 0)}).Close(msg.CloseDrain)
	removed := connect(t, h, msg.SessionParams{Will: willOn("w/removed", 0)})
	removed.SetWill(nil, func(error) {})
	removed.Close(msg.CloseLost)
	connect(t, h, msg.SessionParams{Will: willOn("w/lost", 0)}).Close(msg.CloseLost)
	if d := watch.next(); d.Message.Topic != "w/lost" {
		t.Fatalf("%+v", d.Message)
	}
	connect(t, h, msg.SessionParams{ClientID: "c", Will: willOn("w/taken", 0)})
	connect(t, h, msg.SessionParams{ClientID: "c"})
	if d := watch.next(); d.Message.Topic != "w/taken" {
		t.Fatalf("%+v", d.Message)
	}
}

func TestWillDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		h, _ := New(Options{Store: store, Policy: denying{}})
		ctx, cancel := context.WithCancel(t.Context())
		go h.Run(ctx)
		watch := connect(t, h, msg.SessionParams{})
		watch.subscribe("w/#")
		expectAfter := func(want time.Duration) {
			t.Helper()
			begin := time.Now()
			var d msg.Delivery
			for !watch.Next(&d) {
				<-watch.wake
			}
			if got := time.Since(begin); got != want {
				t.Errorf("after %v, want %v", got, want)
			}
		}
		p := msg.SessionParams{ClientID: "c", Will: willOn("w/x", 10*time.Second), Expiry: time.Hour}
		connect(t, h, p).Close(msg.CloseLost)
		expectAfter(10 * time.Second)

		p.Expiry = 4 * time.Second // the session ends first [MQTT-3.1.3-9]
		p.Will = willOn("w/x", 10*time.Second)
		connect(t, h, p).Close(msg.CloseLost)
		expectAfter(4 * time.Second)

		p.Expiry, p.Will = time.Hour, willOn("w/x", 10*time.Second)
		connect(t, h, p).Close(msg.CloseLost)
		time.Sleep(5 * time.Second)
		p.Will = nil
		back := connect(t, h, p) // in time: no will
		time.Sleep(time.Hour)
		var d msg.Delivery
		if watch.Next(&d) {
			t.Errorf("the will came although the client was back: %+v", d.Message)
		}
		back.Close(msg.CloseGoodbye)

		p.Will = willOn("w/x", 0) // its lifetime counts from its publication
		p.Will.Lifetime = time.Minute
		late := connect(t, h, p)
		time.Sleep(time.Hour)
		late.Close(msg.CloseLost)
		if got := watch.next(); got.Message.Expires != time.Now().Add(time.Minute).UnixMilli() {
			t.Errorf("expires at %d", got.Message.Expires)
		}
		cancel()
		synctest.Wait()
	})
}

// Wills of a run that was killed are published after the grace, unless the
// client is back or may not any more.
func TestWillSurvivesKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		first, _ := New(Options{Store: store, Policy: denying{}})
		ctx, cancel := context.WithCancel(t.Context())
		go first.Run(ctx)
		connect(t, first, msg.SessionParams{ClientID: "gone", Will: willOn("w/gone", 0)})
		connect(t, first, msg.SessionParams{ClientID: "back", Will: willOn("w/back", 0)})
		connect(t, first, msg.SessionParams{ClientID: "bye", Will: willOn("w/bye", 0)}).Close(msg.CloseGoodbye)
		synctest.Wait()
		cancel() // nobody closes: as after a kill
		synctest.Wait()

		second, err := New(Options{Store: store, Policy: denying{}, RestartGrace: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		go second.Run(ctx)
		watch := connect(t, second, msg.SessionParams{})
		watch.subscribe("w/#")
		begin := time.Now()
		connect(t, second, msg.SessionParams{ClientID: "back"})
		d := watch.next()
		if d.Message.Topic != "w/gone" || time.Since(begin) != 10*time.Second {
			t.Errorf("%s after %v", d.Message.Topic, time.Since(begin))
		}
		time.Sleep(time.Hour)
		if watch.Next(&d) {
			t.Errorf("%s", d.Message.Topic)
		}
		cancel()
		synctest.Wait()

		third, _ := New(Options{Store: store, Policy: denying{}})
		if n := len(third.spaces["default"].wills); n != 0 {
			t.Errorf("%d wills are left in the store", n)
		}
	})
}

// A will is decided again when it is due.
func TestWillOfUserWhoMayNoLonger(t *testing.T) {
	p := &switchable{}
	h := open(t, newMem(t), func(o *Options) { o.Policy = p })
	watch := connect(t, h, msg.SessionParams{})
	watch.subscribe("w/#")
	c := connect(t, h, msg.SessionParams{Will: willOn("w/x", 0)})
	p.deny.Store(true)
	c.Close(msg.CloseLost)
	p.deny.Store(false)
	watch.store("w/y", "next")
	watch.expect("next")
}

func TestDrainIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := New(Options{Store: mem.New(), Policy: denying{}})
		for range 10 {
			connectAs(t, h, &auth.Identity{User: "u"}, msg.SessionParams{})
		}
		begin := time.Now()
		if err := h.Drain(t.Context(), 10*time.Second); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 9*time.Second {
			t.Errorf("%v", took)
		}
	})
}

// A will that cannot be stored refuses its connection in its turn, behind the session.
func TestWillThatCannotBeStored(t *testing.T) {
	h := open(t, newMem(t), nil)
	for i := range 20 {
		refused := make(chan error, 2)
		h.Attach(&client{wake: make(chan struct{}, 1)}, nil, msg.SessionParams{
			Namespace: "default", ClientID: fmt.Sprint(i), Expiry: msg.Forever, Will: &msg.Will{Message: &msg.Message{Topic: "w", QoS: 3}},
		}, func(_ msg.AttachResult, err error) { refused <- err })
		if err := await(t, refused); err == nil {
			t.Fatal("attached")
		}
	}
	if n := h.Sessions(); n > 0 {
		t.Errorf("%d sessions", n)
	}
}
