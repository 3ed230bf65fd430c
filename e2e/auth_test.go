package e2e

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// startGuarded starts a broker with a file of users, written by its own
// commands, and rules. It returns a token as well.
func startGuarded(t *testing.T) (b *broker, token string) {
	t.Helper()
	b = &broker{t: t} // only to run the binary
	users := filepath.Join(t.TempDir(), "users")
	run := func(stdin string, args ...string) string {
		t.Helper()
		cmd := b.command(args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("broker %s: %v", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out))
	}
	run("correct horse\n", "passwd", "--file", users, "--role", "operator", "alice")
	token = run("", "token", "create", "--file", users, "--role", "device", "sensor-7")
	return startBroker(t, fmt.Sprintf(`
auth:
  file: %s
  rules:
    - {deny: [publish, subscribe], topics: [secret/#]}
    - {deny: [call, register], topics: [com/example/secret/#]}
    - {deny: [publish], topics: [sensors/#], roles: [operator]}`, users)), token
}

// proof is what proves alice, or the token, in each protocol's own fields.
func (p *peer) proof(token string) args {
	switch {
	case token == "":
		return args{"user": "alice", "secret": "correct horse"}
	case p.family() == "json":
		return args{"token": token}
	case p.wamp():
		return args{"secret": token}
	}
	return args{"user": "sensor-7", "secret": token} // MQTT.js sends no password without a user
}

// TestRefusedConnections: without credentials, and with wrong ones, every
// protocol says so in its own words.
func TestRefusedConnections(t *testing.T) {
	b, _ := startGuarded(t)
	d := startDriver(t)
	tests := []struct {
		kind              string
		nothing, mistaken any // codes
	}{
		{"mqtt5", 0x87, 0x86}, // MQTT 5 table 3-1: not authorized, bad user name or password
		{"mqtt3", 5, 4},       // MQTT 3.1.1 table 3.1
		{"wamp.json", "wamp.error.authentication_required", "wamp.error.authentication_denied"},
		{"wamp.msgpack", "wamp.error.authentication_required", "wamp.error.authentication_denied"},
		{"wamp.cbor", "wamp.error.authentication_required", "wamp.error.authentication_denied"},
		{"bare", 3507, 3500}, // codes after which SDKs do not come back
		{"centrifuge", 3507, 3500},
	}
	for _, tt := range tests {
		for what, c := range map[string]struct {
			with args
			want any
		}{
			"nothing":          {nil, tt.nothing},
			"a wrong password": {args{"user": "alice", "secret": "wrong"}, tt.mistaken},
			"an unknown user":  {args{"user": "mallory", "secret": "correct horse"}, tt.mistaken},
		} {
			_, err := d.tryOpen(tt.kind+what, tt.kind, b, c.with)
			if err == nil || fmt.Sprint(err.Code) != fmt.Sprint(c.want) {
				t.Errorf("%s with %s: %v, want %v", tt.kind, what, err, c.want)
			}
		}
	}

	// What HTTP carries is checked before the upgrade.
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:wrong"))
	if _, err := d.tryOpen("basic", "raw", b, args{"protocols": []string{"json"}, "headers": args{"Authorization": basic}}); err == nil || err.Code != 401.0 {
		t.Errorf("wrong HTTP credentials: %v, want 401", err)
	}
}

// TestProvedConnections: the same user and token log in to every protocol.
func TestProvedConnections(t *testing.T) {
	b, token := startGuarded(t)
	d := startDriver(t)
	for _, kind := range kinds {
		p := &peer{kind: kind}
		d.open(kind+" alice", kind, b, p.proof(""))
		opened := d.open(kind+" token", kind, b, p.proof(token)).opened
		if p.wamp() && (opened.AuthID != "sensor-7" || opened.AuthRole != "device") {
			t.Errorf("%s: WELCOME names %q, role %q", kind, opened.AuthID, opened.AuthRole)
		}
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:correct horse"))
	raw, err := d.tryOpen("basic", "raw", b, args{"protocols": []string{"json"}, "headers": args{"Authorization": basic}})
	if err != nil {
		t.Fatalf("HTTP credentials: %v", err)
	}
	raw.do("send", args{"payload": `{"publish":{"channel":"open/x","data":1}}`})
	for {
		frame := string(<-raw.frames)
		if strings.Contains(frame, "error") {
			t.Errorf("by hand with HTTP credentials: %s", frame)
		}
		if strings.Contains(frame, "offset") {
			break
		}
	}
}

// TestRefusedRequests: one rule decides for topic, URI and channel; each protocol
// answers in its own words, and the connection goes on where it can.
func TestRefusedRequests(t *testing.T) {
	b, _ := startGuarded(t)
	d := startDriver(t)
	const notAuthorized = "wamp.error.not_authorized"
	for _, kind := range kinds {
		p := d.open(kind, kind, b, (&peer{kind: kind}).proof(""))
		want := map[string]any{"mqtt": 0x87, "wamp": notAuthorized, "json": 103}[p.family()]
		refused := func(what string, want any, err *clientError) {
			t.Helper()
			if err == nil || fmt.Sprint(err.Code) != fmt.Sprint(want) {
				t.Errorf("%s: %s: %v, want %v", kind, what, err, want)
			}
		}
		payload := any("x")
		if p.wamp() {
			payload = args{"args": []any{"x"}}
		}

		subWant := want
		if kind == "mqtt3" {
			subWant = 0x80 // the only failure SUBACK knows there
		}
		_, err := p.try("subscribe", args{"filter": p.topic("secret/x")})
		refused("subscribe", subWant, err)
		if !p.wamp() { // a filter that could match what is denied
			_, err = p.try("subscribe", args{"filter": "secret/+"})
			refused("subscribe to a wider filter", subWant, err)
		}
		p.do("publish", args{"topic": p.topic("open/x"), "payload": payload})
		switch p.family() {
		case "json":
			_, err = p.try("call", args{"procedure": "com.example.secret.x", "data": 1})
			refused("call", 103, err)
		case "wamp":
			_, err = p.try("call", args{"procedure": "com.example.secret.x"})
			refused("call", notAuthorized, err)
			_, err = p.try("register", args{"procedure": "com.example.secret.x", "answer": "echo"})
			refused("register", notAuthorized, err)
		}
		for _, topic := range []string{"secret/x", "sensors/1"} { // by topic, by role
			_, err = p.try("publish", args{"topic": p.topic(topic), "payload": payload})
			if kind == "mqtt3" {
				p.waitClosed() // has no negative PUBACK
				break
			}
			refused("publish to "+topic, want, err)
		}
		if kind != "mqtt3" {
			p.do("publish", args{"topic": p.topic("open/x"), "payload": payload}) // goes on
		}
	}
}
