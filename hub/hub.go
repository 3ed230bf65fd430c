package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"parley/auth"
	"parley/metrics"
	"parley/msg"
	"parley/persist"
)

// Options wires a Hub. Store and Policy are required.
type Options struct {
	Store      persist.Store
	Policy     auth.Policy
	Namespaces []string // at least one; default {"default"}
	Metrics    *metrics.Set
	Log        *slog.Logger
	Limits     Limits
	StoreRules []StoreRule // first match decides; none = StoreAcknowledged
	// Retention bounds what no rule is about, Rules give topics bounds of their
	// own: at most 7, the first match decides. Beyond its bounds a message goes
	// unless a durable session may still want it; over Quota bytes in a namespace
	// it goes all the same. Zero values do not bound.
	Retention      Retention
	RetentionRules []RetentionRule
	Quota          int64
	KeyWindow      time.Duration // how long an idempotency key is remembered; default 10 min
	RestartGrace   time.Duration // how long wills of the previous run wait for their session; default 30 s
	checkpoint     time.Duration // between checkpoints; default 1 s
	Shards         int           // fan-out goroutines, 1 to 64; default min(4, GOMAXPROCS)
}

// Limits bounds memory. A zero field means the default.
type Limits struct {
	MessageBytes   int // largest payload and topic together; default 1 MiB
	ParkedBytes    int // per session: published, not yet committed and fanned out; default 1 MiB
	ParkedMessages int // per session; default 2,048
	ParkedTotal    int // all sessions, bytes; default 256 MiB
	TailBytes      int // per namespace: messages kept in memory for subscribers; default 8 MiB
	QueueMessages  int // per session: deliveries waiting in memory; default 4,096
	Subscriptions  int // filters per session; default 10,000
	Sessions       int // with and without a connection; default 1,000,000
	Retained       int // topics with a retained value per namespace; default 1,000,000
	Takeovers      int // how often a session may change hands in 10 s before newcomers are refused for 30 s; default 5, negative: always
	KeyBytes       int // per namespace: idempotency keys remembered, about 128 bytes each; default 64 MiB
}

// Storing is what a StoreRule says.
type Storing uint8

const (
	StoreAcknowledged Storing = iota // QoS 1 and 2, every retained publish and every one with an idempotency key
	StoreAll
	StoreNone // acknowledged publishes are refused with msg.ErrNotStored
)

// StoreRule says whether messages on the topics of a filter are stored.
type StoreRule struct {
	Filter msg.Filter
	Store  Storing
}

// Hub is the message plane of one broker.
type Hub struct {
	// fixed after construction
	store  persist.Store
	policy auth.Policy
	met    *metrics.Set
	log    *slog.Logger
	lim    Limits
	rules  []StoreRule

	keep        []RetentionRule
	keepDefault Retention
	quota       int64
	retaining   sync.Mutex // held by Retain

	grace  time.Duration
	spaces map[string]*namespace
	shards []*shard
	com    *committer
	reader *readers
	flow   flow
	groups *groups
	failed chan struct{} // closed when the store has failed
	drops  dropCounters

	mu       sync.Mutex
	sessions map[uint64]*Session
	draining bool
	failErr  error
	wills    willTimers
}

// New loads the state of all namespaces from the store. It starts nothing; Run
// does the work.
func New(o Options) (*Hub, error) {
	if o.Store == nil || o.Policy == nil {
		return nil, errors.New("hub: Store and Policy are required")
	}
	h := &Hub{
		store: o.Store, policy: o.Policy, met: o.Metrics, log: o.Log, lim: o.Limits.withDefaults(),
		keep: o.RetentionRules, keepDefault: o.Retention, quota: o.Quota,
		rules: o.StoreRules, grace: o.RestartGrace, spaces: map[string]*namespace{},
		sessions: map[uint64]*Session{}, failed: make(chan struct{}),
	}
	if len(h.keep) > maxRules {
		return nil, fmt.Errorf("hub: %d retention rules, %d are allowed", len(h.keep), maxRules)
	}
	if h.met == nil {
		h.met = metrics.New()
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.grace == 0 {
		h.grace = 30 * time.Second
	}
	h.drops = newDropCounters(h.met)
	h.flow.limit = int64(h.lim.ParkedTotal)
	n := o.Shards
	if n <= 0 {
		n = min(4, runtime.GOMAXPROCS(0))
	}
	for i := range min(n, 64) {
		h.shards = append(h.shards, newShard(h, i))
	}
	h.com = newCommitter(h)
	if h.com.every = o.checkpoint; h.com.every <= 0 {
		h.com.every = checkpointEvery
	}
	h.reader = newReaders(h)
	h.wills.hub = h
	h.groups = newGroups()
	names := o.Namespaces
	if len(names) == 0 {
		names = []string{"default"}
	}
	for _, name := range names {
		ns := newNamespace(h, name)
		ns.keys = newKeys(cmp.Or(max(o.KeyWindow, 0), defaultKeyWindow), h.lim.KeyBytes)
		if err := ns.load(); err != nil {
			return nil, fmt.Errorf("load namespace %q: %w", name, err)
		}
		h.spaces[name] = ns
	}
	o.Store.Follow(h.com.follow)
	return h, nil
}

func (l Limits) withDefaults() Limits {
	if l.Takeovers == 0 {
		l.Takeovers = defaultTakeovers
	}
	for _, d := range []struct {
		field *int
		value int
	}{
		{&l.MessageBytes, 1 << 20}, {&l.ParkedBytes, 1 << 20}, {&l.ParkedMessages, 2048}, {&l.ParkedTotal, 256 << 20},
		{&l.TailBytes, 8 << 20}, {&l.QueueMessages, 4096}, {&l.Subscriptions, 10_000}, {&l.Retained, 1_000_000}, {&l.Sessions, 1_000_000},
		{&l.KeyBytes, 64 << 20},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return l
}

// Run commits, fans out and reads until ctx ends; then it commits what was
// submitted, writes a last checkpoint and returns. It is called once.
func (h *Hub) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	inner, stop := context.WithCancel(context.Background())
	for _, s := range h.shards {
		wg.Go(func() { s.run(inner) })
	}
	wg.Go(func() { h.reader.run(inner) })
	wg.Go(func() { h.retain(inner) })
	h.startSessions()
	h.wills.start()
	h.com.run(ctx)
	h.wills.stop()
	h.com.drain()
	stop()
	wg.Wait()
	h.com.work() // answers of the last reads
	return h.err()
}

// Ready reports whether publishes can be acknowledged: nil, or why not.
func (h *Hub) Ready() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return msg.ErrDraining
	}
	return h.failErr
}

// Failed is closed when the store has failed and nothing is acknowledged any
// more until the process starts anew.
func (h *Hub) Failed() <-chan struct{} { return h.failed }

func (h *Hub) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failErr
}

// fail notes that the store stopped.
func (h *Hub) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failErr == nil {
		h.failErr = fmt.Errorf("commit: %w", err)
		h.log.Error("the store failed; nothing is acknowledged until a restart", "error", err)
		close(h.failed)
	}
}

// Heads reports the last stored offset of every namespace, for status pages.
func (h *Hub) Heads() map[string]msg.Offset {
	m := make(map[string]msg.Offset, len(h.spaces))
	for name, ns := range h.spaces {
		m[name] = ns.position()
	}
	return m
}

func now() int64 { return time.Now().UnixMilli() }

// dropCounters are resolved once because labels cost a map look-up.
type dropCounters struct {
	queueFull, lagging, evicted    metrics.Counter // transient deliveries not made
	expired, own, restricted       metrics.Counter // withheld by rule
	deniedPublish, deniedSubscribe metrics.Counter
}

func newDropCounters(m *metrics.Set) dropCounters {
	d, w, a := m.Dropped.WithLabelValues, m.Withheld.WithLabelValues, m.Denied.WithLabelValues
	return dropCounters{
		queueFull: d("queue_full"), lagging: d("lagging"), evicted: d("evicted"),
		expired: w("expired"), own: w("own"), restricted: w("restricted"),
		deniedPublish: a("publish"), deniedSubscribe: a("subscribe"),
	}
}
