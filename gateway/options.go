package gateway

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"parley/auth"
	"parley/metrics"
	"parley/subproto"
)

// Options configure a Gateway. The zero value of everything but Engines is
// usable; the defaults are in the comments.
type Options struct {
	// Engines serve the subprotocols they list; no name may be listed twice.
	Engines []subproto.Engine
	// Auth proves what the Authorization header carries. nil: such requests get 401.
	Auth auth.Authenticator
	// Namespaces maps a host ("a.example"), a path ("/a/mqtt") or both
	// ("a.example/mqtt") to a namespace; the most specific wins. Paths that
	// occur here accept upgrades too.
	Namespaces map[string]string
	// Aliases are further subprotocol names: name -> one that an engine lists.
	// "centrifuge-json" -> "json" is there by default.
	Aliases map[string]string
	// DefaultProtocol serves clients that offer none; "" refuses them.
	DefaultProtocol string
	// AcceptAny takes any first offer, or none, for the first engine. For
	// conformance suites.
	AcceptAny bool
	// Paths accept upgrades. Default DefaultPaths.
	Paths []string
	// Pages answers requests that are no upgrade; nil: 404 or 426.
	Pages http.Handler
	// Ready is asked by /readyz; an error is 503. nil: ready unless draining.
	Ready func() error
	// Origins are patterns (path.Match on the host, or on scheme://host) of
	// pages that may connect besides those of the same host.
	Origins []string
	// Compress offers permessage-deflate, without context takeover, to text protocols.
	Compress bool
	// CompressJobs bounds concurrent compressions; while all are busy messages
	// go uncompressed. Default 4 (about 1.2 MB each).
	CompressJobs int

	// Settled is called, at most every 10 s, when at least a thousand new
	// connections have gone idle. debug.FreeOSMemory is what it is for: the
	// garbage of a storm of handshakes would else stay resident. nil: nothing.
	Settled func()

	Limits   Limits
	Timeouts Timeouts

	Metrics *metrics.Set // default: a private set
	Log     *slog.Logger // default: discards
}

// Limits bound what one peer and all peers together may take.
type Limits struct {
	MaxMessage   int // bytes of a received message, decompressed; default 1 MiB
	MaxHandshake int // the same until Conn.Ready; default 128 KiB, at most MaxMessage
	// MaxReceiving is how many bytes messages above 64 KiB may hold while they
	// arrive, all connections together; one more closes its connection with 1013.
	// Default 256 MiB.
	MaxReceiving int
	HighMark     int // bytes queued to a peer at which Room turns false and reading stops; default 64 KiB
	HardLimit    int // bytes queued at which the next Send closes the peer; default 1 MiB
	MaxHeader    int // bytes of HTTP headers; default 16 KiB

	MaxConns        int     // open connections; default 20,000
	MaxConnsPerAddr int     // per IPv4 address or IPv6 /64; default 512
	RatePerAddr     float64 // accepted connections a second, per address; default 50
	BurstPerAddr    int     // default 200
	Rate            float64 // accepted connections a second, all; default 2,000
	Burst           int     // default MaxConns
	// LimitLoopback applies the per-address limits to loopback too. Off by
	// default: a proxy on this machine makes all its clients look like one address.
	LimitLoopback bool

	ControlRate  float64 // pings and pongs a second a peer may send; default 20
	ControlBurst int     // default 200
	// EmptyFragments is how many empty fragments one message may have; default 64.
	EmptyFragments int
}

// Timeouts bound how long a peer may take.
type Timeouts struct {
	Header    time.Duration // HTTP request header and TLS handshake; default 5 s
	Handshake time.Duration // accept of the TCP connection to Conn.Ready; default 10 s
	Message   time.Duration // a message's first byte to its last; default 30 s
	Write     time.Duration // without progress while bytes wait; default 10 s
	Close     time.Duration // for the peer's answer to a close; default 1 s
	Ping      time.Duration // interval of WebSocket pings; closed after two without a byte; default 25 s
	Idle      time.Duration // quiet time after which a reader gives its grown stack back; default 3 s
	HTTPIdle  time.Duration // keep-alive of plain HTTP connections; default 60 s
}

// DefaultPaths are the paths that accept upgrades.
func DefaultPaths() []string {
	return []string{"/", "/mqtt", "/ws", "/wamp", "/json", "/connection/websocket"}
}

func (o *Options) setDefaults() {
	if o.Paths == nil {
		o.Paths = DefaultPaths()
	}
	o.CompressJobs = cmp.Or(o.CompressJobs, 4)
	if o.Metrics == nil {
		o.Metrics = metrics.New()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	o.Limits.setDefaults()
	o.Timeouts.setDefaults()
}

func (l *Limits) setDefaults() {
	l.MaxMessage = cmp.Or(l.MaxMessage, 1<<20)
	l.MaxHandshake = min(cmp.Or(l.MaxHandshake, 128<<10), l.MaxMessage)
	l.MaxReceiving = cmp.Or(l.MaxReceiving, 256<<20)
	l.HighMark = cmp.Or(l.HighMark, 64<<10)
	l.HardLimit = max(cmp.Or(l.HardLimit, 1<<20), l.HighMark)
	l.MaxHeader = cmp.Or(l.MaxHeader, 16<<10)
	l.MaxConns = cmp.Or(l.MaxConns, 20000)
	l.MaxConnsPerAddr = cmp.Or(l.MaxConnsPerAddr, 512)
	l.RatePerAddr = cmp.Or(l.RatePerAddr, 50)
	l.BurstPerAddr = cmp.Or(l.BurstPerAddr, 200)
	l.Rate = cmp.Or(l.Rate, 2000)
	l.Burst = cmp.Or(l.Burst, l.MaxConns)
	l.ControlRate = cmp.Or(l.ControlRate, 20)
	l.ControlBurst = cmp.Or(l.ControlBurst, 200)
	l.EmptyFragments = cmp.Or(l.EmptyFragments, 64)
}

func (t *Timeouts) setDefaults() {
	t.Header = cmp.Or(t.Header, 5*time.Second)
	t.Handshake = cmp.Or(t.Handshake, 10*time.Second)
	t.Message = cmp.Or(t.Message, 30*time.Second)
	t.Write = cmp.Or(t.Write, 10*time.Second)
	t.Close = cmp.Or(t.Close, time.Second)
	t.Ping = cmp.Or(t.Ping, 25*time.Second)
	t.Idle = cmp.Or(t.Idle, 3*time.Second)
	t.HTTPIdle = cmp.Or(t.HTTPIdle, 60*time.Second)
}

// tick is how often the sweeper looks: a second, or a quarter of the shortest
// time it watches.
func (t *Timeouts) tick() time.Duration {
	return max(min(time.Second, t.Handshake/4, t.Message/4, t.Ping/4, t.Idle/2), time.Millisecond)
}

func (o *Options) check() error {
	if len(o.Engines) == 0 {
		return fmt.Errorf("gateway: no engines")
	}
	for _, p := range o.Paths {
		if !strings.HasPrefix(p, "/") {
			return fmt.Errorf("gateway: path %q does not begin with /", p)
		}
	}
	for _, p := range o.Origins {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("gateway: origin pattern %q: %w", p, err)
		}
	}
	return nil
}
