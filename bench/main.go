// Command bench measures Parley beside stock mochi-mqtt and mosquitto: memory of
// idle connections and the broker's CPU time per message; and, when asked for by
// name, what it costs to keep what is acknowledged, beside RabbitMQ and
// nats-server too. See docs/benchmarks.md.
//
//	make bench
//	cd bench && go run . --quick --scenario fanin-qos1
//	make bench BENCHFLAGS="--scenario durable,killed --rounds 1"
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"parley/bench/proc"
)

// settings are what the command line can change.
type settings struct {
	rounds    int
	duration  time.Duration // of one measurement
	warmup    time.Duration // before it
	settle    time.Duration // from the last connection to reading the memory of idle ones
	idleConns int
	window    int
	burst     int
	profiles  string
}

// bench is one run.
type bench struct {
	settings
	named bool // the brokers were named on the command line
	dir   string
	bin   binaries
	log   *log.Logger
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	code, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	stop()
	os.Exit(code)
}

// run returns the exit code: 0, 1 if something failed or Parley lost or mixed up
// a message, 2 if the command line is wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int, err error) {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0, nil
	case err != nil:
		return 2, err
	}
	if o.show != "" {
		if err := show(o.show, stdout); err != nil {
			return 1, err
		}
		return 0, nil
	}
	chosen, err := choose(o.scenarios)
	if err != nil {
		return 2, err
	}
	brokers, err := chooseBrokers(o.brokers, chosen)
	if err != nil {
		return 2, err
	}
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return 1, err
		}
	}
	if err := raiseFiles(); err != nil {
		return 1, err
	}
	b := &bench{settings: o.settings, named: o.brokers != "", log: log.New(stderr, "", log.Ltime)}
	r, err := b.run(ctx, o, chosen, brokers)
	if err != nil {
		return 1, err
	}
	r.Command = strings.TrimSpace("cd bench && go run . " + strings.Join(args, " "))
	write := r.writeText
	if o.json {
		write = r.writeJSON
	}
	if err := write(stdout); err != nil {
		return 1, err
	}
	if _, own := r.faults(); own {
		return 1, nil // the table says what
	}
	return 0, nil
}

// run measures everything that was chosen.
func (b *bench) run(ctx context.Context, o options, chosen []scenario, brokers []string) (result, error) {
	r := result{When: time.Now(), Brokers: brokers}
	var err error
	if b.dir, err = workDir(o.dir); err != nil {
		return r, err
	}
	defer os.RemoveAll(b.dir)
	b.log.Printf("building; data in %s", b.dir)
	if b.bin, err = prepare(ctx, b.dir, o.prebuilt, brokers); err != nil {
		return r, err
	}
	if r.Machine, err = proc.Describe(b.dir); err != nil {
		return r, err
	}
	for _, sc := range chosen {
		if ctx.Err() != nil {
			break
		}
		r.Rows = append(r.Rows, b.scenario(ctx, sc, brokers)...)
	}
	return r, ctx.Err()
}

// show writes the tables of a run that was saved.
func show(file string, stdout io.Writer) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var r result
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return r.writeText(stdout)
}

// scenario measures the brokers in turn, round after round.
func (b *bench) scenario(ctx context.Context, sc scenario, brokers []string) []row {
	bySample := make(map[string][]sample)
	b.log.Printf("%s: %s", sc.name, sc.what)
	var extra []string // further rows, in the order of their coming
	for round := 1; round <= b.rounds && ctx.Err() == nil; round++ {
		for _, name := range brokers {
			if !sc.takes(name, b.named) {
				continue
			}
			for _, s := range b.measure(ctx, sc, name, round) {
				if s.Scenario != sc.name && bySample[s.Scenario] == nil {
					extra = append(extra, s.Scenario)
				}
				bySample[s.Scenario] = append(bySample[s.Scenario], s)
				b.progress(s)
			}
		}
	}
	rows := []row{newRow(sc.name, sc.what, sc.unit, sc.aim, brokers, bySample[sc.name])}
	for _, name := range extra {
		what := "CPU of " + sc.name
		if name == "connect" {
			what = "broker CPU per connection: TCP, WebSocket upgrade, CONNECT"
		}
		rows = append(rows, newRow(name, what, bySample[name][0].Unit, aim{}, brokers, bySample[name]))
	}
	return rows
}

func (b *bench) progress(s sample) {
	if s.Error != "" {
		b.log.Printf("  %d/%d %-12s %-10s %s", s.Round, b.rounds, s.Scenario, s.Broker, s.Error)
		return
	}
	clean := ""
	if !s.Checks.Clean() {
		clean = fmt.Sprintf("  NOT CLEAN %+v", s.Checks)
	}
	b.log.Printf("  %d/%d %-12s %-10s %8s %s  %s sent/s, %.2f cores (load %.2f, other %.2f)%s",
		s.Round, b.rounds, s.Scenario, s.Broker, number(s.Value), s.Unit, number(s.Sent), s.BrokerCores, s.LoadCores, s.OtherCores, clean)
}

// chooseBrokers returns those that were named, else those that the chosen
// scenarios usually have, in the order of known.
func chooseBrokers(names string, chosen []scenario) ([]string, error) {
	if names != "" {
		brokers := strings.Split(names, ",")
		for _, b := range brokers {
			if !slices.Contains(known(), b) {
				return nil, fmt.Errorf("unknown broker %q; known are %s", b, strings.Join(known(), ", "))
			}
		}
		return brokers, nil
	}
	return slices.DeleteFunc(known(), func(b string) bool {
		return !slices.ContainsFunc(chosen, func(sc scenario) bool { return slices.Contains(sc.usual(), b) })
	}), nil
}

// choose finds scenarios by the beginnings of their names; without any, all but
// the durable ones.
func choose(names string) ([]scenario, error) {
	if names == "" {
		return scenarios(), nil
	}
	all := slices.Concat(scenarios(), durableScenarios())
	var chosen []scenario
	for _, sc := range all {
		if slices.ContainsFunc(strings.Split(names, ","), func(n string) bool { return n != "" && strings.HasPrefix(sc.name, n) }) {
			chosen = append(chosen, sc)
		}
	}
	if len(chosen) == 0 {
		var known []string
		for _, sc := range all {
			known = append(known, sc.name)
		}
		return nil, fmt.Errorf("no scenario is called %q; there are %s", names, strings.Join(known, ", "))
	}
	return chosen, nil
}

// workDir makes a directory on a disk: in memory, fdatasync would cost nothing.
func workDir(parent string) (string, error) {
	if parent == "" {
		parent = os.TempDir()
		if fs, err := proc.FileSystem(parent); err != nil || proc.InMemory(fs) {
			parent = "."
		}
	}
	fs, err := proc.FileSystem(parent)
	if err != nil {
		return "", err
	}
	if proc.InMemory(fs) {
		return "", fmt.Errorf("%s is in memory (%s): choose a directory on a disk with --dir", parent, fs)
	}
	dir, err := os.MkdirTemp(parent, "parley-bench-")
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// raiseFiles lifts the limit of open files as far as it goes, for the generator
// and the brokers that it starts.
func raiseFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	return nil
}
