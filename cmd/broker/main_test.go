package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parley/client"
	"parley/config"
)

func TestMain(m *testing.M) {
	// os/signal keeps its one goroutine for the life of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("os/signal.loop"), goleak.Cleanup(func(code int) {
		if builds != "" {
			os.RemoveAll(builds)
		}
		os.Exit(code)
	}))
}

// patience bounds what must happen soon on a busy machine.
const patience = 20 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// configured loads a configuration for tests: ports of the kernel's choice, data
// of its own, a quick drain.
func configured(t *testing.T, flags map[string]string) *config.Config {
	t.Helper()
	values := map[string]string{
		"listen": "127.0.0.1:0", "data": filepath.Join(t.TempDir(), "data"), "drain.spread": "0s", "drain.grace": "5s",
	}
	for k, v := range flags {
		values[k] = v
	}
	l, err := config.Load(config.Sources{Flags: values})
	if err != nil {
		t.Fatal(err)
	}
	return l.Config
}

// started is a broker that runs in this process.
type started struct {
	Running
	t    *testing.T
	stop func() // begins the drain
	done chan struct{}
	err  error // valid after done
	log  *buffer
}

// start runs a broker until the end of the test, which fails if it does not
// drain well.
func start(t *testing.T, c *config.Config) *started {
	t.Helper()
	s := begin(t, func(ctx context.Context, log *slog.Logger, ready func(Running)) error { return Run(ctx, c, log, ready) })
	t.Cleanup(func() {
		if err := s.end(); err != nil {
			t.Errorf("Run: %v\n%s", err, s.log)
		}
	})
	return s
}

func begin(t *testing.T, run func(context.Context, *slog.Logger, func(Running)) error) *started {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &started{t: t, stop: cancel, done: make(chan struct{}), log: &buffer{}}
	ready := make(chan Running, 1)
	go func() {
		defer close(s.done)
		s.err = run(ctx, slog.New(slog.NewTextHandler(s.log, nil)), func(r Running) { ready <- r })
	}()
	select {
	case s.Running = <-ready:
	case <-s.done:
		cancel()
		t.Fatalf("did not start: %v", s.err)
	case <-time.After(patience):
		t.Fatal("not ready in time")
	}
	return s
}

// end drains and returns what Run returned.
func (s *started) end() error {
	s.t.Helper()
	s.stop()
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatalf("did not end in time\n%s", s.log)
	}
	return s.err
}

func (s *started) url() string { return "ws://" + s.Public.String() }

// dial connects a client that is closed at the end of the test.
func (s *started) dial(o client.Options) client.Client {
	s.t.Helper()
	if o.URL == "" {
		o.URL = s.url()
	}
	c, err := client.Dial(within(s.t), o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// listen subscribes and returns what arrives.
func listen(t *testing.T, c client.Client, filter string) <-chan client.Received {
	t.Helper()
	got := make(chan client.Received, 1000)
	if err := c.Subscribe(within(t), filter, 1, func(r client.Received) { got <- r }); err != nil {
		t.Fatal(err)
	}
	return got
}

func next(t *testing.T, got <-chan client.Received) client.Received {
	t.Helper()
	select {
	case r := <-got:
		return r
	case <-time.After(patience):
		t.Fatal("nothing arrived")
	}
	return client.Received{}
}

// shell runs a command line and returns what it printed and its exit code.
func shell(t *testing.T, in string, env []string, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e buffer
	code = execute(within(t), args, streams{in: strings.NewReader(in), out: &o, err: &e, env: env})
	return o.String(), e.String(), code
}
