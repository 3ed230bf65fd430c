package mqtt

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// trySubscribe subscribes and returns SUBACK.
func (p *peer) trySubscribe(qos byte, filter string) packets.Packet {
	p.t.Helper()
	p.send(packets.Packet{
		ProtocolVersion: p.version, FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: p.id(),
		Filters: packets.Subscriptions{{Filter: filter, Qos: qos}},
	})
	return p.want(packets.Suback)
}

// unsubscribe returns UNSUBACK.
func (p *peer) unsubscribe(filter string) packets.Packet {
	p.t.Helper()
	p.send(packets.Packet{
		ProtocolVersion: p.version, FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: p.id(),
		Filters: packets.Subscriptions{{Filter: filter}},
	})
	return p.want(packets.Unsuback)
}

// askOffsets asks for the parley-offset extension.
func askOffsets(pk *packets.Packet) {
	pk.Properties.User = []packets.UserProperty{{Key: "parley-offset", Val: "1"}}
}

// PUBACK and PUBREC tell the offset to who asks for it, and only where they may.
func TestOffsetOnAcknowledgements(t *testing.T) {
	b := start(t, nil)
	reader := b.connect(5, "reader", askOffsets)
	reader.subscribe(2, "t")
	none := func(pk *packets.Packet) {}
	for _, c := range []struct {
		name   string
		change func(*packets.Packet)
		told   bool
	}{
		{"asked", askOffsets, true},
		{"not asked", none, false},
		{"other value", func(pk *packets.Packet) {
			pk.Properties.User = []packets.UserProperty{{Key: "parley-offset", Val: "0"}}
		}, false},
		{"no problem information [MQTT-3.1.2-29]", func(pk *packets.Packet) {
			askOffsets(pk)
			pk.Properties.RequestProblemInfoFlag = true
		}, false},
		{"room for it", func(pk *packets.Packet) { askOffsets(pk); pk.Properties.MaximumPacketSize = 200 }, true},
		{"no room for it [MQTT-3.4.2-3], [MQTT-3.5.2-3]", func(pk *packets.Packet) { askOffsets(pk); pk.Properties.MaximumPacketSize = 24 }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := b.dial(5)
			p.t = t
			p.send(connectPacket(5, "", func(pk *packets.Packet) { c.change(pk); pk.Connect.ClientIdentifier = "c" }))
			p.next() // the CONNACK may have no room for all of its properties
			for qos, kind := range map[byte]byte{1: packets.Puback, 2: packets.Pubrec} {
				p.send(p.publishPacket(qos, "t", "x"))
				ack := p.want(kind)
				offset := reader.receive("t", "x").Properties.User[0]
				if got := ack.Properties.User; ack.ReasonCode != 0 || slices.Contains(got, offset) != c.told || !c.told && ack.FixedHeader.Remaining != 2 {
					t.Errorf("QoS %d: %#x %v, the message is at %v", qos, ack.ReasonCode, got, offset)
				}
			}
		})
	}
	asks := b.connect(5, "asks", askOffsets)
	asks.send(asks.publishPacket(1, "denied/t", "x"))
	if ack := asks.want(packets.Puback); ack.ReasonCode != 0x87 || len(ack.Properties.User) != 0 {
		t.Errorf("refused: %#x %v", ack.ReasonCode, ack.Properties.User)
	}
}

// parley-key is the broker's: it becomes the message's key and goes no further;
// everything else travels on, in its order.
func TestIdempotencyKey(t *testing.T) {
	s := &spy{}
	b := start(t, func(o *Options) { o.Attach = s.around(o.Attach) })
	reader := b.connect(5, "reader", nil)
	reader.subscribe(2, "t")
	p := b.connect(5, "c", nil)
	user := func(names ...string) (list []packets.UserProperty) {
		for i, name := range names {
			key, value, ok := strings.Cut(name, "=")
			if !ok {
				value = strconv.Itoa(i)
			}
			list = append(list, packets.UserProperty{Key: key, Val: value})
		}
		return list
	}
	publish := func(qos byte, list []packets.UserProperty) packets.Packet {
		t.Helper()
		pk := p.publishPacket(qos, "t", "x")
		pk.Properties.User = list
		p.send(pk)
		ack := p.want([]byte{0, packets.Puback, packets.Pubrec}[qos])
		if ack.ReasonCode == 0 && qos == 2 {
			p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: ack.PacketID, ProtocolVersion: 5})
			p.want(packets.Pubcomp)
		}
		return ack
	}
	for qos := byte(1); qos <= 2; qos++ {
		long := strings.Repeat("k", maxKey-1) + strconv.Itoa(int(qos))
		for _, key := range []string{"a" + strconv.Itoa(int(qos)), long} {
			if ack := publish(qos, user("x", "parley-key="+key, "x", "y")); ack.ReasonCode != 0 {
				t.Fatalf("QoS %d: %#x", qos, ack.ReasonCode)
			}
			if m := s.published(); m.Key != key {
				t.Errorf("QoS %d: the key is %q, want %q", qos, m.Key, key)
			}
			got := reader.receive("t", "x").Properties.User
			if want := []packets.UserProperty{{Key: "x", Val: "0"}, {Key: "x", Val: "2"}, {Key: "y", Val: "3"}}; !slices.Equal(got, want) {
				t.Errorf("QoS %d: %v is forwarded, want %v", qos, got, want)
			}
		}
		if publish(qos, user("Parley-Key=x")); s.published().Key != "" {
			t.Error("another name made a key")
		}
		if got := reader.receive("t", "x").Properties.User; len(got) != 1 {
			t.Errorf("QoS %d: %v is forwarded", qos, got)
		}
		for name, list := range map[string][]packets.UserProperty{
			"empty": user("parley-key="), "too long": user("parley-key=" + strings.Repeat("k", maxKey+1)),
			"twice": user("parley-key=a", "parley-key=a"),
		} {
			if ack := publish(qos, list); ack.ReasonCode != 0x83 || ack.Properties.ReasonString != keyInvalid {
				t.Errorf("QoS %d, %s: %#x %q, want 0x83", qos, name, ack.ReasonCode, ack.Properties.ReasonString)
			}
		}
	}
	pk := p.publishPacket(0, "t", "x")
	pk.Properties.User = user("parley-key=")
	p.send(pk)
	p.wantEnd(0x83, subproto.ClosePolicy)
	w := b.dial(5)
	ack := w.handshake("w", func(pk *packets.Packet) {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, "t", []byte("x")
		pk.Connect.WillProperties.User = user("parley-key=a")
	})
	if ack.ReasonCode != 0x83 {
		t.Errorf("will with a key: %#x", ack.ReasonCode)
	}
}

// $replay/<position>/<filter> subscribes to the filter from there, is decided like
// the filter, and ends by its own name; the topics are the real ones.
func TestReplaySubscription(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		s := &spy{gap: &msg.Gap{Filter: msg.Filter{Pattern: "a/#"}, First: 1, Last: 4, Count: 3, Reason: "age"}}
		b := start(t, func(o *Options) { o.Attach = s.around(o.Attach) })
		p := b.connect(version, "c", nil)
		for filter, from := range map[string]msg.Replay{
			"$replay/earliest/a/#":              {Kind: msg.ReplayEarliest},
			"$replay/17/a/#":                    {Kind: msg.ReplayOffset, Offset: 17},
			"$replay/@1970-01-01T00:00:02Z/a/#": {Kind: msg.ReplayTime, Time: 2000},
		} {
			ack := p.trySubscribe(1, filter)
			if got := s.asked(); ack.ReasonCodes[0] != 1 || got.Filter != (msg.Filter{Pattern: "a/#"}) || got.From != from {
				t.Fatalf("%s: %#x, %+v", filter, ack.ReasonCodes, got)
			}
			gap := packets.UserProperty{Key: "parley-gap", Val: `{"filter":"a/#","first":1,"last":4,"count":3,"reason":"age"}`}
			if version == 5 && !slices.Equal(ack.Properties.User, []packets.UserProperty{gap}) {
				t.Errorf("%s: SUBACK with %v, want %v", filter, ack.Properties.User, gap)
			}
			p.publish(1, "a/b", "x")
			p.receive("a/b", "x")
			if ack := p.unsubscribe(filter); version == 5 && ack.ReasonCodes[0] != 0 {
				t.Errorf("%s: UNSUBACK %#x", filter, ack.ReasonCodes)
			}
			p.publish(1, "a/b", "not subscribed")
			p.quiet()
		}
		for filter, code := range map[string]byte{
			"$replay/latest/a": 0x8f, "$replay/1": 0x8f, "$replay/1/a#": 0x8f, "$replay/1/$share/g/a": 0x8f, "$replay/1/$gap/#": 0x8f,
			"$gap": 0x8f, "$share/g/$gap/#": 0x8f, "$replay/1/denied/x": 0x87, "$share/g/$replay/1/a": 0x83,
		} {
			if version < 5 {
				code = 0x80
			}
			if ack := p.trySubscribe(1, filter); ack.ReasonCodes[0] != code {
				t.Errorf("%s: %#x, want %#x", filter, ack.ReasonCodes, code)
			}
		}
		p.quiet()
	})
}

// What a subscription replays is marked for those who ask for offsets.
func TestReplayedIsMarked(t *testing.T) {
	for replayed, want := range map[bool]int{true: 1, false: 0} {
		h := &handler{wantOffset: true}
		own := string(h.ownProps(nil, &msg.Delivery{Message: &msg.Message{Via: msg.ViaMQTT, Offset: 3}, Replayed: replayed}))
		if strings.Count(own, "parley-replayed\x00\x011") != want {
			t.Errorf("%v: %q", replayed, own)
		}
	}
}

// A SUBACK that its gap would make too large, or that may have no user property,
// goes without ([MQTT-3.9.2-2], [MQTT-3.1.2-29]); $gap tells it all the same.
func TestReplayGapThatDoesNotFit(t *testing.T) {
	for name, limit := range map[string]func(*packets.Packet){
		"no room":                func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = 300 },
		"no problem information": func(pk *packets.Packet) { pk.Properties.RequestProblemInfoFlag = true },
	} {
		t.Run(name, func(t *testing.T) {
			s := &spy{gap: &msg.Gap{Filter: msg.Filter{Pattern: "a"}, First: 1, Last: 2, Count: 2, Reason: "bytes"}}
			if name == "no room" {
				s.gap.Filter.Pattern = strings.Repeat("a", 300)
			}
			b := start(t, func(o *Options) { o.Attach = s.around(o.Attach) })
			p := b.connect(5, "c", limit)
			p.subscribe(0, "$gap/#")
			if ack := p.trySubscribe(1, "$replay/earliest/r"); ack.ReasonCodes[0] != 1 || ack.Properties.User != nil {
				t.Fatalf("SUBACK %#x %v", ack.ReasonCodes, ack.Properties.User)
			}
			if name != "no room" {
				p.receiveGap("$gap/a", "a", 1, 2)
			}
			p.quiet()
		})
	}
}

// A subscription to the past brings it in order, marked, and goes over into what
// is published from then on, which is not.
func TestReplay(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		writer := b.connect(5, "w", askOffsets)
		begin := time.Now().UTC().Truncate(time.Millisecond)
		var offsets []string
		for _, topic := range []string{"a/1", "b", "a/2", "a/3"} {
			pk := writer.publishPacket(1, topic, topic)
			writer.send(pk)
			offsets = append(offsets, writer.want(packets.Puback).Properties.User[0].Val)
		}
		p := b.connect(version, "c", askOffsets)
		marked := packets.UserProperty{Key: "parley-replayed", Val: "1"}
		for _, c := range []struct {
			from string
			want []string
		}{
			{"earliest", []string{"a/1", "a/2", "a/3"}},
			{offsets[2], []string{"a/2", "a/3"}},
			{"@" + begin.Format(time.RFC3339Nano), []string{"a/1", "a/2", "a/3"}},
			{"@" + begin.Add(time.Hour).Format(time.RFC3339Nano), nil},
		} {
			filter := "$replay/" + c.from + "/a/+"
			if ack := p.trySubscribe(1, filter); ack.ReasonCodes[0] != 1 {
				t.Fatalf("%s: %#x", filter, ack.ReasonCodes)
			}
			for _, topic := range c.want {
				got := p.receive(topic, topic)
				if version == 5 && !slices.Contains(got.Properties.User, marked) {
					t.Errorf("%s: %s with %v", filter, topic, got.Properties.User)
				}
			}
			writer.publish(0, "a/live", "x")
			if got := p.receive("a/live", "x"); slices.Contains(got.Properties.User, marked) {
				t.Errorf("%s: live with %v", filter, got.Properties.User)
			}
			p.unsubscribe(filter)
		}
	})
}

// A repeated key is answered with the first message's offset, also at another QoS
// and from another connection of the user; with other content it is refused.
func TestKeyIsStoredOnce(t *testing.T) {
	b := start(t, nil)
	reader := b.connect(5, "reader", nil)
	reader.subscribe(2, "t")
	publish := func(p *peer, qos byte, payload string) packets.Packet {
		pk := p.publishPacket(qos, "t", payload)
		pk.Properties.User = []packets.UserProperty{{Key: "parley-key", Val: "k"}}
		p.send(pk)
		return p.want([]byte{0, packets.Puback, packets.Pubrec}[qos])
	}
	first := publish(b.connect(5, "c", askOffsets), 1, "x")
	p := b.connect(5, "d", askOffsets)
	for qos := byte(1); qos <= 2; qos++ {
		if again := publish(p, qos, "x"); again.ReasonCode != 0 || !slices.Equal(again.Properties.User, first.Properties.User) {
			t.Errorf("QoS %d: %#x %v, want %v", qos, again.ReasonCode, again.Properties.User, first.Properties.User)
		}
		if other := publish(p, qos, "y"); other.ReasonCode != 0x83 {
			t.Errorf("QoS %d, other content: %#x", qos, other.ReasonCode)
		}
	}
	reader.receive("t", "x")
	reader.quiet()
}
