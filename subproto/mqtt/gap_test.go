package mqtt

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"parley/hub"
	"parley/msg"
	"parley/persist/mem"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

func cut(t testing.TB, filter string, first, last msg.Offset) msg.Notice {
	n := msg.Notice{Kind: msg.NoticeGap, First: first, Last: last, Count: 2, Reason: "bytes"}
	if filter != "" {
		f, err := msg.ParseFilter(filter)
		if err != nil {
			t.Fatal(err)
		}
		n.Subscription = &msg.Subscription{Filter: f}
	}
	return n
}

// receiveGap waits for a gap on topic and checks what is said of it.
func (p *peer) receiveGap(topic, filter string, first, last msg.Offset) packets.Packet {
	p.t.Helper()
	pk := p.want(packets.Publish)
	var got gap
	err := json.Unmarshal(pk.Payload, &got)
	if want := (gap{filter, first, last, 2, "bytes"}); err != nil || pk.TopicName != topic || got != want || pk.FixedHeader.Qos != 0 || pk.FixedHeader.Retain {
		p.t.Fatalf("%s %s (%v), want %s %+v", pk.TopicName, pk.Payload, err, topic, want)
	}
	if p.version < 5 {
		return pk
	}
	user := []packets.UserProperty{
		{Key: "parley-filter", Val: filter}, {Key: "parley-first", Val: fmt.Sprint(first)}, {Key: "parley-last", Val: fmt.Sprint(last)},
		{Key: "parley-count", Val: "2"}, {Key: "parley-reason", Val: "bytes"},
	}
	if pr := pk.Properties; !slices.Equal(pr.User, user) || pr.ContentType != "application/json" || pr.PayloadFormat != 1 {
		p.t.Fatalf("properties %+v", pr)
	}
	return pk
}

// A gap ends no connection. Who subscribes to $gap/… hears of it, nobody else.
func TestGapIsTold(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		s := &spy{}
		b := start(t, func(o *Options) { o.Attach = s.around(o.Attach) })
		p := b.connect(version, "c", nil)
		p.subscribe(1, "room/#")
		s.tell(t, cut(t, "room/#", 1, 4))
		p.quiet()
		if codes := p.subscribe(2, "$gap/room/#"); codes[0] != 0 {
			t.Fatalf("SUBACK %#x, want QoS 0", codes)
		}
		for _, c := range []struct {
			filter, topic string
			heard         bool
		}{
			{"room/#", "$gap/room/%23", true}, {"room/+/x", "$gap/room/%2B/x", true}, {"room", "$gap/room", true},
			{"room/5%", "$gap/room/5%25", true}, {"hall/#", "", false}, {"#", "", false}, {"$share/g/room/#", "", false},
		} {
			if s.tell(t, cut(t, c.filter, 2, 9)); c.heard {
				p.receiveGap(c.topic, c.filter, 2, 9)
			}
			p.quiet()
		}
		p.subscribe(0, "$gap/#")
		for filter, topic := range map[string]string{"": "$gap/%23", "#": "$gap/%23", "$share/g/a/+": "$gap/$share/g/a/%2B"} {
			s.tell(t, cut(t, filter, 3, 3))
			if filter == "" {
				filter = "#" // what concerns all of them
			}
			p.receiveGap(topic, filter, 3, 3)
		}
		p.unsubscribe("$gap/#")
		s.tell(t, cut(t, "a", 5, 6))
		p.quiet()
		s.tell(t, cut(t, "room/a", 5, 6))
		p.receiveGap("$gap/room/a", "room/a", 5, 6)
		// Nobody else can speak there.
		if version == 5 {
			if code := p.publish(1, "$gap/room/a", "x"); code != 0x90 {
				t.Errorf("publish to $gap: %#x", code)
			}
		}
		s.tell(t, msg.Notice{Kind: msg.NoticeRevoked, Subscription: &msg.Subscription{Filter: msg.Filter{Pattern: "$gap/room/#"}}})
		s.tell(t, cut(t, "room/a", 7, 7))
		p.quiet()
	})
}

// A gap comes behind what was delivered before, with the identifiers of its
// subscriptions ([MQTT-3.3.4-3]), and only if there is room for it.
func TestGapKeepsToTheRules(t *testing.T) {
	s := &spy{}
	b := start(t, func(o *Options) { o.Attach = s.around(o.Attach) })
	p := b.connect(5, "c", func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = 400 })
	p.subscribeWith(packets.Subscription{Filter: "$gap/#", Identifier: 7})
	p.subscribeWith(packets.Subscription{Filter: "$gap/+", Identifier: 300})
	s.tell(t, cut(t, "a", 1, 2))
	if got := p.receiveGap("$gap/a", "a", 1, 2).Properties.SubscriptionIdentifier; !slices.Equal(got, []int{7, 300}) {
		t.Errorf("identifiers %v", got)
	}
	p.subscribeWith(packets.Subscription{Filter: "$gap/+"}) // replaces the identifier
	s.tell(t, cut(t, strings.Repeat("a", 100), 1, 2))
	p.quiet() // too large for the client
	s.tell(t, cut(t, "b", 3, 4))
	if got := p.receiveGap("$gap/b", "b", 3, 4).Properties.SubscriptionIdentifier; !slices.Equal(got, []int{7}) {
		t.Errorf("identifiers %v", got)
	}
	if long := (&gap{Filter: strings.Repeat("#", 30000)}).topic(); long != "$gap/%23" {
		t.Errorf("a topic of %d bytes", len(long))
	}
}

// A resumed session has its subscriptions to gaps, and v5 clients are told in
// CONNACK what was cut while they were away.
func TestGapsWhileAway(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		s := &spy{}
		b := start(t, func(o *Options) { o.Attach = s.around(o.Attach) })
		durable := func(pk *packets.Packet) {
			pk.Connect.Clean = false
			pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 3600, version == 5
		}
		p := b.connect(version, "c", durable)
		p.subscribe(1, "a/#")
		p.c.Drop(nil)
		writer := b.connect(version, "w", nil)
		writer.publish(1, "a/1", "kept")
		writer.publish(1, "a/2", "also")

		s.absence([]msg.Notice{cut(t, "a/#", 1, 4), cut(t, "", 6, 6)})
		p = b.dial(version)
		ack := p.handshake("c", durable)
		want := []packets.UserProperty{
			{Key: "parley-gap", Val: `{"filter":"a/#","first":1,"last":4,"count":2,"reason":"bytes"}`},
			{Key: "parley-gap", Val: `{"filter":"#","first":6,"last":6,"count":2,"reason":"bytes"}`},
		}
		if version == 5 && !slices.Equal(ack.Properties.User, want) {
			t.Errorf("CONNACK with %v", ack.Properties.User)
		}
		p.receive("a/1", "kept")
		p.receive("a/2", "also")
		p.c.Drop(nil)

		s.absence([]msg.Notice{cut(t, "a/#", 5, 5)}, "a/#", "$gap/a/#")
		p = b.connect(version, "c", durable)
		p.receiveGap("$gap/a/%23", "a/#", 5, 5)
		writer.publish(1, "a/3", "live")
		p.receive("a/3", "live")
		p.c.Drop(nil)

		// More of them than CONNACK tells, and no room for them in it [MQTT-3.2.2-20].
		s.absence(slices.Repeat([]msg.Notice{cut(t, "a/#", 5, 5)}, 2*maxEarlyGaps), "$gap/a/#")
		p = b.connect(version, "c", func(pk *packets.Packet) { durable(pk); pk.Properties.MaximumPacketSize = 1000 })
		for range 2 * maxEarlyGaps {
			p.receiveGap("$gap/a/%23", "a/#", 5, 5)
		}
		p.quiet()
	})
}

// Taken over while CONNACK is on its way: CONNACK leaves first.
func TestTakenOverBeforeConnack(t *testing.T) {
	s := &spy{}
	b := start(t, func(o *Options) { o.Attach = s.around(o.Attach) })
	durable := func(pk *packets.Packet) {
		pk.Connect.Clean = false
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 3600, true
	}
	b.connect(5, "c", durable).c.Drop(nil)
	s.absence([]msg.Notice{{Kind: msg.NoticeTakenOver}})
	p := b.dial(5)
	p.send(connectPacket(5, "c", durable))
	p.want(packets.Connack)
	p.wantEnd(0x8e, subproto.ClosePolicy)
}

// What retention had to cut before a durable session had it is told on $gap, then
// comes what is left; what a replay does not find any more is told in SUBACK too.
func TestRetentionTellsGaps(t *testing.T) {
	both(t, func(t *testing.T, version byte) {
		store := mem.NewWith(mem.Options{SegmentMessages: 10})
		b := startOn(t, store, nil, func(o *hub.Options) { o.Retention, o.Quota = hub.Retention{Count: 20}, 1 })
		durable := func(pk *packets.Packet) {
			pk.Connect.Clean = false
			pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 3600, version == 5
		}
		p := b.connect(version, "c", durable)
		p.subscribe(1, "a/#", "$gap/#")
		p.c.Drop(nil)
		writer := b.connect(version, "w", nil)
		const total = 60
		for i := range total {
			writer.publish(1, "a/1", fmt.Sprint(i))
		}
		b.hub.Retain()
		p = b.connect(version, "c", durable)
		var lost gap
		pk := p.want(packets.Publish)
		if err := json.Unmarshal(pk.Payload, &lost); err != nil || pk.TopicName != "$gap/a/%23" || lost.Filter != "a/#" ||
			lost.First != 1 || lost.Count == 0 || lost.Count >= total || uint64(lost.Last) != lost.Count || lost.Reason == "" {
			t.Fatalf("%s %s (%v)", pk.TopicName, pk.Payload, err)
		}
		for i := int(lost.Count); i < total; i++ {
			p.receive("a/1", fmt.Sprint(i))
		}
		ack := p.trySubscribe(1, "$replay/5/a/1")
		if told := ack.Properties.User; version == 5 && (len(told) != 1 || !strings.HasPrefix(told[0].Val, `{"filter":"a/1","first":5,`)) {
			t.Errorf("SUBACK with %v", told)
		}
		if pk := p.want(packets.Publish); pk.TopicName != "$gap/a/1" {
			t.Errorf("%s %s", pk.TopicName, pk.Payload)
		}
		for i := int(lost.Count); i < total; i++ {
			p.receive("a/1", fmt.Sprint(i))
		}
		p.quiet()
	})
}
