package json

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"parley/hub"
	"parley/persist/bolt"
	"parley/subproto"
)

// TestGapsWithRetention: what retention has cut is told, exactly to those that
// missed it: to a session in a message push and in the reply to a later subscribe,
// to a client that recovers by recovered false; what is left comes.
func TestGapsWithRetention(t *testing.T) {
	store, err := bolt.Open(t.TempDir(), bolt.Options{SegmentMessages: 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	h := runHub(t, hub.Options{Store: store, Policy: rules{}, Retention: hub.Retention{Count: 20}, Quota: 2000})
	e := New(Options{Attach: h.Attach})
	for _, session := range []string{"busy", "quiet"} {
		c := open(t, e, subproto.Info{})
		c.send(fmt.Sprintf(`{"id":1,"connect":{"data":{"session":%q}}}`, session))
		c.next()
		c.send(fmt.Sprintf(`{"id":2,"subscribe":{"channel":%q}}`, session))
		if got := c.next(); !strings.Contains(got, `"subscribe":{`) {
			t.Fatal(got)
		}
		c.c.Drop(io.EOF)
	}
	epoch := epochOf(t, e)
	publish(t, e, "busy", make([]int, 100)...)
	h.Retain()

	type gap struct {
		Type, Filter, Reason string
		First, Last, Count   int
	}
	c := open(t, e, subproto.Info{})
	c.talk(durable(`{"session":"busy"}`, `"data":{"session":{"present":true,"expiry":3600}},"subs":{"busy":{"epoch":*,"was_recovering":true,"recovered":true}}`) + "< {}\n> {}")
	var told struct {
		Push struct{ Message struct{ Data gap } }
	}
	if err := json.Unmarshal([]byte(c.next()), &told); err != nil {
		t.Fatal(err)
	}
	g := told.Push.Message.Data
	if g.Type != "gap" || g.Filter != "busy" || g.First != 1 || g.Last != g.Count || g.Count < 10 || g.Count > 90 || g.Reason == "" {
		t.Fatalf("%+v", g)
	}
	for offset := g.Last + 1; offset <= 100; offset++ {
		c.talk("< " + pub("busy", "busy", 0, offset, ""))
	}
	c.talk(`
		> {"id":2,"rpc":{"method":"parley.ack","data":{"channel":"busy","offset":100}}}
		< {"id":2,"rpc":{"data":{}}}
		> {"id":3,"subscribe":{"channel":"busy"}}
		< {"id":3,"subscribe":{"epoch":*,"was_recovering":true,"recovered":false}}`)

	open(t, e, subproto.Info{}).talk(`
		> {"id":1,"connect":{"data":{"session":"quiet"}}}
		< {"id":1,"connect":{"client":*,"version":"parley","ping":25,"pong":true,"data":{"session":{"present":true,"expiry":3600}},"subs":{"quiet":{"epoch":*,"was_recovering":true,"recovered":true}}}}
		< {}
		> {}
		> {"id":2,"ping":{}}
		< {"id":2,"ping":{}}`)

	recover := func(channel string) string {
		return fmt.Sprintf(`> {"id":2,"subscribe":{"channel":%q,"recover":true,"epoch":%q,"offset":0}}`+"\n", channel, epoch)
	}
	c = open(t, e, subproto.Info{})
	c.talk(hello + recover("busy") + fmt.Sprintf(`
		< {"id":2,"subscribe":{"epoch":*,"offset":100,"positioned":true,"recoverable":true,"was_recovering":true,"recovered":false,"data":{"gap":{"first":1,"last":%d,"count":%d,"reason":%q}}}}
		> {"id":3,"ping":{}}
		< {"id":3,"ping":{}}`, g.Last, g.Count, g.Reason))
	open(t, e, subproto.Info{}).talk(hello + recover("quiet") + // nothing of it is missing
		`< {"id":2,"subscribe":{"epoch":*,"offset":0,"positioned":true,"recoverable":true,"was_recovering":true,"recovered":true}}`)
}
