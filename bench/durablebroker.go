package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"parley/bench/load"
	"parley/bench/proc"
)

// startDurable runs a broker that keeps sessions and messages in the directory
// data, which may hold those of an earlier run, and waits until it takes MQTT
// over TCP.
func (b binaries) startDurable(ctx context.Context, name, data string) (*running, error) {
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, err
	}
	r := &running{name: name, log: filepath.Join(data, "log"), ended: make(chan error, 1)}
	var err error
	if r.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	if r.admin, err = freeAddr(); err != nil {
		return nil, err
	}
	args, env, err := durableArguments(r, data)
	if err != nil {
		return nil, err
	}
	if name != parley && name != mochiBolt {
		r.admin = ""
	}
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	r.cmd = exec.Command(b.path[name], args...)
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr, r.cmd.Env = data, log, log, append(os.Environ(), env...)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that a kill reaches all of it
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	r.pid = r.cmd.Process.Pid
	go func() { r.ended <- r.cmd.Wait() }()
	if err := r.readyPlain(ctx); err != nil {
		text, _ := os.ReadFile(r.log)
		r.kill()
		r.stopDurable()
		return nil, fmt.Errorf("%s does not take MQTT: %w; it says: %.500s", name, err, strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", " | "))
	}
	if name == rabbitmq {
		r.pid = proc.Descendant(r.pid, "beam.smp")
	}
	return r, nil
}

func (r *running) readyPlain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		last := load.Ready(ctx, r.addr)
		if last == nil {
			return nil
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

// kill ends the broker as kill -9 does.
func (r *running) kill() {
	_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	err := <-r.ended
	r.ended <- err
}

// durableArguments are each broker's defaults but for where it listens and keeps
// data, that sessions and messages are to be kept, and that none of them is to be
// cut, where there is a setting for that.
func durableArguments(r *running, data string) (args, env []string, err error) {
	write := func(name, text string) string {
		path := filepath.Join(data, name)
		err = errors.Join(err, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	host, port, _ := strings.Cut(r.addr, ":")
	switch r.name {
	case parley:
		public, err := freeAddr()
		return []string{"serve", "--listen", public, "--mqtt-listen", r.addr, "--admin-listen", r.admin,
			"--data", filepath.Join(data, "store"), "--log-level", "warn", "--set", "drain.spread=0s"}, nil, err
	case mochiBolt:
		public, err := freeAddr()
		return []string{"-listen", public, "-tcp", r.addr, "-admin", r.admin, "-store", filepath.Join(data, "mochi.db")}, nil, err
	case mosquitto:
		text := "allow_anonymous true\npersistence true\npersistence_location " + data + "/\nlog_dest stderr\nlog_type error\n" +
			"max_queued_messages 0\nlistener " + portAndHost(r.addr) + "\n"
		if os.Geteuid() == 0 {
			text += "user root\n"
		}
		return []string{"-c", write("mosquitto.conf", text)}, nil, err
	case nats, natsAlways:
		own, ferr := freeAddr()
		if ferr != nil {
			return nil, nil, ferr
		}
		_, ownPort, _ := strings.Cut(own, ":")
		sync := ""
		if r.name == natsAlways {
			sync = "sync_interval: always\n"
		}
		text := fmt.Sprintf("server_name: bench\nhost: 127.0.0.1\nport: %s\njetstream {\nstore_dir: %q\n%s}\nmqtt {\nhost: %s\nport: %s\n}\n",
			ownPort, filepath.Join(data, "jetstream"), sync, host, port)
		return []string{"-c", write("nats.conf", text)}, nil, err
	case rabbitmq:
		return rabbitArguments(r, data, write)
	}
	return nil, nil, fmt.Errorf("%s is not in the durable scenarios", r.name)
}

// rabbitArguments put everything that RabbitMQ and Erlang keep into data, and all
// listeners on loopback.
func rabbitArguments(r *running, data string, write func(name, text string) string) (args, env []string, err error) {
	epmd, err := freeAddr()
	if err != nil {
		return nil, nil, err
	}
	dist, err := freeAddr()
	if err != nil {
		return nil, nil, err
	}
	_, r.epmd, _ = strings.Cut(epmd, ":")
	_, distPort, _ := strings.Cut(dist, ":")
	conf := write("rabbitmq.conf", "listeners.tcp = none\nmqtt.listeners.tcp.default = "+r.addr+
		"\nmqtt.allow_anonymous = true\nmqtt.default_user = guest\nmqtt.default_pass = guest\nlog.console = true\nlog.console.level = error\nlog.file = false\n")
	cookie := filepath.Join(data, ".erlang.cookie") // else Erlang makes one, and does not sync it
	if err := os.WriteFile(cookie, []byte("PARLEYBENCHCOOKIE"), 0o600); err != nil {
		return nil, nil, err
	}
	plugins := write("enabled_plugins", "[rabbitmq_mqtt].\n")
	return nil, []string{
		"HOME=" + data, "RABBITMQ_NODENAME=bench@localhost", "RABBITMQ_CONFIG_FILE=" + strings.TrimSuffix(conf, ".conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + plugins, "RABBITMQ_MNESIA_BASE=" + filepath.Join(data, "mnesia"),
		"RABBITMQ_LOG_BASE=" + data, "RABBITMQ_PID_FILE=" + filepath.Join(data, "pid"), "RABBITMQ_DIST_PORT=" + distPort,
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT=" + r.epmd,
	}, nil
}

// stopDurable ends the broker, and what it has started besides.
func (r *running) stopDurable() {
	r.stop()
	if r.epmd == "" {
		return
	}
	// Erlang's port mapper, which the node has started and which outlives it; it
	// refuses to end until it has noticed that the node has.
	for range 20 {
		text, err := exec.Command("epmd", "-port", r.epmd, "-kill").CombinedOutput()
		if err == nil && !strings.Contains(string(text), "not allowed") {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
