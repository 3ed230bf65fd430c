package mqtt

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"parley/subproto"
	"parley/subproto/subprototest"

	"github.com/mochi-mqtt/server/v2/packets"
)

// wire is a client that writes and reads bytes: it has no codec that could
// forgive what the broker sends, and it does nothing unasked.
type wire struct {
	t testing.TB
	v byte
	c *subprototest.Conn
	n uint16 // last packet id taken by take
}

func (b *broker) wire(v byte) *wire {
	p := b.dial(v)
	return &wire{t: p.t, v: v, c: p.c}
}

// versions runs a test for 3.1.1 and for 5.
func versions(t *testing.T, f func(t *testing.T, v byte)) {
	t.Helper()
	for _, v := range []byte{4, 5} {
		t.Run(fmt.Sprint("v", v), func(t *testing.T) { f(t, v) })
	}
}

// The pieces of packets, as strings of bytes.
func u16(n int) string     { return string(binary.BigEndian.AppendUint16(nil, uint16(n))) }
func u32(n uint32) string  { return string(binary.BigEndian.AppendUint32(nil, n)) }
func str(s string) string  { return u16(len(s)) + s }
func chr(b byte) string    { return string([]byte{b}) }
func vbi(n int) string     { return string(appendVBI(nil, n)) }
func (w *wire) take() int  { w.n++; return int(w.n) }
func (w *wire) five() bool { return w.v == 5 }

func appendVBI(b []byte, n int) []byte {
	for ; n >= 128; n /= 128 {
		b = append(b, byte(n)|128)
	}
	return append(b, byte(n))
}

// props is a property list for v5 and nothing for 3.1.1.
func (w *wire) props(p string) string {
	if w.five() {
		return vbi(len(p)) + p
	}
	return ""
}

// send writes one packet as one frame.
func (w *wire) send(head byte, parts ...string) {
	body := strings.Join(parts, "")
	w.c.Feed(subproto.Binary, []byte(chr(head)+vbi(len(body))+body))
}

// conn is a CONNECT; the zero value has clean start 0 and no expiry.
type conn struct {
	id        string
	clean     bool
	expiry    uint32 // v5: seconds
	keepAlive int
	props     string // v5: more of them
	will      *willing
	user      string
}

type willing struct {
	topic, payload, props string
	qos                   byte
	retain                bool
}

// kept asks for a session that outlives its connection.
func kept(id string) conn { return conn{id: id, expiry: 3600} }

func (w *wire) connectBytes(o conn) string {
	flags, rest := byte(0), ""
	if o.clean {
		flags |= 2
	}
	if o.will != nil {
		flags |= 4 | o.will.qos<<3
		if o.will.retain {
			flags |= 32
		}
		rest += w.props(o.will.props) + str(o.will.topic) + str(o.will.payload)
	}
	if o.user != "" {
		flags |= 128
		rest += str(o.user)
	}
	p := o.props
	if o.expiry > 0 {
		p = "\x11" + u32(o.expiry) + p
	}
	body := str("MQTT") + chr(w.v) + chr(flags) + u16(o.keepAlive) + w.props(p) + str(o.id) + rest
	return "\x10" + vbi(len(body)) + body
}

// connack is what a CONNACK says.
type connack struct {
	present bool
	code    byte
	props   []prop
}

// connect sends CONNECT and reads the first packet, which must be CONNACK
// [MQTT-3.2.0-1] with clean flags [MQTT-3.2.2-1].
func (w *wire) connect(o conn) connack {
	w.t.Helper()
	w.c.Feed(subproto.Binary, []byte(w.connectBytes(o)))
	r := w.want(packets.Connack)
	if len(r.body) < 2 || r.body[0] > 1 || !w.five() && len(r.body) != 2 {
		w.t.Fatalf("CONNACK % x", r.body)
	}
	ack := connack{present: r.body[0] == 1, code: r.body[1]}
	if w.five() {
		ack.props = w.parseProps(&r.body, 2)
	}
	return ack
}

// open is a new connection that was accepted.
func (b *broker) open(v byte, o conn) *wire {
	b.t.Helper()
	w := b.wire(v)
	if ack := w.connect(o); ack.code != 0 {
		b.t.Fatalf("CONNACK %#x", ack.code)
	}
	return w
}

// reopen opens a connection for a session that must be there.
func (b *broker) reopen(v byte, o conn) *wire {
	b.t.Helper()
	w := b.wire(v)
	if ack := w.connect(o); ack.code != 0 || !ack.present {
		b.t.Fatalf("CONNACK %#x, session present %v", ack.code, ack.present)
	}
	return w
}

// lose ends the connection without a goodbye.
func (w *wire) lose() { w.c.Drop(io.EOF) }

// packet is one packet of the broker.
type packet struct {
	head byte
	body []byte
}

func (r packet) kind() byte { return r.head >> 4 }

// read waits for the next packet; false: the broker closed.
func (w *wire) read() (packet, bool) {
	w.t.Helper()
	type result struct {
		f  subprototest.Frame
		ok bool
	}
	got := make(chan result, 1)
	go func() { f, ok := w.c.Next(); got <- result{f, ok} }()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case r := <-got:
		if !r.ok {
			return packet{}, false
		}
		n, size := 0, 0
		for i, c := range r.f.Data[1:] {
			n |= int(c&127) << (7 * i)
			if size = i + 1; c < 128 {
				break
			}
		}
		if body := r.f.Data[1+size:]; len(body) == n {
			return packet{r.f.Data[0], body}, true
		}
		w.t.Fatalf("a frame is not one packet: % x", r.f.Data)
	case <-late.C:
		w.t.Fatal("no packet came in time")
	}
	panic("unreachable")
}

// want waits for the next packet, which must be of this type, its flags as
// table 2-2 has them.
func (w *wire) want(kind byte) packet {
	w.t.Helper()
	r, ok := w.read()
	if !ok {
		code, reason := w.c.WaitClose()
		w.t.Fatalf("closed with %d %q, %s was awaited", code, reason, packets.PacketNames[kind])
	}
	if r.kind() != kind {
		w.t.Fatalf("%s % x, %s was awaited", packets.PacketNames[r.kind()], r.body, packets.PacketNames[kind])
	}
	flags := byte(0)
	if kind == packets.Pubrel {
		flags = 2
	}
	if kind != packets.Publish && r.head&15 != flags {
		w.t.Fatalf("%s with flags %#x", packets.PacketNames[kind], r.head&15)
	}
	return r
}

// wantClosed waits for the end: v5 is told code before (0: nothing).
func (w *wire) wantClosed(code byte) {
	w.t.Helper()
	if w.five() && code != 0 {
		if r := w.want(packets.Disconnect); len(r.body) == 0 || r.body[0] != code {
			w.t.Fatalf("DISCONNECT % x, want %#x", r.body, code)
		}
	}
	if r, ok := w.read(); ok {
		w.t.Fatalf("%s % x, the close was awaited", packets.PacketNames[r.kind()], r.body)
	}
}

// quiet proves that nothing is on its way.
func (w *wire) quiet() {
	w.t.Helper()
	w.send(packets.Pingreq << 4)
	w.want(packets.Pingresp)
}

// ack sends PUBACK, PUBREC, PUBREL or PUBCOMP in its short form.
func (w *wire) ack(kind byte, id int) {
	head := kind << 4
	if kind == packets.Pubrel {
		head |= 2
	}
	w.send(head, u16(id))
}

// wantAck waits for PUBACK, PUBREC, PUBREL or PUBCOMP of id and returns its code.
func (w *wire) wantAck(kind byte, id int) byte {
	w.t.Helper()
	r := w.want(kind)
	if len(r.body) < 2 || !w.five() && len(r.body) != 2 || string(r.body[:2]) != u16(id) {
		w.t.Fatalf("%s % x, want id %d", packets.PacketNames[kind], r.body, id)
	}
	if len(r.body) == 2 {
		return 0
	}
	if len(r.body) > 3 {
		w.parseProps(&r.body, 3)
	}
	return r.body[2]
}

// subscribe takes options bytes in v5's notation (3.1.1: the QoS) and returns
// the codes of SUBACK.
func (w *wire) subscribe(options byte, filters ...string) []byte {
	w.t.Helper()
	id, list := w.take(), ""
	for _, f := range filters {
		list += str(f) + chr(options)
	}
	w.send(packets.Subscribe<<4|2, u16(id), w.props(""), list)
	return w.wantCodes(packets.Suback, id)
}

func (w *wire) unsubscribe(filters ...string) []byte {
	w.t.Helper()
	id, list := w.take(), ""
	for _, f := range filters {
		list += str(f)
	}
	w.send(packets.Unsubscribe<<4|2, u16(id), w.props(""), list)
	return w.wantCodes(packets.Unsuback, id)
}

func (w *wire) wantCodes(kind byte, id int) []byte {
	w.t.Helper()
	r := w.want(kind)
	if string(r.body[:2]) != u16(id) {
		w.t.Fatalf("%s % x, want id %d", packets.PacketNames[kind], r.body, id)
	}
	if w.five() {
		n := len(w.parseProps(&r.body, 2))
		if n > 0 {
			w.t.Fatalf("%s with %d properties", packets.PacketNames[kind], n)
		}
		return r.body[3:]
	}
	return r.body[2:]
}

// Flags of PUBLISH.
const (
	dup    = 8
	retain = 1
)

// publish sends a PUBLISH; id counts at QoS 1 and 2 only.
func (w *wire) publish(qos, flags byte, id int, topic, props, payload string) {
	idBytes := ""
	if qos > 0 {
		idBytes = u16(id)
	}
	w.send(packets.Publish<<4|qos<<1|flags, str(topic), idBytes, w.props(props), payload)
}

// tell publishes at QoS 1 and waits for the PUBACK, which must be a success.
func (w *wire) tell(flags byte, topic, payload string) {
	w.t.Helper()
	id := w.take()
	w.publish(1, flags, id, topic, "", payload)
	if code := w.wantAck(packets.Puback, id); code != 0 && code != 0x10 {
		w.t.Fatalf("PUBACK %#x", code)
	}
}

// tell2 publishes at QoS 2 and completes the exchange.
func (w *wire) tell2(topic, payload string) {
	w.t.Helper()
	id := w.take()
	w.publish(2, 0, id, topic, "", payload)
	if code := w.wantAck(packets.Pubrec, id); code != 0 && code != 0x10 {
		w.t.Fatalf("PUBREC %#x", code)
	}
	w.ack(packets.Pubrel, id)
	w.wantAck(packets.Pubcomp, id)
}

// message is a PUBLISH of the broker.
type message struct {
	qos         byte
	dup, retain bool
	topic       string
	id          int
	props       []prop
	payload     string
}

// receive waits for a PUBLISH.
func (w *wire) receive() message {
	w.t.Helper()
	return w.parse(w.want(packets.Publish))
}

func (w *wire) parse(r packet) message {
	w.t.Helper()
	m := message{qos: r.head >> 1 & 3, dup: r.head&dup > 0, retain: r.head&retain > 0}
	n := int(binary.BigEndian.Uint16(r.body))
	m.topic, r.body = string(r.body[2:2+n]), r.body[2+n:]
	if m.qos > 0 {
		m.id, r.body = int(binary.BigEndian.Uint16(r.body)), r.body[2:]
		if m.id == 0 {
			w.t.Fatal("packet id 0 [MQTT-2.2.1-4]")
		}
	}
	if w.five() {
		m.props = w.parseProps(&r.body, 0)
		_, size := binary.Uvarint(r.body)
		n, _ := binary.Uvarint(r.body)
		r.body = r.body[size+int(n):]
	}
	m.payload = string(r.body)
	return m
}

// expect waits for a PUBLISH with this topic, payload and QoS.
func (w *wire) expect(topic, payload string, qos byte) message {
	w.t.Helper()
	m := w.receive()
	if m.topic != topic || m.payload != payload || m.qos != qos {
		w.t.Fatalf("got %.60q %.60q QoS %d, want %.60q %.60q QoS %d", m.topic, m.payload, m.qos, topic, payload, qos)
	}
	return m
}

// prop is a property; the value of a string pair is name=value.
type prop struct {
	id    byte
	value string
}

func find(list []prop, id byte) (string, bool) {
	for _, p := range list {
		if p.id == id {
			return p.value, true
		}
	}
	return "", false
}

// parseProps reads the property list that begins at the offset at.
func (w *wire) parseProps(body *[]byte, at int) (list []prop) {
	w.t.Helper()
	n, size := binary.Uvarint((*body)[at:])
	b := (*body)[at+size : at+size+int(n)]
	sizes := map[byte]int{
		0x01: 1, 0x17: 1, 0x19: 1, 0x24: 1, 0x25: 1, 0x28: 1, 0x29: 1, 0x2a: 1,
		0x13: 2, 0x21: 2, 0x22: 2, 0x23: 2, 0x02: 4, 0x11: 4, 0x18: 4, 0x27: 4,
	}
	for len(b) > 0 {
		id := b[0]
		b = b[1:]
		switch n, fixed := sizes[id]; {
		case fixed:
			list = append(list, prop{id, string(b[:n])})
			b = b[n:]
		case id == 0x0b:
			_, n := binary.Uvarint(b)
			list = append(list, prop{id, string(b[:n])})
			b = b[n:]
		default:
			n := 2 + int(binary.BigEndian.Uint16(b))
			value := string(b[2:n])
			if b = b[n:]; id == 0x26 {
				n := 2 + int(binary.BigEndian.Uint16(b))
				value += "=" + string(b[2:n])
				b = b[n:]
			}
			list = append(list, prop{id, value})
		}
	}
	return list
}
