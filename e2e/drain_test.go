package e2e

import (
	"os"
	"strconv"
	"syscall"
	"testing"
)

// TestDrain: on SIGTERM every client is told in its own protocol, and the broker
// ends with code 0.
func TestDrain(t *testing.T) {
	b := startBroker(t, "")
	peers := openAll(t, b)
	watched := peers[0].d.open("with a will", "mqtt5", b, args{"will": args{"topic": "drain/will", "payload": "gone", "qos": 1, "retain": true}})
	if code := b.stop(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	for _, p := range append(peers, watched) {
		c := p.waitClosed()
		switch p.kind {
		case "mqtt5": // server shutting down (MQTT 5 table 3-10)
			if c.Disconnect != 0x8B {
				t.Errorf("%s: %+v, want DISCONNECT 0x8B", p.kind, c)
			}
		case "mqtt3": // has no DISCONNECT from the server
			if c.Code != 1001 {
				t.Errorf("%s: %+v, want close 1001", p.kind, c)
			}
		case "wamp.json", "wamp.msgpack", "wamp.cbor":
			if c.Reason != "wamp.close.system_shutdown" {
				t.Errorf("%s: %+v, want GOODBYE wamp.close.system_shutdown", p.kind, c)
			}
		default: // a code after which SDKs come back by themselves
			if c.Code != 3001 {
				t.Errorf("%s: %+v, want close 3001", p.kind, c)
			}
		}
	}

	// A drain publishes no wills.
	b.start()
	page := peers[0].d.open("afterwards", "bare", b, nil)
	page.subscribe("drain/will", nil)
	page.do("publish", args{"topic": "drain/will", "payload": "marker"})
	if m := page.recv(); string(m.Payload) != `"marker"` {
		t.Errorf("a will was published in the drain: %+v", m)
	}
}

// TestDrainKeepsWhatIsInFlight: what is acknowledged while the broker goes down
// is there afterwards.
func TestDrainKeepsWhatIsInFlight(t *testing.T) {
	b := startBroker(t, "drain: {spread: 200ms, grace: 5s}")
	acknowledgedIsThere(t, b, syscall.SIGTERM)
	if b.code != 0 {
		t.Errorf("exit code %d, want 0", b.code)
	}
}

// TestKillKeepsWhatWasAcknowledged: so is what was acknowledged before a kill.
func TestKillKeepsWhatWasAcknowledged(t *testing.T) {
	acknowledgedIsThere(t, startBroker(t, ""), syscall.SIGKILL)
}

// acknowledgedIsThere publishes the numbers from 1 as one topic's retained value,
// each after the other is acknowledged, sends sig meanwhile, starts the broker
// again and compares the value with the last acknowledgement: it is that number,
// or the next, whose acknowledgement the end cut off.
func acknowledgedIsThere(t *testing.T, b *broker, sig os.Signal) {
	t.Helper()
	d := startDriver(t)
	device := d.open("device", "mqtt5", b, nil)
	acked := make(chan int)
	go func() {
		n := 0
		for {
			if _, err := device.try("publish", args{"topic": "keep/last", "payload": strconv.Itoa(n + 1), "retain": true}); err != nil {
				break
			}
			if n++; n == 50 {
				if err := b.cmd.Process.Signal(sig); err != nil {
					t.Error(err)
				}
			}
		}
		acked <- n
	}()
	device.waitClosed()
	n := <-acked
	<-b.exited
	if n < 50 {
		t.Fatalf("only %d messages were acknowledged:\n%s", n, b.log)
	}
	code := b.code
	b.start()
	page := d.open("page", "bare", b, nil)
	page.subscribe("keep/last", nil)
	if got := decode[int](t, page.recv().Payload); got != n && got != n+1 {
		t.Errorf("after %v the last message is %d, acknowledged were %d", sig, got, n)
	}
	b.code = code
}
