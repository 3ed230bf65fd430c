package wamp

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	nexus "github.com/gammazero/nexus/v3/client"
	"github.com/gammazero/nexus/v3/transport/serialize"
	"github.com/gammazero/nexus/v3/wamp"

	"parley/gateway"
	"parley/subproto"
)

// The same client over real WebSockets and the gateway's own connections.
func TestNexusClientsOverWebSocket(t *testing.T) {
	b := start(t, nil)
	g, err := gateway.New(gateway.Options{Engines: []subproto.Engine{b.Engine}, Auth: doors{}})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running(t, func(ctx context.Context) { g.ServeWS(ctx, ln) })
	shut := func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		g.Shutdown(ctx)
	}
	t.Cleanup(shut)

	connect := func(s serialize.Serialization) *nexus.Client {
		c, err := nexus.ConnectNet(t.Context(), "ws://"+ln.Addr().String()+"/wamp", nexus.Config{
			Realm: "realm1", Serialization: s, Logger: nexusLog{slog.New(slog.DiscardHandler)}, ResponseTimeout: patience,
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, s := range []serialize.Serialization{serialize.JSON, serialize.MSGPACK, serialize.CBOR} {
		p, sub := connect(s), connect(s)
		events := make(chan *wamp.Event, 600)
		if err := sub.SubscribeChan("w", events, wamp.Dict{"match": "prefix"}); err != nil {
			t.Fatal(err)
		}
		for i := range 500 {
			if err := p.Publish("w.t", wamp.Dict{"acknowledge": i%50 == 0}, wamp.List{i}, nil); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 500 {
			e := <-events
			if got, _ := wamp.AsInt64(e.Arguments[0]); got != int64(i) || e.Details["topic"] != "w.t" {
				t.Fatalf("event %d is %v", i, e)
			}
		}
		err := sub.Register("w.p", func(_ context.Context, inv *wamp.Invocation) nexus.InvokeResult {
			return nexus.InvokeResult{Args: inv.Arguments}
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := p.Call(t.Context(), "w.p", nil, wamp.List{"x"}, nil, nil); err != nil || r.Arguments[0] != "x" {
			t.Fatalf("%v, %v", r, err)
		}
		if err := sub.Close(); err != nil { // GOODBYE and its answer
			t.Error(err)
		}
		if s == serialize.CBOR { // the last one stays for the drain
			defer p.Close()
			if err := b.hub.Drain(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			select {
			case <-p.Done():
			case <-time.After(patience):
				t.Fatal("the client does not hear of the drain")
			}
			if bye := p.RouterGoodbye(); bye == nil || bye.Reason != wamp.ErrSystemShutdown {
				t.Errorf("GOODBYE was %v", bye)
			}
		} else if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
