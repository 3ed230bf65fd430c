package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"parley/auth"
	"parley/msg"
)

// authenticate proves what the Authorization header carries: Basic (RFC 7617) or
// Bearer (RFC 6750). Without one the result is nil, nil and the engine asks in
// its own protocol.
func (g *Gateway) authenticate(r *http.Request, s *sock, ns string) (*auth.Identity, *refusal) {
	if r.URL.Query().Has("access_token") {
		// RFC 6750 section 5.3: addresses end up in logs and histories.
		return nil, unauthorized("credentials in the address are not accepted")
	}
	lines := r.Header.Values("Authorization")
	if len(lines) == 0 {
		return nil, nil
	}
	cred, ok := credentials(r, lines)
	if !ok || g.o.Auth == nil {
		return nil, unauthorized("credentials not accepted")
	}
	cred.Protocol, cred.Namespace, cred.Remote = msg.ViaHTTP, ns, s.RemoteAddr().String()
	left := g.o.Timeouts.Handshake - time.Duration(g.clock.Load()-s.since.Load())
	ctx, cancel := context.WithTimeout(r.Context(), left)
	defer cancel()
	id, err := await(ctx, g.o.Auth, cred)
	switch {
	case err == nil:
		return id, nil
	case errors.Is(err, msg.ErrAuthUnavail):
		return nil, &refusal{status: http.StatusServiceUnavailable, body: "authentication unavailable"}
	}
	g.o.Metrics.AuthFailed.WithLabelValues(msg.ViaHTTP).Inc()
	return nil, unauthorized("credentials not accepted")
}

// await turns the callback into a wait, bounded by ctx.
func await(ctx context.Context, a auth.Authenticator, cred auth.Credentials) (*auth.Identity, error) {
	type answer struct {
		id  *auth.Identity
		err error
	}
	got := make(chan answer, 1)
	a.Authenticate(ctx, cred, func(id *auth.Identity, err error) { got <- answer{id, err} })
	select {
	case r := <-got:
		return r.id, r.err
	case <-ctx.Done():
		return nil, msg.ErrAuthUnavail
	}
}

func credentials(r *http.Request, lines []string) (auth.Credentials, bool) {
	if len(lines) > 1 { // which one counts is anybody's guess
		return auth.Credentials{}, false
	}
	if user, password, ok := r.BasicAuth(); ok {
		return auth.Credentials{User: user, Secret: password}, user != "" || password != ""
	}
	scheme, token, _ := strings.Cut(lines[0], " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " \t,") {
		return auth.Credentials{}, false
	}
	return auth.Credentials{Secret: token}, true
}

func unauthorized(body string) *refusal {
	return &refusal{status: http.StatusUnauthorized, body: body, challenges: []string{
		`Basic realm="parley", charset="UTF-8"`, `Bearer realm="parley"`,
	}}
}
