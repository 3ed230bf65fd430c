package json

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"parley/auth"
	"parley/hub"
	"parley/msg"
	"parley/persist/mem"
	"parley/subproto"
	"parley/subproto/subprototest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The SDK of the other side: a request that its Close has cut off waits out
		// the SDK's own read timeout, 5 s.
		goleak.IgnoreAnyFunction("github.com/centrifugal/centrifuge-go.(*Client).sendAsync.func1"))
}

// rules is a policy: what it has no entry for is allowed.
type rules struct{ denyTopic, denyFilter string }

func (r rules) Topic(_ *auth.Identity, _ string, _ auth.Action, topic string) error {
	if topic == r.denyTopic {
		return msg.ErrNotAuthorized
	}
	return nil
}

func (r rules) Filter(_ *auth.Identity, _ string, f msg.Filter) error {
	if f.Pattern == r.denyFilter {
		return msg.ErrNotAuthorized
	}
	return nil
}

// startHub runs a hub over memory until the test ends.
func startHub(t testing.TB) *hub.Hub {
	t.Helper()
	return runHub(t, hub.Options{
		Store: mem.New(), Policy: rules{denyTopic: "no/pub", denyFilter: "no/sub"},
		Limits: hub.Limits{Subscriptions: 3, MessageBytes: 4096},
	})
}

func runHub(t testing.TB, o hub.Options) *hub.Hub {
	t.Helper()
	h, err := hub.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error("hub:", err)
		}
	})
	return h
}

// users knows one token and one password.
type users struct{}

func (users) Authenticate(_ context.Context, c auth.Credentials, done func(*auth.Identity, error)) {
	go func() {
		switch {
		case c.None():
			done(nil, msg.ErrNotAuthorized)
		case c.Secret == "good" && (c.User == "" || c.User == "ann"):
			done(&auth.Identity{User: "ann", Method: "token"}, nil)
		case c.Secret == "later":
			done(nil, msg.ErrAuthUnavail)
		default:
			done(nil, msg.ErrBadCredentials)
		}
	}()
}

// client is the test's end of a connection; it takes messages apart.
type client struct {
	t      testing.TB
	c      *subprototest.Conn
	values [][]byte
}

func open(t testing.TB, e *Engine, info subproto.Info) *client {
	t.Helper()
	c, err := subprototest.Open(e, info)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Drop(nil) })
	return &client{t: t, c: c}
}

func (c *client) send(s string) { c.c.Feed(subproto.Text, []byte(s)) }

// next is the next reply or push, "" when the engine has closed.
func (c *client) next() string {
	c.t.Helper()
	for len(c.values) == 0 {
		f, ok := c.c.Next()
		if !ok {
			return ""
		}
		if f.Kind != subproto.Text {
			c.t.Fatal("not a text message")
		}
		c.values = bytes.Split(f.Data, []byte{'\n'})
	}
	v := c.values[0]
	c.values = c.values[1:]
	if !stdjson.Valid(v) {
		c.t.Fatalf("sent is not JSON: %q", v)
	}
	return string(v)
}

// Parts of what is sent that differ from run to run.
var variable = regexp.MustCompile(`("client":|"epoch":|"time":)("[^"]*"|\d+)`)

func stable(s string) string { return variable.ReplaceAllString(s, `$1*`) }

// talk plays a script against one connection: > is sent, < must come next, !
// is the close. Other lines go on with the one before.
func (c *client) talk(script string) {
	c.t.Helper()
	var lines []string
	for _, line := range strings.Split(script, "\n") {
		switch line = strings.TrimSpace(line); {
		case line == "":
		case strings.ContainsRune("><!", rune(line[0])):
			lines = append(lines, line)
		default:
			lines[len(lines)-1] += "\n" + line
		}
	}
	for _, line := range lines {
		rest := strings.TrimSpace(line[1:])
		switch line[0] {
		case '>':
			c.send(rest)
		case '<':
			if got := stable(c.next()); got != rest {
				c.t.Fatalf("got  %s\nwant %s", got, rest)
			}
		case '!':
			code, reason := c.c.WaitClose()
			if got := strconv.Itoa(code) + " " + reason; got != rest {
				c.t.Fatalf("closed with %s, want %s", got, rest)
			}
			if extra := c.next(); extra != "" {
				c.t.Fatalf("sent before the close: %s", extra)
			}
		}
	}
}

const hello = `
	> {"id":1,"connect":{}}
	< {"id":1,"connect":{"client":*,"version":"parley","ping":25,"pong":true}}
`
