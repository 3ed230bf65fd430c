package wamp

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/gammazero/nexus/v3/router"
	nexusauth "github.com/gammazero/nexus/v3/router/auth"
	"github.com/gammazero/nexus/v3/wamp"

	"parley/auth"
	"parley/metrics"
	"parley/msg"
)

// credentials is what a session is for nexus: resolved before it attaches, and
// passed in transportDetails["auth"], which the meta procedures never show.
type credentials struct {
	identity  *auth.Identity
	namespace string
	method    string // as told to peers
	broker    bool   // the broker's own session: calls for other engines, decided already
}

// methods are the authmethod names a session can have.
func methods() []string {
	return []string{"anonymous", "ticket", "password", "token", methodOther, methodBroker}
}

const (
	methodOther  = "other"
	methodBroker = "parley"
)

// methodName is what peers are told of how an identity was proved over HTTP.
func methodName(id *auth.Identity) string {
	if id.Anonymous() {
		return "anonymous"
	}
	switch id.Method {
	case "password", "token":
		return id.Method
	}
	return methodOther
}

// newRouter starts a nexus router with one realm per namespace, named by its
// number: namespaces may have names that are no URIs.
func newRouter(o *Options) (router.Router, error) {
	cfg := &router.Config{} // no RealmTemplate: it would create realms for whoever asks
	var denied deniedCounters
	if o.Metrics != nil {
		denied = deniedCounters{o.Metrics.Denied.WithLabelValues(auth.Call.String()),
			o.Metrics.Denied.WithLabelValues(auth.Register.String())}
	}
	for i := range o.Namespaces.Names {
		rc := &router.RealmConfig{
			URI:               realmURI(i),
			AllowDisclose:     true,
			Authorizer:        &authorizer{o.Policy, denied},
			RequireLocalAuth:  true, // our peers say they are local
			RequireLocalAuthz: true,
			MetaStrict:        true,
		}
		for _, m := range methods() {
			rc.Authenticators = append(rc.Authenticators, admission(m))
		}
		cfg.RealmConfigs = append(cfg.RealmConfigs, rc)
	}
	r, err := router.NewRouter(cfg, nexusLog{o.Log})
	if err != nil {
		return nil, fmt.Errorf("start router: %w", err)
	}
	return r, nil
}

func realmURI(i int) wamp.URI { return wamp.URI("namespace" + strconv.Itoa(i)) }

// transport is the details.transport of a session with c; never empty, or nexus
// would believe the client's own.
func (c *credentials) transport(protocol string) wamp.Dict {
	return wamp.Dict{"protocol": protocol, "auth": wamp.Dict{"credentials": c}}
}

func credentialsOf(details wamp.Dict) (*credentials, bool) {
	t, _ := details["transport"].(wamp.Dict)
	a, _ := t["auth"].(wamp.Dict)
	c, ok := a["credentials"].(*credentials)
	return c, ok
}

// admission is nexus' authenticator of one method. It decides nothing: who is
// attached has been authenticated; it only tells nexus who that is.
type admission string

func (m admission) AuthMethod() string { return string(m) }

func (m admission) Authenticate(sid wamp.ID, details wamp.Dict, _ wamp.Peer) (*wamp.Welcome, error) {
	c, ok := credentialsOf(details)
	if !ok {
		return nil, errors.New("session without credentials")
	}
	authid, provider := c.identity.User, c.identity.Provider
	if c.identity.Anonymous() {
		authid = "anonymous-" + strconv.FormatUint(uint64(sid), 36)
	}
	if provider == "" {
		provider = "parley"
	}
	return &wamp.Welcome{Details: wamp.Dict{
		"authid":       authid,
		"authrole":     c.identity.Role(),
		"authprovider": provider,
		"authextra":    wamp.Dict{},
	}}, nil
}

var _ nexusauth.Authenticator = admission("")

type deniedCounters struct{ call, register metrics.Counter }

func count(c metrics.Counter) {
	if c != nil {
		c.Inc()
	}
}

// authorizer decides CALL and REGISTER of every session by the policy. It runs
// under nexus' lock of the session and answers from memory.
type authorizer struct {
	policy auth.Policy
	denied deniedCounters
}

// Authorize never returns an error: nexus would show its text to the peer.
func (a *authorizer) Authorize(s *wamp.Session, m wamp.Message) (bool, error) {
	c, ok := credentialsOf(s.Details)
	if !ok {
		return false, nil
	}
	switch m := m.(type) {
	case *wamp.Call:
		if c.broker || a.allowed(c, auth.Call, m.Procedure) {
			return true, nil
		}
		count(a.denied.call)
		return false, nil
	case *wamp.Register:
		if a.allowed(c, auth.Register, m.Procedure) {
			return true, nil
		}
		count(a.denied.register)
		return false, nil
	case *wamp.Cancel, *wamp.Yield, *wamp.Error, *wamp.Unregister, *wamp.Goodbye:
		return true, nil
	}
	return false, nil // the rest is not nexus' to answer
}

func (a *authorizer) allowed(c *credentials, what auth.Action, procedure wamp.URI) bool {
	topic, err := msg.TopicOfURI(string(procedure))
	return err == nil && a.policy.Topic(c.identity, c.namespace, what, topic) == nil
}

// reserved tells whether clients may not register uri.
func reserved(uri string) bool {
	first, _, _ := strings.Cut(uri, ".")
	return first == "wamp" || first == "parley" || strings.HasPrefix(first, "$")
}

// closedMeta tells whether uri is a meta procedure that nexus would answer
// wrongly: its broker knows no subscription (and misspells count_subscribers),
// and its testaments would be published where nobody listens.
func closedMeta(uri string) bool {
	return strings.HasPrefix(uri, "wamp.subscription.") ||
		uri == "wamp.session.add_testament" || uri == "wamp.session.flush_testaments"
}

// nexusLog gives nexus' lines, which name sessions and peers, to the log at
// debug level: what matters is logged here.
type nexusLog struct{ log *slog.Logger }

func (l nexusLog) Print(v ...any)   { l.log.Debug("nexus: " + fmt.Sprint(v...)) }
func (l nexusLog) Println(v ...any) { l.log.Debug("nexus: " + strings.TrimSpace(fmt.Sprintln(v...))) }
func (l nexusLog) Printf(f string, v ...any) {
	l.log.Debug("nexus: " + strings.TrimSpace(fmt.Sprintf(f, v...)))
}
