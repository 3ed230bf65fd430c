package e2e

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// rawMQTT is a client of MQTT 3.1.1 in bytes over TCP, for what real clients do
// not do: stop reading, not answer, connect by the hundred.
type rawMQTT struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// dialRaw connects; buffer is the size of the socket's receive buffer, 0 the
// system's.
func (b *broker) dialRaw(buffer int) *rawMQTT {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.mqtt)
	if err != nil {
		b.t.Fatal(err)
	}
	if buffer > 0 {
		if err := conn.(*net.TCPConn).SetReadBuffer(buffer); err != nil {
			b.t.Fatal(err)
		}
	}
	b.t.Cleanup(func() { conn.Close() })
	return &rawMQTT{b.t, conn, bufio.NewReaderSize(conn, 512)}
}

func rawString(s string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s
}

func rawPacket(head byte, parts ...string) string {
	body := strings.Join(parts, "")
	return string([]byte{head}) + string(binary.AppendUvarint(nil, uint64(len(body)))) + body
}

func rawConnect(id string, clean bool) string {
	flags := "\x00"
	if clean {
		flags = "\x02"
	}
	return rawPacket(0x10, rawString("MQTT"), "\x04", flags, "\x00\x00", rawString(id))
}

// write sends bytes; an error means that the broker has closed.
func (c *rawMQTT) write(packets ...string) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience)) // a closed connection shows in Write
	_, err := io.WriteString(c.conn, strings.Join(packets, ""))
	return err
}

// read waits for the next packet.
func (c *rawMQTT) read() (head byte, body string, err error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(patience)) // a closed connection shows in Read
	if head, err = c.r.ReadByte(); err != nil {
		return 0, "", err
	}
	n, err := binary.ReadUvarint(c.r)
	if err != nil {
		return 0, "", err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(c.r, b)
	return head, string(b), err
}

func (c *rawMQTT) want(head byte) string {
	c.t.Helper()
	got, body, err := c.read()
	if err != nil || got != head {
		c.t.Fatalf("packet %#x %.100q, %v; %#x was awaited", got, body, err, head)
	}
	return body
}

// open is a connection with a session and, if filter is not empty, a
// subscription at QoS 1.
func (b *broker) openRaw(id string, clean bool, buffer int, filter string, qos byte) *rawMQTT {
	b.t.Helper()
	c := b.dialRaw(buffer)
	if err := c.write(rawConnect(id, clean)); err != nil {
		b.t.Fatal(err)
	}
	if body := c.want(0x20); body[1] != 0 {
		b.t.Fatalf("CONNACK %q", body)
	}
	if filter != "" {
		if err := c.write(rawPacket(0x82, "\x00\x01", rawString(filter), string([]byte{qos}))); err != nil {
			b.t.Fatal(err)
		}
		c.want(0x90)
	}
	return c
}

// publish sends at QoS 1 and waits for the acknowledgement.
func (c *rawMQTT) publish(topic, payload string) {
	c.t.Helper()
	if err := c.write(rawPacket(0x32, rawString(topic), "\x00\x01", payload)); err != nil {
		c.t.Fatal(err)
	}
	c.want(0x40)
}

// message takes a PUBLISH apart.
func rawMessage(head byte, body string) (topic, id, payload string) {
	n := 2 + int(binary.BigEndian.Uint16([]byte(body)))
	topic, body = body[2:n], body[n:]
	if head>>1&3 > 0 {
		id, body = body[:2], body[2:]
	}
	return topic, id, body
}
