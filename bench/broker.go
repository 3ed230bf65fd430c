package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"parley/bench/load"
)

// The brokers that are measured.
const (
	parley    = "parley"
	mochi     = "mochi"
	mosquitto = "mosquitto"

	// Those of the durable scenarios only.
	mochiBolt  = "mochi-bolt"  // mochi with its bolt hook
	nats       = "nats"        // nats-server with JetStream
	natsAlways = "nats-always" // the same with sync_interval: always
	rabbitmq   = "rabbitmq"
)

// known lists all brokers; the first three are in every scenario.
func known() []string {
	return []string{parley, mochi, mosquitto, mochiBolt, nats, natsAlways, rabbitmq}
}

// binaries is where the brokers' programs are; a broker without one is left out
// for the reason in missing.
type binaries struct {
	path    map[string]string
	missing map[string]string
}

// prepare builds Parley, mochi and nats-server into dir, alike, and looks for
// mosquitto and RabbitMQ; only those of brokers.
func prepare(ctx context.Context, dir, prebuilt string, brokers []string) (binaries, error) {
	b := binaries{path: make(map[string]string), missing: make(map[string]string)}
	for _, name := range brokers {
		var err error
		switch {
		case name == parley && prebuilt != "":
			b.path[name], err = filepath.Abs(prebuilt) // it runs in a directory of its own
		case name == parley:
			b.path[name] = filepath.Join(dir, "broker")
			err = build(ctx, "..", b.path[name], "./cmd/broker")
		case name == mochi, name == mochiBolt:
			b.path[name] = filepath.Join(dir, "mochi")
			err = build(ctx, ".", b.path[name], "./mochi")
		case name == nats, name == natsAlways:
			b.path[name] = filepath.Join(dir, "nats-server")
			err = build(ctx, ".", b.path[name], "github.com/nats-io/nats-server/v2")
		case name == rabbitmq:
			b.path[name], b.missing[name] = find("/usr/lib/rabbitmq/bin/rabbitmq-server")
		default:
			b.path[name], b.missing[name] = find("mosquitto", "/usr/sbin/mosquitto")
		}
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// find looks for a program that Debian has a package of.
func find(names ...string) (path, missing string) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, ""
		}
	}
	return "", "not installed (apt-get install " + filepath.Base(names[0]) + ")"
}

func build(ctx context.Context, module, out, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", out, pkg)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s (run this in bench/): %w\n%s", pkg, err, text)
	}
	return nil
}

// running is a broker that has been started, freshly and with an empty store.
type running struct {
	name  string
	addr  string // of its WebSocket listener; durable scenarios: of that for MQTT alone
	admin string // where /debug/pprof (and Parley's /metrics) is; "" for mosquitto
	cmd   *exec.Cmd
	log   string
	ended chan error
	pid   int    // of the process that does the work
	epmd  string // the port of Erlang's port mapper, for RabbitMQ
}

// start runs a broker with its data in a new directory below dir and waits until
// it takes MQTT over WebSocket.
func (b binaries) start(ctx context.Context, name, dir string) (*running, error) {
	data, err := os.MkdirTemp(dir, name+"-")
	if err != nil {
		return nil, err
	}
	r := &running{name: name, log: filepath.Join(data, "log"), ended: make(chan error, 1)}
	if r.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	if name != mosquitto {
		if r.admin, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	args, err := arguments(r, data)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(r.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	r.cmd = exec.Command(b.path[name], args...)
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = data, log, log
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	r.pid = r.cmd.Process.Pid
	go func() { r.ended <- r.cmd.Wait() }()
	if err := r.ready(ctx); err != nil {
		text, _ := os.ReadFile(r.log)
		r.stop()
		lines := strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", " | ")
		return nil, fmt.Errorf("%s does not take MQTT over WebSocket: %w; it says: %s", name, err, lines)
	}
	return r, nil
}

// arguments are each broker's defaults but for where it listens, keeps data and logs.
func arguments(r *running, data string) ([]string, error) {
	switch r.name {
	case parley:
		return []string{"serve", "--listen", r.addr, "--admin-listen", r.admin,
			"--data", filepath.Join(data, "store"), "--log-level", "warn",
			"--set", "limits.takeovers=0", "--set", "drain.spread=0s"}, nil // the generator has hung up by then
	case mochi:
		return []string{"-listen", r.addr, "-admin", r.admin}, nil
	}
	plain, err := freeAddr()
	if err != nil {
		return nil, err
	}
	// Version 2.0.11 does not start without a plain listener, and takes the
	// address of a websockets listener for loopback only with socket_domain.
	text := "allow_anonymous true\npersistence false\nlog_dest stderr\nlog_type error\n" +
		"listener " + portAndHost(plain) + "\n" +
		"listener " + portAndHost(r.addr) + "\nsocket_domain ipv4\nprotocol websockets\n"
	if os.Geteuid() == 0 {
		text += "user root\n" // its own user may not read this directory
	}
	conf := filepath.Join(data, "mosquitto.conf")
	return []string{"-c", conf}, os.WriteFile(conf, []byte(text), 0o600)
}

func portAndHost(addr string) string {
	host, port, _ := strings.Cut(addr, ":")
	return port + " " + host
}

func (r *running) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	var last error
	for {
		p, err := load.Park(ctx, r.addr, 1, func() {})
		if err == nil {
			p.Close()
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case err := <-r.ended:
			r.ended <- err
			return fmt.Errorf("it ended (%v)", err)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop asks the broker to end and makes it end after 20 s.
func (r *running) stop() {
	select {
	case <-r.ended:
		return
	default:
	}
	_ = syscall.Kill(r.pid, syscall.SIGTERM)
	select {
	case <-r.ended:
	case <-time.After(20 * time.Second):
		_ = r.cmd.Process.Kill()
		if r.pid != r.cmd.Process.Pid {
			_ = syscall.Kill(r.pid, syscall.SIGKILL)
		}
		<-r.ended
	}
}

// freeAddr finds a loopback address that nothing listens on, below the range
// that the kernel takes ports of outgoing connections from.
func freeAddr() (string, error) {
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+rand.IntN(12000)))
		if l, err := net.Listen("tcp4", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", errors.New("no free port between 20000 and 32000")
}

// get reads a page of the broker's admin listener.
func (r *running) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.admin+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, response.Status)
	}
	return io.ReadAll(response.Body)
}

// inner is what a broker says of itself.
type inner struct {
	mallocs, bytes  float64 // allocated since start: objects and bytes
	commits, stored float64 // Parley: commits with messages, and messages in them
	dropped         float64 // Parley: transient deliveries
	commitTime      float64 // Parley: seconds of all commits
	timed           float64 // … and how many these are
}

// inner is empty for a broker that says nothing.
func (r *running) inner(ctx context.Context) (inner, error) {
	var in inner
	if r.admin == "" {
		return in, nil
	}
	heap, err := r.get(ctx, "/debug/pprof/heap?debug=1")
	if err != nil {
		return in, err
	}
	in.mallocs, in.bytes = memStat(heap, "Mallocs"), memStat(heap, "TotalAlloc")
	if r.name != parley {
		return in, nil
	}
	text, err := r.get(ctx, "/metrics")
	if err != nil {
		return in, err
	}
	in.commits = metric(text, "parley_store_commits_total")
	in.stored = metric(text, "parley_store_messages_total")
	in.commitTime, in.timed = metric(text, "parley_store_commit_seconds_sum"), metric(text, "parley_store_commit_seconds_count")
	in.dropped = metric(text, "parley_messages_dropped_total")
	return in, nil
}

// memStat finds "# name = number", as the heap profile ends with.
func memStat(heap []byte, name string) float64 {
	for line := range strings.Lines(string(heap)) {
		if value, ok := strings.CutPrefix(line, "# "+name+" = "); ok {
			n, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return n
		}
	}
	return 0
}

// metric sums a metric over its labels (Prometheus text format).
func metric(text []byte, name string) (sum float64) {
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		if i := strings.LastIndexByte(rest, '}'); i >= 0 {
			rest = rest[i+1:]
		}
		if fields := strings.Fields(rest); len(fields) > 0 {
			n, _ := strconv.ParseFloat(fields[0], 64)
			sum += n
		}
	}
	return sum
}
