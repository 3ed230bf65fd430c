package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"parley/auth"
	"parley/msg"
	"parley/subproto"
)

// request sends one by hand and returns the whole answer.
func (s *server) request(head string) *http.Response {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { nc.Close() })
	return upgradeRaw(s.t, nc, "/ws", head)
}

func (s *server) get(path string) (int, string) {
	s.t.Helper()
	resp, err := s.client().Get("http://" + s.addr + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

func TestUpgradeEchoesTheOffer(t *testing.T) {
	s := serveWS(t, Options{Engines: []subproto.Engine{newProbe("json", "mqtt")}, DefaultProtocol: "json"})
	for header, want := range map[string][]string{
		"Sec-WebSocket-Protocol: foo, MQTT, json\r\n":                               {"MQTT"},
		"Sec-WebSocket-Protocol: foo\r\nsec-websocket-protocol: \t JSON , mqtt\r\n": {"JSON"},
		"": nil, // and no header in the 101
	} {
		resp := s.request(header)
		if resp.StatusCode != 101 || fmt.Sprint(resp.Header.Values("Sec-WebSocket-Protocol")) != fmt.Sprint(want) {
			t.Errorf("%q: %s %q, want %q", header, resp.Status, resp.Header.Values("Sec-WebSocket-Protocol"), want)
		}
	}
}

func TestUpgradeRefused(t *testing.T) {
	s := serveWS(t, Options{Engines: []subproto.Engine{newProbe("json", "mqtt")}, Origins: []string{"*.friend.example", "https://exact.example"}})
	for _, c := range []struct {
		name, header string
		status       int
	}{
		{"nothing supported", "Sec-WebSocket-Protocol: soap\r\n", 400},
		{"malformed tokens only", "Sec-WebSocket-Protocol: a b, @\r\n", 400},
		{"nothing offered, no default", "", 400},
		{"foreign origin", "Sec-WebSocket-Protocol: json\r\nOrigin: https://evil.example\r\n", 403},
		{"null origin", "Sec-WebSocket-Protocol: json\r\nOrigin: null\r\n", 403},
		{"same host", "Sec-WebSocket-Protocol: json\r\nOrigin: http://h.example\r\n", 101},
		{"pattern", "Sec-WebSocket-Protocol: json\r\nOrigin: https://a.friend.example\r\n", 101},
		{"pattern with a scheme", "Sec-WebSocket-Protocol: json\r\nOrigin: https://exact.example\r\n", 101},
		{"wrong scheme", "Sec-WebSocket-Protocol: json\r\nOrigin: http://exact.example\r\n", 403},
		{"a body that does not come", "Sec-WebSocket-Protocol: json\r\nContent-Length: 5\r\n", 400},
		{"a body in chunks", "Sec-WebSocket-Protocol: json\r\nTransfer-Encoding: chunked\r\n", 400},
		{"header too large", "X: " + strings.Repeat("x", 30_000) + "\r\n", 431},
	} {
		resp := s.request(c.header)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %s, want %d", c.name, resp.Status, c.status)
		}
		if named := resp.Header.Values("Sec-WebSocket-Protocol"); (named != nil) != (c.status == 101) {
			t.Errorf("%s: %s names subprotocol %q", c.name, resp.Status, named)
		}
	}
	status, body := s.getUpgrade("/ws", "soap")
	if status != 400 || !strings.Contains(body, "supported: json, mqtt") && !strings.Contains(body, "json, mqtt") {
		t.Errorf("%d %q does not list what is supported", status, body)
	}
	if status, _ := s.getUpgrade("/nowhere", "json"); status != 404 {
		t.Errorf("unknown path: %d", status)
	}
}

func (s *server) getUpgrade(path, protocol string) (int, string) {
	req, _ := http.NewRequestWithContext(testContext(s.t), "GET", "http://"+s.addr+path, nil)
	for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": protocol} {
		req.Header.Set(k, v)
	}
	resp, err := s.client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
	return resp.StatusCode, string(body)
}

func TestPathsAndPages(t *testing.T) {
	pages := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "page ", r.URL.Path) })
	with := serveWS(t, Options{Pages: pages})
	without := serveWS(t, Options{})
	for _, c := range []struct {
		s      *server
		path   string
		status int
		body   string
	}{
		{with, "/", 200, "page /"},
		{with, "/app.js", 200, "page /app.js"},
		{with, "/healthz", 200, "ok"},
		{without, "/", 426, "WebSocket"},
		{without, "/other", 404, "not found"},
	} {
		if status, body := c.s.get(c.path); status != c.status || !strings.Contains(body, c.body) {
			t.Errorf("%s: %d %q, want %d %q", c.path, status, body, c.status, c.body)
		}
	}
	for _, p := range DefaultPaths() {
		nc, err := net.Dial("tcp", with.addr)
		if err != nil {
			t.Fatal(err)
		}
		if resp := upgradeRaw(t, nc, p, ""); resp.StatusCode != 101 {
			t.Errorf("%s: %s", p, resp.Status)
		}
		nc.Close()
	}
}

func TestReadyz(t *testing.T) {
	var failing error
	s := serveWS(t, Options{Ready: func() error { return failing }})
	if status, _ := s.get("/readyz"); status != 200 {
		t.Errorf("ready: %d", status)
	}
	failing = errors.New("secret detail")
	if status, body := s.get("/readyz"); status != 503 || strings.Contains(body, "secret") {
		t.Errorf("not ready: %d %q", status, body)
	}
	failing = nil
	s.Drain()
	if status, _ := s.get("/readyz"); status != 503 {
		t.Errorf("draining: %d", status)
	}
	if status, _ := s.get("/healthz"); status != 200 {
		t.Errorf("the process is up: %d", status)
	}
}

func TestNamespaces(t *testing.T) {
	p := newProbe("p")
	s := serveWS(t, Options{Engines: []subproto.Engine{p}, DefaultProtocol: "p", Namespaces: map[string]string{
		"h.EXAMPLE": "by-host", "/tenant": "by-path", "h.example/ws": "by-both"}})
	for path, want := range map[string]string{"/": "by-host", "/tenant": "by-path", "/ws": "by-both"} {
		nc, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		upgradeRaw(t, nc, path, "")
		if got := p.next(t).Info().Namespace; got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// authFunc is an Authenticator.
type authFunc func(ctx context.Context, c auth.Credentials, done func(*auth.Identity, error))

func (f authFunc) Authenticate(ctx context.Context, c auth.Credentials, done func(*auth.Identity, error)) {
	f(ctx, c, done)
}

func TestHTTPAuthentication(t *testing.T) {
	p := newProbe("p")
	var seen auth.Credentials
	s := serveWS(t, Options{Engines: []subproto.Engine{p}, DefaultProtocol: "p", Namespaces: map[string]string{"/ws": "ns"},
		Auth: authFunc(func(ctx context.Context, c auth.Credentials, done func(*auth.Identity, error)) {
			seen = c
			switch {
			case c.User == "ann" && c.Secret == "pw:1", c.User == "" && c.Secret == "tok.en-_~+/=":
				go done(&auth.Identity{User: "ann"}, nil) // from any goroutine
			case c.User == "slow":
				done(nil, msg.ErrAuthUnavail)
			default:
				done(nil, fmt.Errorf("chain: %w", msg.ErrBadCredentials))
			}
		})})
	for _, c := range []struct {
		name, header string
		status       int
	}{
		{"none", "", 101},
		{"basic", "Authorization: Basic YW5uOnB3OjE=\r\n", 101},
		{"basic, scheme in capitals", "Authorization: BASIC YW5uOnB3OjE=\r\n", 101},
		{"bearer", "Authorization: Bearer tok.en-_~+/=\r\n", 101},
		{"wrong password", "Authorization: Basic YW5uOng=\r\n", 401},
		{"wrong token", "Authorization: bearer x\r\n", 401},
		{"not base64", "Authorization: Basic !!!\r\n", 401},
		{"empty basic", "Authorization: Basic Og==\r\n", 401},
		{"empty bearer", "Authorization: Bearer \r\n", 401},
		{"empty", "Authorization:\r\n", 401},
		{"unknown scheme", "Authorization: Digest x\r\n", 401},
		{"two", "Authorization: Bearer tok.en-_~+/=\r\nAuthorization: Basic YW5uOnB3OjE=\r\n", 401},
		{"unavailable", "Authorization: Basic c2xvdzp4\r\n", 503},
	} {
		resp := s.request(c.header)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %s, want %d", c.name, resp.Status, c.status)
		}
		if n := len(resp.Header.Values("WWW-Authenticate")); (n > 0) != (c.status == 401) {
			t.Errorf("%s: %d challenges", c.name, n)
		}
		if c.status == 101 {
			h := p.next(t)
			if id := h.Info().Identity; (id != nil) != (c.header != "") {
				t.Errorf("%s: identity %v", c.name, id)
			}
		}
	}
	if seen.Protocol != msg.ViaHTTP || seen.Namespace != "ns" || seen.Remote == "" {
		t.Errorf("credentials came as %+v", seen)
	}
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if resp := upgradeRaw(t, nc, "/ws?access_token=tok.en-_~+/=", ""); resp.StatusCode != 401 {
		t.Errorf("credentials in the address: %s", resp.Status)
	}
}
