// Package admin answers operators: metrics, readiness, status and profiles, on a
// listener of their own.
//
//	/metrics         Prometheus exposition format
//	/healthz         200 as long as the process answers
//	/readyz          200, or 503 with the reason
//	/api/status      what runs, as JSON (Status)
//	/api/backup      POST: a consistent copy of the store, as it is now
//	/debug/pprof/    profiles of the Go runtime
//
// /healthz and /readyz are open to everybody who reaches the listener, so that
// orchestrators need no credentials; the rest asks for them if Options.Auth is
// set.
package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"time"

	"parley/auth"
	"parley/msg"
)

// Options wires a Handler. Metrics, Ready and Status are required.
type Options struct {
	Metrics http.Handler
	Ready   func() error // nil error: ready
	Status  func() Status

	Auth auth.Authenticator // nil = everybody who reaches the listener may read
	Role string             // with Auth or Backup.Auth: the role that a user needs; "" = any user
	// Backup serves /api/backup; its zero value: not here.
	Backup Backup
	// LocalHosts answers only requests whose Host is an address or localhost. It
	// is meant for a loopback listener without Auth: a page of another site whose
	// name was pointed at 127.0.0.1 could otherwise read it through a browser here.
	LocalHosts bool
	Log        *slog.Logger // nil = nothing is logged
}

// Status is what /api/status answers.
type Status struct {
	Version     string            `json:"version"`
	Started     time.Time         `json:"started"`
	Uptime      float64           `json:"uptime_seconds"`
	Ready       bool              `json:"ready"`
	Reason      string            `json:"reason,omitempty"` // why not ready
	Connections map[string]int    `json:"connections"`      // open now, by protocol
	Sync        string            `json:"store_sync"`       // always, or when what is acknowledged is on disk: interval, never
	Namespaces  []NamespaceStatus `json:"namespaces"`
}

// NamespaceStatus is one namespace's log.
type NamespaceStatus struct {
	Name  string     `json:"name"`
	Epoch string     `json:"epoch"` // names the log
	First msg.Offset `json:"first"` // oldest stored message, 0 = none
	Head  msg.Offset `json:"head"`  // newest
}

// authTime bounds the check of one request's credentials.
const authTime = 10 * time.Second

// Handler answers on the listener for operators.
func Handler(o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", o.readyz)
	guarded := func(pattern string, h http.HandlerFunc) { mux.Handle(pattern, o.guard(o.Auth, h)) }
	guarded("GET /metrics", o.Metrics.ServeHTTP)
	guarded("GET /api/status", o.status)
	mux.Handle("POST /api/backup", o.guard(cmp.Or(o.Backup.Auth, o.Auth), o.backup()))
	guarded("GET /debug/pprof/", pprof.Index)
	guarded("GET /debug/pprof/cmdline", pprof.Cmdline)
	guarded("GET /debug/pprof/profile", pprof.Profile)
	guarded("GET /debug/pprof/symbol", pprof.Symbol)
	guarded("POST /debug/pprof/symbol", pprof.Symbol)
	guarded("GET /debug/pprof/trace", pprof.Trace)
	guarded("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "/metrics\n/healthz\n/readyz\n/api/status\n/api/backup\n/debug/pprof/")
	})
	return headers(mux)
}

// headers sets what every answer carries.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text + "\n"))
}

func (o *Options) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := o.Ready(); err != nil {
		plain(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	plain(w, http.StatusOK, "ready")
}

func (o *Options) status(w http.ResponseWriter, _ *http.Request) {
	s := o.Status()
	if err := o.Ready(); err != nil {
		s.Reason = err.Error()
	}
	s.Ready = s.Reason == ""
	s.Uptime = float64(time.Since(s.Started).Milliseconds()) / 1000
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(s)
}

// guard lets a request through if it comes from an operator, whom who proves.
func (o *Options) guard(who auth.Authenticator, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case o.LocalHosts && !localHost(r.Host):
			plain(w, http.StatusForbidden, "ask by address or as localhost")
			return
		case who == nil:
		default:
			id, err := identify(who, r)
			if err != nil {
				o.Log.Warn("operator refused", "remote", r.RemoteAddr, "path", r.URL.Path, "err", err)
				w.Header().Set("WWW-Authenticate", `Basic realm="parley"`)
				plain(w, http.StatusUnauthorized, "credentials are needed")
				return
			}
			if o.Role != "" && !slices.Contains(id.Roles, o.Role) {
				o.Log.Warn("operator refused", "remote", r.RemoteAddr, "path", r.URL.Path, "user", id.User, "err", "lacks the role "+o.Role)
				plain(w, http.StatusForbidden, "the role "+o.Role+" is needed")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// localHost tells whether a Host header names no name but localhost.
func localHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	return host == "localhost" || net.ParseIP(host) != nil
}

// identify proves who asks. Nobody in particular is refused.
func identify(who auth.Authenticator, r *http.Request) (*auth.Identity, error) {
	c := auth.Credentials{Protocol: msg.ViaHTTP, Remote: r.RemoteAddr}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		c.Secret = token
	} else if user, password, ok := r.BasicAuth(); ok {
		c.User, c.Secret = user, password
	}
	if c.None() {
		return nil, msg.ErrNotAuthorized
	}
	ctx, cancel := context.WithTimeout(r.Context(), authTime)
	defer cancel()
	type answer struct {
		id  *auth.Identity
		err error
	}
	answered := make(chan answer, 1)
	who.Authenticate(ctx, c, func(id *auth.Identity, err error) { answered <- answer{id, err} })
	a := <-answered
	if a.err == nil && a.id.Anonymous() {
		return nil, msg.ErrNotAuthorized
	}
	return a.id, a.err
}
