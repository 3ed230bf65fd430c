package torture

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"parley/msg"
	"parley/torture/history"
)

func TestOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"either":           {},
		"is not killed":    {URL: "ws://127.0.0.1:1/", Kill: true},
		"unknown protocol": {Binary: "broker", Protocols: []string{"amqp"}},
		"no protocol":      {Binary: "broker", Protocols: []string{}},
		"out of range":     {Binary: "broker", Publishers: -1},
	} {
		if err := o.complete(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	o := Options{Binary: "broker", Kill: true}
	if err := o.complete(); err != nil || o.Cycles != 10 || o.Seed == 0 || len(o.Protocols) != 4 {
		t.Errorf("%v: %+v", err, o)
	}
}

// A broker that is not there is an error of the run, and nothing is left behind.
func TestNobodyThere(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	res, err := Run(ctx, Options{URL: "ws://127.0.0.1:1/", Duration: 100 * time.Millisecond, Data: t.TempDir(), Patience: 50 * time.Millisecond})
	if err == nil || len(res.Faults) > 0 || res.Counts.Published > 0 {
		t.Errorf("%v: %+v", err, res)
	}
	if _, err := Run(t.Context(), Options{Binary: "/nowhere/broker", Data: t.TempDir()}); err == nil {
		t.Error("a binary that is not there was started")
	}
}

// What a client does depends on the seed and its name only.
func TestSeed(t *testing.T) {
	draw := func(seed uint64, name string) uint64 {
		w := &world{opt: Options{Seed: seed}}
		return w.random(name).Uint64()
	}
	if a, again := draw(1, "a"), draw(1, "a"); a != again || draw(1, "a") == draw(2, "a") || draw(1, "a") == draw(1, "b") {
		t.Error("the random sources are not those of seed and name")
	}
}

func TestPayload(t *testing.T) {
	want := history.ID{Publisher: "p", Seq: 7, Attempt: 2}
	if got, err := parsePayload(payload(want)); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := parsePayload([]byte("x")); err == nil {
		t.Error("nonsense was taken for a message")
	}
}

// WAMP's patterns match the same topics of this package as the filters do.
func TestPattern(t *testing.T) {
	for filter, want := range map[string][2]string{
		"t/p0/1": {"t.p0.1", "exact"}, "t/+/1": {"t..1", "wildcard"}, "t/#": {"t.", "prefix"}, "t/p0/#": {"t.p0.", "prefix"},
	} {
		uri, match := pattern(filter)
		if uri != want[0] || match != want[1] {
			t.Errorf("%s: %s, %s", filter, uri, match)
		}
		if _, err := msg.ParseFilter(filter); err != nil {
			t.Error(err)
		}
	}
}

func TestPackets(t *testing.T) {
	body := bytes.Repeat([]byte("x"), 200) // a Remaining Length of two bytes
	whole := append(packet(0x30, body), 0xd0, 0)
	for n := range packet(0x30, body) {
		if _, _, _, ok, err := nextPacket(whole[:n]); ok || err != nil {
			t.Fatalf("%d bytes: complete %v, %v", n, ok, err)
		}
	}
	first, got, rest, ok, err := nextPacket(whole)
	if first != 0x30 || !bytes.Equal(got, body) || !bytes.Equal(rest, []byte{0xd0, 0}) || !ok || err != nil {
		t.Errorf("%x %x %x %v %v", first, got, rest, ok, err)
	}
	if _, _, _, _, err := nextPacket([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 1}); !errors.Is(err, errPacket) {
		t.Errorf("a Remaining Length of five bytes: %v", err) // [MQTT-1.5.5]
	}
}

func TestDelivery(t *testing.T) {
	var w packetWriter
	w.text("t/a")
	w.u16(7)
	var p packetWriter
	p.u8(0x02) // Message Expiry Interval
	p.u32(60)
	p.user("parley-offset", "42")
	w.block(p.b)
	w.b = append(w.b, payload(history.ID{Publisher: "p", Seq: 1})...)
	l := &mqttLink{version: 5}
	in, err := l.input(0x3c, w.b) // DUP, QoS 2 (MQTT 5 section 3.3.1)
	if err != nil {
		t.Fatal(err)
	}
	want := delivery{id: history.ID{Publisher: "p", Seq: 1}, topic: "t/a", qos: 2, offset: 42, marked: true, packet: 7}
	if in.kind != inDelivery || *in.d != want {
		t.Errorf("%+v", in.d)
	}
}

// Whatever a broker sends must not end the process that judges it.
func FuzzInput(f *testing.F) {
	f.Add(byte(5), byte(0x3c), []byte("\x00\x03t/a\x00\x07\x00{}"))
	f.Add(byte(5), byte(0x40), []byte{0, 1, 0x80, 2, 0x26, 0})
	f.Add(byte(4), byte(0x90), []byte{0, 1, 0x80})
	f.Fuzz(func(_ *testing.T, version, first byte, body []byte) {
		l := &mqttLink{version: 4 + version%2}
		_, _ = l.input(first, body)
		if first, body, _, ok, err := nextPacket(body); ok && err == nil {
			_, _ = l.input(first, body)
		}
	})
}
