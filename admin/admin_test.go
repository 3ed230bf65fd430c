package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"parley/auth"
	"parley/metrics"
	"parley/msg"
)

// users proves user "u" with password "p" and the roles it holds.
type users struct{ roles []string }

func (u users) Authenticate(_ context.Context, c auth.Credentials, done func(*auth.Identity, error)) {
	switch {
	case c.None():
		done(&auth.Identity{}, nil) // anonymous clients are allowed
	case c.User == "u" && c.Secret == "p", c.User == "" && c.Secret == "t":
		done(&auth.Identity{User: "u", Roles: u.roles}, nil)
	default:
		done(nil, msg.ErrBadCredentials)
	}
}

func options() Options {
	return Options{
		Metrics: metrics.New().Handler(),
		Ready:   func() error { return nil },
		Status: func() Status {
			return Status{Version: "1", Started: time.Now().Add(-time.Minute), Connections: map[string]int{"mqtt": 2}, Sync: "never",
				Namespaces: []NamespaceStatus{{Name: "default", Epoch: "e", First: 1, Head: 7}}}
		},
	}
}

func get(t *testing.T, o Options, path string, prepare func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+path, nil)
	if prepare != nil {
		prepare(r)
	}
	w := httptest.NewRecorder()
	Handler(o).ServeHTTP(w, r)
	return w
}

func TestPages(t *testing.T) {
	for path, want := range map[string]string{
		"/metrics":             "parley_store_messages_total",
		"/healthz":             "ok",
		"/readyz":              "ready",
		"/debug/pprof/":        "goroutine",
		"/debug/pprof/cmdline": "",
		"/":                    "/api/status",
	} {
		w := get(t, options(), path, nil)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := get(t, options(), "/nowhere", nil); w.Code != http.StatusNotFound {
		t.Errorf("/nowhere: %d", w.Code)
	}
}

func TestStatus(t *testing.T) {
	var s Status
	w := get(t, options(), "/api/status", nil)
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(w.Body.String(), `"store_sync": "never"`) {
		t.Errorf("%s", w.Body)
	}
	if !s.Ready || s.Uptime < 60 || s.Connections["mqtt"] != 2 || len(s.Namespaces) != 1 || s.Namespaces[0].Head != 7 {
		t.Errorf("%+v", s)
	}
}

func TestNotReady(t *testing.T) {
	o := options()
	o.Ready = func() error { return errors.New("draining") }
	if w := get(t, o, "/readyz", nil); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "draining") {
		t.Errorf("readyz: %d %s", w.Code, w.Body)
	}
	if w := get(t, o, "/healthz", nil); w.Code != http.StatusOK {
		t.Errorf("healthz: %d", w.Code)
	}
	if w := get(t, o, "/api/status", nil); !strings.Contains(w.Body.String(), `"reason": "draining"`) {
		t.Errorf("status: %s", w.Body)
	}
}

func TestOperatorsOnly(t *testing.T) {
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer t") }
	for name, tc := range map[string]struct {
		roles   []string
		prepare func(*http.Request)
		want    int
	}{
		"nothing presented": {[]string{"admin"}, nil, http.StatusUnauthorized},
		"wrong password":    {[]string{"admin"}, basic("u", "x"), http.StatusUnauthorized},
		"password":          {[]string{"admin"}, basic("u", "p"), http.StatusOK},
		"token":             {[]string{"x", "admin"}, bearer, http.StatusOK},
		"another role":      {[]string{"device"}, basic("u", "p"), http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.Auth, o.Role = users{tc.roles}, "admin"
			for _, path := range []string{"/metrics", "/api/status", "/debug/pprof/heap"} {
				if w := get(t, o, path, tc.prepare); w.Code != tc.want {
					t.Errorf("%s: %d, want %d", path, w.Code, tc.want)
				}
			}
			if w := get(t, o, "/readyz", tc.prepare); w.Code != http.StatusOK {
				t.Errorf("readyz needs no credentials, got %d", w.Code)
			}
		})
	}
}

// DNS rebinding: a name that was pointed at this machine must not be answered.
func TestLocalHosts(t *testing.T) {
	for host, want := range map[string]int{
		"127.0.0.1:8081": http.StatusOK, "[::1]:8081": http.StatusOK, "localhost:8081": http.StatusOK,
		"evil.example:8081": http.StatusForbidden, "": http.StatusForbidden,
	} {
		o := options()
		o.LocalHosts = true
		if w := get(t, o, "/api/status", func(r *http.Request) { r.Host = host }); w.Code != want {
			t.Errorf("Host %q: %d, want %d", host, w.Code, want)
		}
	}
}
