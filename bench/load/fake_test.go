package load

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// fake is a broker for exact topics that does to the n-th delivery and the n-th
// acknowledgement (counted from 0) what a test wants done to it.
type fake struct {
	addr     string
	deliver  func(n int, packet []byte) [][]byte // what to send instead
	ack      func(n int, id []byte) [][]byte     // PUBACK or PUBREC
	release  func(n int, id []byte) [][]byte     // PUBREL
	complete func(n int, id []byte) [][]byte     // PUBCOMP
	clean    bool                                // never has a session
	wg       sync.WaitGroup

	mu         sync.Mutex
	subs       map[string][]net.Conn
	deliveries int
	acks       int
	releases   int
	completes  int
	clients    map[string]net.Conn
}

func newFake(t *testing.T) *fake {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	same := func(_ int, id []byte) [][]byte { return [][]byte{id} }
	f := &fake{
		addr:    l.Addr().String(),
		subs:    make(map[string][]net.Conn),
		clients: make(map[string]net.Conn),
		deliver: func(_ int, p []byte) [][]byte { return [][]byte{p} },
		ack:     same, release: same, complete: same,
	}
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() {
				defer c.Close()
				if err := f.serve(c); err == nil {
					t.Error("a client ended without an error")
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); f.wg.Wait() })
	return f
}

func (f *fake) serve(c net.Conn) error {
	in := bufio.NewReader(c)
	request, err := http.ReadRequest(in)
	if err != nil {
		return err
	}
	sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	for {
		packet, err := readFrame(in)
		if err != nil {
			return err
		}
		first, body, _, ok, err := nextPacket(packet)
		if err != nil || !ok {
			return fmt.Errorf("packet % x: %v", packet, err)
		}
		f.handle(c, first, body, packet)
	}
}

// readFrame reads one masked frame of fewer than 64 KiB.
func readFrame(in *bufio.Reader) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, err
	}
	n := int(head[1] & 0x7f)
	if n == 126 {
		var long [2]byte
		if _, err := io.ReadFull(in, long[:]); err != nil {
			return nil, err
		}
		n = int(long[0])<<8 | int(long[1])
	}
	b := make([]byte, 4+n)
	if _, err := io.ReadFull(in, b); err != nil {
		return nil, err
	}
	for i := range b[4:] {
		b[4+i] ^= b[i&3]
	}
	return b[4:], nil
}

func (f *fake) handle(c net.Conn, first byte, body, packet []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	send := func(to net.Conn, p []byte) {
		frame := []byte{0x82, 126, byte(len(p) >> 8), byte(len(p))}
		_, _ = to.Write(append(frame, p...)) // a client that has gone is its reader's to notice
	}
	switch first >> 4 {
	case 1:
		f.connect(c, body, send)
	case 8:
		n := int(body[2])<<8 | int(body[3])
		topic := string(body[4 : 4+n])
		f.subs[topic] = append(f.subs[topic], c)
		send(c, []byte{0x90, 3, body[0], body[1], body[4+n]})
	case typePubrec:
		for _, id := range f.release(f.releases, body) {
			send(c, append([]byte{0x62, 2}, id...))
		}
		f.releases++
	case typePubrel:
		for _, id := range f.complete(f.completes, body) {
			send(c, append([]byte{0x70, 2}, id...))
		}
		f.completes++
	case typePublish:
		m, _ := parsePublish(first, body)
		if m.qos > 0 {
			for _, id := range f.ack(f.acks, []byte{byte(m.id >> 8), byte(m.id)}) {
				send(c, append([]byte{(typePuback + m.qos - 1) << 4, 2}, id...))
			}
			f.acks++
		}
		for _, to := range f.subs[string(m.topic)] {
			for _, p := range f.deliver(f.deliveries, packet) {
				send(to, p)
			}
			f.deliveries++
		}
	}
}

// connect answers CONNECT and ends the client's last connection.
func (f *fake) connect(c net.Conn, body []byte, send func(net.Conn, []byte)) {
	id := string(body[12:])
	old, known := f.clients[id]
	f.clients[id] = c
	ack := []byte{0x20, 2, 0, 0}
	if known && body[7]&2 == 0 && !f.clean {
		ack[2] = 1
	}
	send(c, ack)
	if known {
		_ = old.Close()
	}
}
