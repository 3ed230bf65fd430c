// Command bench measures Parley beside stock mochi-mqtt and mosquitto: memory of
// idle connections and the broker's CPU time per message. See docs/benchmarks.md.
//
//	make bench
//	cd bench && go run . --quick --scenario fanin-qos1
package main

import (
	"context"
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
	settle    time.Duration // how long memory must keep its size to count as settled
	idleConns int
	window    int
	burst     int
	profiles  string
}

// bench is one run.
type bench struct {
	settings
	dir string
	bin binaries
	log *log.Logger
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	code, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		code = 1
	}
	stop()
	os.Exit(code)
}

// options are the command line.
type options struct {
	settings
	json      bool
	scenarios string
	brokers   string
	dir       string
	prebuilt  string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	quick := f.Bool("quick", false, "one short round: to see whether it works, not for figures")
	f.BoolVar(&o.json, "json", false, "write everything as JSON instead of tables")
	f.StringVar(&o.scenarios, "scenario", "", "only `names`, separated by commas; a prefix will do (fanin, device-qos1)")
	f.StringVar(&o.brokers, "brokers", strings.Join([]string{parley, mochi, mosquitto}, ","), "`names` of the brokers to measure")
	f.IntVar(&o.rounds, "rounds", 3, "how often everything is measured, the brokers in turn")
	f.DurationVar(&o.duration, "duration", 4*time.Second, "of one measurement")
	f.DurationVar(&o.warmup, "warmup", time.Second, "before each measurement")
	f.DurationVar(&o.settle, "settle", 3*time.Second, "idle: how long memory must keep its size")
	f.IntVar(&o.idleConns, "connections", 5000, "idle: how many")
	f.IntVar(&o.window, "window", 64, "messages of one publisher that are under way at most")
	f.IntVar(&o.burst, "burst", 16, "messages of one write, where traffic is not paced")
	f.StringVar(&o.profiles, "profile", "", "write CPU and allocation profiles of the Go brokers to `directory`; the figures then include taking them")
	f.StringVar(&o.dir, "dir", "", "`directory` for data, on a disk (default: the system's temporary directory, or here if that is in memory)")
	f.StringVar(&o.prebuilt, "broker", "", "measure this `program` instead of building Parley")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if *quick {
		given := make(map[string]bool)
		f.Visit(func(f *flag.Flag) { given[f.Name] = true })
		short := func(name string, set func()) {
			if !given[name] {
				set()
			}
		}
		short("rounds", func() { o.rounds = 1 })
		short("duration", func() { o.duration = 1500 * time.Millisecond })
		short("warmup", func() { o.warmup = 300 * time.Millisecond })
		short("settle", func() { o.settle = time.Second })
		short("connections", func() { o.idleConns = 1000 })
	}
	if o.rounds < 1 || o.duration <= 0 || o.idleConns < 1 {
		return o, fmt.Errorf("rounds, duration and connections must be above 0")
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int, err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return 2, err
	}
	chosen, err := choose(o.scenarios)
	if err != nil {
		return 2, err
	}
	brokers := strings.Split(o.brokers, ",")
	for _, b := range brokers {
		if !slices.Contains([]string{parley, mochi, mosquitto}, b) {
			return 2, fmt.Errorf("unknown broker %q", b)
		}
	}
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return 1, err
		}
	}
	if err := raiseFiles(); err != nil {
		return 1, err
	}
	b := &bench{settings: o.settings, log: log.New(stderr, "", log.Ltime)}
	if b.dir, err = workDir(o.dir); err != nil {
		return 1, err
	}
	defer os.RemoveAll(b.dir)
	b.log.Printf("building; data in %s", b.dir)
	if b.bin, err = prepare(ctx, b.dir, o.prebuilt); err != nil {
		return 1, err
	}
	r := result{Command: strings.TrimSpace("cd bench && go run . " + strings.Join(args, " ")), When: time.Now(), Brokers: brokers}
	if r.Machine, err = proc.Describe(b.dir); err != nil {
		return 1, err
	}
	for _, sc := range chosen {
		r.Rows = append(r.Rows, b.scenario(ctx, sc, brokers)...)
	}
	if ctx.Err() != nil {
		return 1, ctx.Err()
	}
	if o.json {
		err = r.writeJSON(stdout)
	} else {
		err = r.writeText(stdout)
	}
	if _, own := r.faults(); own {
		code = 1
	}
	return code, err
}

// scenario measures the brokers in turn, round after round.
func (b *bench) scenario(ctx context.Context, sc scenario, brokers []string) []row {
	bySample := make(map[string][]sample)
	b.log.Printf("%s: %s", sc.name, sc.what)
	for round := 1; round <= b.rounds && ctx.Err() == nil; round++ {
		for _, name := range brokers {
			for _, s := range b.measure(ctx, sc, name, round) {
				bySample[s.Scenario] = append(bySample[s.Scenario], s)
				b.progress(s)
			}
		}
	}
	rows := []row{newRow(sc.name, sc.what, sc.unit, sc.aim, brokers, bySample[sc.name])}
	if extra := bySample["connect"]; len(extra) > 0 {
		rows = append(rows, newRow("connect", "broker CPU per connection: TCP, WebSocket upgrade, CONNECT", "µs/connect", aim{}, brokers, extra))
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

func choose(names string) ([]scenario, error) {
	all := scenarios()
	if names == "" {
		return all, nil
	}
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
