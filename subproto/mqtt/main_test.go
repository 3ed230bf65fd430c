package mqtt

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parley/auth"
	"parley/hub"
	"parley/metrics"
	"parley/msg"
	"parley/persist"
	"parley/persist/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test; no test passes because of it.
const patience = 20 * time.Second

// broker is an engine on a hub with a store in memory.
type broker struct {
	t   testing.TB
	e   *Engine
	hub *hub.Hub
	met *metrics.Set
}

// start runs a broker until the test ends.
func start(t testing.TB, change func(*Options)) *broker {
	t.Helper()
	return startOn(t, mem.New(), change)
}

func startOn(t testing.TB, store persist.Store, change func(*Options), plane ...func(*hub.Options)) *broker {
	t.Helper()
	b := &broker{t: t, met: metrics.New()}
	var err error
	ho := hub.Options{Store: store, Policy: denying{}, Metrics: b.met, Namespaces: []string{"default", "other"}, Limits: hub.Limits{Takeovers: -1}}
	for _, f := range plane {
		f(&ho)
	}
	if b.hub, err = hub.New(ho); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); b.hub.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	o := Options{
		Attach: b.hub.Attach, Auth: users{}, Metrics: b.met,
		Namespaces: &auth.Namespaces{Default: "default", Names: []string{"default", "other"}},
	}
	if change != nil {
		change(&o)
	}
	b.e = New(o)
	return b
}

// scrape reads all metrics.
func (b *broker) scrape() string {
	w := httptest.NewRecorder()
	b.met.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// denying refuses whatever has a level "denied".
type denying struct{}

func (denying) Topic(_ *auth.Identity, _ string, _ auth.Action, topic string) error {
	if strings.Contains(topic, "denied") {
		return msg.ErrNotAuthorized
	}
	return nil
}

func (denying) Filter(_ *auth.Identity, _ string, f msg.Filter) error {
	if strings.Contains(f.Pattern, "denied") {
		return msg.ErrNotAuthorized
	}
	return nil
}

// users knows ada (password "lace"), the token "key" and anonymous peers.
type users struct{}

func (users) Authenticate(_ context.Context, c auth.Credentials, done func(*auth.Identity, error)) {
	go func() {
		switch {
		case c.None():
			done(&auth.Identity{Method: "anonymous"}, nil)
		case c.User == "ada" && c.Secret == "lace":
			done(&auth.Identity{User: "ada", Method: "password"}, nil)
		case c.User == "" && c.Secret == "key":
			done(&auth.Identity{User: "tom", Namespace: "other", Method: "token"}, nil)
		case c.User == "slow":
			done(nil, msg.ErrAuthUnavail)
		default:
			done(nil, msg.ErrBadCredentials)
		}
	}()
}

// both runs a test for all versions: 3.1, which differs little, 3.1.1 and 5.
func both(t *testing.T, f func(t *testing.T, version byte)) {
	t.Helper()
	t.Run("v3.1", func(t *testing.T) { f(t, 3) })
	t.Run("v3.1.1", func(t *testing.T) { f(t, 4) })
	t.Run("v5", func(t *testing.T) { f(t, 5) })
}
