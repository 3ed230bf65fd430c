package hub

import (
	"fmt"
	"testing"

	"parley/msg"
)

// A filter added while the session lags begins at its SUBSCRIBE, one removed with
// a backlog is heard of no more, and the others miss nothing, over a crash too.
func TestFiltersChangeWhileLagging(t *testing.T) {
	for _, crash := range []bool{false, true} {
		l := live(t, newMem(t))
		d, _ := l.device(msg.SessionParams{Window: 2})
		d.subscribe("kept")
		d.subscribe("removed")
		d.Close(msg.CloseLost)
		pub := l.publisher()
		for i := range 100 {
			pub.store("kept", fmt.Sprint(i))
			pub.store("removed", "backlog of a filter that goes")
			pub.store("added", "older than its filter")
		}
		d = l.back()
		d.expect("0")
		d.subscribe("added")
		unsubscribed := make(chan []error, 1)
		d.Unsubscribe([]msg.Filter{{Pattern: "removed"}}, func(errs []error) { unsubscribed <- errs })
		if errs := await(t, unsubscribed); errs[0] != nil {
			t.Fatal(errs)
		}
		pub.store("removed", "newer than the UNSUBSCRIBE")
		pub.store("added", "new")
		pub.store("kept", "100")
		if crash {
			l = l.crash()
			d = l.back()
		}
		var got []string
		for len(got) == 0 || got[len(got)-1] != "100" {
			if p := payload(d.next()); p != "0" || !crash { // acknowledged after the last checkpoint: it may come again
				got = append(got, p)
			}
		}
		want := []string{}
		for i := 1; i < 100; i++ {
			want = append(want, fmt.Sprint(i))
		}
		want = append(want, "new", "100")
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("crash %v: got %v", crash, got)
		}
	}
}

// A quiet filter beside a busy one pins nothing: the position on disk follows
// what was delivered.
func TestQuietFilterPinsNothing(t *testing.T) {
	l := retaining(t, small(t), 0)
	d, _ := l.device(msg.SessionParams{})
	d.subscribe("quiet")
	d.subscribe("busy")
	pub := l.publisher()
	for i := range 100 {
		pub.store("busy", fmt.Sprint(i))
		d.expect(fmt.Sprint(i))
	}
	l = l.restart() // writes the checkpoint
	l.Retain()
	if o := first(t, l.store); o < 60 {
		t.Fatalf("the log still begins at %d", o)
	}
}
