package e2e

import (
	"bufio"
	"context"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// TestMosquitto: mosquitto's clients over plain TCP, in every version they and
// the broker speak, exchange messages with a page over WebSocket.
func TestMosquitto(t *testing.T) {
	pub, sub := requireCommand(t, "mosquitto_pub"), requireCommand(t, "mosquitto_sub")
	b := startBroker(t, "")
	d := startDriver(t)
	page := d.open("page", "bare", b, nil)
	page.subscribe("plain/#", nil)
	host, port, _ := strings.Cut(b.mqtt, ":")

	for _, version := range []string{"311", "5"} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		common := []string{"-h", host, "-p", port, "-V", version, "-q", "1"}

		// -d reports the SUBACK: then the subscription stands. Without stdbuf
		// nothing would come through the pipe before the end.
		listener := exec.CommandContext(ctx, "stdbuf", append([]string{"-oL", sub}, append(common, "-t", "plain/#", "-v", "-C", "2", "-d")...)...)
		stdout, err := listener.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := listener.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		expectLine(t, lines, version, "Subscribed")

		out, err := exec.CommandContext(ctx, pub, append(common, "-t", "plain/"+version, "-m", "hello")...).CombinedOutput()
		if err != nil {
			t.Fatalf("mosquitto_pub -V %s: %v\n%s", version, err, out)
		}
		if m := page.recv(); m.Topic != "plain/"+version || string(m.Payload) != `"hello"` || m.Via != "mqtt" || m.Offset == 0 {
			t.Errorf("the page received %+v", m)
		}
		page.do("publish", args{"topic": "plain/page", "payload": args{"n": 1}})
		page.recv()
		expectLine(t, lines, version, "plain/"+version+" hello")
		expectLine(t, lines, version, `plain/page {"n":1}`)
		if _, err := io.Copy(io.Discard, stdout); err != nil {
			t.Error(err)
		}
		if err := listener.Wait(); err != nil {
			t.Errorf("mosquitto_sub -V %s: %v", version, err)
		}
	}
}

func expectLine(t *testing.T, lines *bufio.Scanner, version, want string) {
	t.Helper()
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), want) {
			return
		}
	}
	t.Fatalf("mosquitto_sub -V %s ended without the line %q", version, want)
}
