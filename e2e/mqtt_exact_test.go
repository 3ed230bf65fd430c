package e2e

import (
	"encoding/binary"
	"slices"
	"testing"
)

// exactClient is a client of MQTT 3.1.1 or 5 that does QoS 2 as section 4.3.3
// wants it, in bytes, and keeps its state over connections: what it has sent and
// not completed, and the packet ids that it has received and not released.
// Between any two packets it can be made to stop.
type exactClient struct {
	*rawMQTT
	b       *broker
	id      string
	version byte
	limits  string // CONNECT properties of 5.0 besides the session's expiry

	// stop is called after each packet with what was done. True: the broker was
	// killed, and the client is on a new connection; what was to follow is left.
	stop func(point string) bool

	out  []*outgoing // in order
	next uint16
	held map[string]string // packet id -> payload of what came and is not released
	got  []exactMessage
}

// outgoing is a publish of the client's at QoS 2.
type outgoing struct {
	id             string
	topic, payload string
	received       bool // PUBREC came
}

// exactMessage is a delivery, counted at the first PUBLISH under a packet id.
type exactMessage struct {
	topic, payload string
	qos            byte
	dup, retain    bool
	id             string
	properties     string
}

// exactly is a client with a session that never ends.
func (b *broker) exactly(version byte, id, limits string) *exactClient {
	b.t.Helper()
	c := &exactClient{b: b, id: id, version: version, limits: limits, held: map[string]string{}, stop: func(string) bool { return false }}
	c.open(false)
	return c
}

// v5 is text for 5.0 only.
func (c *exactClient) v5(text string) string {
	if c.version == 5 {
		return text
	}
	return ""
}

func rawProperties(list string) string {
	return string(binary.AppendUvarint(nil, uint64(len(list)))) + list
}

// open connects and sends again what the session owes [MQTT-4.4.0-1].
func (c *exactClient) open(present bool) {
	c.b.t.Helper()
	c.rawMQTT = c.b.dialRaw(0)
	connect := rawPacket(0x10, rawString("MQTT"), string([]byte{c.version}), "\x00\x00\x00",
		c.v5(rawProperties("\x11\xff\xff\xff\xff"+c.limits)), rawString(c.id))
	if err := c.write(connect); err != nil {
		c.t.Fatal(err)
	}
	if body := c.want(0x20); body[1] != 0 || (body[0] == 1) != present {
		c.t.Fatalf("%s: CONNACK %q, session present is to be %v", c.id, body[:2], present)
	}
	for _, o := range c.out {
		packet := c.publication(o, true)
		if o.received {
			packet = rawPacket(0x62, o.id)
		}
		if err := c.write(packet); err != nil {
			c.t.Fatal(err)
		}
	}
}

// reopen is open for a session that the broker must still have.
func (c *exactClient) reopen() { c.t.Helper(); c.conn.Close(); c.open(true) }

func (c *exactClient) publication(o *outgoing, dup bool) string {
	head := byte(0x34)
	if dup {
		head |= 8
	}
	return rawPacket(head, rawString(o.topic), o.id, c.v5("\x00"), o.payload)
}

// must sends packets.
func (c *exactClient) must(packets ...string) {
	c.t.Helper()
	if err := c.write(packets...); err != nil {
		c.t.Fatalf("%s: %v", c.id, err)
	}
}

func (c *exactClient) subscribe(filter string, options byte) {
	c.t.Helper()
	c.must(rawPacket(0x82, "\x00\x01", c.v5("\x00"), rawString(filter), string([]byte{options})))
	c.until(func(head byte, body string) bool {
		if head == 0x90 && body[len(body)-1] >= 0x80 {
			c.t.Fatalf("SUBACK %q", body)
		}
		return head == 0x90
	})
}

func (c *exactClient) unsubscribe(filter string) {
	c.t.Helper()
	c.must(rawPacket(0xa2, "\x00\x02", c.v5("\x00"), rawString(filter)))
	c.until(func(head byte, _ string) bool { return head == 0xb0 })
}

// publish sends a PUBLISH at QoS 2; complete waits for the rest.
func (c *exactClient) publish(topic, payload string) {
	c.t.Helper()
	c.next++
	o := &outgoing{id: string(binary.BigEndian.AppendUint16(nil, c.next)), topic: topic, payload: payload}
	c.out = append(c.out, o)
	c.must(c.publication(o, false))
	c.stop("PUBLISH sent")
}

// complete goes on until all that was published is completed, want deliveries
// have come and each of them is released.
func (c *exactClient) complete(want int) {
	c.t.Helper()
	for len(c.out) > 0 || len(c.got) < want || len(c.held) > 0 {
		c.handle()
	}
}

// until goes on until a packet is the one.
func (c *exactClient) until(is func(head byte, body string) bool) {
	c.t.Helper()
	for {
		if head, body := c.handle(); is(head, body) {
			return
		}
	}
}

// quiet proves that the broker has handled what was sent, and takes what is on its
// way.
func (c *exactClient) quiet() {
	c.t.Helper()
	c.must("\xc0\x00")
	c.until(func(head byte, _ string) bool { return head == 0xd0 })
}

// handle takes one packet and answers it.
func (c *exactClient) handle() (head byte, body string) {
	c.t.Helper()
	head, body, err := c.read()
	if err != nil {
		c.t.Fatalf("%s: %v; sent and not completed: %d, received and not released: %d, received: %d", c.id, err, len(c.out), len(c.held), len(c.got))
	}
	switch head >> 4 {
	case 3:
		c.delivered(c.message(head, body))
	case 5:
		o := c.sent(body)
		if o == nil {
			c.t.Fatalf("%s: PUBREC %q for what is not open", c.id, body)
		}
		if o.received = true; !c.stop("PUBREC received") {
			c.must(rawPacket(0x62, o.id))
			c.stop("PUBREL sent")
		}
	case 6:
		delete(c.held, body[:2])
		if !c.stop("PUBREL received") {
			c.must(rawPacket(0x70, body[:2]))
			c.stop("PUBCOMP sent")
		}
	case 7: // 5.0 may say that the id was not found: it was completed before a crash
		c.out = slices.DeleteFunc(c.out, func(o *outgoing) bool { return o.id == body[:2] })
		c.stop("PUBCOMP received")
	}
	return head, body
}

func (c *exactClient) sent(body string) *outgoing {
	if len(body) > 2 && body[2] >= 0x80 {
		c.t.Fatalf("%s: refused with %#x", c.id, body[2])
	}
	for _, o := range c.out {
		if o.id == body[:2] {
			return o
		}
	}
	return nil
}

// message takes a PUBLISH apart.
func (c *exactClient) message(head byte, body string) exactMessage {
	m := exactMessage{qos: head >> 1 & 3, dup: head&8 != 0, retain: head&1 != 0}
	m.topic, m.id, m.payload = rawMessage(head, body)
	if c.version == 5 {
		n, size := binary.Uvarint([]byte(m.payload))
		m.properties, m.payload = m.payload[size:size+int(n)], m.payload[size+int(n):]
	}
	return m
}

// delivered counts a delivery and answers it.
func (c *exactClient) delivered(m exactMessage) {
	c.t.Helper()
	if m.qos < 2 {
		c.got = append(c.got, m)
		if m.qos == 1 {
			c.must(rawPacket(0x40, m.id))
		}
		return
	}
	switch payload, known := c.held[m.id]; {
	case !known:
		c.got = append(c.got, m)
		c.held[m.id] = m.payload
	case payload != m.payload || !m.dup:
		c.t.Fatalf("%s: packet id %q came with %q and now with %q (DUP %v)", c.id, m.id, payload, m.payload, m.dup)
	}
	if !c.stop("PUBLISH received") {
		c.must(rawPacket(0x50, m.id))
		c.stop("PUBREC sent")
	}
}

func (c *exactClient) payloads() (list []string) {
	for _, m := range c.got {
		list = append(list, m.payload)
	}
	return list
}

// wantExactly fails unless these deliveries came, once each and in this order.
func (c *exactClient) wantExactly(t *testing.T, payloads []string) {
	t.Helper()
	if got := c.payloads(); !slices.Equal(got, payloads) {
		t.Errorf("%s: received %q, want %q", c.id, got, payloads)
	}
}
