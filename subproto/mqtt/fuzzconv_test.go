package mqtt

import (
	"bytes"
	"testing"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// loop is a session that delivers to itself what it publishes and checks what the
// engine asks of it. It answers at once, or if slow between the calls.
type loop struct {
	subproto.Session
	t      *testing.T
	slow   bool
	later  []func()
	queue  []msg.Delivery
	acked  map[uint64]bool
	flight map[uint64]*flown
	held   map[uint16]bool // packet ids of PublishOnce
	subs   []*msg.Subscription
	cuts   int // gaps it still has to tell
	ends   int
}

// flown is a delivery at QoS 2 on its way.
type flown struct {
	id       uint16
	assigned bool // answered
	received bool
}

func newLoop(t *testing.T, slow bool) *loop {
	return &loop{t: t, slow: slow, acked: map[uint64]bool{}, flight: map[uint64]*flown{}, held: map[uint16]bool{}}
}

// answer runs f now or later.
func (l *loop) answer(f func()) {
	if l.slow {
		l.later = append(l.later, f)
	} else {
		f()
	}
}

// catchUp runs what was put off.
func (l *loop) catchUp() {
	fs := l.later
	l.later = nil
	for _, f := range fs {
		f()
	}
}

func (l *loop) attach(_ subproto.Peer, _ *auth.Identity, p msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
	if p.Window < 1 || p.Window > 65535 || p.Expiry < 0 {
		l.t.Fatalf("window %d, expiry %v", p.Window, p.Expiry)
	}
	if p.Will != nil && (msg.ValidTopic(p.Will.Message.Topic) != nil || p.Will.Message.QoS > 2) {
		l.t.Fatalf("will %+v", p.Will.Message)
	}
	r := msg.AttachResult{}
	if !p.CleanStart { // something to resume
		l.acked[1], l.flight[1] = false, &flown{id: 9, assigned: true, received: true}
		l.acked[2], l.flight[2] = false, &flown{id: 10, assigned: true}
		m := &msg.Message{Topic: "a", QoS: 2, Offset: 1, Via: msg.ViaMQTT}
		l.queue = append(l.queue, msg.Delivery{Message: m, QoS: 2, Ref: 2, PacketID: 10, Redelivered: true})
		l.cuts = 2
		r = msg.AttachResult{Present: true, Received: []msg.InFlight{{Ref: 1, PacketID: 9}}}
	}
	done(r, nil)
	return l
}

func (l *loop) Publish(m *msg.Message, done func(msg.Offset, error)) {
	if err := msg.ValidTopic(m.Topic); err != nil || m.QoS > 2 || m.QoS > 0 != (done != nil) {
		l.t.Fatalf("%q at QoS %d: %v", m.Topic, m.QoS, err)
	}
	if len(l.subs) > 0 {
		d := msg.Delivery{Message: m, Matches: l.subs, QoS: m.QoS}
		if m.QoS > 0 {
			d.Ref = uint64(len(l.acked) + 1)
			l.acked[d.Ref] = false
		}
		if m.QoS == 2 {
			l.flight[d.Ref] = &flown{}
		}
		l.queue = append(l.queue, d)
	}
	if done != nil {
		l.answer(func() { done(7, nil) })
	}
}

func (l *loop) PublishOnce(id uint16, m *msg.Message, done func(msg.Offset, error)) {
	if id == 0 || m.QoS != 2 {
		l.t.Fatalf("packet id %d at QoS %d", id, m.QoS)
	}
	if l.held[id] {
		l.answer(func() { done(7, nil) })
		return
	}
	l.held[id] = true
	l.Publish(m, done)
}

func (l *loop) Release(id uint16, done func(error)) {
	err := error(nil)
	if !l.held[id] {
		err = msg.ErrNoPacketID
	}
	delete(l.held, id)
	l.answer(func() { done(err) })
}

func (l *loop) Assign(ref uint64, id uint16, done func(error)) {
	f := l.flight[ref]
	if f == nil {
		if done != nil {
			l.t.Fatal("waiting for a packet id at QoS 1")
		}
		return
	}
	for r, other := range l.flight {
		if other.id == id && !l.acked[r] {
			l.t.Fatalf("packet id %d is in use", id)
		}
	}
	f.id = id
	l.answer(func() { f.assigned = true; done(nil) })
}

func (l *loop) Received(ref uint64, done func(error)) {
	f := l.flight[ref]
	if f == nil || !f.assigned || f.received || l.acked[ref] {
		l.t.Fatalf("Received out of place: %+v", f)
	}
	f.received = true
	l.answer(func() { done(nil) })
}

func (l *loop) SetExpiry(d time.Duration) {
	if d < 0 {
		l.t.Fatalf("expiry %v", d)
	}
}

func (l *loop) Congested() bool { return len(l.queue) > 3 }

func (l *loop) Subscribe(subs []msg.Subscription, done func([]msg.SubscribeResult)) {
	for i := range subs {
		if err := subs[i].Filter.Validate(); err != nil || subs[i].QoS > 2 || subs[i].Filter.Group != "" && subs[i].NoLocal {
			l.t.Fatalf("subscription %+v: %v", subs[i], err)
		}
		if len(l.subs) < 8 {
			l.subs = append(l.subs, &subs[i])
		}
	}
	l.answer(func() { done(make([]msg.SubscribeResult, len(subs))) })
}

func (l *loop) Unsubscribe(fs []msg.Filter, done func([]error)) {
	l.answer(func() { done(make([]error, len(fs))) })
}

func (l *loop) NextNotice(n *msg.Notice) bool {
	if l.cuts == 0 {
		return false
	}
	l.cuts--
	*n = msg.Notice{Kind: msg.NoticeGap, First: 1, Last: 9, Count: 3, Reason: "age"}
	return true
}

func (l *loop) Next(d *msg.Delivery) bool {
	var n msg.Notice
	if l.NextNotice(&n) {
		*d = msg.Delivery{Notice: &n}
		return true
	}
	if len(l.queue) == 0 {
		return false
	}
	*d, l.queue = l.queue[0], l.queue[1:]
	return true
}

func (l *loop) Ack(ref uint64) {
	if acked, sent := l.acked[ref]; acked || !sent {
		l.t.Fatalf("delivery %d acknowledged twice, or never made", ref)
	}
	l.acked[ref] = true
}

func (l *loop) Close(msg.CloseHow) { l.ends++ }

// recorder checks that what the engine sends is whole packets, within the
// client's Maximum Packet Size, and nothing after the close.
type recorder struct {
	nowhere
	t       *testing.T
	closed  bool
	reading bool
}

func (r *recorder) Send(k subproto.Kind, b []byte) {
	if _, n, err := splitAny(b); k != subproto.Binary || err != nil || n != len(b) || r.closed {
		r.t.Fatalf("sent % x (closed %v): %v", b, r.closed, err)
	}
}

// splitAny is split for packets of a server, whose flags differ.
func splitAny(b []byte) (rawPacket, int, error) {
	c := bytes.Clone(b)
	c[0] = packets.Publish << 4
	return split(c, maxRemaining, 5)
}

func (r *recorder) SetReading(on bool) { r.reading = on }
func (r *recorder) Close(code int, reason string) {
	if code < 1000 || len(reason) > 123 {
		r.t.Fatalf("close %d %q", code, reason)
	}
	r.closed = true
}

// converse feeds a whole connection in frames of step bytes.
func converse(t *testing.T, data []byte, step int, slow bool) {
	l := newLoop(t, slow)
	e := New(Options{Attach: l.attach, Auth: anybody{}, MaxPacket: 8192})
	r := &recorder{t: t, reading: true}
	h, err := e.Open(r)
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 0 && !r.closed {
		n := min(len(data), step)
		for range 1000 {
			if r.reading || r.closed {
				break
			}
			l.catchUp()
			h.Wake()
		}
		if !r.reading && !r.closed {
			t.Fatal("reading never goes on")
		}
		if !r.closed {
			h.Frame(subproto.Binary, bytes.Clone(data[:n]))
		}
		data = data[n:]
		if len(data)%3 == 0 {
			l.catchUp()
			h.Wake()
		}
	}
	hd := h.(*handler)
	if len(hd.in) > 8192+256 {
		t.Fatalf("%d bytes of input kept", len(hd.in))
	}
	for range 10 {
		l.catchUp()
		h.Wake()
	}
	if two := hd.two; !r.closed && (hd.owed < 0 || hd.released < 0 || hd.released > len(hd.inflight) || two != nil && (two.due != 0 || len(two.held) != 0)) {
		t.Fatalf("owed %d, released %d of %d, %+v", hd.owed, hd.released, len(hd.inflight), two)
	}
	h.Closed(nil)
	h.Closed(nil)
	l.catchUp() // callbacks of a connection that is gone
	if l.ends > 1 {
		t.Fatalf("the session was closed %d times", l.ends)
	}
}

// exchange is what a client sends in a conversation at all QoS.
func exchange(t testing.TB, version byte, clean bool) []byte {
	p := &peer{t: t, version: version}
	connect := connectPacket(version, "c", func(pk *packets.Packet) {
		pk.Connect.Clean = clean
		pk.Properties.TopicAliasMaximum = 2
	})
	stream := encode(t, connect)
	stream = append(stream, encode(t, packets.Packet{
		ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 9,
		Filters: packets.Subscriptions{{Filter: "a/#", Qos: 2}, {Filter: "$share/g/a", Qos: 1}},
	})...)
	for i := range byte(6) {
		pk := p.publishPacket(i%3, "a/b", "x")
		if i%2 == 1 {
			pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = 1, true
		}
		stream = append(stream, encode(t, pk)...)
	}
	for id := range byte(4) {
		stream = append(stream, 0x62, 2, 0, id+1)
	}
	for _, kind := range []byte{0x40, 0x50} { // deliveries are at QoS 1, 2, 1, 2
		for id := range byte(2) {
			stream = append(stream, kind, 2, 0, 1+kind>>4-4+2*id)
		}
	}
	return append(stream, 0x70, 2, 0, 2, 0x70, 2, 0, 9, 0xc0, 0)
}

// FuzzConversation feeds a whole connection, cut into frames at arbitrary
// places, to a session that answers at once or later.
func FuzzConversation(f *testing.F) {
	for _, v := range []byte{3, 4, 5} {
		for i, raw := range [][]byte{exchange(f, v, true), exchange(f, v, false)} {
			for _, full := range fullPackets(v) {
				f.Add(append(bytes.Clone(raw), full...), byte(7+i), i == 1)
			}
		}
		full := fullPackets(v)
		f.Add(bytes.Join([][]byte{full["CONNECT"], full["SUBSCRIBE"], full["PUBLISH"], full["PUBACK"], full["DISCONNECT"]}, nil), byte(200), false)
		for _, c := range malformedPackets {
			raw := c.v4
			if v == 5 {
				raw = c.v5
			}
			f.Add(append(exchange(f, v, true), raw...), byte(255), true)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, step byte, slow bool) { converse(t, data, int(step)+1, slow) })
}

// fuzzPacket feeds one packet of a kind, with any flags and body, into the middle
// of a conversation with exchanges open in both directions.
func fuzzPacket(f *testing.F, kind byte) {
	for _, v := range []byte{3, 4, 5} {
		for _, raw := range fullPackets(v) {
			if raw[0]>>4 == kind {
				f.Add(v, raw[0], raw[2:])
			}
		}
		for _, c := range malformedPackets {
			if raw := map[byte][]byte{3: c.v4, 4: c.v4, 5: c.v5}[v]; len(raw) > 2 && raw[0]>>4 == kind {
				f.Add(v, raw[0], raw[2:])
			}
		}
		for id := range byte(11) {
			f.Add(v, kind<<4|2, []byte{0, id})
		}
	}
	f.Fuzz(func(t *testing.T, version, flags byte, body []byte) {
		version = 3 + version%3
		stream := exchange(t, version, flags&1 == 0)
		if kind == packets.Connect {
			stream = nil
		}
		if len(body) > 8000 {
			return
		}
		one := append(appendVarint([]byte{kind<<4 | flags&0x0f}, len(body)), body...)
		stream = append(append(stream, one...), one...)
		converse(t, stream, len(stream), flags&0x80 != 0)
		converse(t, stream, 16, flags&0x80 == 0)
	})
}

func FuzzConnect(f *testing.F)     { fuzzPacket(f, packets.Connect) }
func FuzzPublish(f *testing.F)     { fuzzPacket(f, packets.Publish) }
func FuzzPuback(f *testing.F)      { fuzzPacket(f, packets.Puback) }
func FuzzPubrec(f *testing.F)      { fuzzPacket(f, packets.Pubrec) }
func FuzzPubrel(f *testing.F)      { fuzzPacket(f, packets.Pubrel) }
func FuzzPubcomp(f *testing.F)     { fuzzPacket(f, packets.Pubcomp) }
func FuzzSubscribe(f *testing.F)   { fuzzPacket(f, packets.Subscribe) }
func FuzzUnsubscribe(f *testing.F) { fuzzPacket(f, packets.Unsubscribe) }
func FuzzPingreq(f *testing.F)     { fuzzPacket(f, packets.Pingreq) }
func FuzzDisconnect(f *testing.F)  { fuzzPacket(f, packets.Disconnect) }
func FuzzAuth(f *testing.F)        { fuzzPacket(f, packets.Auth) }
