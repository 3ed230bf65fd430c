package e2e

import (
	"fmt"
	"testing"
)

// points are the places between two packets of QoS 2 in both directions at which
// a broker can die; answer begins what it answers to what was sent there.
var points = []struct {
	at     string
	answer byte // 0: nothing was sent
}{
	{"PUBLISH sent", 0x50}, {"PUBREC received", 0}, {"PUBREL sent", 0x70}, {"PUBCOMP received", 0},
	{"PUBLISH received", 0}, {"PUBREC sent", 0x62}, {"PUBREL received", 0}, {"PUBCOMP sent", 0xd0},
}

// crash makes clients stop once, at the point: the broker is killed and started
// again on the same data, and all of them come back to their sessions. With an
// answer the broker has handled what it was sent and dies behind the answer, which
// is lost on its way; without, the packet may be lost with the broker, or not.
func (b *broker) crash(at string, answer byte, clients ...*exactClient) (happened func() bool) {
	dead := false
	for _, c := range clients {
		c.stop = func(point string) bool {
			if dead || at != point {
				return false
			}
			dead = true
			if answer != 0 {
				c.lose(answer)
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

// lose waits for the packet that begins with head, and takes no notice of it and
// of what comes before, as if the connection had broken.
func (c *exactClient) lose(head byte) {
	c.t.Helper()
	if head == 0xd0 {
		c.must("\xc0\x00")
	}
	for {
		got, _, err := c.read()
		if err != nil {
			c.t.Fatal(err)
		}
		if got == head {
			return
		}
	}
}

// TestQoS2OverCrashes kills the broker between every two packets of QoS 2, in both
// directions, with the packet that went before in the air, or its answer, and
// finishes what was begun on the next process: one delivery each, in order ([MQTT-4.3.3-1]
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
			for _, lost := range []bool{false, true} {
				for _, p := range points {
					answer := p.answer
					switch {
					case !lost:
						answer = 0
					case answer == 0:
						continue
					}
					happened := b.crash(p.at, answer, from, to)
					if round(fmt.Sprintf("%s, answer lost %v", p.at, lost)); !happened() {
						t.Errorf("nothing stopped at %q", p.at)
					}
				}
			}
			round("after all")
			to.quiet()
			to.wantExactly(t, want)
		})
	}
}
