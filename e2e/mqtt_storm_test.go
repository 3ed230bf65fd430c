package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// memory is the broker's resident memory in bytes.
func (b *broker) memory() int {
	b.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	if err != nil {
		b.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.t.Fatal(err)
	}
	return kib << 10
}

// TestThousandClientsStopReading: a thousand clients subscribe and read no more.
// The broker's memory does not grow with what they are sent, and whoever reads
// gets all of it, in order, while they stand there.
func TestThousandClientsStopReading(t *testing.T) {
	const clients, messages, size = 1000, 250, 12 << 10
	b := startBroker(t, "")
	stuck := make([]*rawMQTT, clients)
	for i := range stuck {
		stuck[i] = b.openRaw(fmt.Sprint("stuck-", i), i%2 == 0, 4096, "flood", byte(i/2%2))
	}
	reader := b.openRaw("reader", true, 0, "flood", 1)
	pub := b.openRaw("pub", true, 0, "", 0)
	before := b.memory()

	received := make(chan error, 1)
	go func() {
		for i := range messages {
			head, body, err := reader.read()
			if err != nil {
				received <- fmt.Errorf("message %d: %w", i, err)
				return
			}
			_, id, payload := rawMessage(head, body)
			if !strings.HasPrefix(payload, fmt.Sprint(i, " ")) {
				received <- fmt.Errorf("message %d is %.20q", i, payload)
				return
			}
			if err := reader.write(rawPacket(0x40, id)); err != nil {
				received <- err
				return
			}
		}
		received <- nil
	}()
	block := strings.Repeat("x", size)
	for i := range messages {
		pub.publish("flood", fmt.Sprint(i, " ", block))
	}
	if err := <-received; err != nil {
		t.Fatal(err)
	}
	grown, everything := b.memory()-before, clients*messages*size
	t.Logf("%d MiB and %d MiB more; sent to all it is %d MiB", before>>20, grown>>20, everything>>20)
	// Each of them has a queue of a few messages (64 KiB and what is being
	// written); under the race detector memory counts several times.
	if grown > everything/4 {
		t.Error("memory grows with what is sent to those who do not read")
	}
	if err := reader.write("\xc0\x00"); err != nil {
		t.Fatal(err)
	}
	reader.want(0xd0)
}

// TestFortyConnectsAtOnce: of forty who connect at once with one client id, one
// is left, and everyone was answered or closed.
func TestFortyConnectsAtOnce(t *testing.T) {
	b := startBroker(t, "")
	clients := make([]*rawMQTT, 40)
	for i := range clients {
		clients[i] = b.dialRaw(0)
	}
	type end struct {
		c   *rawMQTT
		err error
	}
	ended, accepted := make(chan end, len(clients)), make(chan bool, len(clients))
	for _, c := range clients {
		go func() {
			if err := c.write(rawConnect("the-one", false)); err != nil {
				accepted <- false
				ended <- end{c, err}
				return
			}
			_, body, err := c.read()
			accepted <- err == nil && body[1] == 0
			for err == nil {
				var head byte
				if head, _, err = c.read(); err == nil && head == 0xd0 {
					ended <- end{c, nil}
					return
				}
			}
			ended <- end{c, err}
		}()
	}
	for range clients {
		<-accepted
	}
	for range len(clients) - 1 {
		select {
		case e := <-ended:
			if e.err == nil {
				t.Fatal("a PINGRESP nobody asked for")
			}
		case <-time.After(patience):
			t.Fatal("more than one is left")
		}
	}
	for _, c := range clients {
		_ = c.write("\xc0\x00") // all but one are closed
	}
	if e := <-ended; e.err != nil {
		t.Fatalf("none is left: %v", e.err)
	}
	if c := b.openRaw("another", true, 0, "t", 0); c.write("\xc0\x00") != nil {
		t.Fatal("the broker does not serve others")
	}
}
