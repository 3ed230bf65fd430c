package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"parley/auth"
	"parley/client"
)

// builds is where binary builds; TestMain removes it.
var builds string

// binary builds the command once for all tests of this file.
var binary = sync.OnceValues(func() (path string, err error) {
	if builds, err = os.MkdirTemp("", "parley"); err != nil {
		return "", err
	}
	path = filepath.Join(builds, "broker")
	cmd := exec.Command("go", "build", "-ldflags", "-X main.version=1.2.3-test", "-o", path, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

// process is the binary at work.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	log *lines
}

// lines keeps what a process wrote and lets tests wait for a part of it.
type lines struct {
	mu   sync.Mutex
	all  string
	more chan struct{} // closed and replaced at every line
}

func (l *lines) read(r io.Reader) {
	for s := bufio.NewScanner(r); s.Scan(); {
		l.mu.Lock()
		l.all += s.Text() + "\n"
		close(l.more)
		l.more = make(chan struct{})
		l.mu.Unlock()
	}
}

// wait returns the rest of the first line that has text.
func (l *lines) wait(t *testing.T, text string) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		_, rest, found := strings.Cut(l.all, text)
		more, all := l.more, l.all
		l.mu.Unlock()
		if found {
			line, _, _ := strings.Cut(rest, "\n")
			return line
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("no %q in:\n%s", text, all)
		}
	}
}

// spawn starts the binary with nothing of this environment.
func spawn(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(path, args...), log: &lines{more: make(chan struct{})}}
	p.cmd.Dir, p.cmd.Env = t.TempDir(), []string{"HOME=/nowhere"}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		defer r.Close()
		p.log.read(r)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // fails if it has ended, as it should have
		_, _ = p.cmd.Process.Wait()
	})
	return p
}

// url waits until the broker listens.
func (p *process) url() string {
	p.t.Helper()
	return strings.Fields(p.log.wait(p.t, "msg=listening url="))[0]
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// code waits for the end.
func (p *process) code() int {
	p.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	select {
	case <-ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-ended
		p.t.Fatalf("did not end:\n%s", p.log.all)
	}
	return -1
}

// Without configuration: loopback, ./data, everybody is let in, and it says so.
// SIGTERM drains: clients are told, what was acknowledged is there afterwards,
// exit code 0.
func TestProcessDrainsOnSIGTERM(t *testing.T) {
	p := spawn(t, "--listen", "127.0.0.1:0", "--set", "drain.spread=100ms")
	url := p.url()
	p.log.wait(t, "anonymous clients are allowed")
	p.log.wait(t, "version=1.2.3-test")
	if _, err := os.Stat(filepath.Join(p.cmd.Dir, "data", "parley.db")); err != nil {
		t.Error(err)
	}
	c, err := client.Dial(within(t), client.Options{URL: url, Protocol: "mqtt"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Publish(within(t), client.Publication{Topic: "last", Payload: []byte("words"), QoS: 1, Retain: true}); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGTERM)
	if code := p.code(); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.log.all)
	}
	select {
	case <-c.Done():
		if !strings.Contains(c.Err().Error(), "0x8B") {
			t.Errorf("told %v", c.Err())
		}
	case <-time.After(patience):
		t.Error("not told")
	}

	again := spawn(t, "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(p.cmd.Dir, "data"))
	out, errs, code := shell(t, "", nil, "sub", "--url", again.url(), "-n", "1", "-t", "10s", "#")
	if code != exitOK || out != "last words\n" {
		t.Errorf("after the restart: %d %q %s", code, out, errs)
	}
	again.signal(syscall.SIGINT)
	if code := again.code(); code != exitOK {
		t.Errorf("exit code %d after SIGINT", code)
	}
}

func TestProcessRefusesToBeExposed(t *testing.T) {
	p := spawn(t, "serve", "--listen", "0.0.0.0:0")
	if code := p.code(); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	p.log.wait(t, "--listen: listen: 0.0.0.0:0 can be reached by others")
}

// SIGHUP takes a new user up; a broken file leaves the old content in force.
func TestProcessReloadsOnSIGHUP(t *testing.T) {
	file, token := users(t)
	p := spawn(t, "--listen", "127.0.0.1:0", "--auth-file", file, "--set", "drain.spread=0s")
	url := p.url()
	try := func(o client.Options) error {
		o.URL = url
		c, err := client.Dial(within(t), o)
		if err == nil {
			c.Close()
		}
		return err
	}
	bob := client.Options{User: "bob", Password: "pw"}
	if err := try(bob); !errors.Is(err, client.ErrRefused) {
		t.Errorf("before: %v", err)
	}
	if _, err := auth.SetUser(file, auth.UserChange{Name: "bob", Password: "pw", Hash: auth.HashParams{MemoryKiB: 64, Passes: 1}}); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	p.log.wait(t, "authentication file reloaded")
	if err := try(bob); err != nil {
		t.Errorf("after: %v", err)
	}
	if err := os.WriteFile(file, []byte("users: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	p.log.wait(t, "authentication file not reloaded; the old content stays in force")
	if err := try(client.Options{Token: token}); err != nil {
		t.Errorf("with a broken file: %v", err)
	}
	p.signal(syscall.SIGTERM)
	if code := p.code(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// The process listens where it says, and only there.
func TestProcessListensOnLoopbackOnly(t *testing.T) {
	p := spawn(t, "--listen", "127.0.0.1:0", "--admin-listen", ":0", "--mqtt-listen", "127.0.0.1:0")
	p.url()
	for _, text := range []string{"operators\" address=", "WebSocket\" address="} {
		address := strings.Fields(p.log.wait(t, text))[0]
		if host, _, err := net.SplitHostPort(address); err != nil || host != "127.0.0.1" {
			t.Errorf("%s%s", text, address)
		}
	}
}

func TestEcho(t *testing.T) {
	p := spawn(t, "echo", "--listen", "127.0.0.1:0", "--compression")
	url := strings.TrimSpace(p.log.wait(t, "echoing on "))
	c, _, err := websocket.Dial(within(t), url, &websocket.DialOptions{Subprotocols: []string{"anything"}, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	text := strings.Repeat("großer Text ", 100_000)
	if err := c.Write(within(t), websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if kind, got, err := c.Read(within(t)); err != nil || kind != websocket.MessageText || string(got) != text {
		t.Errorf("%v %d bytes, %v", kind, len(got), err)
	}
	p.signal(syscall.SIGTERM)
	if code := p.code(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// TestEchoInProcess ends without leaving a goroutine.
func TestEchoInProcess(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- runEcho(ctx, &streams{out: w}, "127.0.0.1:0", false, true) }()
	if line, err := bufio.NewReader(r).ReadString('\n'); err != nil || !strings.HasPrefix(line, "echoing on ws://127.0.0.1:") {
		t.Errorf("%q, %v", line, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
