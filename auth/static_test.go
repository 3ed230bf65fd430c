package auth

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/msg"
)

func TestStatic(t *testing.T) {
	path := write(t, "")
	mustSet(t, path, "alice", "secret")
	mustSet(t, path, "bob", "ply_notatoken")
	tok, err := CreateToken(path, NewToken{Name: "dev", User: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	old, err := CreateToken(path, NewToken{Name: "old", Expires: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewStatic(path, StaticOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in     Credentials
		user   string
		method string
	}{
		{Credentials{User: "alice", Secret: "secret"}, "alice", "password"},
		{Credentials{User: "alice", Secret: "secret"}, "alice", "password"}, // from the cache
		{Credentials{User: "bob", Secret: "ply_notatoken"}, "bob", "password"},
		{Credentials{Secret: tok}, "alice", "token"},
		{Credentials{User: "alice", Secret: tok}, "alice", "token"},
		{Credentials{User: "alice", Secret: "Secret"}, "", ""},
		{Credentials{User: "alice"}, "", ""},
		{Credentials{User: "Alice", Secret: "secret"}, "", ""},
		{Credentials{User: "carol", Secret: "secret"}, "", ""},
		{Credentials{Secret: "secret"}, "", ""},
		{Credentials{Secret: old}, "", ""},
		{Credentials{User: "bob", Secret: tok}, "", ""},
		{Credentials{Secret: tok[:len(tok)-1] + "x"}, "", ""},
		{Credentials{Secret: "ply_none" + tok[len("ply_dev"):]}, "", ""},
		{Credentials{}, "", ""},
	} {
		id, err := answerOf(s, c.in)
		switch {
		case c.user == "" && (!errors.Is(err, msg.ErrBadCredentials) || id != nil):
			t.Errorf("%+v: %+v, %v", c.in, id, err)
		case c.user != "" && (err != nil || id.User != c.user || id.Method != c.method):
			t.Errorf("%+v: %+v, %v", c.in, id, err)
		}
	}
}

func mustSet(t testing.TB, path, user, password string) {
	t.Helper()
	if _, err := SetUser(path, UserChange{Name: user, Password: password, Hash: cheap}); err != nil {
		t.Fatal(err)
	}
}

// TestUnknownUserCostsTheSame measures memory instead of time: what argon2id is
// told to fill shows whether it ran.
func TestUnknownUserCostsTheSame(t *testing.T) {
	path := write(t, "")
	if _, err := SetUser(path, UserChange{Name: "alice", Password: "secret", Hash: HashParams{MemoryKiB: 4096, Passes: 1}}); err != nil {
		t.Fatal(err)
	}
	s, err := NewStatic(path, StaticOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cost := func(user, password string) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = answerOf(s, Credentials{User: user, Secret: password})
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) >> 20
	}
	long := strings.Repeat("x", 2000)
	for _, c := range []Credentials{{User: "alice", Secret: "wrong"}, {User: "alice", Secret: long}, {User: "carol", Secret: "wrong"}, {User: "carol", Secret: long}, {User: "carol"}} {
		if mib := cost(c.User, c.Secret); mib < 4 {
			t.Errorf("%s, %d bytes: %d MiB", c.User, len(c.Secret), mib)
		}
	}
}

func TestCache(t *testing.T) {
	path := write(t, "")
	mustSet(t, path, "alice", "secret")
	now := time.Unix(1000, 0)
	s, err := NewStatic(path, StaticOptions{CacheSize: 2, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	c := Credentials{User: "alice", Secret: "secret"}
	known := func(c Credentials) bool { _, _, decided := s.quick(&c); return decided }
	if known(c) {
		t.Error("known before it was verified")
	}
	if _, err := answerOf(s, c); err != nil || !known(c) {
		t.Error("not remembered", err)
	}
	if wrong := (Credentials{User: "alice", Secret: "wrong"}); known(wrong) {
		t.Error("another password")
	} else if _, err := answerOf(s, wrong); err == nil || known(wrong) {
		t.Error("a wrong password was remembered")
	}
	if shifted := (Credentials{User: "alices", Secret: "ecret"}); s.now.Load().cache.has(&shifted, now) {
		t.Error("user and secret can be shifted")
	}
	now = now.Add(5 * time.Minute)
	if known(c) {
		t.Error("remembered for more than 5 minutes")
	}
	for i := range 10 {
		s.now.Load().cache.add(&Credentials{User: fmt.Sprint(i)}, now.Add(time.Hour))
	}
	if n := len(s.now.Load().cache.till); n != 2 {
		t.Errorf("%d entries", n)
	}
	if _, err := answerOf(s, c); err != nil || !known(c) {
		t.Error("not remembered", err)
	}
	if err := s.Reload(); err != nil || known(c) {
		t.Error("remembered over a reload", err)
	}
	never, err := NewStatic(path, StaticOptions{CacheFor: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := answerOf(never, c); err != nil || len(never.now.Load().cache.till) != 0 {
		t.Error("remembered though switched off", err)
	}
}

func TestReload(t *testing.T) {
	path := write(t, "")
	mustSet(t, path, "alice", "one")
	s, err := NewStatic(path, StaticOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := s.ReloadIfChanged(); changed || err != nil {
		t.Error("changed at once", err)
	}
	mustSet(t, path, "alice", "two")
	if changed, err := s.ReloadIfChanged(); !changed || err != nil {
		t.Error("not noticed", err)
	}
	if _, err := answerOf(s, Credentials{User: "alice", Secret: "two"}); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("users: [{name: alice}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := s.ReloadIfChanged(); !changed || err == nil {
		t.Error("a broken file", changed, err)
	}
	if changed, err := s.ReloadIfChanged(); changed || err != nil {
		t.Error("reported twice", changed, err)
	}
	if err := s.Reload(); err == nil {
		t.Error("a broken file was loaded")
	}
	if _, err := answerOf(s, Credentials{User: "alice", Secret: "two"}); err != nil {
		t.Error("the old state is gone", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if changed, err := s.ReloadIfChanged(); !changed || err == nil {
		t.Error("a missing file", changed, err)
	}
	if changed, err := s.ReloadIfChanged(); changed || err != nil {
		t.Error("reported twice", changed, err)
	}
	mustSet(t, path, "carol", "three")
	if changed, err := s.ReloadIfChanged(); !changed || err != nil || s.File().Users() != 1 {
		t.Error("not noticed", err)
	}
	if _, err := NewStatic(path+"x", StaticOptions{}); err == nil {
		t.Error("no file")
	}
}

// TestReloadUnderLoad: while the file is replaced every login is decided by the
// old or by the new state, never by a mixture or a cached older one.
func TestReloadUnderLoad(t *testing.T) {
	path := write(t, "")
	mustSet(t, path, "alice", "0")
	s, err := NewStatic(path, StaticOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ch := NewChain(ChainOptions{Authenticators: []Authenticator{s}})
	var low, high atomic.Int64 // passwords low to high may be right
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				from := low.Load()
				_, err := answerOf(ch, Credentials{User: "alice", Secret: fmt.Sprint(from)})
				if err != nil && high.Load() == from {
					t.Errorf("password %d: %v", from, err)
				}
				if from > 0 {
					if _, err := answerOf(ch, Credentials{User: "alice", Secret: fmt.Sprint(from - 1)}); !errors.Is(err, msg.ErrBadCredentials) {
						t.Errorf("password %d still works: %v", from-1, err)
					}
				}
			}
		})
	}
	for i := range int64(20) {
		high.Store(i + 1)
		mustSet(t, path, "alice", fmt.Sprint(i+1))
		if changed, err := s.ReloadIfChanged(); !changed || err != nil {
			t.Errorf("reload %d: %v %v", i, changed, err)
		}
		low.Store(i + 1)
	}
	close(stop)
	wg.Wait()
	ch.Wait()
}
