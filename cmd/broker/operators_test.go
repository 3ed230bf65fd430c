package main

import (
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"parley/client"
	"parley/persist/mem"
)

// What operators see: their listener, the page, $SYS.

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport, Timeout: patience}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

func TestOperatorsAndPage(t *testing.T) {
	s := start(t, configured(t, map[string]string{"admin_listen": ":0"}))
	s.dial(client.Options{Protocol: "wamp"})
	admin, public := "http://"+s.Admin.String(), "http://"+s.Public.String()
	if !strings.HasPrefix(s.Admin.String(), "127.0.0.1:") {
		t.Errorf("admin_listen without a host is on %s", s.Admin)
	}
	for url, want := range map[string]string{
		admin + "/metrics": `parley_connections{protocol="wamp.2.json"} 1`, admin + "/api/status": `"wamp.2.json": 1`, admin + "/readyz": "ready",
		public + "/healthz": "ok", public + "/readyz": "ready", public + "/": "<!doctype html>",
	} {
		if code, body := fetch(t, url); code != http.StatusOK || !strings.Contains(strings.ToLower(body), want) {
			t.Errorf("%s: %d %.200s", url, code, body)
		}
	}
	if code, _ := fetch(t, public+"/metrics"); code != http.StatusNotFound {
		t.Errorf("metrics on the public listener: %d", code)
	}
	quiet := start(t, configured(t, map[string]string{"playground": "false"}))
	if code, _ := fetch(t, "http://"+quiet.Public.String()+"/"); code != http.StatusUpgradeRequired {
		t.Errorf("the page that is off: %d", code)
	}
}

// Off loopback operators prove who they are and need the role.
func TestOperatorsOfOthers(t *testing.T) {
	file, token := users(t)
	for name, tc := range map[string]struct {
		flags map[string]string
		want  map[string]int // Authorization -> status
	}{
		"by file": {map[string]string{"admin_listen": "0.0.0.0:0", "auth.file": file}, map[string]int{
			"": http.StatusUnauthorized, "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:secret")): http.StatusOK, "Bearer " + token: http.StatusForbidden}},
		"explicitly open": {map[string]string{"admin_listen": "0.0.0.0:0", "admin.allow_anonymous": "true"}, map[string]int{"": http.StatusOK}},
	} {
		store := mem.New()
		b, err := newBroker(configured(t, tc.flags), slog.New(slog.DiscardHandler), store)
		if err != nil {
			t.Fatal(err)
		}
		for header, want := range tc.want {
			r := httptest.NewRequest(http.MethodGet, "http://parley.example:8081/metrics", nil)
			r.Header.Set("Authorization", header)
			w := httptest.NewRecorder()
			b.operatorPages().ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s: %q: %d, want %d", name, header, w.Code, want)
			}
		}
		b.who.authenticator.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Whoever subscribes to $SYS/broker/# hears of the broker, over every protocol,
// from its own counters; nobody else can speak there.
func TestStatusTopics(t *testing.T) {
	s := start(t, configured(t, map[string]string{"sys_interval": "50ms"}))
	for _, p := range []string{"mqtt", "wamp", "json"} {
		c := s.dial(client.Options{Protocol: p})
		if _, err := c.Publish(within(t), client.Publication{Topic: "$SYS/broker/version", Payload: []byte("forged"), QoS: 1}); err == nil {
			t.Errorf("%s: published to $SYS", p)
		}
		c = s.dial(client.Options{Protocol: p})
		got, seen := listen(t, c, "$SYS/broker/#"), map[string]string{}
		for len(seen) < 8 || seen["$SYS/broker/clients/connected"] == "0" {
			r := next(t, got)
			if seen[r.Topic] = string(r.Payload); r.Offset != 0 || r.Via != "parley" {
				t.Errorf("%s hears %+v", p, r)
			}
		}
		if v := seen["$SYS/broker/version"]; !strings.Contains(v, "parley "+version) {
			t.Errorf("%s: version %q", p, v)
		}
	}
}
