package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The traps of sessions that have to outlive the broker, each with the fault it
// guards against.

// again starts the broker anew after a kill or a proper end.
func (b *broker) again(kill bool) {
	b.t.Helper()
	if !kill {
		b.restart()
		return
	}
	b.kill()
	b.start()
}

// each runs a test for 3.1.1 and 5.0, after a kill and after a proper end.
func each(t *testing.T, config string, f func(t *testing.T, b *broker, version byte, kill bool)) {
	for _, version := range []byte{4, 5} {
		for _, kill := range []bool{true, false} {
			t.Run(fmt.Sprintf("v%d kill %v", version, kill), func(t *testing.T) {
				t.Parallel()
				f(t, startBroker(t, config), version, kill)
			})
		}
	}
}

// Fault: a session that comes back after a restart has no subscriptions, or they
// are there but nothing is collected for them, or without their options.
func TestTrapSubscriptionsAfterARestart(t *testing.T) {
	each(t, "", func(t *testing.T, b *broker, version byte, kill bool) {
		c := b.exactly(version, "c", "")
		c.subscribe("keep/+", 1)
		c.subscribe("exact/#", 2)
		c.subscribe("gone", 1)
		c.unsubscribe("gone")
		if version == 5 { // identifier 7; QoS 1, no local, retain as published
			c.must(rawPacket(0x82, "\x00\x03", "\x02\x0b\x07", rawString("marked"), "\x0d"))
			c.want(0x90)
		}
		b.again(kill)
		pub := b.openRaw("pub", true, 0, "", 0)
		for _, topic := range []string{"keep/1", "gone", "exact/1"} {
			pub.publish(topic, topic)
		}
		if err := pub.write(rawPacket(0x33, rawString("marked"), "\x00\x01", "marked")); err != nil {
			t.Fatal(err)
		}
		pub.want(0x40)
		c.reopen()
		if version == 5 {
			c.publish("marked", "its own")
			c.complete(3)
			m := c.got[2]
			if !m.retain || m.properties != "\x0b\x07" {
				t.Errorf("retain %v, properties %q: the options are gone", m.retain, m.properties)
			}
		}
		pub.publish("keep/2", "keep/2")
		pub.publish("gone", "gone")
		want := []string{"keep/1", "exact/1", "marked", "keep/2"}
		if version < 5 {
			want = []string{"keep/1", "exact/1", "keep/2"}
		}
		c.complete(len(want))
		c.quiet()
		c.wantExactly(t, want)
	})
}

// Fault: a PUBLISH at QoS 2 that is repeated after a crash is published again, or
// its packet id is never free again ([MQTT-4.3.3-10], [MQTT-4.3.3-12]).
func TestTrapQoS2DuplicateAfterARestart(t *testing.T) {
	each(t, "", func(t *testing.T, b *broker, version byte, kill bool) {
		sub := b.exactly(version, "sub", "")
		sub.subscribe("t", 2)
		c := b.exactly(version, "c", "")
		publish := func(head byte, payload string) {
			t.Helper()
			c.must(rawPacket(head, rawString("t"), "\x00\x07", c.v5("\x00"), payload))
			if body := c.want(0x50); body != "\x00\x07" {
				t.Fatalf("PUBREC %q", body)
			}
		}
		release := func(code string) {
			t.Helper()
			c.must(rawPacket(0x62, "\x00\x07"))
			if body := c.want(0x70); body != "\x00\x07"+code {
				t.Fatalf("PUBCOMP %q, want the code %q", body, code)
			}
		}
		publish(0x34, "first")
		b.again(kill)
		c.reopen()
		publish(0x3c, "first")
		publish(0x3c, "first")
		release("")
		b.again(kill)
		c.reopen()
		release(c.v5("\x92")) // it is known no more
		publish(0x34, "second")
		sub.reopen()
		sub.complete(2)
		sub.quiet()
		sub.wantExactly(t, []string{"first", "second"})
	})
}

// Fault: what was sent and not acknowledged comes again in the order of a hash map
// after a restart, or under packet ids that QoS 2 has given to others
// ([MQTT-4.4.0-1], [MQTT-4.6.0-1]).
func TestTrapResendOrderAfterRestarts(t *testing.T) {
	each(t, "", func(t *testing.T, b *broker, version byte, kill bool) {
		const n = 30
		c, from := b.exactly(version, "c", ""), b.exactly(version, "from", "")
		c.subscribe("t", 2)
		pub := b.openRaw("pub", true, 0, "", 0)
		for i := range n {
			if i%2 == 0 {
				pub.publish("t", fmt.Sprint(i))
			} else {
				from.publish("t", fmt.Sprint(i))
				from.complete(0)
			}
		}
		ids := map[string]string{} // of what came at QoS 2
		for start := range 4 {
			for i := range n {
				head, body, err := c.read()
				if err != nil {
					t.Fatal(err)
				}
				m := c.message(head, body)
				if head>>4 != 3 || m.payload != fmt.Sprint(i) || m.qos != byte(1+i%2) || m.dup != (start > 0) {
					t.Fatalf("start %d, %d: %#x %+v", start, i, head, m)
				}
				if m.qos == 2 {
					if start > 0 && ids[m.payload] != m.id {
						t.Fatalf("start %d, %d: packet id %q, it was %q", start, i, m.id, ids[m.payload])
					}
					ids[m.payload] = m.id
				}
				for payload, id := range ids {
					if id == m.id && payload != m.payload {
						t.Fatalf("start %d, %d: packet id %q is that of %s at QoS 2", start, i, id, payload)
					}
				}
			}
			if start < 3 {
				b.again(kill)
				c.reopen()
			}
		}
	})
}

// Fault: after a restart a session's backlog is sent at once, whatever the client's
// Receive Maximum ([MQTT-3.3.4-9]).
func TestTrapReceiveMaximumAfterARestart(t *testing.T) {
	each(t, "", func(t *testing.T, b *broker, version byte, kill bool) {
		if version < 5 {
			return // it has no such limit
		}
		const n = 200
		c, from := b.exactly(5, "c", "\x21\x00\x05"), b.exactly(5, "from", "")
		c.subscribe("t", 2)
		c.conn.Close()
		var want []string
		for i := range n {
			want = append(want, fmt.Sprint(i))
			from.publish("t", want[i])
		}
		from.complete(0)
		for start := range 3 {
			b.again(kill)
			c.reopen()
			var open []exactMessage
			for len(open) < 5 {
				head, body, err := c.read()
				switch {
				case err == nil && head>>4 == 3:
					open = append(open, c.message(head, body))
				case err == nil && head>>4 == 6: // of what was completed just before
					c.must(rawPacket(0x70, body[:2]))
				default:
					t.Fatalf("start %d: %#x, %v", start, head, err)
				}
			}
			c.must("\xc0\x00")
			c.want(0xd0) // and not a sixth
			if start == 0 {
				continue // nothing of it was answered
			}
			for _, m := range open {
				c.delivered(m)
			}
			c.complete(start * n / 2)
		}
		c.complete(n)
		c.quiet()
		c.wantExactly(t, want)
	})
}

// Fault: a message in the backlog that is larger than the client takes ends every
// connection of its session, or is sent ([MQTT-3.1.2-24], [MQTT-3.1.2-25]).
func TestTrapTooLargeInTheBacklogAfterARestart(t *testing.T) {
	each(t, "", func(t *testing.T, b *broker, version byte, kill bool) {
		if version < 5 {
			return // it has no such limit
		}
		c := b.exactly(5, "c", "\x27\x00\x00\x00\xc8") // 200 bytes
		c.subscribe("t", 1)
		c.conn.Close()
		pub := b.openRaw("pub", true, 0, "", 0)
		for _, payload := range []string{"before", strings.Repeat("x", 1000), "behind"} {
			pub.publish("t", payload)
		}
		b.again(kill)
		c.reopen()
		c.complete(2)
		c.quiet()
		c.wantExactly(t, []string{"before", "behind"})
	})
}

// Fault: a session whose time ran out while the broker was down, or soon after,
// lives on with its subscriptions ([MQTT-3.1.2-23] and section 4.1).
func TestTrapExpiredSessionAfterARestart(t *testing.T) {
	each(t, "mqtt: {session_expiry: 1s}", func(t *testing.T, b *broker, version byte, kill bool) {
		c := b.exactly(version, "c", "")
		c.subscribe("t", 1)
		c.conn.Close()
		b.again(kill)
		over := time.After(1500 * time.Millisecond) // the second counts anew at the latest from the start
		pub := b.openRaw("pub", true, 0, "", 0)
		pub.publish("t", "while it waited")
		<-over
		c.open(false)
		pub.publish("t", "later")
		c.quiet()
		c.wantExactly(t, nil)
	})
}
