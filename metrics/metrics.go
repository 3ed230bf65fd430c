// Package metrics names everything that is counted and owns the Prometheus
// library: other packages increment, only this one registers and serves.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Counter and the others are what packages hold; resolve labelled ones once, not
// per message.
type (
	Counter   = prometheus.Counter
	Gauge     = prometheus.Gauge
	Histogram = prometheus.Histogram
	// CounterVec has labels; With resolves one.
	CounterVec = prometheus.CounterVec
	GaugeVec   = prometheus.GaugeVec
)

// Set is one broker's metrics; two brokers in one process have two.
type Set struct {
	reg *prometheus.Registry

	Connections   *GaugeVec   // protocol: open now
	Accepted      *CounterVec // protocol: handshakes completed
	Refused       *CounterVec // reason: turned away before or during the handshake
	Closed        *CounterVec // protocol, reason: how connections ended
	Received      *CounterVec // protocol: publishes taken from clients
	Delivered     *CounterVec // protocol: messages handed to clients
	Dropped       *CounterVec // reason: transient deliveries that a slow or full receiver did not get
	Withheld      *CounterVec // reason: expired, too_large, own, not_allowed
	Denied        *CounterVec // action: refused by the policy
	Ignored       *CounterVec // reason: sent by clients to no effect, e.g. unknown_ack
	AuthFailed    *CounterVec // protocol
	Stored        Counter     // messages committed
	Commits       Counter     // commits with messages
	CommitFailed  *CounterVec // reason: full, failed
	CommitSeconds Histogram   // duration of a commit
	Sessions      Gauge       // attached now
	Subscriptions Gauge       // filters held now
	Retained      Gauge       // topics with a retained value
	Lagging       Gauge       // sessions reading from the log
	Cut           Counter     // messages cut although a durable session wanted them
	Gaps          Counter     // notices of such cuts given to sessions
}

// New makes a registered set, with Go runtime and process metrics.
func New() *Set {
	s := &Set{reg: prometheus.NewRegistry()}
	s.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.Connections = s.gauges("connections", "Open connections.", "protocol")
	s.Accepted = s.counters("connections_accepted_total", "Connections whose handshake completed.", "protocol")
	s.Refused = s.counters("connections_refused_total", "Connections turned away before or during the handshake.", "reason")
	s.Closed = s.counters("connections_closed_total", "Connections ended.", "protocol", "reason")
	s.Received = s.counters("messages_received_total", "Publishes taken from clients.", "protocol")
	s.Delivered = s.counters("messages_delivered_total", "Messages handed to clients.", "protocol")
	s.Dropped = s.counters("messages_dropped_total", "Transient deliveries dropped for a slow or full receiver.", "reason")
	s.Withheld = s.counters("messages_withheld_total", "Deliveries withheld by rule.", "reason")
	s.Denied = s.counters("requests_denied_total", "Requests refused by the policy.", "action")
	s.Ignored = s.counters("ignored_total", "Packets of clients that changed nothing.", "reason")
	s.AuthFailed = s.counters("authentications_failed_total", "Authentications that failed.", "protocol")
	s.Stored = s.counter("store_messages_total", "Messages committed to the log.")
	s.Commits = s.counter("store_commits_total", "Commits that held messages.")
	s.CommitFailed = s.counters("store_commits_failed_total", "Commits that failed.", "reason")
	s.CommitSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "parley", Name: "store_commit_seconds", Help: "Duration of a commit.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
	})
	s.reg.MustRegister(s.CommitSeconds)
	s.Sessions = s.gauge("sessions", "Attached sessions.")
	s.Subscriptions = s.gauge("subscriptions", "Filters held by sessions.")
	s.Retained = s.gauge("retained_topics", "Topics with a retained value.")
	s.Lagging = s.gauge("sessions_lagging", "Sessions that read from the log because memory no longer holds their position.")
	s.Cut = s.counter("retention_cut_messages_total", "Messages cut over the quota although a durable session may have wanted them.")
	s.Gaps = s.counter("gap_notices_total", "Notices of cut messages given to sessions.")
	return s
}

// Handler serves the set in the Prometheus exposition format.
func (s *Set) Handler() http.Handler {
	return promhttp.HandlerFor(s.reg, promhttp.HandlerOpts{})
}

func (s *Set) counters(name, help string, labels ...string) *CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "parley", Name: name, Help: help}, labels)
	s.reg.MustRegister(v)
	return v
}

func (s *Set) gauges(name, help string, labels ...string) *GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "parley", Name: name, Help: help}, labels)
	s.reg.MustRegister(v)
	return v
}

func (s *Set) counter(name, help string) Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "parley", Name: name, Help: help})
	s.reg.MustRegister(c)
	return c
}

func (s *Set) gauge(name, help string) Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "parley", Name: name, Help: help})
	s.reg.MustRegister(g)
	return g
}
