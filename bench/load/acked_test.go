package load

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// keeper is a broker over TCP that keeps everything for every session, and can
// be told to do wrong.
type keeper struct {
	t     *testing.T
	spoil func(kept [][]byte) [][]byte // what a returning session is sent of the payloads kept
	ack   func(id uint16) []byte       // PUBACK

	mu       sync.Mutex
	kept     [][]byte
	sessions map[string]bool
	online   map[*raw]bool
	running  sync.WaitGroup
}

func startKeeper(t *testing.T) (k *keeper, addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k = &keeper{t: t, sessions: map[string]bool{}, online: map[*raw]bool{},
		spoil: func(kept [][]byte) [][]byte { return kept }, ack: func(id uint16) []byte { return appendRawAck(nil, id) }}
	k.running.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			k.running.Go(func() { k.serve(&raw{nc: nc, buf: make([]byte, 4096)}) })
		}
	})
	t.Cleanup(func() { l.Close(); k.running.Wait() })
	return k, l.Addr().String()
}

func (k *keeper) serve(c *raw) {
	defer c.nc.Close()
	for c.receive(func(first byte, body []byte) error { return k.take(c, first, body) }) == nil {
	}
	k.mu.Lock()
	delete(k.online, c)
	k.mu.Unlock()
}

func (k *keeper) take(c *raw, first byte, body []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch first >> 4 {
	case 1:
		id := string(body[12:])
		present := byte(0)
		if body[7]&2 == 0 {
			if k.sessions[id] {
				present = 1
			}
			k.sessions[id] = true
		}
		c.out = append(c.out, typeConnack<<4, 2, present, 0)
		if present == 1 {
			for i, p := range k.spoil(slices.Clone(k.kept)) {
				c.out = append(appendPublish(c.out, "durable/x", uint16(i+1), len(p)), p...)
			}
		}
	case 8:
		c.out = append(c.out, typeSuback<<4, 3, body[0], body[1], 1)
		k.online[c] = true
	case typePublish:
		p, err := parsePublish(first, body)
		if err != nil {
			k.t.Error(err)
			return err
		}
		k.kept = append(k.kept, slices.Clone(p.payload))
		c.out = append(c.out, k.ack(p.id)...)
		for other := range k.online {
			_, _ = other.nc.Write(append(appendPublish(nil, "durable/x", uint16(len(k.kept)), len(p.payload)), p.payload...))
		}
	case typeDisconnect:
		return io.EOF
	}
	return nil
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// keepAndReturn publishes 300 messages for an offline session and comes back.
func keepAndReturn(t *testing.T, addr string, quiet time.Duration) (published, drained Report) {
	t.Helper()
	if err := OpenSessions(soon(t), addr, "s", "durable/#", 1); err != nil {
		t.Fatal(err)
	}
	g, err := OpenAcked(soon(t), AckedPlan{Addr: addr, Publishers: 3, Window: 7, Size: 64, Topics: 5})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Run(soon(t), 0, 100, true); err != nil {
		t.Fatal(err)
	}
	if c := g.Counts(); c.Sent != 300 || c.Acked != 300 {
		t.Fatalf("%+v", c)
	}
	d, err := OpenDrain(soon(t), addr, "s", 0, g.Sent())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Run(soon(t), quiet); err != nil || !d.Session {
		t.Fatalf("session %v, %v", d.Session, err)
	}
	return g.Report(), d.Report()
}

func TestDrainOfAGoodBroker(t *testing.T) {
	_, addr := startKeeper(t)
	published, drained := keepAndReturn(t, addr, 10*time.Second)
	if !published.Clean() || published.AckP99 < published.AckP50 || published.AckP50 == 0 {
		t.Errorf("%+v", published)
	}
	if !drained.Clean() || drained.Expected != 300 {
		t.Errorf("%+v", drained)
	}
}

// Every fault is found, and only that.
func TestDrainFindsFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func([][]byte) [][]byte
		want  Report
	}{
		"lost":      {func(k [][]byte) [][]byte { return slices.Delete(k, 100, 103) }, Report{Expected: 300, Lost: 3}},
		"all lost":  {func([][]byte) [][]byte { return nil }, Report{Expected: 300, Lost: 300}},
		"last lost": {func(k [][]byte) [][]byte { return k[:299] }, Report{Expected: 300, Lost: 1}},
		"repeated":  {func(k [][]byte) [][]byte { return append(k, k[299]) }, Report{Expected: 300, Duplicates: 1}},
		"swapped": {func(k [][]byte) [][]byte { // two of one publisher
			last := slices.IndexFunc(k[1:], func(p []byte) bool { return p[7] == k[0][7] }) + 1
			k[0], k[last] = k[last], k[0]
			return k
		}, Report{Expected: 300, Reordered: 1}},
		"foreign": {func(k [][]byte) [][]byte { return append([][]byte{make([]byte, 3)}, k...) }, Report{Expected: 300, Foreign: 1}},
		"never sent": {func(k [][]byte) [][]byte {
			p := slices.Clone(k[0])
			binary.BigEndian.PutUint64(p[8:], 100)
			return append([][]byte{p}, k...)
		}, Report{Expected: 300, Foreign: 1}},
	} {
		k, addr := startKeeper(t)
		k.spoil = tc.spoil
		if _, got := keepAndReturn(t, addr, 200*time.Millisecond); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestAckedFindsBadAcks(t *testing.T) {
	k, addr := startKeeper(t)
	k.ack = func(id uint16) []byte { return appendRawAck(appendRawAck(nil, id), id) }
	g, err := OpenAcked(soon(t), AckedPlan{Addr: addr, Publishers: 1, Window: 1, Size: 32})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Run(soon(t), 0, 10, false); err != nil {
		t.Fatal(err)
	}
	if r := g.Report(); r.BadAcks == 0 || r.Unacked != 0 {
		t.Errorf("%+v", r)
	}
	k, addr = startKeeper(t)
	k.ack = func(uint16) []byte { return nil }
	silent, err := OpenAcked(soon(t), AckedPlan{Addr: addr, Publishers: 1, Window: 5, Size: 32})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := silent.Run(ctx, 0, 10, false); err == nil || !strings.Contains(err.Error(), "5 publishes not acknowledged") {
		t.Errorf("%v", err)
	}
	if r := silent.Report(); r.Unacked != 5 {
		t.Errorf("%+v", r)
	}
}

// Paced publishers send what they were told to, and time counts from when a
// message should have left.
func TestAckedPaced(t *testing.T) {
	_, addr := startKeeper(t)
	g, err := OpenAcked(soon(t), AckedPlan{Addr: addr, Publishers: 4, Window: 50, Size: 32, Rate: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Run(soon(t), 500*time.Millisecond, 0, true); err != nil {
		t.Fatal(err)
	}
	if c := g.Counts(); c.Sent < 300 || c.Sent > 504 || c.Acked != c.Sent {
		t.Errorf("%+v of 500", c)
	}
}

func TestListenersAcknowledgeAndCount(t *testing.T) {
	_, addr := startKeeper(t)
	l, err := Listen(soon(t), addr, "l", "durable/#", 10)
	if err != nil {
		t.Fatal(err)
	}
	g, err := OpenAcked(soon(t), AckedPlan{Addr: addr, Publishers: 2, Window: 5, Size: 32})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Run(soon(t), 0, 50, false); err != nil {
		t.Fatal(err)
	}
	if err := l.Await(soon(t), 1000); err != nil {
		t.Fatal(err)
	}
	if r, err := l.Close(g.Sent()); err != nil || !r.Clean() || r.Expected != 1000 {
		t.Errorf("%+v, %v", r, err)
	}
}
