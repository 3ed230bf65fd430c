package json

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
	"github.com/coder/websocket"

	"parley/msg"
	"parley/subproto"
	"parley/subproto/subprototest"
)

// serve is a gateway of a few lines for e: no limits, no negotiation. pongs
// gets a value for every answer to a ping.
func serve(t *testing.T, e *Engine) (url string, pongs <-chan struct{}) {
	t.Helper()
	var running sync.WaitGroup
	answers := make(chan struct{}, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		running.Add(1)
		defer running.Done()
		c, err := subprototest.Open(e, subproto.Info{})
		if err != nil {
			t.Error(err)
			return
		}
		running.Go(func() {
			for {
				f, ok := c.Next()
				if !ok {
					break
				}
				_ = ws.Write(context.Background(), websocket.MessageText, f.Data)
			}
			code, reason := c.WaitClose()
			_ = ws.Close(websocket.StatusCode(code), reason)
		})
		for {
			_, data, err := ws.Read(context.Background())
			if err != nil {
				break
			}
			if string(bytes.TrimSpace(data)) == "{}" {
				answers <- struct{}{}
			}
			c.Feed(subproto.Text, data)
		}
		c.Close(1000, "")
		c.Drop(nil)
	}))
	t.Cleanup(func() {
		srv.Close()
		running.Wait()
	})
	return "ws" + strings.TrimPrefix(srv.URL, "http"), answers
}

// sdk is a client of centrifuge-go, closed with the test.
func sdk(t *testing.T, url string, cfg centrifuge.Config) *centrifuge.Client {
	t.Helper()
	c := centrifuge.NewJsonClient(url, cfg)
	t.Cleanup(c.Close)
	return c
}

func within[T any](t *testing.T, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came: ", what)
	}
	return v
}

// TestSDK: an unmodified client of the protocol's authors subscribes, publishes,
// calls, and understands the additions.
func TestSDK(t *testing.T) {
	h := startHub(t)
	f := &fakeCaller{calls: make(chan subproto.Call, 10), canceled: make(chan string, 10)}
	url, pongs := serve(t, New(Options{Attach: h.Attach, Caller: f, PingInterval: time.Second}))
	c := sdk(t, url, centrifuge.Config{MaxServerPingDelay: time.Second})
	connected := make(chan centrifuge.ConnectedEvent, 1)
	gone := make(chan centrifuge.DisconnectedEvent, 1)
	again := make(chan centrifuge.ConnectingEvent, 9)
	c.OnConnected(func(e centrifuge.ConnectedEvent) { connected <- e })
	c.OnDisconnected(func(e centrifuge.DisconnectedEvent) { gone <- e })
	c.OnConnecting(func(e centrifuge.ConnectingEvent) { again <- e })
	sub, err := c.NewSubscription("a/+")
	if err != nil {
		t.Fatal(err)
	}
	pubs := make(chan centrifuge.PublicationEvent, 600)
	subscribed := make(chan centrifuge.SubscribedEvent, 1)
	sub.OnPublication(func(e centrifuge.PublicationEvent) { pubs <- e })
	sub.OnSubscribed(func(e centrifuge.SubscribedEvent) { subscribed <- e })
	if err := sub.Subscribe(); err != nil {
		t.Fatal(err)
	}
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	if e := within(t, connected, "connected"); e.ClientID == "" || e.Version != "parley" {
		t.Fatalf("%+v", e)
	}
	within(t, again, "connecting")
	if e := within(t, subscribed, "subscribed"); !e.Positioned || !e.Recoverable || e.StreamPosition == nil || e.StreamPosition.Epoch == "" {
		t.Fatalf("%+v", e)
	}
	ctx := context.Background()
	if _, err := c.Publish(ctx, "a/b", []byte(`{"n":1}`)); err != nil {
		t.Fatal(err)
	}
	e := within(t, pubs, "publication")
	if string(e.Data) != `{"n":1}` || e.Offset != 1 || e.Tags["topic"] != "a/b" || e.Tags["via"] != msg.ViaJSON || e.Info == nil || e.Info.Client == "" {
		t.Fatalf("%+v", e)
	}
	checkSDKCalls(t, c)
	checkSDKOrder(t, c, pubs, e.Offset)
	for range 2 {
		within(t, pongs, "pong")
	}
	if c.State() != centrifuge.StateConnected || len(again)+len(gone) > 0 {
		t.Fatal("did not stay connected")
	}
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RPC(ctx, "echo", nil); err != nil { // its reply comes after that to unsubscribe
		t.Fatal(err)
	}
}

// checkSDKOrder: 500 publishes at once are acknowledged and come in the order of the log.
func checkSDKOrder(t *testing.T, c *centrifuge.Client, pubs <-chan centrifuge.PublicationEvent, last uint64) {
	t.Helper()
	for i := range 500 {
		go func() {
			if _, err := c.Publish(context.Background(), "a/c", []byte("1")); err != nil {
				t.Error(i, err)
			}
		}()
	}
	for range 500 {
		e := within(t, pubs, "publication of many")
		if e.Offset <= last {
			t.Fatalf("offset %d after %d", e.Offset, last)
		}
		last = e.Offset
	}
}

func checkSDKCalls(t *testing.T, c *centrifuge.Client) {
	t.Helper()
	ctx := context.Background()
	if r, err := c.RPC(ctx, "echo", []byte(`{"x":[1]}`)); err != nil || string(r.Data) != `{"x":[1]}` {
		t.Fatalf("%s %v", r.Data, err)
	}
	if r, err := c.RPC(ctx, "parley.publish", []byte(`{"topic":"z","data":1,"retain":true}`)); err != nil || string(r.Data) != `{"offset":2}` {
		t.Fatalf("%s %v", r.Data, err)
	}
	var e *centrifuge.Error
	if _, err := c.Publish(ctx, "no/pub", []byte("1")); !asError(err, &e) || e.Code != codeDenied {
		t.Fatal(err)
	}
	if _, err := c.Presence(ctx, "a"); !asError(err, &e) || e.Code != codeNotAvailable {
		t.Fatal(err)
	}
}

func asError(err error, e **centrifuge.Error) bool {
	got, ok := err.(*centrifuge.Error)
	*e = got
	return ok
}

// TestSDKTerminal: what ends a connection for good ends it in the client too.
func TestSDKTerminal(t *testing.T) {
	url, _ := serve(t, New(Options{Attach: startHub(t).Attach, Auth: users{}}))
	c := sdk(t, url, centrifuge.Config{Token: "bad"})
	gone := make(chan centrifuge.DisconnectedEvent, 1)
	c.OnDisconnected(func(e centrifuge.DisconnectedEvent) { gone <- e })
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	if e := within(t, gone, "disconnected"); e.Code != closeInvalidToken || e.Reason != "invalid token" {
		t.Fatalf("%+v", e)
	}
}

// TestSDKDurable: centrifuge-go answers a ping after its handlers of earlier
// publications have returned, so its pongs acknowledge what was handled; and what
// its session has missed comes to a subscription made before connecting.
func TestSDKDurable(t *testing.T) {
	e := New(Options{Attach: startHub(t).Attach})
	url, pongs := serve(t, e)
	cfg := centrifuge.Config{Data: []byte(`{"session":"truck-7","window":1}`)}
	connect := func(handle centrifuge.PublicationHandler) (*centrifuge.Client, centrifuge.SubscribedEvent) {
		c := sdk(t, url, cfg)
		sub, err := c.NewSubscription("t/#")
		if err != nil {
			t.Fatal(err)
		}
		subscribed := make(chan centrifuge.SubscribedEvent, 1)
		sub.OnSubscribed(func(e centrifuge.SubscribedEvent) { subscribed <- e })
		sub.OnPublication(handle)
		if err := sub.Subscribe(); err != nil {
			t.Fatal(err)
		}
		if err := c.Connect(); err != nil {
			t.Fatal(err)
		}
		return c, within(t, subscribed, "subscribed")
	}
	handled := 0
	done := make(chan struct{})
	c, _ := connect(func(e centrifuge.PublicationEvent) {
		<-time.After(20 * time.Millisecond) // work, while the ping that follows has come already
		if e.Tags["redelivered"] != "" || len(pongs) != handled {
			t.Errorf("%v: %d pings answered while %d publications are handled", e.Tags, len(pongs), handled)
		}
		if handled++; handled == 3 {
			close(done)
		}
	})
	publish(t, e, "t/1", 10, 11, 12)
	within(t, done, "all publications")
	for range 3 {
		within(t, pongs, "pong")
	}
	c.Close()

	publish(t, e, "t/1", 13, 14)
	got := make(chan centrifuge.PublicationEvent, 10)
	_, event := connect(func(e centrifuge.PublicationEvent) { got <- e })
	if !event.WasRecovering || !event.Recovered {
		t.Fatalf("%+v", event)
	}
	for want := uint64(4); want <= 5; want++ {
		for e := within(t, got, "publication"); e.Offset != want; e = within(t, got, "publication") {
			if e.Tags["redelivered"] == "" { // the last pong may have come too late for the broker
				t.Fatalf("offset %d instead of %d", e.Offset, want)
			}
		}
	}
}
