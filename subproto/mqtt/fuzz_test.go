package mqtt

import (
	"bytes"
	"context"
	"testing"

	"parley/auth"
	"parley/msg"
	"parley/subproto"

	"github.com/mochi-mqtt/server/v2/packets"
)

// FuzzDecode proves that whatever the checks let through the codec reads
// without a panic and as the same packet.
func FuzzDecode(f *testing.F) {
	for _, v := range []byte{3, 4, 5} {
		for _, raw := range fullPackets(v) {
			f.Add(raw[0]>>4, v-3, raw[2:])
		}
	}
	for _, c := range malformedPackets {
		for i, raw := range [][]byte{c.v4, c.v5} {
			if len(raw) > 2 {
				f.Add(raw[0]>>4, byte(1+i), raw[2:])
			}
		}
	}
	f.Fuzz(func(t *testing.T, kind, version byte, body []byte) {
		version = 3 + version%3
		before := bytes.Clone(body)
		switch kind {
		case packets.Connect:
			if pk, err := decodeConnect(body, version); err == nil && pk.Connect.WillFlag && len(pk.Connect.WillPayload) > len(body) {
				t.Fatal("will payload out of nowhere")
			}
		case packets.Subscribe:
			if pk, err := decodeSubscribe(body, version); err == nil && (pk.PacketID == 0 || len(pk.Filters) == 0) {
				t.Fatalf("accepted %+v", pk)
			}
		case packets.Unsubscribe:
			if pk, err := decodeUnsubscribe(body, version); err == nil && (pk.PacketID == 0 || len(pk.Filters) == 0) {
				t.Fatalf("accepted %+v", pk)
			}
		case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
			if id, _, err := checkAck(kind, body, version); err == nil && id == 0 {
				t.Fatal("packet identifier 0")
			}
		default:
			c := cursor{b: body}
			if list := c.props(); c.err == nil {
				_, _ = decodeProps(packets.Publish, list)
			}
		}
		if version > 3 && !bytes.Equal(before, body) {
			t.Fatal("the body was changed")
		}
	})
}

// loop is a session that answers everything at once and delivers to itself what
// it publishes.
type loop struct {
	subproto.Session
	t     *testing.T
	queue []msg.Delivery
	acked map[uint64]bool
	subs  []*msg.Subscription
	ends  int
}

func (l *loop) attach(_ subproto.Peer, _ *auth.Identity, p msg.SessionParams, done func(msg.AttachResult, error)) subproto.Session {
	if p.Window < 1 || p.Window > 65535 {
		l.t.Fatalf("window %d", p.Window)
	}
	if p.Will != nil && msg.ValidTopic(p.Will.Message.Topic) != nil {
		l.t.Fatalf("will topic %q", p.Will.Message.Topic)
	}
	done(msg.AttachResult{}, nil)
	return l
}

func (l *loop) Publish(m *msg.Message, done func(msg.Offset, error)) {
	if err := msg.ValidTopic(m.Topic); err != nil || m.QoS > 2 || m.QoS > 0 != (done != nil) {
		l.t.Fatalf("%q at QoS %d: %v", m.Topic, m.QoS, err)
	}
	d := msg.Delivery{Message: m, Matches: l.subs, QoS: m.QoS, Ref: uint64(len(l.acked) + 1)}
	if m.QoS > 0 {
		l.acked[d.Ref] = false
		done(7, nil)
	}
	if len(l.subs) > 0 {
		l.queue = append(l.queue, d)
	}
}

func (l *loop) Congested() bool { return len(l.queue) > 3 }

func (l *loop) Subscribe(subs []msg.Subscription, done func([]msg.SubscribeResult)) {
	for i := range subs {
		if err := subs[i].Filter.Validate(); err != nil || subs[i].QoS > 2 {
			l.t.Fatalf("subscription %+v: %v", subs[i], err)
		}
		if len(l.subs) < 8 {
			l.subs = append(l.subs, &subs[i])
		}
	}
	done(make([]msg.SubscribeResult, len(subs)))
}

func (l *loop) Unsubscribe(fs []msg.Filter, done func([]error)) { done(make([]error, len(fs))) }

func (l *loop) Next(d *msg.Delivery) bool {
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

// FuzzConversation feeds a whole connection, cut into frames at arbitrary
// places.
func FuzzConversation(f *testing.F) {
	for _, v := range []byte{4, 5} {
		stream, _ := conversation(f, v)
		for _, raw := range fullPackets(v) {
			f.Add(append(bytes.Clone(stream), raw...), byte(7))
		}
		full := fullPackets(v)
		f.Add(bytes.Join([][]byte{full["CONNECT"], full["SUBSCRIBE"], full["PUBLISH"], full["PUBACK"], full["DISCONNECT"]}, nil), byte(200))
		for _, c := range malformedPackets {
			raw := c.v4
			if v == 5 {
				raw = c.v5
			}
			f.Add(append(bytes.Clone(stream), raw...), byte(255))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, step byte) {
		l := &loop{t: t, acked: map[uint64]bool{}}
		e := New(Options{Attach: l.attach, Auth: anybody{}, MaxPacket: 8192})
		r := &recorder{t: t, reading: true}
		h, err := e.Open(r)
		if err != nil {
			t.Fatal(err)
		}
		for len(data) > 0 && !r.closed {
			n := min(len(data), int(step)+1)
			for range 1000 {
				if r.reading || r.closed {
					break
				}
				h.Wake()
			}
			if !r.reading && !r.closed {
				t.Fatal("reading never goes on")
			}
			if !r.closed {
				h.Frame(subproto.Binary, bytes.Clone(data[:n]))
			}
			data = data[n:]
		}
		if hd := h.(*handler); len(hd.in) > 8192+256 {
			t.Fatalf("%d bytes of input kept", len(hd.in))
		}
		h.Closed(nil)
		h.Closed(nil)
		if l.ends > 1 {
			t.Fatalf("the session was closed %d times", l.ends)
		}
	})
}

// anybody lets everybody in, before Authenticate returns.
type anybody struct{ auth.Authenticator }

func (anybody) Authenticate(_ context.Context, _ auth.Credentials, done func(*auth.Identity, error)) {
	done(&auth.Identity{}, nil)
}
