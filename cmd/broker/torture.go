package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"parley/torture"
	"parley/torture/history"
)

func tortureCommand(s *streams) *cobra.Command {
	var o torture.Options
	var check string
	cmd := &cobra.Command{
		Use: "torture", Short: "Prove by a history that a broker loses nothing, also when it is killed",
		Long: `Start a broker on data of its own, or take one that runs (--url), put it under load
with clients of all protocols that are cut, take themselves over, read slowly and
subscribe while they lag, and judge what they saw: nothing acknowledged is lost,
order is kept, nothing comes twice where that is forbidden and unmarked nowhere,
wills and retained values are as promised.

With --kill the broker is killed (SIGKILL) at a random moment of each cycle and
started again on the same data.

Progress goes to standard error, the summary to standard output. On a fault the
first broken promise is shown with the events that show it; the whole history, the
broker's data and its log stay in a folder. The same seed makes the same clients,
but not the same timing.

Exit codes: 0 every promise was kept, 1 one was broken or the broker ended by
itself, 2 the command line is wrong.`,
		Example: `  broker torture                                  # 10 s of load, nothing is killed
  broker torture --kill --cycles 100              # a hundred kills
  broker torture --kill --protocols json,wamp --seed 4711
  broker torture --check history.jsonl
  broker torture --url ws://127.0.0.1:8080/ --duration 1m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if check != "" {
				return checkHistory(s, check, o.Grace)
			}
			return runTorture(cmd.Context(), s, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.URL, "url", "u", "", "a broker that runs already, such as ws://127.0.0.1:8080/")
	f.StringVar(&o.Data, "data", "", "folder for the broker's data, log and the history (default: a temporary one)")
	f.BoolVar(&o.Keep, "keep", false, "keep the folder, with the history since the last quiet moment, even if nothing is wrong")
	f.BoolVar(&o.Kill, "kill", false, "kill the broker in each cycle")
	f.IntVar(&o.Cycles, "cycles", 0, "stretches of load (default 1, with --kill 10)")
	f.DurationVar(&o.Duration, "duration", 0, "length of one cycle (default 10s, with --kill by chance up to 1s)")
	f.IntVar(&o.CheckEvery, "check-every", 0, "cycles between two moments of quiet in which all must be there (default 1, with --kill 10)")
	f.Uint64Var(&o.Seed, "seed", 0, "for repeating a run (default: by chance)")
	f.IntVar(&o.Publishers, "publishers", 0, "publishers (default 4)")
	f.IntVar(&o.Subscribers, "subscribers", 0, "durable subscribers (default 6)")
	f.StringSliceVar(&o.Protocols, "protocols", nil, "of "+strings.Join(torture.Protocols(), ", ")+" (default all)")
	f.StringVar(&check, "check", "", "run nothing, but judge the history in this file again")
	f.DurationVar(&o.Grace, "will-grace", 0, "will.restart_grace of the broker at --url (default 30s)")
	return cmd
}

func runTorture(ctx context.Context, s *streams, o torture.Options) error {
	if err := checkTorture(&o); err != nil {
		return err
	}
	if o.URL == "" {
		binary, err := os.Executable()
		if err != nil {
			return err
		}
		o.Binary = binary
	}
	o.Progress = s.err
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	res, err := torture.Run(ctx, o)
	if res.Elapsed > 0 {
		tortureSummary(s.out, &res)
	}
	if len(res.Faults) == 0 {
		return err
	}
	tortureFault(s.out, &res)
	return errors.Join(fmt.Errorf("%d faults", len(res.Faults)), err)
}

// checkTorture finds what the user can correct.
func checkTorture(o *torture.Options) error {
	if o.URL != "" && o.Kill {
		return usagef("--kill: a broker that runs already is not killed; leave --url out")
	}
	for _, p := range o.Protocols {
		if !slices.Contains(torture.Protocols(), p) {
			return usagef("--protocols: %q is not one of %s", p, strings.Join(torture.Protocols(), ", "))
		}
	}
	for flag, n := range map[string]int{"cycles": o.Cycles, "check-every": o.CheckEvery, "publishers": o.Publishers, "subscribers": o.Subscribers} {
		if n < 0 || n > 1_000_000 {
			return usagef("--%s: %d is not between 0 and 1000000", flag, n)
		}
	}
	if o.Duration < 0 || o.Grace < 0 {
		return usagef("--duration and --will-grace cannot be negative")
	}
	return nil
}

func tortureSummary(out io.Writer, res *torture.Result) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	c := &res.Counts
	for _, row := range []struct {
		name  string
		value any
	}{
		{"seed", res.Seed}, {"cycles", res.Cycles}, {"kills", res.Kills}, {"time", res.Elapsed.Round(time.Millisecond)},
		{"connections", c.Connections}, {"published", c.Published}, {"acknowledged", c.Acknowledged},
		{"delivered", c.Delivered}, {"delivered again", c.Redelivered}, {"wills delivered", c.Wills}, {"faults", len(res.Faults)},
	} {
		fmt.Fprintf(w, "%s\t%v\n", row.name, row.value)
	}
}

// tortureFault shows the first broken promise, and how many others there are.
func tortureFault(out io.Writer, res *torture.Result) {
	first := res.Faults[0]
	fmt.Fprintf(out, "\nfirst fault: %s\n", first)
	for _, e := range first.Events {
		fmt.Fprintf(out, "  %s\n", e)
	}
	fmt.Fprintf(out, "faults by rule: %s\nhistory: %s\nagain with: --seed %d\n", byRule(res.Faults), res.History, res.Seed)
}

func byRule(faults []history.Fault) string {
	rules := map[history.Rule]int{}
	for _, f := range faults {
		rules[f.Rule]++
	}
	var all []string
	for rule, n := range rules {
		all = append(all, fmt.Sprintf("%s %d", rule, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// checkHistory judges a history that a run has left, and shows all that is wrong.
func checkHistory(s *streams, path string, grace time.Duration) error {
	file, err := os.Open(path)
	if err != nil {
		return usageError{err}
	}
	defer file.Close()
	events, err := history.Read(file)
	if err != nil {
		return err
	}
	faults := history.Check(events, history.Limits{WillGrace: cmp.Or(grace, time.Second), Tolerance: torture.WillTolerance})
	for _, f := range faults {
		fmt.Fprintln(s.out, f)
		for _, e := range f.Events {
			fmt.Fprintf(s.out, "  %s\n", e)
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("%d faults: %s", len(faults), byRule(faults))
	}
	fmt.Fprintf(s.out, "%d events, no fault\n", len(events))
	return nil
}
