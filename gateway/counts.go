package gateway

import (
	"errors"
	"io"

	"parley/metrics"
	"parley/msg"
)

// protocolCounts are one subprotocol's metrics, resolved once.
type protocolCounts struct {
	open     metrics.Gauge
	accepted metrics.Counter

	engine, peer, timeout, slow, draining, protocol, failed metrics.Counter // ended, by reason
}

func newProtocolCounts(m *metrics.Set, name string) protocolCounts {
	closed := func(reason string) metrics.Counter { return m.Closed.WithLabelValues(name, reason) }
	return protocolCounts{
		open:     m.Connections.WithLabelValues(name),
		accepted: m.Accepted.WithLabelValues(name),
		engine:   closed("engine"), peer: closed("peer"), timeout: closed("timeout"), slow: closed("slow"),
		draining: closed("draining"), protocol: closed("protocol"), failed: closed("error"),
	}
}

// ended counts a connection by what Handler.Closed is told.
func (p *protocolCounts) ended(cause error) {
	switch {
	case cause == nil:
		p.engine.Inc()
	case errors.Is(cause, io.EOF):
		p.peer.Inc()
	case errors.Is(cause, msg.ErrTimeout):
		p.timeout.Inc()
	case errors.Is(cause, msg.ErrTooSlow):
		p.slow.Inc()
	case errors.Is(cause, msg.ErrDraining):
		p.draining.Inc()
	case errors.Is(cause, msg.ErrProtocol), errors.Is(cause, msg.ErrTooLarge):
		p.protocol.Inc()
	default:
		p.failed.Inc()
	}
}

func (g *Gateway) refuse(reason string) { g.o.Metrics.Refused.WithLabelValues(reason).Inc() }
