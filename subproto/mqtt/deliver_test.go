package mqtt

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"parley/msg"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The properties of a v5 publish arrive as they were sent, the lifetime as what
// is left of it ([MQTT-3.3.2-6], [MQTT-3.3.2-15] to [MQTT-3.3.2-18], [MQTT-3.3.2-20]);
// a 3.1.1 subscriber gets the bytes alone.
func TestPropertiesPassThrough(t *testing.T) {
	b := start(t, nil)
	five, four, pub := b.connect(5, "five", nil), b.connect(4, "four", nil), b.connect(5, "pub", nil)
	five.subscribe(1, "t")
	four.subscribe(1, "t")
	pk := pub.publishPacket(1, "t", "text")
	pk.Properties = packets.Properties{
		PayloadFormat: 1, PayloadFormatFlag: true, ContentType: "text/plain", ResponseTopic: "answer/here",
		CorrelationData: []byte{0, 1, 2}, MessageExpiryInterval: 100,
		User: []packets.UserProperty{{Key: "b", Val: "1"}, {Key: "a", Val: "2"}, {Key: "b", Val: "1"}, {Key: "", Val: ""}},
	}
	pub.send(pk)
	pub.wantAck(pk.PacketID)
	four.receive("t", "text")
	got := five.receive("t", "text").Properties
	switch {
	case !got.PayloadFormatFlag || got.PayloadFormat != 1 || got.ContentType != "text/plain" || got.ResponseTopic != "answer/here":
		t.Errorf("properties %+v", got)
	case !bytes.Equal(got.CorrelationData, []byte{0, 1, 2}):
		t.Errorf("correlation data % x", got.CorrelationData)
	case fmt.Sprint(got.User) != fmt.Sprint(pk.Properties.User):
		t.Errorf("user properties %v", got.User)
	case got.MessageExpiryInterval == 0 || got.MessageExpiryInterval > 100:
		t.Errorf("expiry %d, want at most 100", got.MessageExpiryInterval)
	}
}

// [MQTT-3.1.2-25]: a message larger than the client takes is left out, counted
// and done with; what comes behind it arrives.
func TestTooLargeForTheClientIsSkipped(t *testing.T) {
	b := start(t, nil)
	p := b.connect(5, "c", func(pk *packets.Packet) {
		pk.Properties.MaximumPacketSize, pk.Properties.ReceiveMaximum = 100, 1
	})
	p.subscribe(1, "t")
	pub := b.connect(5, "pub", nil)
	fits := strings.Repeat("x", 100-2-3-2-1) // header, topic, packet id, no properties
	for range 3 {
		pub.publish(1, "t", fits+"y")
	}
	pub.publish(0, "t", fits+"yyy")
	pub.publish(1, "t", fits)
	p.receive("t", fits)
	p.quiet()
	if want := `parley_messages_withheld_total{reason="too_large"} 4`; !strings.Contains(b.scrape(), want+"\n") {
		t.Errorf("not counted as %s", want)
	}
}

// A window of five and 200 messages: never more than five are open
// ([MQTT-3.3.4-7]), and all arrive in order.
func TestReceiveMaximumOfTheClient(t *testing.T) {
	b := start(t, nil)
	p := b.connect(5, "c", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 5 })
	p.subscribe(1, "t")
	pub := b.connect(5, "pub", nil)
	for i := range 200 {
		pub.publish(1, "t", fmt.Sprint(i))
	}
	for i := 0; i < 200; i += 5 {
		var ids []uint16
		for j := range 5 {
			pk := p.want(packets.Publish)
			if string(pk.Payload) != fmt.Sprint(i+j) {
				t.Fatalf("got %s, want %d", pk.Payload, i+j)
			}
			ids = append(ids, pk.PacketID)
		}
		p.quiet()
		var acks []byte // the last one first
		for j := range ids {
			id := ids[len(ids)-1-j]
			acks = append(acks, packets.Puback<<4, 2, byte(id>>8), byte(id))
		}
		p.raw(acks...)
	}
	p.quiet()
}

// Nothing is pulled for a peer that does not read; all of it comes later.
func TestNoRoom(t *testing.T) {
	b := start(t, nil)
	p := b.connect(4, "c", nil)
	p.subscribe(1, "t")
	p.c.SetRoom(false)
	pub := b.connect(4, "pub", nil)
	for i := range 50 {
		pub.publish(1, "t", fmt.Sprint(i))
	}
	p.quiet()
	p.c.SetRoom(true)
	for i := range 50 {
		p.receive("t", fmt.Sprint(i))
	}
}

// Packet ids wrap around and pass over those that are in use ([MQTT-2.2.1-4]).
func TestPacketIDsWrapAround(t *testing.T) {
	h := &handler{lastID: 65533}
	var got []uint16
	for i := range 6 {
		id, ok := h.track(&msg.Delivery{Ref: uint64(i), QoS: 1})
		if !ok {
			t.Fatal("no packet id")
		}
		got = append(got, id)
		if i == 3 {
			h.lastID = 65533
			delete(h.inflight, 65535)
		}
	}
	if want := []uint16{65534, 65535, 1, 2, 65535, 3}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("ids %v, want %v", got, want)
	}
	for len(h.inflight) < 65535 {
		h.track(&msg.Delivery{})
	}
	if _, ok := h.track(&msg.Delivery{}); ok {
		t.Fatal("an id that is in use was given out")
	}
}

// The parley-offset extension: asked for by a user property of CONNECT.
func TestOffsetAndViaForThoseWhoAsk(t *testing.T) {
	b := start(t, nil)
	asks := b.connect(5, "asks", func(pk *packets.Packet) {
		pk.Properties.User = []packets.UserProperty{{Key: "parley-offset", Val: "1"}}
	})
	plain := b.connect(5, "plain", nil)
	asks.subscribe(1, "t")
	plain.subscribe(1, "t")
	plain.publish(1, "t", "stored")
	if got := plain.receive("t", "stored").Properties.User; got != nil {
		t.Errorf("user properties nobody asked for: %v", got)
	}
	first := offsetOf(t, asks.receive("t", "stored"))
	plain.publish(0, "t", "transient")
	if got := asks.receive("t", "transient").Properties.User; len(got) != 1 || got[0] != (packets.UserProperty{Key: "parley-via", Val: "mqtt"}) {
		t.Errorf("of a transient message: %v", got)
	}
	plain.receive("t", "transient")
	plain.publish(1, "t", "stored")
	plain.receive("t", "stored")
	if second := offsetOf(t, asks.receive("t", "stored")); second <= first {
		t.Errorf("offset %d after %d", second, first)
	}
}

func offsetOf(t *testing.T, pk packets.Packet) uint64 {
	t.Helper()
	u := pk.Properties.User
	if len(u) != 2 || u[0].Key != "parley-offset" || u[1] != (packets.UserProperty{Key: "parley-via", Val: "mqtt"}) {
		t.Fatalf("user properties %v", u)
	}
	n, err := strconv.ParseUint(u[0].Val, 10, 64)
	if err != nil || n == 0 {
		t.Fatalf("offset %q", u[0].Val)
	}
	return n
}

// waker is a publisher of another protocol, straight on the hub.
type waker struct{}

func (waker) Wake() {}

// What other protocols publish is described as far as MQTT 5 can: text as
// payload format 1, JSON as application/json, and neither for plain bytes.
func TestMessagesOfOtherProtocols(t *testing.T) {
	b := start(t, nil)
	five, four := b.connect(5, "five", nil), b.connect(4, "four", nil)
	five.subscribe(1, "t")
	four.subscribe(1, "t")
	attached := make(chan error, 1)
	s := b.hub.Attach(waker{}, nil, msg.SessionParams{Namespace: "default", Protocol: msg.ViaWAMP}, func(_ msg.AttachResult, err error) { attached <- err })
	if err := <-attached; err != nil {
		t.Fatal(err)
	}
	defer s.Close(msg.CloseGoodbye)
	for _, c := range []struct {
		name, via   string
		payload     msg.Payload
		bytes       string
		text        bool
		contentType string
	}{
		{"JSON object", msg.ViaJSON, msg.Payload{Data: []byte(`{"a":1}`)}, `{"a":1}`, true, "application/json"},
		{"JSON object, declared", msg.ViaJSON, msg.Payload{Data: []byte(`{"a":1}`), ContentType: "application/vnd.x+json"}, `{"a":1}`, true, "application/vnd.x+json"},
		{"JSON client's base64", msg.ViaJSON, msg.Payload{Data: []byte{0xff}}, "\xff", false, ""},
		{"one WAMP value", msg.ViaWAMP, msg.Payload{Form: msg.FormArgs, Data: []byte(`[[{"x":[1,2]}]]`)}, `{"x":[1,2]}`, true, "application/json"},
		{"WAMP args and kwargs", msg.ViaWAMP, msg.Payload{Form: msg.FormArgs, Data: []byte(`[[1],{"k":true}]`)}, `{"args":[1],"kwargs":{"k":true}}`, true, "application/json"},
		{"WAMP binary", msg.ViaWAMP, msg.Payload{Form: msg.FormArgs, Codec: msg.CodecMsgpack, Data: []byte{0x91, 0x91, 0xc4, 0x02, 0xff, 0xfe}}, "\xff\xfe", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Publish(&msg.Message{Topic: "t", QoS: 1, Via: c.via, Payload: c.payload}, nil)
			four.t, five.t = t, t
			four.receive("t", c.bytes)
			got := five.receive("t", c.bytes).Properties
			if (got.PayloadFormat == 1) != c.text || got.ContentType != c.contentType {
				t.Errorf("payload format %d, content type %q; want %v, %q", got.PayloadFormat, got.ContentType, c.text, c.contentType)
			}
		})
	}
}

// The lifetime that is left is rounded up and never 0 on the wire.
func TestRemainingExpiryRoundsUp(t *testing.T) {
	h := &handler{version: 5}
	now := time.Now().UnixMilli()
	for expires, want := range map[int64]byte{now + 60_000: 60, now - 5000: 1, now + 300: 1} {
		b := h.ownProps(nil, &msg.Delivery{Message: &msg.Message{Expires: expires}})
		if len(b) != 5 || b[4] > want || b[4] < want-1 || b[4] == 0 {
			t.Errorf("% x, want about %d", b, want)
		}
	}
}

// What MQTT cannot carry is left out of messages that came through another
// protocol: a receiver would have to close for it ([MQTT-1.5.4-2]).
func TestPropertiesThatCannotBeEncodedAreLeftOut(t *testing.T) {
	long := strings.Repeat("x", 65536)
	m := &msg.Message{Via: msg.ViaJSON, ResponseTopic: "a/#", Correlation: []byte(long), Payload: msg.Payload{ContentType: "a\x00b", Data: []byte{0xff}}}
	for _, u := range []string{"\x00", "\xff", long} {
		m.User = append(m.User, msg.Property{Name: u, Value: "v"}, msg.Property{Name: "n", Value: u})
	}
	m.User = append(m.User, msg.Property{Name: "good", Value: "one"})
	if got, want := string(encodeShared(m)), "\x26\x00\x04good\x00\x03one"; got != want {
		t.Fatalf("%d bytes: %.40q, want %q", len(got), got, want)
	}
}
