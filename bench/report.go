package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"parley/bench/proc"
)

// result is everything a run has found.
type result struct {
	Command string       `json:"command"`
	When    time.Time    `json:"when"`
	Machine proc.Machine `json:"machine"`
	Brokers []string     `json:"brokers"`
	Rows    []row        `json:"scenarios"`
}

// row is one scenario: its samples and what follows from them.
type row struct {
	Name    string            `json:"name"`
	What    string            `json:"what"`
	Unit    string            `json:"unit"`
	Figures map[string]spread `json:"figures"` // by broker; one that was not measured is not there
	Ratios  map[string]spread `json:"ratios"`  // Parley to each peer, by round
	Aim     string            `json:"aim,omitempty"`
	Met     *bool             `json:"met,omitempty"`
	Samples []sample          `json:"samples"`
}

func newRow(name, what, unit string, to aim, brokers []string, samples []sample) row {
	r := row{Name: name, What: what, Unit: unit, Samples: samples,
		Figures: make(map[string]spread), Ratios: make(map[string]spread)}
	for _, b := range brokers {
		if figures := spreadOf(values(samples, b, func(s sample) float64 { return s.Value })); figures.N > 0 {
			r.Figures[b] = figures
		}
		if b == parley {
			continue
		}
		if ratio := ratios(samples, parley, b); ratio.N > 0 {
			r.Ratios[b] = ratio
		}
	}
	own, measured := r.Figures[parley]
	ratio, compared := r.Ratios[mochi]
	switch {
	case to.value > 0 && measured:
		r.judge(fmt.Sprintf("<= %g %s", to.value, unit), own.Median <= to.value)
	case to.ratio > 0 && compared:
		r.judge(fmt.Sprintf("<= %g x mochi", to.ratio), ratio.Median <= to.ratio)
	}
	return r
}

func (r *row) judge(aim string, met bool) { r.Aim, r.Met = aim, &met }

// faults lists what went wrong, per broker; own is whether Parley is among them.
func (r result) faults() (lines []string, own bool) {
	for _, row := range r.Rows {
		for _, s := range row.Samples {
			c := s.Checks
			var text string
			switch {
			case s.Error != "":
				text = s.Error
			case !c.Clean():
				text = fmt.Sprintf("of %d deliveries lost %d, duplicate %d, out of order %d, foreign %d; publishes not acknowledged %d, deliveries not released %d, bad acknowledgements %d",
					c.Expected, c.Lost, c.Duplicates, c.Reordered, c.Foreign, c.Unacked, c.Unreleased, c.BadAcks)
			case c.Overruns > 0:
				text = fmt.Sprintf("%d paced messages not sent: the broker did not keep up", c.Overruns)
			default:
				continue
			}
			lines = append(lines, fmt.Sprintf("%s, %s, round %d: %s", row.Name, s.Broker, s.Round, text))
			own = own || s.Broker == parley
		}
	}
	return lines, own
}

func (r result) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r result) writeText(w io.Writer) error {
	m := r.Machine
	fmt.Fprintf(w, "%s\n%s; %d cores (%s), %.0f GiB, Linux %s, %s; %s, 4 KiB + fdatasync %.0f µs (p90 %.0f)\n\n",
		r.Command, r.When.UTC().Format("2006-01-02 15:04 UTC"), m.Cores, m.CPU, float64(m.Memory)/(1<<30), m.Kernel, m.Go, m.Disk, m.SyncP50, m.SyncP90)
	fmt.Fprint(w, "Figures: median (least - most of the rounds). CPU is the broker's user + system time.\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := []string{"scenario", "unit"}
	head = append(head, r.Brokers...)
	for _, b := range r.Brokers {
		if b != parley {
			head = append(head, "parley/"+b)
		}
	}
	fmt.Fprintln(t, strings.Join(append(head, "aim"), "\t"))
	for _, row := range r.Rows {
		cells := []string{row.Name, row.Unit}
		for _, b := range r.Brokers {
			cells = append(cells, cell(row.Figures, b))
		}
		for _, b := range r.Brokers {
			if b != parley {
				cells = append(cells, cell(row.Ratios, b))
			}
		}
		fmt.Fprintln(t, strings.Join(append(cells, verdict(row)), "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if err := r.writeDetails(w); err != nil {
		return err
	}
	lines, _ := r.faults()
	if len(lines) == 0 {
		_, err := fmt.Fprint(w, "\nEvery message arrived once, in order and whole, from every broker in every round.\n")
		return err
	}
	_, err := fmt.Fprintf(w, "\nNot as it should be:\n  %s\n", strings.Join(lines, "\n  "))
	return err
}

func cell(figures map[string]spread, name string) string {
	s, ok := figures[name]
	if !ok {
		return "-"
	}
	if s.N == 1 {
		return number(s.Median)
	}
	return fmt.Sprintf("%s (%s - %s)", number(s.Median), number(s.Min), number(s.Max))
}

// number writes three digits that matter.
func number(x float64) string {
	switch {
	case math.IsNaN(x):
		return "-"
	case math.Abs(x) >= 100:
		return fmt.Sprintf("%.0f", x)
	case math.Abs(x) >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func verdict(r row) string {
	switch {
	case r.Met == nil:
		return ""
	case *r.Met:
		return r.Aim + ": met"
	}
	return r.Aim + ": MISSED"
}

// repeats tells whether a row is another figure of the samples of the row before.
func (r result) repeats(this row) bool {
	name, cost := strings.CutSuffix(this.Name, "-cpu")
	return cost && slices.ContainsFunc(r.Rows, func(other row) bool { return other.Name == name })
}

// writeDetails shows what stands behind the figures, medians over the rounds.
func (r result) writeDetails(w io.Writer) error {
	fmt.Fprint(w, "\nBehind them, medians. Allocations and system calls are per unit of the figure; own is resident memory that is not mapped from files (RssAnon); load and other are cores that the generator and everything else used.\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "scenario\tbroker\tsent/s\tacked/s\tdelivered/s\tack p50/p99 ms\tdelay p50/p99 ms\tRSS MiB\town\tallocs\tbytes\treads\twrites\tmsg/commit\tcommit ms\tfsync/s\tcores\tload\tother\t")
	for _, row := range r.Rows {
		if r.repeats(row) {
			continue
		}
		for _, b := range r.Brokers {
			if row.Figures[b].N == 0 {
				continue
			}
			med := func(of func(sample) float64) string {
				if x := spreadOf(values(row.Samples, b, of)).Median; x != 0 {
					return number(x)
				}
				return "-" // nothing of the kind, or the broker does not say
			}
			ms := func(of func(sample) time.Duration) string {
				return med(func(s sample) float64 { return float64(of(s)) / float64(time.Millisecond) })
			}
			mib := func(of func(sample) int64) string {
				return med(func(s sample) float64 { return float64(of(s)) / (1 << 20) })
			}
			fmt.Fprintln(t, strings.Join([]string{row.Name, b,
				med(func(s sample) float64 { return s.Sent }),
				med(func(s sample) float64 { return s.Acked }),
				med(func(s sample) float64 { return s.Delivered }),
				ms(func(s sample) time.Duration { return s.Checks.AckP50 }) + "/" + ms(func(s sample) time.Duration { return s.Checks.AckP99 }),
				ms(func(s sample) time.Duration { return s.Checks.DelayP50 }) + "/" + ms(func(s sample) time.Duration { return s.Checks.DelayP99 }),
				mib(func(s sample) int64 { return s.RSSBefore }) + " > " + mib(func(s sample) int64 { return s.RSSAfter }),
				mib(func(s sample) int64 { return s.Anon }),
				med(func(s sample) float64 { return s.Allocs }),
				med(func(s sample) float64 { return s.Bytes }),
				med(func(s sample) float64 { return s.Reads }),
				med(func(s sample) float64 { return s.Writes }),
				med(func(s sample) float64 { return s.PerCommit }),
				med(func(s sample) float64 { return s.CommitMS }),
				med(func(s sample) float64 { return s.Fsyncs }),
				med(func(s sample) float64 { return s.BrokerCores }),
				med(func(s sample) float64 { return s.LoadCores }),
				med(func(s sample) float64 { return s.OtherCores }), "",
			}, "\t"))
		}
	}
	return t.Flush()
}
