package client

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// serveJSON is the other side of a JSON client: it completes the connect and then
// follows script.
func serveJSON(t *testing.T, script func(context.Context, *websocket.Conn)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"json"}})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		expect(ctx, t, c, `"connect":{`)
		say(ctx, t, c, `{"id":1,"connect":{"client":"1","version":"x","ping":25,"pong":true}}`)
		script(ctx, c)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func say(ctx context.Context, t *testing.T, c *websocket.Conn, text string) {
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Error(err)
	}
}

func expect(ctx context.Context, t *testing.T, c *websocket.Conn, part string) {
	if _, got, err := c.Read(ctx); err != nil || !strings.Contains(string(got), part) {
		t.Errorf("got %q, %v, want %s", got, err, part)
	}
}

// A ping is answered, several values may come in one message, and a disconnect
// push says why the connection ends.
func TestJSONConversation(t *testing.T) {
	url := serveJSON(t, func(ctx context.Context, c *websocket.Conn) {
		expect(ctx, t, c, `"subscribe":{"channel":"a/#"}`)
		say(ctx, t, c, "{}") // now: before the request its answer could come on either side of it
		expect(ctx, t, c, "{}")
		say(ctx, t, c, `{"id":2,"subscribe":{}}`+"\n"+`{"push":{"channel":"a/#","pub":{"data":"/w==","tags":{"topic":"a/1","encoding":"base64","offset":"4","retained":"true"}}}}`+"\n"+
			`{"push":{"channel":"a/#","pub":{"data":{"x": 1},"offset":5,"tags":{"topic":"a/2","via":"mqtt","replayed":"true"}}}}`)
		say(ctx, t, c, `{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}`)
	})
	c, err := Dial(t.Context(), Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := make(chan Received, 2)
	if err := c.Subscribe(t.Context(), "a/#", 0, func(r Received) { got <- r }); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.Topic != "a/1" || string(r.Payload) != "\xff" || r.Offset != 4 || !r.Retained {
		t.Errorf("%+v", r)
	}
	if r := <-got; r.Topic != "a/2" || string(r.Payload) != `{"x": 1}` || r.Offset != 5 || r.Via != "mqtt" || r.Retained || !r.Replayed {
		t.Errorf("%+v", r)
	}
	<-c.Done()
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "shutdown (3001)") {
		t.Errorf("%v", err)
	}
	if _, err := c.Publish(t.Context(), Publication{Topic: "a"}); err == nil {
		t.Error("published on a connection that ended")
	}
}

// What is no JSON ends the connection and every wait.
func TestJSONGarbage(t *testing.T) {
	url := serveJSON(t, func(ctx context.Context, c *websocket.Conn) { say(ctx, t, c, `{"id":2`) })
	c, err := Dial(t.Context(), Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Subscribe(t.Context(), "a", 0, func(Received) {}); err == nil || !strings.Contains(err.Error(), "not understood") {
		t.Errorf("%v", err)
	}
}

// A subscription that the broker ends is not waited for in silence.
func TestJSONUnsubscribed(t *testing.T) {
	url := serveJSON(t, func(ctx context.Context, c *websocket.Conn) {
		expect(ctx, t, c, `"subscribe":{"channel":"a"}`)
		say(ctx, t, c, `{"id":2,"subscribe":{}}`+"\n"+`{"push":{"channel":"a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`)
		_, _, _ = c.Read(ctx) // until the client has gone
	})
	c, err := Dial(t.Context(), Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Subscribe(t.Context(), "a", 0, func(Received) {}); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "subscription of a ended: insufficient state (2500)") {
		t.Errorf("%v", err)
	}
}
