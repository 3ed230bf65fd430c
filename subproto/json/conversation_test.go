package json

import (
	"strings"
	"testing"

	"parley/auth"
	"parley/subproto"
)

// TestConversation plays whole conversations of one client with a real hub.
func TestConversation(t *testing.T) {
	for name, script := range map[string]string{
		"own publication": hello + `
			> {"id":2,"subscribe":{"channel":"a/+"}}
			< {"id":2,"subscribe":{"epoch":*,"offset":0,"positioned":true,"recoverable":true}}
			> {"id":3,"publish":{"channel":"a/b","data":{"n": 12345678901234567890, "n":1}}}
			< {"id":3,"publish":{"offset":1}}
			< {"push":{"channel":"a/+","pub":{"data":{"n":12345678901234567890,"n":1},"offset":1,"time":*,"tags":{"topic":"a/b","via":"json"},"info":{"user":"","client":*}}}}
		`,
		"one push per subscription": hello + `
			> {"id":2,"subscribe":{"channel":"a/#"}}
				{"id":3,"subscribe":{"channel":"a"}}
			< {"id":2,"subscribe":{"epoch":*,"offset":0,"positioned":true,"recoverable":true}}
			< {"id":3,"subscribe":{"epoch":*,"offset":0,"positioned":true,"recoverable":true}}
			> {"id":4,"unsubscribe":{"channel":"a/#"}}
			< {"id":4,"unsubscribe":{}}
			> {"id":5,"publish":{"channel":"a","data":null}}
			< {"id":5,"publish":{"offset":1}}
			< {"push":{"channel":"a","pub":{"data":null,"offset":1,"time":*,"tags":{"topic":"a","via":"json"},"info":{"user":"","client":*}}}}
			> {"id":6,"ping":{}}
			< {"id":6,"ping":{}}
		`,
		"retained": hello + `
			> {"id":2,"rpc":{"method":"parley.publish","data":{"topic":"r","data":"x","retain":true,"encoding":"text"}}}
			< {"id":2,"rpc":{"data":{"offset":1}}}
			> {"id":3,"subscribe":{"channel":"r"}}
			< {"id":3,"subscribe":{"epoch":*,"offset":1,"positioned":true,"recoverable":true}}
			< {"push":{"channel":"r","pub":{"data":"x","time":*,"tags":{"topic":"r","via":"json","encoding":"text","retained":"true","offset":"1","content_type":"text/plain"},"info":{"user":"","client":*}}}}
			> {"id":4,"rpc":{"method":"parley.publish","data":{"topic":"r","retain":true}}}
			< {"id":4,"rpc":{"data":{"offset":2}}}
			< {"push":{"channel":"r","pub":{"data":"","offset":2,"time":*,"tags":{"topic":"r","via":"json","encoding":"text"},"info":{"user":"","client":*}}}}
			> {"id":5,"unsubscribe":{"channel":"r"}}
			< {"id":5,"unsubscribe":{}}
			> {"id":6,"subscribe":{"channel":"r"}}
			< {"id":6,"subscribe":{"epoch":*,"offset":2,"positioned":true,"recoverable":true}}
			> {"id":7,"ping":{}}
			< {"id":7,"ping":{}}
		`,
		"bytes and properties": hello + `
			> {"id":2,"subscribe":{"channel":"#"}}
			< {"id":2,"subscribe":{"epoch":*,"offset":0,"positioned":true,"recoverable":true}}
			> {"id":3,"rpc":{"method":"parley.publish","data":{"channel":"b","data":"/wA=","encoding":"base64","tags":{"content_type":"x/y","response_topic":"re","correlation":"AQI=","h.one":"1","h.two":"[\"2\",\"3\"]"}}}}
			< {"id":3,"rpc":{"data":{"offset":1}}}
			< {"push":{"channel":"#","pub":{"data":"/wA=","offset":1,"time":*,"tags":{"topic":"b","via":"json","encoding":"base64","content_type":"x/y","response_topic":"re","correlation":"AQI=","h.one":"1","h.two":"[\"2\",\"3\"]"},"info":{"user":"","client":*}}}}
		`,
		"errors": hello + `
			> {"id":2,"subscribe":{"channel":"a/#/b"}}
			< {"id":2,"error":{"code":107,"message":"bad request"}}
			> {"id":3,"subscribe":{}}
			< {"id":3,"error":{"code":107,"message":"bad request"}}
			> {"id":4,"subscribe":{"channel":"no/sub"}}
			< {"id":4,"error":{"code":103,"message":"permission denied"}}
			> {"id":5,"publish":{"channel":"no/pub","data":1}}
			< {"id":5,"error":{"code":103,"message":"permission denied"}}
			> {"id":6,"publish":{"channel":"a/+","data":1}}
			< {"id":6,"error":{"code":107,"message":"bad request"}}
			> {"id":7,"publish":{"channel":"$SYS/x","data":1}}
			< {"id":7,"error":{"code":103,"message":"permission denied"}}
			> {"id":8,"publish":{"channel":"a"}}
			< {"id":8,"error":{"code":107,"message":"bad request"}}
			> {"id":9,"subscribe":{"channel":"a"}}
			< {"id":9,"subscribe":{"epoch":*,"offset":0,"positioned":true,"recoverable":true}}
			> {"id":10,"subscribe":{"channel":"a"}}
			< {"id":10,"error":{"code":105,"message":"already subscribed"}}
			> {"id":11,"subscribe":{"channel":"b"}}
			< {"id":11,"subscribe":{"epoch":*,"offset":0,"positioned":true,"recoverable":true}}
			> {"id":12,"subscribe":{"channel":"c"}}
			< {"id":12,"subscribe":{"epoch":*,"offset":0,"positioned":true,"recoverable":true}}
			> {"id":13,"subscribe":{"channel":"d"}}
			< {"id":13,"error":{"code":106,"message":"limit exceeded"}}
			> {"id":14,"unsubscribe":{"channel":"never"}}
			< {"id":14,"unsubscribe":{}}
			> {"id":15,"subscribe":{"channel":"e","tf":{"key":"k"}}}
			< {"id":15,"error":{"code":108,"message":"not available"}}
			> {"id":16,"presence":{"channel":"a"}}
			< {"id":16,"error":{"code":108,"message":"not available"}}
			> {"id":17,"presence_stats":{"channel":"a"}}
			< {"id":17,"error":{"code":108,"message":"not available"}}
			> {"id":18,"refresh":{"token":"t"}}
			< {"id":18,"error":{"code":108,"message":"not available"}}
			> {"id":19,"whatever":{}}
			< {"id":19,"error":{"code":104,"message":"method not found"}}
			> {"id":20,"rpc":{"method":"parley.unknown"}}
			< {"id":20,"error":{"code":104,"message":"method not found"}}
			> {"id":21,"rpc":{"method":"com.example.f"}}
			< {"id":21,"error":{"code":104,"message":"method not found"}}
			> {"id":22,"rpc":{"method":"parley.publish","data":{"topic":"a","data":1,"what":2}}}
			< {"id":22,"error":{"code":107,"message":"bad request"}}
			> {"id":23,"rpc":{"method":"parley.publish","data":{"topic":"a","data":"%","encoding":"base64"}}}
			< {"id":23,"error":{"code":107,"message":"bad request"}}
			> {"id":24,"rpc":{"method":"parley.publish"}}
			< {"id":24,"error":{"code":107,"message":"bad request"}}
		`,
		"idempotency key": hello + `
			> {"id":2,"rpc":{"method":"parley.publish","data":{"topic":"k","data":{"n":1},"key":"x-1"}}}
			< {"id":2,"rpc":{"data":{"offset":1}}}
			> {"id":3,"publish":{"channel":"k","data":2}}
			< {"id":3,"publish":{"offset":2}}
			> {"id":4,"rpc":{"method":"parley.publish","data":{"topic":"k","data":{"n":1},"key":"x-1"}}}
			< {"id":4,"rpc":{"data":{"offset":1}}}
			> {"id":5,"rpc":{"method":"parley.publish","data":{"topic":"k","data":{"n":2},"key":"x-1"}}}
			< {"id":5,"error":{"code":1009,"message":"idempotency key reused with other content"}}
		`,
		"too large": hello + `
			> {"id":2,"publish":{"channel":"a","data":"` + strings.Repeat("x", 5000) + `"}}
			! 1009 message size limit exceeded
		`,
		"malformed":            hello + "> {\"id\":2,\n! 3501 bad request",
		"malformed at first":   "> [1]\n! 3501 bad request",
		"wrong type":           hello + `> {"id":2,"publish":{"channel":1}}` + "\n! 3501 bad request",
		"lone surrogate":       hello + `> {"id":2,"subscribe":{"channel":"\ud800"}}` + "\n! 3501 bad request",
		"id not a number":      hello + `> {"id":"2","ping":{}}` + "\n! 3501 bad request",
		"connect twice":        hello + `> {"id":2,"connect":{}}` + "\n! 3501 bad request",
		"two requests":         hello + `> {"id":2,"ping":{},"publish":{"channel":"a","data":1}}` + "\n! 3501 bad request",
		"request without id":   hello + `> {"ping":{}}` + "\n! 3501 bad request",
		"send has no reply":    hello + `> {"send":{"data":1}}` + "\n! 3508 not available",
		"pong at first":        "> {}\n! 3501 bad request",
		"space is no command":  "> \n" + hello + "> \n",
		"nested too deep":      "> " + strings.Repeat("[", 300) + "\n! 3501 bad request",
		"answer before malice": hello + "> {\"id\":2,\"ping\":{}}x\n< {\"id\":2,\"ping\":{}}\n! 3501 bad request",
		"by hand": `
			> {"subscribe":{"channel":"a"}}
			< {"connect":{"client":*,"version":"parley","pong":false}}
			< {"subscribe":{"epoch":*,"offset":0,"positioned":true,"recoverable":true}}
			> {"publish":{"channel":"a","data":[1]}}
			< {"publish":{"offset":1}}
			< {"push":{"channel":"a","pub":{"data":[1],"offset":1,"time":*,"tags":{"topic":"a","via":"json"},"info":{"user":"","client":*}}}}
			> {"id":7,"publish":{"channel":"+","data":1}}
			< {"id":7,"error":{"code":107,"message":"bad request"}}
			> {"publsh":{}}
			< {"error":{"code":104,"message":"method not found"}}
			> {}
			> {
				  "ping": {}
				}
			< {"ping":{}}
			> {"send":{}}
			! 3508 not available
		`,
		"by hand with connect": `
			> {"connect":{}}
			< {"connect":{"client":*,"version":"parley","pong":false}}
			> {"ping":{}}
			< {"ping":{}}
		`,
	} {
		t.Run(name, func(t *testing.T) {
			open(t, New(Options{Attach: startHub(t).Attach}), subproto.Info{}).talk(script)
		})
	}
}

// TestConnect: who is let in, and how the others are sent away.
func TestConnect(t *testing.T) {
	h := startHub(t)
	e := New(Options{Attach: h.Attach, Auth: users{}, Version: "v"})
	welcome := "\n" + `< {"id":1,"connect":{"client":*,"version":"v","ping":25,"pong":true}}`
	for name, script := range map[string]string{
		"token":        `> {"id":1,"connect":{"token":"good","name":"js"}}` + welcome,
		"password":     `> {"id":1,"connect":{"data":{"user":"ann","password":"good"}}}` + welcome,
		"other data":   `> {"id":1,"connect":{"token":"good","data":[7]}}` + welcome,
		"bad token":    `> {"id":1,"connect":{"token":"bad"}}` + "\n! 3500 invalid token",
		"no user":      `> {"id":1,"connect":{"data":{"user":"bob","password":"good"}}}` + "\n! 3500 invalid token",
		"anonymous":    `> {"id":1,"connect":{}}` + "\n! 3507 permission denied",
		"implied":      `> {"id":1,"ping":{}}` + "\n! 3507 permission denied",
		"out of order": `> {"id":1,"connect":{"token":"later"}}` + "\n! 4000 authentication unavailable",
	} {
		t.Run(name, func(t *testing.T) { open(t, e, subproto.Info{}).talk(script) })
	}
	t.Run("identity of HTTP", func(t *testing.T) {
		c := open(t, e, subproto.Info{Identity: &auth.Identity{User: "bob"}})
		c.talk(`> {"id":1,"connect":{}}
			` + welcome + `
			> {"id":2,"subscribe":{"channel":"a"}}
			< {"id":2,"subscribe":{"epoch":*,"offset":0,"positioned":true,"recoverable":true}}
			> {"id":3,"publish":{"channel":"a","data":1}}
			< {"id":3,"publish":{"offset":1}}
			< {"push":{"channel":"a","pub":{"data":1,"offset":1,"time":*,"tags":{"topic":"a","via":"json"},"info":{"user":"bob","client":*}}}}`)
		if ready, ping, reading := c.c.State(); !ready || ping || !reading {
			t.Fatal("state", ready, ping, reading)
		}
	})
	t.Run("identity of another namespace", func(t *testing.T) {
		open(t, e, subproto.Info{Identity: &auth.Identity{User: "bob", Namespace: "other"}}).
			talk(`> {"id":1,"connect":{}}` + "\n! 4501 no such namespace")
	})
	t.Run("binary", func(t *testing.T) {
		c := open(t, e, subproto.Info{})
		c.c.Feed(subproto.Binary, []byte(`{"id":1,"connect":{}}`))
		c.talk("! 1003 text messages only")
	})
}

// TestClientIsSession: publications name their publisher as connect named it.
func TestClientIsSession(t *testing.T) {
	c := open(t, New(Options{Attach: startHub(t).Attach}), subproto.Info{})
	c.send(`{"subscribe":{"channel":"a"}}`)
	own := clientOf(t, c.next())
	c.next()
	c.send(`{"publish":{"channel":"a","data":1}}`)
	c.next()
	if got := clientOf(t, c.next()); got != own {
		t.Fatalf("publication is from %s, connected as %s", got, own)
	}
	if _, ping, _ := c.c.State(); !ping {
		t.Fatal("no WebSocket pings for a connection by hand")
	}
}

func clientOf(t *testing.T, v string) string {
	t.Helper()
	_, after, ok := strings.Cut(v, `"client":"`)
	id, _, ok2 := strings.Cut(after, `"`)
	if !ok || !ok2 || id == "" {
		t.Fatal("no client in", v)
	}
	return id
}
