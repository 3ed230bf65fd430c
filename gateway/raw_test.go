package gateway

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// upgradeRaw does a WebSocket handshake by hand and returns the response's
// status and header. extra are further header lines, each ending in \r\n.
func upgradeRaw(t testing.TB, nc net.Conn, path, extra string) *http.Response {
	t.Helper()
	_, err := fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: h.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", path, extra)
	if err != nil {
		t.Fatal(err)
	}
	// Byte by byte: what follows the header belongs to the caller.
	var head strings.Builder
	for b := make([]byte, 1); !strings.HasSuffix(head.String(), "\r\n\r\n"); {
		if _, err := io.ReadFull(nc, b); err != nil {
			t.Fatalf("%v after %q", err, head.String())
		}
		head.Write(b)
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head.String())), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// maskedFrame is a client's frame with the first byte as given.
func maskedFrame(first byte, payload []byte) []byte {
	f := maskedHeader(first, len(payload))
	for i, b := range payload {
		f = append(f, b^f[len(f)-4-i+(i&3)])
	}
	return f
}

// maskedHeader announces n bytes; the mask is its last four bytes.
func maskedHeader(first byte, n int) []byte {
	f := []byte{first}
	switch {
	case n < 126:
		f = append(f, bitMask|byte(n))
	case n <= 0xffff:
		f = binary.BigEndian.AppendUint16(append(f, bitMask|126), uint16(n))
	default:
		f = binary.BigEndian.AppendUint64(append(f, bitMask|127), uint64(n))
	}
	return append(f, 0x11, 0x22, 0x33, 0x44)
}

// rawClient is a WebSocket client that may do anything.
type rawClient struct {
	t  testing.TB
	nc net.Conn
	br *bufio.Reader
}

func (s *server) raw(extra string) *rawClient {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	if resp := upgradeRaw(s.t, nc, "/ws", extra); resp.StatusCode != http.StatusSwitchingProtocols {
		s.t.Fatalf("upgrade: %s", resp.Status)
	}
	return newRawClient(s.t, nc)
}

func newRawClient(t testing.TB, nc net.Conn) *rawClient {
	return &rawClient{t, nc, bufio.NewReader(nc)}
}

// send writes raw bytes; errors are the test's to find on the reading side.
func (c *rawClient) send(parts ...[]byte) {
	for _, p := range parts {
		if _, err := c.nc.Write(p); err != nil {
			return
		}
	}
}

// rawFrame is one frame of the server.
type rawFrame struct {
	first   byte
	payload []byte
}

// read returns the next frame, io.EOF at a clean end.
func (c *rawClient) read() (rawFrame, error) {
	var h [2]byte
	if _, err := io.ReadFull(c.br, h[:]); err != nil {
		return rawFrame{}, err
	}
	n := int(h[1])
	if h[1]&bitMask != 0 {
		c.t.Fatal("the server masked a frame")
	}
	switch n {
	case 126:
		var b [2]byte
		io.ReadFull(c.br, b[:])
		n = int(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		io.ReadFull(c.br, b[:])
		n = int(binary.BigEndian.Uint64(b[:]))
	}
	p := make([]byte, n)
	_, err := io.ReadFull(c.br, p)
	return rawFrame{h[0], p}, err
}

// want reads a frame and compares it.
func (c *rawClient) want(first byte, payload string) {
	c.t.Helper()
	f, err := c.read()
	if err != nil || f.first != first || string(f.payload) != payload {
		c.t.Fatalf("got frame %#x %.40q (%d bytes), %v; want %#x %.40q", f.first, f.payload, len(f.payload), err, first, payload)
	}
}

// wantClose reads on to a close frame with code, after which the connection must
// end.
func (c *rawClient) wantClose(code int) {
	c.t.Helper()
	f, err := c.read()
	if err != nil || f.first != bitFin|opClose {
		c.t.Fatalf("got frame %#x %.40q, %v; want close %d", f.first, f.payload, err, code)
	}
	got := 1005
	if len(f.payload) >= 2 {
		got = int(binary.BigEndian.Uint16(f.payload))
	}
	if got != code {
		c.t.Fatalf("closed with %d %q, want %d", got, f.payload[2:], code)
	}
	c.wantEnd()
}

func (c *rawClient) wantEnd() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.br); err != nil && isTimeout(err) {
		c.t.Fatal("the connection did not end")
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}
