package load

import "time"

// Counts is what has happened so far.
type Counts struct {
	Sent      uint64
	Acked     uint64
	Delivered uint64
}

// Counts may be called while the group runs.
func (g *Group) Counts() (c Counts) {
	for _, p := range g.publishers {
		c.Sent += p.sent.Load()
		c.Acked += p.acked.Load()
	}
	for _, s := range g.subscribers {
		c.Delivered += s.received.Load()
	}
	return c
}

// Report is what the checks found from the first message to the last, and how
// long the timed ones took.
type Report struct {
	Expected   uint64 `json:"expected"` // deliveries
	Lost       uint64 `json:"lost"`
	Duplicates uint64 `json:"duplicates"`
	Reordered  uint64 `json:"reordered"`
	Foreign    uint64 `json:"foreign"`    // never sent, or not like this
	Unacked    uint64 `json:"unacked"`    // QoS 1 publishes without PUBACK, QoS 2 publishes without PUBCOMP
	Unreleased uint64 `json:"unreleased"` // QoS 2 deliveries without PUBREL
	BadAcks    uint64 `json:"bad_acks"`   // acknowledgements and PUBRELs of nothing, PUBACKs and PUBRECs out of order
	Overruns   uint64 `json:"overruns"`   // paced messages not sent, the window was full

	Late     time.Duration `json:"late_ns"` // the latest that a paced message left
	AckP50   time.Duration `json:"ack_p50_ns"`
	AckP90   time.Duration `json:"ack_p90_ns,omitempty"`
	AckP99   time.Duration `json:"ack_p99_ns"`
	DelayP50 time.Duration `json:"delay_p50_ns"` // from send to arrival
	DelayP99 time.Duration `json:"delay_p99_ns"`
}

// Clean reports whether everything arrived once, in order and whole.
func (r Report) Clean() bool {
	return r.Lost+r.Duplicates+r.Reordered+r.Foreign+r.Unacked+r.Unreleased+r.BadAcks == 0
}

// Add takes over the counts of another report; not the times.
func (r *Report) Add(o Report) {
	r.Expected += o.Expected
	r.Lost += o.Lost
	r.Duplicates += o.Duplicates
	r.Reordered += o.Reordered
	r.Foreign += o.Foreign
	r.Unacked += o.Unacked
	r.Unreleased += o.Unreleased
	r.BadAcks += o.BadAcks
}

// Close ends all connections, waits for the readers and reports.
func (g *Group) Close() Report {
	g.abort()
	g.readers.Wait()
	r := Report{Overruns: g.overruns, Late: g.late}
	var delays, acks Histogram
	for _, s := range g.subscribers {
		delays.Merge(&s.delays)
		r.Foreign += s.bad
		r.Duplicates += s.dups
		r.Unreleased += uint64(len(s.held))
		r.BadAcks += s.badRels
		for i, stream := range s.streams {
			if stream == nil {
				continue
			}
			sent := g.publishers[i].sent.Load()
			r.Expected += sent
			r.Lost += stream.Lost(sent)
			r.Duplicates += stream.Duplicates
			r.Reordered += stream.Reordered
		}
	}
	for _, p := range g.publishers {
		acks.Merge(&p.acks)
		r.BadAcks += p.badAcks.Load()
		if p.qos > 0 {
			r.Unacked += p.sent.Load() - p.acked.Load()
		}
	}
	r.AckP50, r.AckP99 = acks.Quantile(0.5), acks.Quantile(0.99)
	r.DelayP50, r.DelayP99 = delays.Quantile(0.5), delays.Quantile(0.99)
	return r
}
