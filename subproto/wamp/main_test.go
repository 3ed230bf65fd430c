package wamp

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gammazero/nexus/v3/transport/serialize"

	"parley/auth"
	"parley/hub"
	"parley/msg"
	"parley/persist/mem"
	"parley/subproto"
	"parley/subproto/subprototest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test; no test passes because of it.
const patience = 20 * time.Second

// rules is a policy: what is under "secret" is for nobody, and the user "nobody"
// may do nothing.
type rules struct{}

func (rules) Topic(id *auth.Identity, _ string, _ auth.Action, topic string) error {
	if id != nil && id.User == "nobody" || strings.HasPrefix(topic, "secret") {
		return msg.ErrNotAuthorized
	}
	return nil
}

func (rules) Filter(id *auth.Identity, _ string, f msg.Filter) error {
	if id != nil && id.User == "nobody" || strings.HasPrefix(f.Pattern, "secret") {
		return msg.ErrNotAuthorized
	}
	return nil
}

// doors is an authenticator: user "u" has the password "p", the token "t" is u's,
// "nobody" has "n"; anonymous is allowed unless closed.
type doors struct{ closed bool }

func (d doors) Authenticate(_ context.Context, c auth.Credentials, done func(*auth.Identity, error)) {
	switch {
	case c.None() && !d.closed:
		go done(&auth.Identity{Method: "anonymous"}, nil)
	case c.None():
		go done(nil, msg.ErrNotAuthorized)
	case c.User == "u" && c.Secret == "p":
		done(&auth.Identity{User: "u", Roles: []string{"staff"}, Method: "password", Provider: "static"}, nil)
	case c.User == "" && c.Secret == "t":
		done(&auth.Identity{User: "u", Method: "token", Provider: "static"}, nil)
	case c.User == "nobody" && c.Secret == "n":
		done(&auth.Identity{User: "nobody", Method: "password"}, nil)
	case c.User == "slow":
		go done(nil, msg.ErrAuthUnavail)
	default:
		done(nil, msg.ErrBadCredentials)
	}
}

// broker is an engine on a real hub.
type broker struct {
	*Engine
	t    testing.TB
	hub  *hub.Hub
	stop func() // ends Run and waits for it
}

// start runs an engine until the end of the test.
func start(t testing.TB, change func(*Options)) *broker {
	t.Helper()
	b := prepare(t, change)
	b.run()
	return b
}

// prepare makes an engine whose Run has not begun.
func prepare(t testing.TB, change func(*Options)) *broker {
	t.Helper()
	return prepareOn(t, hub.Options{Store: mem.New()}, change)
}

// prepareOn makes an engine on a hub with further options.
func prepareOn(t testing.TB, on hub.Options, change func(*Options)) *broker {
	t.Helper()
	on.Policy, on.Namespaces = rules{}, []string{"default", "other"}
	h, err := hub.New(on)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Attach: h.Attach, Auth: doors{}, Policy: rules{},
		Namespaces: &auth.Namespaces{
			Default: "default", Names: []string{"default", "other"}, Aliases: map[string]string{"realm1": "default"},
		},
	}
	if change != nil {
		change(&o)
	}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	running(t, func(ctx context.Context) { h.Run(ctx) })
	return &broker{Engine: e, t: t, hub: h}
}

func (b *broker) run() {
	b.stop = running(b.t, func(ctx context.Context) {
		if err := b.Engine.Run(ctx); err != nil {
			b.t.Error(err)
		}
	})
}

// with is b for a subtest.
func (b *broker) with(t testing.TB) *broker { return &broker{b.Engine, t, b.hub, b.stop} }

// running runs f until stop is called or the test ends.
func running(t testing.TB, f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); f(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// client is the other end of a connection. It writes messages as JSON text,
// which is converted to the connection's serialization, and reads them back the
// same way. Binary is the WAMP string "\u0000" + base64 there.
type client struct {
	*subprototest.Conn
	t testing.TB
	w wire
}

func (b *broker) dial(protocol string) *client {
	return b.dialAs(subproto.Info{Protocol: protocol, Negotiated: true})
}

func (b *broker) dialAs(info subproto.Info) *client {
	b.t.Helper()
	c, err := subprototest.Open(b.Engine, info)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Drop(io.EOF) })
	w, _ := wireOf(info.Protocol)
	return &client{c, b.t, w}
}

// transcode converts a value between serializations through the payload views.
func recode(t testing.TB, from, to msg.Codec, v []byte) []byte {
	t.Helper()
	e := encoder{codec: from}
	e.list(1)
	e.raw(v)
	e.endList()
	args, _ := msg.Payload{Form: msg.FormArgs, Codec: from, Data: e.b}.ArgsView(to)
	return args
}

// send writes one message.
func (c *client) send(text string) {
	c.t.Helper()
	frame := []byte(text)
	if c.w.codec() != msg.CodecJSON {
		frame = recode(c.t, msg.CodecJSON, c.w.codec(), frame)
	}
	c.Feed(c.w.frame(), frame)
}

// next waits for a message and returns it as compact JSON with sorted keys.
func (c *client) next() string {
	c.t.Helper()
	stop := time.AfterFunc(patience, func() { panic(c.t.Name() + ": no message within the time limit") })
	defer stop.Stop()
	f, ok := c.Next()
	if !ok {
		return "closed"
	}
	if f.Kind != c.w.frame() {
		c.t.Fatalf("frame of kind %d", f.Kind)
	}
	text := f.Data
	if c.w.codec() != msg.CodecJSON {
		text = recode(c.t, c.w.codec(), msg.CodecJSON, text)
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		c.t.Fatalf("%v in %q", err, text)
	}
	out, _ := json.Marshal(v)
	return string(out)
}

// expect waits for a message: "*" in want stands for any number.
func (c *client) expect(want string) []string {
	c.t.Helper()
	got := c.next()
	vars, ok := like(want, got)
	if !ok {
		c.t.Fatalf("got  %s\nwant %s", got, want)
	}
	return vars
}

// like matches got against a pattern in which * is a number; it returns the
// numbers.
func like(pattern, got string) (vars []string, ok bool) {
	for {
		lit, rest, more := strings.Cut(pattern, "*")
		if !strings.HasPrefix(got, lit) {
			return nil, false
		}
		got = got[len(lit):]
		if !more {
			return vars, got == ""
		}
		n := 0
		for n < len(got) && got[n] >= '0' && got[n] <= '9' {
			n++
		}
		if n == 0 {
			return nil, false
		}
		vars = append(vars, got[:n])
		got, pattern = got[n:], rest
	}
}

const allRoles = `{"caller":{},"callee":{"features":{"call_canceling":true}},"publisher":{},"subscriber":{}}`

// join opens a session and returns its id.
func (c *client) join() string {
	c.t.Helper()
	c.send(`[1,"realm1",{"roles":` + allRoles + `}]`)
	got := c.next()
	if !strings.HasPrefix(got, "[2,") {
		c.t.Fatalf("no WELCOME but %s", got)
	}
	id, _, _ := strings.Cut(got[3:], ",")
	return id
}

// session connects and joins.
func (b *broker) session(protocol string) *client {
	b.t.Helper()
	c := b.dial(protocol)
	c.join()
	return c
}

func (c *client) closed(code int) {
	c.t.Helper()
	for c.next() != "closed" {
	}
	if got, reason := c.WaitClose(); got != code {
		c.t.Fatalf("closed with %d %q, want %d", got, reason, code)
	}
}

var protocols = []string{"wamp.2.json", "wamp.2.msgpack", "wamp.2.cbor"}

func serializer(protocol string) serialize.Serializer {
	switch protocol {
	case "wamp.2.msgpack":
		return &serialize.MessagePackSerializer{}
	case "wamp.2.cbor":
		return &serialize.CBORSerializer{}
	}
	return &serialize.JSONSerializer{}
}
