package mqtt

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The tests in trap*_test.go guard against faults that were found in other
// brokers, or in the codec used here.

// Fault: the codec panics on a v5 SUBSCRIBE that ends before the options byte.
func TestTrapSubscribeWithoutOptions(t *testing.T) {
	for _, body := range []string{"\x00\x01\x00\x00\x01a", "\x00\x01\x00\x00\x01a\x00\x00\x01b", "\x00\x01\x00\x00\x00", "\x00\x01\x00"} {
		if _, err := decodeSubscribe([]byte(body), 5); err == nil {
			t.Errorf("% x was accepted", body)
		}
	}
}

// Fault: the codec drops the reason code of a DISCONNECT of one byte, so that a
// client's "with will" suppresses its will ([MQTT-3.14.4-3]).
func TestTrapDisconnectOfOneByte(t *testing.T) {
	b := start(t, nil)
	sub := b.connect(5, "sub", nil)
	sub.subscribe(1, "w")
	b.connect(5, "c", withWill("w", "gone", false)).raw(0xe0, 1, 4)
	sub.receive("w", "gone")
}

// Fault: the codec refuses an AUTH of length 0 as malformed. It is legal, and out
// of place here: a protocol error.
func TestTrapAuthOfNoBytes(t *testing.T) {
	b := start(t, nil)
	p := b.connect(5, "c", nil)
	p.raw(0xf0, 0)
	p.wantEnd(0x82, subproto.CloseProtocol)
}

// Fault: the codec sends reason codes below 0x80 as success.
func TestTrapReasonCodesBelow80(t *testing.T) {
	h := &handler{version: 5, problemInfo: true}
	for _, kind := range []byte{packets.Puback, packets.Pubrec} {
		if got := h.encodeAck(kind, 7, 0x10, ""); !bytes.Equal(got[1:], []byte{3, 0, 7, 0x10}) {
			t.Errorf("% x", got)
		}
	}
}

// Fault: the codec refuses a will without payload, which is legal (section
// 3.1.3.4), and so is a message without.
func TestTrapEmptyWillPayload(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		sub := b.connect(version, "sub", nil)
		sub.subscribe(2, "w")
		for qos := range byte(3) {
			p := b.connect(version, "c", func(pk *packets.Packet) { withWill("w", "", false)(pk); pk.Connect.WillQos = qos })
			p.c.Drop(io.EOF)
			if pk := sub.receive("w", ""); pk.FixedHeader.Qos != qos {
				t.Fatalf("QoS %d, want %d", pk.FixedHeader.Qos, qos)
			}
		}
	})
}

// Fault: the codec takes the last of two equal properties (section 2.2.2.2).
func TestTrapDuplicateProperties(t *testing.T) {
	for id, value := range propertyValues {
		list := append([]byte{id}, value...)
		twice := append(append([]byte{byte(2 * len(list))}, list...), list...)
		c := cursor{b: twice}
		c.props()
		if f, _ := c.err.(fault); id != packets.PropUser && f.code != 0x82 {
			t.Errorf("property %#x twice: %v", id, c.err)
		} else if id == packets.PropUser && c.err != nil {
			t.Errorf("two user properties: %v", c.err)
		}
	}
}

// Fault: one and a half times a keep-alive computed in 16 bits is 22 s for 43,691 s.
func TestTrapKeepAliveOverflow(t *testing.T) {
	for _, k := range []uint16{43_691, 65_535} {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, nil)
			p := b.connect(4, "c", keepAlive(k))
			time.Sleep(time.Duration(k) * 1499 * time.Millisecond)
			p.quiet()
			time.Sleep(time.Duration(k) * 1501 * time.Millisecond)
			p.wantEnd(0, subproto.ClosePolicy)
		})
	}
}

// Fault: v5 reason codes in the CONNACK of older versions, for all but six.
func TestTrapReturnCodesOf3(t *testing.T) {
	for _, version := range []byte{3, 4} {
		for _, err := range msg.PeerErrors() {
			var sent []byte
			h := &handler{e: New(Options{}), version: version, state: statePending, c: &lastSent{sent: &sent}}
			h.refuse(fmt.Errorf("wrapped: %w", err))
			if sent != nil && (len(sent) != 4 || sent[3] < 1 || sent[3] > 5) {
				t.Errorf("version %d, %v: CONNACK % x", version, err, sent)
			}
		}
	}
}

type lastSent struct {
	nowhere
	sent *[]byte
}

func (l *lastSent) Send(_ subproto.Kind, b []byte) { *l.sent = bytes.Clone(b) }

// Fault: one map of packet ids for both directions, so that a client's PUBLISH or
// PUBREL deletes an outbound message under the same id. Here each direction has
// id 1 (or 2) open at QoS 1 and 2 at the same time ([MQTT-2.2.1-5]).
func TestTrapSamePacketIDInBothDirections(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		for in := byte(1); in <= 2; in++ {
			for out := byte(1); out <= 2; out++ {
				t.Run(fmt.Sprint("in ", in, " out ", out), func(t *testing.T) {
					b := start(t, nil)
					p, other := b.connect(version, "c", nil), b.connect(version, "other", nil)
					p.subscribe(2, "to")
					other.subscribe(2, "from")
					other.publish(out, "to", "outbound")
					got := p.want(packets.Publish)
					pk := p.publishPacket(in, "from", "inbound")
					pk.PacketID = got.PacketID
					p.send(pk)
					if in == 2 {
						p.wantID(packets.Pubrec, got.PacketID)
					} else {
						p.wantAck(got.PacketID)
					}
					if out == 2 {
						p.short(packets.Pubrec, got.PacketID)
						p.wantID(packets.Pubrel, got.PacketID)
					}
					if in == 2 {
						p.short(packets.Pubrel, got.PacketID)
						p.wantID(packets.Pubcomp, got.PacketID)
					}
					if out == 2 {
						p.short(packets.Pubcomp, got.PacketID)
					} else {
						p.ack(got.PacketID)
					}
					other.receive("from", "inbound")
					other.publish(out, "to", "next")
					p.receive("to", "next")
					p.quiet()
				})
			}
		}
	})
}

// Fault: a send quota that leaks, so that Receive Maximum 5 stops for good within
// 200 messages, whatever ends the deliveries ([MQTT-3.3.4-7], section 4.9).
func TestTrapReceiveMaximumOfFive(t *testing.T) {
	b := start(t, nil)
	p := b.connect(5, "c", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum, pk.Properties.MaximumPacketSize = 5, 200 })
	p.subscribe(2, "t")
	pub := b.connect(5, "pub", nil)
	for i := range 200 {
		pub.publish(byte(i%3), "t", fmt.Sprint(i))
		if i%7 == 0 {
			pub.publish(2, "t", strings.Repeat("too large", 40))
		}
	}
	open := 0
	var later []byte
	for i := range 200 {
		pk := p.want(packets.Publish)
		if string(pk.Payload) != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", pk.Payload, i)
		}
		hi, lo := byte(pk.PacketID>>8), byte(pk.PacketID)
		switch pk.FixedHeader.Qos {
		case 0:
			continue
		case 1: // half of them negatively, see [MQTT-4.4.0-2]
			later = append(later, packets.Puback<<4, 3, hi, lo, []byte{0, 0x80}[i/3%2])
		case 2:
			later = append(later, packets.Pubrec<<4, 3, hi, lo, 0x80)
		}
		if open++; open == 5 {
			p.raw(later...)
			open, later = 0, nil
		} else if open > 5 {
			t.Fatal("more than five are open")
		}
	}
	p.raw(later...)
	p.quiet()
}

// Fault: a publish with nothing but an alias is authorized by its empty topic.
func TestTrapAliasIsAuthorizedByTheRealTopic(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		b := start(t, nil)
		p := b.connect(5, "c", nil)
		for i, topic := range []string{"denied/t", "", "allowed", "", "", "$SYS/x", ""} {
			pk := p.publishPacket(qos, topic, "x")
			pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = 7, true
			p.send(pk)
			code := p.wantID([]byte{0, packets.Puback, packets.Pubrec}[qos], pk.PacketID)
			if want := []byte{0x87, 0x87, 0, 0, 0, 0x90, 0x90}[i]; code != want {
				t.Errorf("QoS %d, publish %d: %#x, want %#x", qos, i, code, want)
			}
		}
	}
}

// Fault: alias 0 and one above the maximum are taken, one that was never set is
// routed to the empty topic ([MQTT-3.3.2-8], [MQTT-3.3.2-9], section 3.3.2.3.4).
func TestTrapAliasOutOfPlace(t *testing.T) {
	for _, c := range []struct {
		topic string
		alias uint16
		code  byte
	}{{"t", 0, 0x94}, {"", 0, 0x94}, {"t", 33, 0x94}, {"", 65535, 0x94}, {"", 1, 0x82}, {"", 32, 0x82}} {
		b := start(t, nil)
		p := b.connect(5, "c", nil)
		p.raw([]byte("\x30" + chr(byte(6+len(c.topic))) + str(c.topic) + "\x03\x23" + u16(int(c.alias)))...)
		p.wantEnd(c.code, subproto.CloseProtocol)
	}
	b := start(t, func(o *Options) { o.TopicAliasMaximum = -1 }) // none are offered
	p := b.dial(5)
	if ack := p.handshake("c", nil); ack.Properties.TopicAliasMaximum != 0 {
		t.Errorf("Topic Alias Maximum %d", ack.Properties.TopicAliasMaximum)
	}
	p.raw([]byte("\x30\x07\x00\x01t\x03\x23\x00\x01")...)
	p.wantEnd(0x94, subproto.CloseProtocol)
}

// Fault: QoS 1 and 2 publishes to a "$" topic are never answered.
func TestTrapReservedTopicIsAnswered(t *testing.T) {
	b := start(t, nil)
	p := b.connect(5, "c", nil)
	for _, topic := range []string{"$SYS/x", "$share/g/x", "$", "wamp/x", "parley/x"} {
		for qos := byte(1); qos <= 2; qos++ {
			if code := p.publish(qos, topic, "x"); code != 0x90 {
				t.Errorf("%s at QoS %d: %#x", topic, qos, code)
			}
		}
	}
	p.publish(0, "$SYS/x", "x")
	p.quiet()
}

// Fault: a second CONNECT is taken for a new session ([MQTT-3.1.0-2]).
func TestTrapSecondConnect(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		p := b.connect(version, "c", nil)
		p.send(connectPacket(version, "d", nil))
		p.wantEnd(0x82, subproto.CloseProtocol)
	})
}

// Fault: a connection that never sends CONNECT, or never the rest of it, stays.
// The gateway ends it; nothing of it reaches the hub.
func TestTrapConnectNeverSent(t *testing.T) {
	b := start(t, nil)
	for _, sent := range []string{"", "\x10", "\x10\x10\x00\x04MQTT\x05"} {
		p := b.dial(5)
		p.raw([]byte(sent)...)
		if ready, _, reading := p.c.State(); ready || !reading {
			t.Errorf("after % x: ready %v, reading %v", sent, ready, reading)
		}
		p.c.Drop(msg.ErrTimeout)
	}
	if n := b.hub.Sessions(); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

// Fault: 256 MiB are awaited, and kept, of somebody who is not yet known.
func TestTrapHugeFirstPacket(t *testing.T) {
	b := start(t, nil)
	p := b.dial(5)
	p.raw(0x10, 0xff, 0xff, 0xff, 0x7f)
	p.wantEnd(0, subproto.CloseTooBig)
}

// Fault: a publish that the policy refuses is acknowledged like a stored one. v5
// is told; older versions have no way to be, and are disconnected.
func TestTrapRefusedPublishOf311(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		for qos := byte(1); qos <= 2; qos++ {
			b := start(t, nil)
			p := b.connect(version, "c", nil)
			p.send(p.publishPacket(qos, "denied/t", "x"))
			if version < 5 {
				p.wantEnd(0, subproto.ClosePolicy)
			} else if code := p.wantID([]byte{0, packets.Puback, packets.Pubrec}[qos], 1); code != 0x87 {
				t.Errorf("%#x", code)
			}
		}
	})
}
