package torture

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	// answerTime is how long anything may take that the broker does at once; the
	// machine may be busy.
	answerTime = 20 * time.Second
	// frameLimit is the largest message taken, in bytes.
	frameLimit = 4 << 20
)

// socket is one WebSocket connection that can be cut.
type socket struct {
	ws   *websocket.Conn
	kind websocket.MessageType

	tcpMu sync.Mutex
	tcp   net.Conn
}

// dialSocket opens a connection with one subprotocol.
func dialSocket(ctx context.Context, url, protocol string, kind websocket.MessageType) (*socket, error) {
	s := &socket{kind: kind}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		s.tcpMu.Lock()
		s.tcp = conn
		s.tcpMu.Unlock()
		return conn, err
	}}
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{protocol}})
	if err != nil {
		return nil, err
	}
	if got := ws.Subprotocol(); got != protocol {
		ws.CloseNow()
		return nil, fmt.Errorf("subprotocol %q instead of %q", got, protocol)
	}
	ws.SetReadLimit(frameLimit)
	s.ws = ws
	return s, nil
}

func (s *socket) read(ctx context.Context) ([]byte, error) {
	_, b, err := s.ws.Read(ctx)
	return b, err
}

// write fails if the broker takes nothing for answerTime.
func (s *socket) write(b []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	return s.ws.Write(ctx, s.kind, b)
}

// pong has nothing to answer where a ping acknowledges nothing.
func (*socket) pong() error { return nil }

// cut ends the connection as a dead battery does: without a word, and with what
// was not read thrown away.
func (s *socket) cut() {
	s.tcpMu.Lock()
	defer s.tcpMu.Unlock()
	if tcp, ok := s.tcp.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
	}
	s.ws.CloseNow()
}
