package torture

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"parley/torture/history"
)

// Options says what a run does. The zero value with Binary or URL set is usable.
type Options struct {
	URL    string // a broker that runs already; then nothing is killed
	Binary string // the broker to start and, with Kill, to kill
	Data   string // folder for the broker's data and log; "" = a temporary one
	Keep   bool   // leave Data as it is at the end, not only after a fault
	Kill   bool

	Seed        uint64        // 0 = by chance
	Cycles      int           // stretches of load, each ended by a kill or a quiet moment; 0 = 1, with Kill 10
	Duration    time.Duration // of one cycle's load; 0 = 10 s, with Kill by chance up to a second
	CheckEvery  int           // cycles between two quiet moments; 0 = 10 with Kill, else 1
	Publishers  int           // 0 = 4
	Subscribers int           // durable ones; 0 = 6
	Passing     int           // subscribers that come and go; 0 = 2
	Wills       int           // sessions with wills; 0 = 2
	Protocols   []string      // of Protocols(); nil = all
	Pace        time.Duration // mean time between a publisher's bursts of up to eight; 0 = 10 ms
	Grace       time.Duration // will.restart_grace of the broker at URL; 0 = 30 s there and 1 s if it is started here
	Patience    time.Duration // how long draining may take; 0 = 30 s

	Progress io.Writer // nil = none
}

// maxClients bounds each kind of client.
const maxClients = 10_000

func (o *Options) complete() error {
	if (o.URL == "") == (o.Binary == "") {
		return fmt.Errorf("give either the address of a broker or a binary to start")
	}
	if o.Kill && o.URL != "" {
		return fmt.Errorf("a broker that somebody else started is not killed")
	}
	if o.Protocols == nil {
		o.Protocols = Protocols()
	}
	for _, p := range o.Protocols {
		if !slices.Contains(Protocols(), p) {
			return fmt.Errorf("unknown protocol %q; known are %s", p, strings.Join(Protocols(), ", "))
		}
	}
	if len(o.Protocols) == 0 {
		return fmt.Errorf("no protocol")
	}
	for _, n := range []int{o.Publishers, o.Subscribers, o.Passing, o.Wills, o.Cycles, o.CheckEvery} {
		if n < 0 || n > 100*maxClients {
			return fmt.Errorf("%d is out of range", n)
		}
	}
	cycles, every, grace := 1, 1, 30*time.Second
	if o.Kill {
		cycles, every = 10, 10
	}
	if o.Binary != "" {
		grace = time.Second
	}
	o.Cycles, o.CheckEvery = cmp.Or(o.Cycles, cycles), cmp.Or(o.CheckEvery, every)
	o.Publishers, o.Subscribers = cmp.Or(o.Publishers, 4), cmp.Or(o.Subscribers, 6)
	o.Passing, o.Wills = cmp.Or(o.Passing, 2), cmp.Or(o.Wills, 2)
	o.Pace, o.Grace = cmp.Or(o.Pace, 10*time.Millisecond), cmp.Or(o.Grace, grace)
	o.Patience = cmp.Or(o.Patience, 30*time.Second)
	o.Seed = cmp.Or(o.Seed, uint64(time.Now().UnixNano()))
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return nil
}

func (o *Options) progress(format string, args ...any) {
	fmt.Fprintf(o.Progress, format+"\n", args...)
}

// WillTolerance is how much earlier or later than promised a will may be.
const WillTolerance = 3 * time.Second

func (o *Options) limits() history.Limits {
	return history.Limits{WillGrace: o.Grace, Tolerance: WillTolerance}
}
