package mqtt

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// What the session is asked for: how long it lasts ([MQTT-3.1.2-4], section
// 3.1.2.11.2) and what the client is told if that is not what it wanted.
func TestSessionExpiryGranted(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name    string
		version byte
		clean   bool
		asked   uint32
		most    time.Duration
		want    time.Duration
		told    int // Session Expiry Interval in CONNACK, -1 = none
	}{
		{"3.1 clean", 3, true, 0, 0, 0, -1},
		{"3.1 kept", 3, false, 0, 0, msg.Forever, -1},
		{"3.1.1 clean", 4, true, 0, 0, 0, -1},
		{"3.1.1 kept", 4, false, 0, 0, msg.Forever, -1},
		{"3.1.1 kept, capped", 4, false, 0, day, day, -1},
		{"5 absent", 5, false, 0, 0, 0, -1},
		{"5 clean start and kept", 5, true, 60, 0, time.Minute, -1},
		{"5 for ever", 5, false, 0xffffffff, 0, msg.Forever, -1},
		{"5 nearly", 5, false, 0xfffffffe, 0, 0xfffffffe * time.Second, -1},
		{"5 under the cap", 5, false, 60, day, time.Minute, -1},
		{"5 capped", 5, false, 0xffffffff, day + time.Millisecond, day, 86400},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got msg.SessionParams
			b := start(t, func(o *Options) {
				attach := o.Attach
				o.MaxSessionExpiry = c.most
				o.Attach = func(p subproto.Peer, id *auth.Identity, params msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
					got = params
					return attach(p, id, params, done)
				}
			})
			ack := b.dial(c.version).handshake("c", func(pk *packets.Packet) {
				pk.Connect.Clean = c.clean
				pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = c.asked, c.asked > 0
			})
			told := -1
			if ack.Properties.SessionExpiryIntervalFlag {
				told = int(ack.Properties.SessionExpiryInterval)
			}
			if got.Expiry != c.want || got.CleanStart != c.clean || told != c.told {
				t.Errorf("expiry %v, clean %v, told %d", got.Expiry, got.CleanStart, told)
			}
		})
	}
}

// DISCONNECT changes how long the session lasts, in both directions and also to 0
// (section 3.14.2.2.2).
func TestDisconnectChangesTheExpiry(t *testing.T) {
	for after, want := range map[string]bool{
		"\xe0\x00": true, "\xe0\x07\x00\x05\x11\x00\x00\x00\x00": false, "\xe0\x07\x00\x05\x11\x00\x00\x00\x0a": false,
		"\xe0\x07\x04\x05\x11\xff\xff\xff\xff": true, "\xe0\x01\x04": true,
	} {
		synctest.Test(t, func(t *testing.T) {
			b := start(t, nil)
			minute := func(pk *packets.Packet) { pk.Properties.SessionExpiryInterval = 60 }
			p := b.resume(5, "c", false, minute)
			p.raw([]byte(after)...)
			p.wantEnd(0, subproto.CloseNormal)
			time.Sleep(30 * time.Second)
			b.resume(5, "c", want, minute)
		})
	}
}

// The first topics get aliases, later publishes on them come without a topic, and
// never more than the client allows ([MQTT-3.1.2-26], [MQTT-3.1.2-27]).
func TestAliasesTowardsTheClient(t *testing.T) {
	b := start(t, nil)
	p := b.connect(5, "c", func(pk *packets.Packet) { pk.Properties.TopicAliasMaximum, pk.Properties.MaximumPacketSize = 2, 120 })
	p.subscribe(2, "#")
	pub := b.connect(5, "pub", nil)
	known := map[uint16]string{}
	large := strings.Repeat("x", 120)
	for i := range 60 {
		topic := []string{"topic/one", "abc", "topic/two", "topic/three"}[i%4]
		if i < 4 { // does not fit, so it teaches nothing
			pub.publish(byte(i%3), topic, large)
		}
		pub.publish(byte(i%3), topic, fmt.Sprint(i))
		pk := p.want(packets.Publish)
		if a := pk.Properties.TopicAlias; a != 0 {
			if a > 2 {
				t.Fatalf("alias %d", a)
			}
			if pk.TopicName != "" {
				known[a] = pk.TopicName
			}
			pk.TopicName = known[a]
		}
		if pk.TopicName != topic || string(pk.Payload) != fmt.Sprint(i) {
			t.Fatalf("got %q %s, want %q %d", pk.TopicName, pk.Payload, topic, i)
		}
		switch pk.FixedHeader.Qos {
		case 1:
			p.ack(pk.PacketID)
		case 2:
			p.short(packets.Pubrec, pk.PacketID)
			p.wantID(packets.Pubrel, pk.PacketID)
			p.short(packets.Pubcomp, pk.PacketID)
		}
	}
	if len(known) != 2 || known[1] != "topic/one" || known[2] != "topic/two" {
		t.Errorf("aliases %v", known)
	}
}

// An alias that would make a packet too large is left out, and one that makes it
// fit is used.
func TestAliasAndMaximumPacketSize(t *testing.T) {
	b := start(t, nil)
	p := b.connect(5, "c", func(pk *packets.Packet) { pk.Properties.TopicAliasMaximum, pk.Properties.MaximumPacketSize = 2, 40 })
	p.subscribe(0, "#")
	pub := b.connect(5, "pub", nil)
	publish := func(topic string, n int) packets.Packet { // a plain packet has 5 bytes more
		pub.publish(0, topic, strings.Repeat("x", n-5-len(topic)))
		return p.want(packets.Publish)
	}
	if pk := publish("0123456789", 38); pk.Properties.TopicAliasFlag || len(pk.TopicName) != 10 {
		t.Errorf("%q with alias %d", pk.TopicName, pk.Properties.TopicAlias)
	}
	if pk := publish("0123456789", 37); pk.Properties.TopicAlias != 1 || len(pk.TopicName) != 10 {
		t.Errorf("%q with alias %d", pk.TopicName, pk.Properties.TopicAlias)
	}
	if pk := publish("0123456789", 47); pk.Properties.TopicAlias != 1 || pk.TopicName != "" {
		t.Errorf("%q with alias %d", pk.TopicName, pk.Properties.TopicAlias)
	}
	pub.publish(0, "0123456789", strings.Repeat("x", 33))
	p.quiet()
}

// A lifetime of 0 is over at once; an absent one never is (section 3.3.2.3.3). The
// codec cannot tell them apart.
func TestExpiryOfZeroIsNotAbsent(t *testing.T) {
	b := start(t, nil)
	p := b.connect(5, "c", nil)
	p.subscribe(1, "t")
	p.raw([]byte("\x32\x0c\x00\x01t\x00\x01\x05\x02\x00\x00\x00\x00x")...)
	p.wantAck(1)
	p.publish(0, "t", "y")
	p.receive("t", "y")
	var will *msg.Will
	for list, want := range map[string]time.Duration{"\x00": 0, "\x05\x02\x00\x00\x00\x00": time.Millisecond, "\x05\x02\x00\x00\x00\x02": 2 * time.Second} {
		s := &sink{}
		e := New(Options{Auth: anybody{}, Attach: func(p subproto.Peer, id *auth.Identity, params msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
			will = params.Will
			return s.attach(p, id, params, done)
		}})
		h, err := e.Open(nowhere{})
		if err != nil {
			t.Fatal(err)
		}
		body := "\x00\x04MQTT\x05\x16\x00\x00\x00\x00\x01c" + list + "\x00\x01w\x00\x01p"
		h.Frame(subproto.Binary, []byte("\x10"+chr(byte(len(body)))+body))
		if will.Lifetime != want || will.Message.QoS != 2 {
			t.Errorf("% x: lifetime %v at QoS %d", list, will.Lifetime, will.Message.QoS)
		}
		h.Closed(nil)
	}
}

// Response Information comes if asked for and configured, below a level of the
// client's own ([MQTT-3.1.2-28]).
func TestResponseTopicsBelowTheClientID(t *testing.T) {
	b := start(t, func(o *Options) { o.ResponseTopics = "answers" })
	for _, c := range []struct {
		id   string
		ask  byte
		want string
	}{{"c", 1, "answers/c"}, {"c", 0, ""}, {"a/b", 1, ""}, {"+", 1, ""}, {"", 1, "answers/parley-"}} {
		ack := b.dial(5).handshake(c.id, func(pk *packets.Packet) { pk.Properties.RequestResponseInfo = c.ask })
		if got := ack.Properties.ResponseInfo; !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%q: %q", c.id, got)
		}
	}
}

// What is under $SYS can be subscribed to, and by name only ([MQTT-4.7.2-1]).
func TestSubscriptionToSys(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		p := start(t, nil).connect(version, "c", nil)
		if got := p.subscribe(2, "$SYS/#", "$SYS/broker/version", "#"); string(got) != "\x02\x02\x02" {
			t.Fatalf("% x", got)
		}
	})
}

// Shared subscriptions in every version: one of the members has each message.
func TestSharedSubscription(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		b := start(t, nil)
		x, y, pub := b.connect(version, "x", nil), b.connect(version, "y", nil), b.connect(version, "pub", nil)
		x.subscribe(2, "$share/g/t")
		y.subscribe(2, "$share/g/t")
		for i := range 10 {
			pub.publish(2, "t", fmt.Sprint(i))
		}
		for i := range 10 {
			(map[bool]*peer{true: x, false: y})[i%2 == 0].receive("t", fmt.Sprint(i))
		}
		x.quiet()
		y.quiet()
	})
}

// 3.1: what it leaves open is taken, session present is not its flag.
func TestMQTT31(t *testing.T) {
	b := start(t, nil)
	for name, raw := range map[string]string{
		"user name flag without user name":         "\x10\x0f\x00\x06MQIsdp\x03\xc2\x00\x00\x00\x01c",
		"user name without password":               "\x10\x11\x00\x06MQIsdp\x03\xc2\x00\x00\x00\x01c\x00\x00",
		"reserved bit, will flags without a will":  "\x10\x0f\x00\x06MQIsdp\x03\x3b\x00\x00\x00\x01c",
		"a client id of more than 23 bytes":        "\x10\x2c\x00\x06MQIsdp\x03\x02\x00\x00\x00\x1e012345678901234567890123456789",
		"repeated SUBSCRIBE, DUP set, after it":    "\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01c\x8a\x06\x00\x01\x00\x01f\x01",
		"subscription options with unused bits":    "\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01c\x82\x06\x00\x01\x00\x01f\xfd",
		"flags on packets that have none, PINGREQ": "\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01c\xc7\x00",
	} {
		p := b.dial(3)
		p.raw([]byte(raw)...)
		if ack, ok := p.next(); !ok || ack.ReasonCode != 0 {
			t.Errorf("%s: %v %#x", name, ok, ack.ReasonCode)
			continue
		}
		if len(raw) > 17 && raw[1] == 0x0f {
			if ack, ok := p.next(); !ok || ack.FixedHeader.Type == packets.Suback && ack.ReasonCodes[0] != 1 {
				t.Errorf("%s: %v %+v", name, ok, ack.ReasonCodes)
			}
		}
		p.quiet()
		p.c.Drop(io.EOF)
	}
}
