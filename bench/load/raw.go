package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// raw is one MQTT 3.1.1 client over TCP. It is used by one goroutine.
type raw struct {
	nc      net.Conn
	present bool // CONNACK said that there was a session
	buf     []byte
	have    int
	out     []byte // to be written when everything read is handled
	early   []arrival
}

// arrival is a packet that came in the same read as the answer that was waited for.
type arrival struct {
	first byte
	body  []byte
}

// dialRaw connects and says CONNECT; clean is the flag Clean Session.
func dialRaw(ctx context.Context, addr, id string, clean bool, bufSize int) (*raw, error) {
	d := net.Dialer{Timeout: setupTimeout, LocalAddr: &net.TCPAddr{IP: net.ParseIP(local(int(hash(id))))}, Control: lateBind}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &raw{nc: nc, buf: make([]byte, bufSize)}
	if err := c.connect(id, clean); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("connect %s: %w", id, err)
	}
	return c, nil
}

// lateBind lets one port serve several peers: it is chosen at connect.
func lateBind(_, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(cerr, err)
}

// hash spreads clients over local addresses (FNV-1a).
func hash(s string) (h uint32) {
	h = 2166136261
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h >> 8
}

func (c *raw) connect(id string, clean bool) error {
	ack, err := c.ask(connectPacket(id, clean), typeConnack)
	if err != nil {
		return err
	}
	if len(ack) != 2 || ack[1] != 0 {
		return fmt.Errorf("CONNACK % x: %w", ack, ErrPacket)
	}
	c.present = ack[0]&1 != 0
	return nil
}

func (c *raw) subscribe(filter string, qos byte) error {
	ack, err := c.ask(subscribePacket(1, filter, qos), typeSuback)
	if err != nil {
		return fmt.Errorf("SUBSCRIBE: %w", err)
	}
	if len(ack) != 3 || ack[2] != qos {
		return fmt.Errorf("SUBACK % x: %w", ack, ErrPacket)
	}
	return nil
}

// ask writes a packet and waits for the answer, which must come first.
func (c *raw) ask(packet []byte, kind byte) (body []byte, err error) {
	if err := c.nc.SetDeadline(time.Now().Add(setupTimeout)); err != nil {
		return nil, err
	}
	if _, err := c.nc.Write(packet); err != nil {
		return nil, err
	}
	for body == nil && err == nil {
		err = c.receive(func(first byte, b []byte) error {
			if body != nil { // a session's backlog follows CONNACK at once
				c.early = append(c.early, arrival{first, append([]byte{}, b...)})
				return nil
			}
			if first>>4 != kind {
				return fmt.Errorf("type %d instead of %d: %w", first>>4, kind, ErrPacket)
			}
			body = append([]byte{}, b...)
			return nil
		})
	}
	return body, errors.Join(err, c.nc.SetDeadline(time.Time{}))
}

// receive reads once and hands every complete packet to take, which may append
// answers to c.out; they leave in one write.
func (c *raw) receive(take func(first byte, body []byte) error) error {
	if early := c.early; len(early) > 0 {
		c.early = nil
		for _, p := range early {
			if err := take(p.first, p.body); err != nil {
				return err
			}
		}
		return c.flush()
	}
	n, err := c.nc.Read(c.buf[c.have:])
	if err != nil {
		return err
	}
	c.have += n
	rest := c.buf[:c.have]
	for {
		first, body, size, ok, err := nextPacket(rest)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		rest = rest[size:]
		if err := take(first, body); err != nil {
			return err
		}
	}
	c.have = copy(c.buf, rest)
	if c.have == len(c.buf) {
		c.buf = append(c.buf, make([]byte, len(c.buf))...)
	}
	return c.flush()
}

func (c *raw) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

// hangUp says DISCONNECT and closes.
func (c *raw) hangUp() {
	_, _ = c.nc.Write([]byte{typeDisconnect << 4, 0})
	_ = c.nc.Close()
}

// appendPublish appends a PUBLISH at QoS 1 without its payload.
func appendPublish(b []byte, topic string, id uint16, payload int) []byte {
	b = appendLength(append(b, typePublish<<4|1<<1), 2+len(topic)+2+payload)
	return binary.BigEndian.AppendUint16(appendText(b, topic), id)
}

func appendRawAck(b []byte, id uint16) []byte {
	return append(b, typePuback<<4, 2, byte(id>>8), byte(id))
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
