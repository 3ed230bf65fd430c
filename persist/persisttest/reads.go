package persisttest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"parley/msg"
	"parley/persist"
)

func readLimits(e *env) {
	e.state("a")
	payload := strings.Repeat("x", 1000)
	for range 30 {
		e.publish("a", payload, payload, payload, payload, payload, payload, payload, payload, payload, payload)
	}
	size := e.all("a", 1, 1, persist.Limits{})[0].Size()
	for _, c := range []struct {
		limits persist.Limits
		want   int
	}{
		{persist.Limits{}, persist.DefaultReadBytes / size},
		{persist.Limits{Bytes: 1 << 30}, persist.DefaultReadMessages},
		{persist.Limits{Messages: 7}, 7},
		{persist.Limits{Messages: 1}, 1},
		{persist.Limits{Bytes: 3 * size}, 3},
		{persist.Limits{Bytes: 3*size - 1}, 2},
		{persist.Limits{Bytes: 1}, 1}, // at least one
		{persist.Limits{Bytes: 1 << 30, Messages: 1000}, 300},
	} {
		// An implementation may return less than the limits allow, never more,
		// and not so little that a reader crawls.
		ms, next, err := e.s.Read("a", 1, 0, c.limits)
		if err != nil || len(ms) > c.want || len(ms) < (c.want+1)/2 || next != ms[len(ms)-1].Offset+1 {
			e.Errorf("%+v: %d messages, next %d, %v; want %d", c.limits, len(ms), next, err, c.want)
		}
		if got := len(e.all("a", 0, 0, c.limits)); got != 300 {
			e.Errorf("%+v: %d messages in all", c.limits, got)
		}
	}
}

// readNext: next is never below from, passes to only when nothing is left up to
// it, and does not pass what is still to be written.
func readNext(e *env) {
	e.state("a")
	ms, next, err := e.s.Read("a", 0, 0, persist.Limits{})
	if err != nil || len(ms) != 0 || next > 1 {
		e.Errorf("empty log: %d messages, next %d, %v", len(ms), next, err)
	}
	if ms, next, err = e.s.Read("a", 5, 9, persist.Limits{}); err != nil || len(ms) != 0 || next != 5 {
		e.Errorf("empty log from 5: %d messages, next %d, %v", len(ms), next, err)
	}
	published := e.publish("a", "1", "2", "3", "4", "5")
	head := published[4].Offset
	for _, c := range []struct {
		name     string
		from, to msg.Offset
		want     string
		next     msg.Offset
	}{
		{"whole", 0, 0, "1 2 3 4 5", head + 1},
		{"to the head", 1, head, "1 2 3 4 5", head + 1},
		{"beyond the head", 1, head + 10, "1 2 3 4 5", head + 1},
		{"one", published[2].Offset, published[2].Offset, "3", published[2].Offset + 1},
		{"from the head", head, 0, "5", head + 1},
		{"after the head", head + 1, 0, "", head + 1},
		{"far after the head", head + 7, 0, "", head + 7},
		{"far after the head, to", head + 7, head + 9, "", head + 7},
	} {
		ms, next, err := e.s.Read("a", c.from, c.to, persist.Limits{})
		var got []string
		for _, m := range ms {
			got = append(got, string(m.Payload.Data))
		}
		if err != nil || strings.Join(got, " ") != c.want || next != c.next {
			e.Errorf("%s: read [%d, %d]: %v next %d, %v; want %s next %d", c.name, c.from, c.to, got, next, err, c.want, c.next)
		}
	}
}

func timesNeverGoBack(e *env) {
	if e.SetTime == nil {
		e.Skip("the store's clock cannot be set")
	}
	at := func(ms int64) int64 {
		e.SetTime(time.UnixMilli(ms))
		return e.publish("a", "x")[0].Time
	}
	e.state("a")
	for i, c := range [][2]int64{{5000, 5000}, {6000, 6000}, {4000, 6000}, {6001, 6001}} {
		if got := at(c[0]); got != c[1] {
			e.Errorf("%d: at %d got %d, want %d", i, c[0], got, c[1])
		}
	}
	if !e.Durable {
		return
	}
	e.reopen()
	if got := at(10); got != 6001 {
		e.Errorf("after opening again: %d, want 6001", got)
	}
	e.trim("a", 1000)
	e.reopen()
	if got := at(10); got != 6001 {
		e.Errorf("after dropping everything: %d, want 6001", got)
	}
	e.state("b")
	e.SetTime(time.UnixMilli(20))
	if got := e.publish("b", "x")[0].Time; got != 20 {
		e.Errorf("another namespace: %d, want 20", got)
	}
}

// reopen closes the store and opens it again.
func (e *env) reopen() {
	e.Helper()
	if err := e.s.Close(); err != nil {
		e.Fatal(err)
	}
	e.s = e.Open(e.T)
}

// readsWhileCommitting: readers that run beside the committer and a trimmer see
// what was acknowledged, in order, and whole.
func readsWhileCommitting(e *env) {
	e.state("a")
	var mu sync.Mutex
	var acked msg.Offset
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for from := msg.Offset(1); ; {
				mu.Lock()
				to := acked
				mu.Unlock()
				ms, next, err := e.s.Read("a", from, 0, persist.Limits{Messages: 50})
				if err != nil {
					e.Error(err)
					return
				}
				for _, m := range ms {
					if want := fmt.Sprint("payload ", m.Offset); string(m.Payload.Data) != want || m.Offset < from {
						e.Errorf("offset %d holds %q", m.Offset, m.Payload.Data)
						return
					}
					from = m.Offset + 1
				}
				if len(ms) == 0 && next <= to {
					e.Errorf("nothing read from %d, %d are acknowledged", from, to)
					return
				}
				from = next
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	commits := 150
	for i := range commits {
		var payloads []string
		for j := range 7 {
			payloads = append(payloads, fmt.Sprint("payload ", i*7+j+1))
		}
		// Dense offsets are this test's assumption for the payloads' numbers.
		ms := e.publish("a", payloads...)
		mu.Lock()
		acked = ms[6].Offset
		mu.Unlock()
		if i%20 == 19 {
			e.trim("a", acked/2)
		}
	}
	close(stop)
	wg.Wait()
}
