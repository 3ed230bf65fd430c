package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// broker is one running process of the binary.
type broker struct {
	t      *testing.T
	listen string // host:port of the WebSocket listener
	mqtt   string // host:port of the plain MQTT listener
	data   string
	config string

	cmd    *exec.Cmd
	log    *syncBuffer
	exited chan struct{} // closed when the process is gone
	code   int           // valid after exited
}

// startBroker starts a broker on fresh data. config is YAML beside the addresses
// and the data folder; anonymous clients are allowed unless it says otherwise.
func startBroker(t *testing.T, config string) *broker {
	t.Helper()
	b := &broker{t: t, data: filepath.Join(t.TempDir(), "data"), config: config}
	b.start()
	t.Cleanup(func() {
		select {
		case <-b.exited:
		default:
			if code := b.stop(); code != 0 {
				t.Errorf("the broker ended with code %d on SIGTERM, want 0", code)
			}
		}
		b.inspect()
	})
	return b
}

// command prepares the binary with the broker's configuration.
func (b *broker) command(args ...string) *exec.Cmd {
	b.t.Helper()
	binary, err := builtBroker()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(binary, args...)
	cmd.Dir = b.t.TempDir()
	cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1 exitcode=66")
	return cmd
}

func (b *broker) serveCommand() *exec.Cmd {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "parley.yaml")
	text := fmt.Sprintf("listen: 127.0.0.1:0\nmqtt_listen: 127.0.0.1:0\ndata: %s\n%s\n", b.data, b.config)
	if !strings.Contains(b.config, "drain:") {
		text += "drain: {spread: 0s, grace: 5s}\n"
	}
	if !strings.Contains("\n"+b.config, "\nlimits:") { // tests take over as fast as they can
		text += "limits: {takeovers: 0}\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return b.command("serve", "--config", path)
}

func (b *broker) start() {
	b.t.Helper()
	cmd, log := b.serveCommand(), &syncBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.cmd, b.log, b.exited = cmd, log, make(chan struct{})
	go func(exited chan struct{}) {
		_ = cmd.Wait() // the exit code says all
		b.code = cmd.ProcessState.ExitCode()
		close(exited)
	}(b.exited)
	b.waitReady()
}

// The log says which ports the kernel chose.
var (
	listening     = regexp.MustCompile(`url=ws://(127\.0\.0\.1:\d+)`)
	listeningMQTT = regexp.MustCompile(`address=(127\.0\.0\.1:\d+)`)
)

func (b *broker) waitReady() {
	b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !b.ready() {
		select {
		case <-tick.C:
		case <-b.exited:
			b.t.Fatalf("the broker ended at start with code %d:\n%s", b.code, b.log)
		case <-deadline:
			b.t.Fatalf("the broker is not ready after %v:\n%s", patience, b.log)
		}
	}
}

func (b *broker) ready() bool {
	web, plain := listening.FindStringSubmatch(b.log.String()), listeningMQTT.FindStringSubmatch(b.log.String())
	if web == nil || plain == nil {
		return false
	}
	b.listen, b.mqtt = web[1], plain[1]
	r, err := http.Get("http://" + b.listen + "/readyz")
	if err != nil {
		return false
	}
	r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// signal sends sig and waits for the process to end.
func (b *broker) signal(sig syscall.Signal) int {
	b.t.Helper()
	if err := b.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		b.t.Error(err)
	}
	select {
	case <-b.exited:
	case <-time.After(patience):
		b.t.Errorf("the broker did not end within %v of %v:\n%s", patience, sig, b.log)
		_ = b.cmd.Process.Kill() // it hangs; the test has failed already
		<-b.exited
	}
	return b.code
}

func (b *broker) stop() int { b.t.Helper(); return b.signal(syscall.SIGTERM) }
func (b *broker) kill()     { b.t.Helper(); b.signal(syscall.SIGKILL) }

// restart stops the broker properly and starts it again on the same data, on
// other ports.
func (b *broker) restart() {
	b.t.Helper()
	if code := b.stop(); code != 0 {
		b.t.Errorf("the broker ended with code %d on SIGTERM, want 0", code)
	}
	b.inspect()
	b.start()
}

// inspect looks into the log for what must never be there, and shows it when
// the test has failed.
func (b *broker) inspect() {
	text := b.log.String()
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(text, bad) {
			b.t.Errorf("%q in the broker's log", bad)
		}
	}
	if b.t.Failed() {
		if len(text) > 20_000 {
			text = text[:10_000] + "\n…\n" + text[len(text)-10_000:]
		}
		b.t.Logf("the broker's log:\n%s", text)
	}
}

func (b *broker) url(path string) string { return "ws://" + b.listen + path }

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
