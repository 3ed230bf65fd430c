package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	nexus "github.com/gammazero/nexus/v3/client"
	"github.com/gammazero/nexus/v3/wamp"

	"parley/auth"
	"parley/client"
	"parley/persist"
	"parley/persist/mem"
)

func protocols() []string {
	return []string{"mqtt", "wamp.2.json", "wamp.2.msgpack", "wamp.2.cbor", "json"}
}

// family is the protocol that a message is said to come through.
func family(protocol string) string { return strings.SplitN(protocol, ".", 2)[0] }

// seen is how payload, published over from, is seen over to: what WAMP carries
// as a string is a value with a JSON form for the others (docs/adr/0004-payload-views.md).
func seen(payload []byte, from, to string) []byte {
	if family(from) == "wamp" && family(to) != "wamp" && utf8.Valid(payload) && !json.Valid(payload) {
		text, _ := json.Marshal(string(payload))
		return text
	}
	return payload
}

// Every protocol hears every protocol, in the order of the log, with any kind of
// payload.
func TestEveryPair(t *testing.T) {
	s := start(t, configured(t, nil))
	payloads := [][]byte{[]byte(`{"n":[21.5,9007199254740993]}`), []byte("plain text"), {0xff, 0x00, 0xfe}, []byte(`[1,2]`)}
	got := map[string]<-chan client.Received{}
	for _, p := range protocols() {
		got[p] = listen(t, s.dial(client.Options{Protocol: p}), "pair/#")
	}
	for _, from := range protocols() {
		c := s.dial(client.Options{Protocol: from})
		for i, payload := range payloads {
			topic := fmt.Sprintf("pair/%s/%d", from, i)
			if _, err := c.Publish(within(t), client.Publication{Topic: topic, Payload: payload, QoS: 1}); err != nil {
				t.Fatalf("publish over %s: %v", from, err)
			}
		}
	}
	for _, to := range protocols() {
		last := client.Received{}
		for _, from := range protocols() {
			for i, payload := range payloads {
				r := next(t, got[to])
				if want := fmt.Sprintf("pair/%s/%d", from, i); r.Topic != want || !bytes.Equal(r.Payload, seen(payload, from, to)) || r.Via != family(from) {
					t.Errorf("%s hears %+v, want %s %q via %s", to, r, want, payload, family(from))
				}
				if r.Offset <= last.Offset || r.Retained {
					t.Errorf("%s: offset %d after %d, retained %v", to, r.Offset, last.Offset, r.Retained)
				}
				last = r
			}
		}
	}
}

// Two brokers in one process share nothing.
func TestTwoBrokers(t *testing.T) {
	one, two := start(t, configured(t, nil)), start(t, configured(t, map[string]string{"playground": "false"}))
	heard := listen(t, two.dial(client.Options{}), "#")
	for _, s := range []*started{one, two} {
		c := s.dial(client.Options{Protocol: "mqtt"})
		if _, err := c.Publish(within(t), client.Publication{Topic: "who", Payload: []byte(s.url()), QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if r := next(t, heard); string(r.Payload) != two.url() {
		t.Errorf("heard %q of the other broker", r.Payload)
	}
}

func TestRetainedSurvivesARestart(t *testing.T) {
	c := configured(t, nil)
	s := start(t, c)
	if _, err := s.dial(client.Options{Protocol: "mqtt"}).Publish(within(t), client.Publication{Topic: "kept/a.b", Payload: []byte("x y"), QoS: 1, Retain: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	s = start(t, c)
	for _, p := range protocols() {
		r := next(t, listen(t, s.dial(client.Options{Protocol: p}), "kept/#"))
		if r.Topic != "kept/a.b" || string(r.Payload) != "x y" || !r.Retained || r.Offset != 1 {
			t.Errorf("%s: %+v", p, r)
		}
	}
}

// A drain tells every client in its protocol and ends by itself.
func TestDrainTellsClients(t *testing.T) {
	s := start(t, configured(t, map[string]string{"mqtt_listen": "127.0.0.1:0"}))
	want := map[string]string{"mqtt": "0x8B", "json": "3001", "wamp.2.json": "wamp.close.system_shutdown", "wamp.2.cbor": "wamp.close.system_shutdown"}
	clients := map[string]client.Client{}
	for p := range want {
		clients[p] = s.dial(client.Options{Protocol: p})
	}
	plain := s.dial(client.Options{Protocol: "mqtt", URL: "mqtt://" + s.MQTT.String()})
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	want["mqtt over TCP"], clients["mqtt over TCP"] = "0x8B", plain
	for p, c := range clients {
		select {
		case <-c.Done():
		case <-time.After(patience):
			t.Fatalf("%s: still connected", p)
		}
		if err := c.Err(); err == nil || !strings.Contains(err.Error(), want[p]) {
			t.Errorf("%s was told %v, want %s", p, err, want[p])
		}
	}
	if _, err := client.Dial(within(t), client.Options{URL: s.url()}); err == nil {
		t.Error("a new connection after the drain")
	}
}

// breaking is a store that fails as a disk does.
type breaking struct {
	persist.Store
	broken atomic.Bool
}

func (b *breaking) Commit(batch *persist.Batch, done func(error)) {
	if b.broken.Load() {
		done(fmt.Errorf("sync: %w", persist.ErrFailed))
		return
	}
	b.Store.Commit(batch, done)
}

// When the store fails nothing is acknowledged any more, clients are sent away,
// and Run returns the error so that a supervisor starts the process anew.
func TestStoreFailureEndsTheBroker(t *testing.T) {
	c := configured(t, map[string]string{"drain.grace": "2s"})
	store := &breaking{Store: mem.New()}
	s := begin(t, func(ctx context.Context, log *slog.Logger, ready func(Running)) error {
		b, err := newBroker(c, log, store)
		if err == nil {
			err = b.listen()
		}
		if err != nil {
			return err
		}
		return b.run(ctx, ready)
	})
	defer s.stop()
	device := s.dial(client.Options{Protocol: "mqtt"})
	if _, err := device.Publish(within(t), client.Publication{Topic: "a", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	store.broken.Store(true)
	if _, err := device.Publish(within(t), client.Publication{Topic: "a", QoS: 1}); err == nil {
		t.Error("acknowledged without a store")
	}
	select {
	case <-s.done:
	case <-time.After(patience):
		t.Fatalf("goes on without a store\n%s", s.log)
	}
	if !errors.Is(s.err, persist.ErrFailed) {
		t.Errorf("Run: %v", s.err)
	}
	if exitCode(s.err) != exitFailed {
		t.Errorf("exit code %d", exitCode(s.err))
	}
}

func TestStartErrors(t *testing.T) {
	s := start(t, configured(t, nil))
	busy := configured(t, map[string]string{"listen": s.Public.String()})
	if err := Run(context.Background(), busy, slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), "listen") {
		t.Errorf("port in use: %v", err)
	}
	missing := configured(t, map[string]string{"auth.file": filepath.Join(t.TempDir(), "none")})
	if err := Run(context.Background(), missing, slog.New(slog.DiscardHandler), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such authentication file: %v", err)
	}
	noCert := configured(t, map[string]string{"tls.cert": "/nowhere/c", "tls.key": "/nowhere/k"})
	if err := Run(context.Background(), noCert, slog.New(slog.DiscardHandler), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such certificate: %v", err)
	}
	// What failed has let go of its store.
	noCert.TLS = busy.TLS
	again := start(t, noCert)
	locked := configured(t, map[string]string{"data": noCert.Data})
	if err := Run(context.Background(), locked, slog.New(slog.DiscardHandler), nil); !errors.Is(err, persist.ErrLocked) {
		t.Errorf("store in use: %v", err)
	}
	if err := again.end(); err != nil {
		t.Error(err)
	}
}

// users writes an authentication file with user alice (password "secret") and a
// token, which it returns.
func users(t *testing.T) (file, token string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "users")
	if _, err := auth.SetUser(file, auth.UserChange{Name: "alice", Password: "secret", Roles: &[]string{"admin"}, Hash: auth.HashParams{MemoryKiB: 64, Passes: 1}}); err != nil {
		t.Fatal(err)
	}
	token, err := auth.CreateToken(file, auth.NewToken{Name: "sensor", Roles: []string{"device"}})
	if err != nil {
		t.Fatal(err)
	}
	return file, token
}

// One file and one list of rules decide in every protocol.
func TestOneIdentityOnePolicy(t *testing.T) {
	file, token := users(t)
	s := start(t, configured(t, map[string]string{
		"auth.file": file, "auth.default": "deny",
		"auth.rules": "[{allow: [publish, subscribe], topics: ['devices/%u/#']}, {allow: [subscribe], topics: ['#'], users: [alice]}]",
	}))
	for _, p := range protocols() {
		t.Run(p, func(t *testing.T) {
			for name, o := range map[string]client.Options{"nothing": {}, "wrong password": {User: "alice", Password: "x"}, "wrong token": {Token: token + "x"}} {
				o.URL, o.Protocol = s.url(), p
				if c, err := client.Dial(within(t), o); !errors.Is(err, client.ErrRefused) {
					t.Errorf("%s: %v", name, err)
					if err == nil {
						c.Close()
					}
				}
			}
			alice := s.dial(client.Options{Protocol: p, User: "alice", Password: "secret"})
			heard := listen(t, alice, "devices/#")
			sensor := s.dial(client.Options{Protocol: p, Token: token})
			if _, err := sensor.Publish(within(t), client.Publication{Topic: "devices/sensor/t", Payload: []byte("1"), QoS: 1}); err != nil {
				t.Fatal(err)
			}
			if r := next(t, heard); r.Topic != "devices/sensor/t" {
				t.Errorf("%+v", r)
			}
			if _, err := sensor.Publish(within(t), client.Publication{Topic: "devices/other/t", QoS: 1}); !errors.Is(err, client.ErrRefused) {
				t.Errorf("publish as another: %v", err)
			}
			if err := sensor.Subscribe(within(t), "devices/#", 1, func(client.Received) {}); !errors.Is(err, client.ErrRefused) {
				t.Errorf("subscribe to all: %v", err)
			}
		})
	}
}

// A procedure registered over WAMP is called over JSON, under the same policy.
func TestCallIsGuarded(t *testing.T) {
	s := start(t, configured(t, map[string]string{"auth.rules": "[{deny: [call], topics: [com/example/secret]}]"}))
	callee, err := nexus.ConnectNet(within(t), s.url()+"/wamp", nexus.Config{Realm: "realm1", ResponseTimeout: patience, Logger: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)})
	if err != nil {
		t.Fatal(err)
	}
	defer callee.Close()
	for _, uri := range []string{"com.example.add", "com.example.secret"} {
		add := func(_ context.Context, i *wamp.Invocation) nexus.InvokeResult {
			a, _ := wamp.AsInt64(i.Arguments[0])
			b, _ := wamp.AsInt64(i.Arguments[1])
			return nexus.InvokeResult{Args: wamp.List{a + b}}
		}
		if err := callee.Register(uri, add, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"json", "wamp.2.json", "wamp.2.msgpack", "wamp.2.cbor"} {
		c := s.dial(client.Options{Protocol: p})
		sum, err := c.Call(within(t), "com.example.add", client.Args{List: []any{2, 3}})
		if err != nil || string(sum.Bytes()) != "5" {
			t.Errorf("%s: %s, %v", p, sum.Bytes(), err)
		}
		if _, err := c.Call(within(t), "com.example.secret", client.Args{List: []any{2, 3}}); !errors.Is(err, client.ErrRefused) {
			t.Errorf("%s: a denied call: %v", p, err)
		}
	}
	if _, err := s.dial(client.Options{}).Call(within(t), "com..bad", client.Args{}); err == nil || errors.Is(err, client.ErrRefused) {
		t.Errorf("invalid URI: %v", err)
	}
}

// Hosts and paths lead to namespaces, which share nothing.
func TestNamespaces(t *testing.T) {
	s := start(t, configured(t, map[string]string{"namespaces": "[{name: default, realms: [realm1]}, {name: lab, realms: [lab.realm], paths: [/lab]}]"}))
	heard := listen(t, s.dial(client.Options{URL: s.url() + "/lab"}), "#")
	for realm, payload := range map[string]string{"realm1": "0", "lab": "1", "lab.realm": "1"} {
		if _, err := s.dial(client.Options{Protocol: "wamp", Realm: realm}).Publish(within(t), client.Publication{Topic: "t", Payload: []byte(payload), QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if r := next(t, heard); string(r.Payload) != "1" {
			t.Errorf("%+v", r)
		}
	}
	if _, err := client.Dial(within(t), client.Options{URL: s.url(), Protocol: "wamp", Realm: "nowhere"}); err == nil {
		t.Error("joined a realm that does not exist")
	}
}

func TestStoreRules(t *testing.T) {
	s := start(t, configured(t, map[string]string{"store.topics": "[{filter: 'live/#', store: none}, {filter: 'audit/#', store: all}]"}))
	c := s.dial(client.Options{Protocol: "mqtt"})
	heard := listen(t, s.dial(client.Options{Protocol: "mqtt"}), "#")
	if _, err := c.Publish(within(t), client.Publication{Topic: "live/a", QoS: 1}); err == nil {
		t.Error("acknowledged what is ruled not to be stored")
	}
	for _, topic := range []string{"live/b", "audit/a"} {
		if _, err := c.Publish(within(t), client.Publication{Topic: topic, QoS: 0}); err != nil {
			t.Fatal(err)
		}
		if r := next(t, heard); r.Topic != topic || (r.Offset != 0) != (topic == "audit/a") {
			t.Errorf("%+v", r)
		}
	}
}
