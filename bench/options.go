package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

// options are the command line.
type options struct {
	settings
	json      bool
	show      string
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
	f.StringVar(&o.show, "show", "", "measure nothing; write the tables of a `file` that --json has written")
	f.StringVar(&o.scenarios, "scenario", "", "only `names`, separated by commas; a prefix will do (fanin, device-qos1); the durable scenarios (durable, inflight, backlog, offline, narrow, acks, half-load, topics, killed, powercut) run only if named")
	f.StringVar(&o.brokers, "brokers", "", "`names` of the brokers to measure, of "+strings.Join(known(), ", ")+" (default: the scenario's usual ones)")
	f.IntVar(&o.rounds, "rounds", 3, "how often everything is measured, the brokers in turn")
	f.DurationVar(&o.duration, "duration", 4*time.Second, "of one measurement")
	f.DurationVar(&o.warmup, "warmup", time.Second, "before each measurement")
	f.DurationVar(&o.settle, "settle", 15*time.Second, "idle: how long clients are silent before memory is read")
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
		short("settle", func() { o.settle = 3 * time.Second })
		short("connections", func() { o.idleConns = 1000 })
	}
	if o.rounds < 1 || o.duration <= 0 || o.idleConns < 1 {
		return o, fmt.Errorf("rounds, duration and connections must be above 0")
	}
	return o, nil
}
