package hub

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/persist/mem"
)

// Two clients with one name, each of which connects again at once when it is put
// out, do not go on for ever: the session stays with one of them.
func TestContestedSessionStaysWithItsHolder(t *testing.T) {
	for _, clean := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			store := mem.New()
			h, _ := New(Options{Store: store, Policy: denying{}, Limits: Limits{Takeovers: 3}})
			stop := run(t, h)
			p := msg.SessionParams{Namespace: "default", ClientID: "d", CleanStart: clean, Expiry: time.Hour}
			attach := func(user string) (*client, error) {
				c := &client{t: t, wake: make(chan struct{}, 1)}
				done := make(chan error, 1)
				c.Session = h.Attach(c, &auth.Identity{User: user}, p, func(_ msg.AttachResult, err error) { done <- err })
				return c, await(t, done)
			}
			var holder *client
			for i := range 4 { // the first one takes it from nobody
				c, err := attach("ann")
				if err != nil {
					t.Fatalf("attempt %d: %v", i, err)
				}
				holder = c
				time.Sleep(3 * time.Second)
			}
			// 12 s after the first and 9 s after the first change of hands
			for i := range 6 { // every 5 s for 30 s
				if _, err := attach("ann"); !errors.Is(err, msg.ErrSessionBusy) {
					t.Fatalf("attempt %d: %v", i, err)
				}
				if _, err := attach("bob"); !errors.Is(err, msg.ErrBadClientID) {
					t.Fatalf("another user: %v", err)
				}
				time.Sleep(5 * time.Second)
			}
			if err := holder.trySubscribe(msg.Subscription{Filter: levels("t"), QoS: 1}); err != nil {
				t.Fatalf("the holder lost it: %v", err)
			}
			for i := range 3 { // the rest is over
				c, err := attach("ann")
				if err != nil {
					t.Fatalf("after the rest, %d: %v", i, err)
				}
				holder = c
			}
			if _, err := attach("ann"); !errors.Is(err, msg.ErrSessionBusy) {
				t.Fatal(err)
			}
			holder.Close(msg.CloseLost)
			if _, err := attach("ann"); err != nil {
				t.Fatalf("its holder has left: %v", err)
			}
			if n := h.Sessions(); n != 1 {
				t.Fatalf("%d sessions", n)
			}
			stop()
		})
	}
}

// A takeover now and then is no fight, and neither is coming and going.
func TestRareTakeoversAreNoContest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		h, _ := New(Options{Store: store, Policy: denying{}})
		stop := run(t, h)
		for range 50 {
			device(t, h)
			time.Sleep(2 * time.Second)
		}
		for range 50 {
			d, _ := device(t, h)
			d.Close(msg.CloseLost)
		}
		stop()
	})
}
