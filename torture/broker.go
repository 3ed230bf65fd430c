package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// broker is the process under test. One goroutine uses it.
type broker struct {
	binary string
	folder string // config, log and data are in it
	grace  time.Duration

	cmd    *exec.Cmd
	log    *logFile
	exited chan struct{} // closed when the process is gone
	url    string
}

// logFile keeps the log of all processes and watches for what must not be in it.
type logFile struct {
	mu   sync.Mutex
	file *os.File
	line []byte // of the current process, until its address is known
	url  []byte
	bad  []byte // the first line that must not be there
}

var (
	listening = regexp.MustCompile(`url=(ws://[0-9.:]+)`)
	alarming  = [][]byte{[]byte("DATA RACE"), []byte("panic:"), []byte("fatal error:")}
)

// Write implements io.Writer.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for part := range bytes.Lines(p) {
		l.line = append(l.line, part...)
		if len(part) == 0 || part[len(part)-1] != '\n' {
			continue
		}
		if m := listening.FindSubmatch(l.line); m != nil && l.url == nil {
			l.url = bytes.Clone(m[1])
		}
		for _, word := range alarming {
			if l.bad == nil && bytes.Contains(l.line, word) {
				l.bad = bytes.TrimSpace(bytes.Clone(l.line))
			}
		}
		l.line = l.line[:0]
	}
	return l.file.Write(p)
}

func (l *logFile) address() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.url)
}

func (l *logFile) restart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.url, l.line = nil, l.line[:0]
}

func newBroker(binary, folder string, grace time.Duration) (*broker, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("listen: 127.0.0.1:0\ndata: %q\nplayground: false\nwill: {restart_grace: %v}\ndrain: {spread: 0s, grace: 5s}\n",
		filepath.Join(folder, "data"), grace)
	if err := os.WriteFile(filepath.Join(folder, "parley.yaml"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(folder, "broker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &broker{binary: binary, folder: folder, grace: grace, log: &logFile{file: file}}, nil
}

// startTime bounds a start: the log is replayed.
const startTime = time.Minute

// start starts the process and waits until it accepts clients.
func (b *broker) start(ctx context.Context) error {
	b.log.restart()
	b.cmd = exec.Command(b.binary, "serve", "--config", filepath.Join(b.folder, "parley.yaml"))
	b.cmd.Dir = b.folder
	b.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1 exitcode=66")
	b.cmd.Stdout, b.cmd.Stderr = b.log, b.log
	if err := b.cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	b.exited = exited
	cmd := b.cmd
	go func() {
		defer close(exited)
		_ = cmd.Wait() // its end is what counts; the log says why
	}()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for !b.ready(ctx) {
		select {
		case <-exited:
			return fmt.Errorf("the broker ended at start: %v; see %s", cmd.ProcessState, b.log.file.Name())
		default:
		}
		if !pause(ctx, 10*time.Millisecond) {
			return errors.Join(fmt.Errorf("the broker is not ready; see %s", b.log.file.Name()), ctx.Err())
		}
	}
	return nil
}

func (b *broker) ready(ctx context.Context) bool {
	b.url = b.log.address()
	if b.url == "" {
		return false
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http"+b.url[len("ws"):]+"/readyz", nil)
	if err != nil {
		return false
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// died says how the process ended, if it did by itself or with what must not be
// in its log.
func (b *broker) died() error {
	b.log.mu.Lock()
	bad := b.log.bad
	b.log.mu.Unlock()
	if bad != nil {
		return fmt.Errorf("the broker's log says %q; see %s", bad, b.log.file.Name())
	}
	select {
	case <-b.exited:
		return fmt.Errorf("the broker ended by itself: %v; see %s", b.cmd.ProcessState, b.log.file.Name())
	default:
		return nil
	}
}

// kill pulls the plug of the process, and of nothing else.
func (b *broker) kill() {
	_ = b.cmd.Process.Kill() // fails only if it is gone
	<-b.exited
}

// stop ends the process properly.
func (b *broker) stop() error {
	defer b.log.file.Close()
	if b.exited == nil { // never started
		return nil
	}
	_ = b.cmd.Process.Signal(os.Interrupt)
	select {
	case <-b.exited:
	case <-time.After(startTime):
		b.kill()
		return fmt.Errorf("the broker did not end on a signal; see %s", b.log.file.Name())
	}
	return nil
}
