package e2e

import (
	"fmt"
	"strconv"
	"testing"
)

// TestTakeoversUnderLoad: a session changes hands two hundred times while
// messages stream in. None is lost, and new ones come in order.
func TestTakeoversUnderLoad(t *testing.T) {
	const takeovers, batch = 200, 15 // a third of it fits into the window
	b := startBroker(t, "")
	pub := b.openRaw("pub", true, 0, "", 0)
	c := b.openRaw("device", false, 0, "load", 1)
	published := make(chan bool)
	go func() {
		defer close(published)
		for i := range takeovers * batch {
			pub.publish("load", fmt.Sprint(i))
		}
	}()
	next := 0
	take := func(most int, all bool) {
		t.Helper()
		for range most {
			if next == takeovers*batch {
				return
			}
			head, body, err := c.read()
			if err != nil {
				t.Fatalf("after %d messages: %v", next, err)
			}
			_, id, payload := rawMessage(head, body)
			n, err := strconv.Atoi(payload)
			if err != nil || n > next || n < next && head&8 == 0 {
				t.Fatalf("received %s (%#x), want %d", payload, head, next)
			}
			next = max(next, n+1)
			if n%3 != 0 || all { // the others come again on the next connection
				if err := c.write(rawPacket(0x40, id)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for range takeovers {
		take(batch/2, false)
		old := c
		c = b.dialRaw(0)
		if err := c.write(rawConnect("device", false)); err != nil {
			t.Fatal(err)
		}
		if body := c.want(0x20); body != "\x01\x00" {
			t.Fatalf("CONNACK %q, want session present", body)
		}
		old.conn.Close()
	}
	<-published
	for next < takeovers*batch {
		take(1, true)
	}
}
