package e2e

import (
	"regexp"
	"testing"
	"time"
)

// TestByHand is the README's shortest client: a WebSocket, two lines of JSON, no
// connect and no ids; with and without a subprotocol.
func TestByHand(t *testing.T) {
	b := startBroker(t, "")
	d := startDriver(t)
	for _, protocols := range [][]string{{"json"}, {}} {
		p := d.open("by hand", "raw", b, args{"protocols": protocols})
		p.do("send", args{"payload": `{"subscribe":{"channel":"room/#"}}`})
		p.do("send", args{"payload": `{"publish":{"channel":"room/1","data":"hello"}}`})
		want := regexp.MustCompile(`"push":\{"channel":"room/#","pub":\{.*"data":"hello".*\}\}`)
		deadline := time.After(patience)
		for arrived := false; !arrived; {
			select {
			case frame := <-p.frames:
				text := decode[struct{ Payload string }](t, frame).Payload
				arrived = want.MatchString(text)
			case <-deadline:
				t.Fatalf("%q: the message did not come", protocols)
			}
		}
		p.do("close", nil)
		p.waitClosed()
	}
}
