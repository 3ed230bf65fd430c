package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"time"
)

// setupTimeout bounds every step up to the last SUBACK.
const setupTimeout = 30 * time.Second

// conn is one MQTT client over WebSocket. Its reader reads much at a time and
// its writers write whole frames, many in one call where the scenario says so.
type conn struct {
	nc      net.Conn
	present bool // CONNACK said that there was a session

	// Owned by the reader.
	buf   []byte // bytes read and not yet framed are buf[:have]
	have  int
	stash []byte // the beginning of an MQTT packet that continues in the next frame
	out   []byte // frames to write when everything read is handled
}

// dial connects from the loopback address local, upgrades to WebSocket with
// the subprotocol mqtt, and says CONNECT, with a clean session if clean is set.
// bufSize is the reader's buffer.
func dial(ctx context.Context, addr, local, id string, clean bool, bufSize int) (*conn, error) {
	d := net.Dialer{
		Timeout:   setupTimeout,
		LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)},
		Control:   lateBind,
	}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &conn{nc: nc, buf: make([]byte, bufSize)}
	if err := c.open(addr, id, clean); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("open %s: %w", id, err)
	}
	return c, nil
}

func (c *conn) open(addr, id string, clean bool) error {
	if err := c.nc.SetDeadline(time.Now().Add(setupTimeout)); err != nil {
		return err
	}
	if err := c.upgrade(addr); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	if err := c.write(opBinary, connectPacket(id, clean)); err != nil {
		return err
	}
	ack, err := c.await(typeConnack)
	if err != nil {
		return fmt.Errorf("CONNECT: %w", err)
	}
	if len(ack) != 2 || ack[1] != 0 {
		return fmt.Errorf("CONNACK % x: %w", ack, ErrPacket)
	}
	c.present = ack[0]&1 != 0
	return c.nc.SetDeadline(time.Time{})
}

// upgrade is the client's half of RFC 6455 section 4.1.
func (c *conn) upgrade(addr string) error {
	const key = "cGFybGV5IGJlbmNobWFyaw=="
	const accept = "Sec-WebSocket-Accept"
	request := "GET /mqtt HTTP/1.1\r\nHost: " + addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: " + key + "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	if _, err := c.nc.Write([]byte(request)); err != nil {
		return err
	}
	end := -1
	for end < 0 {
		if c.have == len(c.buf) {
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		}
		n, err := c.nc.Read(c.buf[c.have:])
		if err != nil {
			return err
		}
		c.have += n
		end = bytes.Index(c.buf[:c.have], []byte("\r\n\r\n"))
	}
	head := c.buf[:end+4]
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), nil)
	if err != nil {
		return err
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	switch {
	case response.StatusCode != http.StatusSwitchingProtocols:
		return fmt.Errorf("status %s", response.Status)
	case response.Header.Get(accept) != base64.StdEncoding.EncodeToString(sum[:]):
		return fmt.Errorf("%s %q: %w", accept, response.Header.Get(accept), ErrFrame)
	case response.Header.Get("Sec-WebSocket-Protocol") != "mqtt":
		return fmt.Errorf("subprotocol %q: %w", response.Header.Get("Sec-WebSocket-Protocol"), ErrFrame)
	}
	c.have = copy(c.buf, c.buf[end+4:c.have])
	return nil
}

func (c *conn) subscribe(filter string, qos byte) error {
	if err := c.nc.SetDeadline(time.Now().Add(setupTimeout)); err != nil {
		return err
	}
	if err := c.write(opBinary, subscribePacket(1, filter, qos)); err != nil {
		return err
	}
	ack, err := c.await(typeSuback)
	if err != nil {
		return fmt.Errorf("SUBSCRIBE: %w", err)
	}
	if len(ack) != 3 || ack[2] != qos {
		return fmt.Errorf("SUBACK % x: %w", ack, ErrPacket)
	}
	return c.nc.SetDeadline(time.Time{})
}

func (c *conn) write(op byte, payload []byte) error {
	_, err := c.nc.Write(appendFrame(nil, op, payload))
	return err
}

// await receives until a packet of that type has come; there must be no other.
func (c *conn) await(kind byte) (body []byte, err error) {
	for body == nil && err == nil {
		err = c.receive(func(first byte, b []byte) error {
			if first>>4 != kind {
				return fmt.Errorf("type %d instead of %d: %w", first>>4, kind, ErrPacket)
			}
			body = bytes.Clone(b)
			return nil
		})
	}
	return body, err
}

// receive reads once and hands every packet that is then complete to take, which
// may append answers to c.out. They leave in one write at the end.
func (c *conn) receive(take func(first byte, body []byte) error) error {
	n, err := c.nc.Read(c.buf[c.have:])
	if err != nil {
		return err
	}
	c.have += n
	rest := c.buf[:c.have]
	for {
		op, payload, size, ok, err := nextFrame(rest)
		if err != nil {
			return err
		}
		if !ok {
			c.have = copy(c.buf, rest)
			if size > len(c.buf) {
				c.buf = append(make([]byte, 0, 2*size), c.buf[:c.have]...)[:2*size]
			}
			break
		}
		rest = rest[size:]
		if err := c.frame(op, payload, take); err != nil {
			return err
		}
	}
	if len(c.out) == 0 {
		return nil
	}
	_, err = c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *conn) frame(op byte, payload []byte, take func(first byte, body []byte) error) error {
	switch op {
	case opBinary, opContinuation:
		return c.packets(payload, take)
	case opPing:
		c.out = appendFrame(c.out, opPong, payload)
	case opPong:
	case opClose:
		return fmt.Errorf("the server closed: %q", payload)
	default:
		return fmt.Errorf("opcode %d: %w", op, ErrFrame)
	}
	return nil
}

// packets splits the byte stream that the frames carry: packets need not begin
// where frames do [MQTT-6.0.0-2].
func (c *conn) packets(payload []byte, take func(first byte, body []byte) error) error {
	data := payload
	if len(c.stash) > 0 {
		c.stash = append(c.stash, payload...)
		data = c.stash
	}
	for len(data) > 0 {
		first, body, size, ok, err := nextPacket(data)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := take(first, body); err != nil {
			return err
		}
		data = data[size:]
	}
	c.stash = append(c.stash[:0], data...)
	return nil
}

// abort closes without a farewell and leaves no port waiting.
func (c *conn) abort() {
	if tcp, ok := c.nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.nc.Close()
}
