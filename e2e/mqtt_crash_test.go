package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// points are the places between two packets of QoS 2 in both directions at which
// a broker can die.
var points = []string{
	"PUBLISH sent", "PUBREC received", "PUBREL sent", "PUBCOMP received",
	"PUBLISH received", "PUBREC sent", "PUBREL received", "PUBCOMP sent",
}

// crash makes clients stop once, after point: the broker is killed and started
// again on the same data, and all of them come back to their sessions. told has the
// broker read what it was sent before it dies; without it the packet may be lost
// with it, or not.
func (b *broker) crash(point string, told bool, clients ...*exactClient) (happened func() bool) {
	dead := false
	for _, c := range clients {
		c.stop = func(at string) bool {
			if dead || at != point {
				return false
			}
			dead = true
			if told {
				c.heard()
			}
			b.kill()
			b.start()
			for _, each := range clients {
				each.reopen()
			}
			return true
		}
	}
	return func() bool { return dead }
}

// heard waits until the broker has read what was sent. What it sends meanwhile
// is lost, as with a connection that breaks.
func (c *exactClient) heard() {
	c.t.Helper()
	c.must("\xc0\x00")
	for {
		head, _, err := c.read()
		if err != nil {
			c.t.Fatal(err)
		}
		if head == 0xd0 {
			return
		}
	}
}

// TestQoS2OverCrashes kills the broker between every two packets of QoS 2, in both
// directions, with the packet that went before read or in the air, and finishes
// what was begun on the next process: one delivery each, in order ([MQTT-4.3.3-1]
// to [MQTT-4.3.3-13], [MQTT-4.4.0-1]).
func TestQoS2OverCrashes(t *testing.T) { overCrashes(t, false) }

// Fault: both directions share one map of packet ids, so that what completes one
// delivery forgets the other ([MQTT-2.2.1-5]). Here publisher and subscriber are one
// client, whose packet ids are the same in both directions, over every crash.
func TestTrapSamePacketIDInBothDirectionsOverCrashes(t *testing.T) { overCrashes(t, true) }

func overCrashes(t *testing.T, alone bool) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			t.Parallel()
			b := startBroker(t, "")
			from := b.exactly(version, "from", "")
			to := from
			if !alone {
				to = b.exactly(version, "to", "")
			}
			to.subscribe("exact", 2)
			var want []string
			round := func(payload string) {
				want = append(want, payload)
				from.publish("exact", payload)
				from.complete(0)
				to.complete(len(want))
			}
			for _, told := range []bool{false, true} {
				for _, point := range points {
					if told && !strings.HasSuffix(point, " sent") {
						continue
					}
					happened := b.crash(point, told, from, to)
					if round(fmt.Sprintf("%s, told %v", point, told)); !happened() {
						t.Errorf("nothing stopped at %q", point)
					}
				}
			}
			round("after all")
			to.quiet()
			to.wantExactly(t, want)
		})
	}
}
