package gateway

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"

	"github.com/coder/websocket"

	"parley/subproto"
)

func TestEchoOverWebSocket(t *testing.T) {
	s := serveWS(t, Options{})
	c := s.dial("any")
	if c.Subprotocol() != "any" {
		t.Fatalf("subprotocol %q", c.Subprotocol())
	}
	ctx := testContext(t)
	for _, n := range []int{0, 1, 125, 126, 4096, 65535, 65536, 300_000, 1 << 20} {
		for _, typ := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
			want := bytes.Repeat([]byte("x"), n)
			if err := c.Write(ctx, typ, want); err != nil {
				t.Fatal(err)
			}
			gotTyp, got, err := c.Read(ctx)
			if err != nil || gotTyp != typ || !bytes.Equal(got, want) {
				t.Fatalf("echo of %d bytes: %d bytes, %v", n, len(got), err)
			}
		}
	}
	if err := c.Ping(pinging(ctx, c)); err != nil {
		t.Fatal("ping:", err)
	}
	if err := c.Close(4321, "bye"); err != nil {
		t.Fatal("close:", err)
	}
}

// pinging reads in the background, because the library's Ping needs a reader.
func pinging(ctx context.Context, c *websocket.Conn) context.Context {
	c.CloseRead(ctx)
	return ctx
}

func TestEchoOverStream(t *testing.T) {
	s := serveStream(t, Options{Engines: []subproto.Engine{newProbe("mqtt")}}, "mqtt")
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	want := bytes.Repeat([]byte("0123456789"), 100_000)
	go func() {
		nc.Write(want)
		nc.(*net.TCPConn).CloseWrite() // half close: the rest still comes back
	}()
	got, err := io.ReadAll(nc)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d of %d bytes came back, %v", len(got), len(want), err)
	}
}
