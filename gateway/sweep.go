package gateway

import (
	"time"

	"parley/msg"
	"parley/subproto"
)

// Values of conn.parked.
const (
	isParked uint32 = iota + 1 // the reader waits with nothing begun
	isNudged                   // the sweeper has interrupted that wait
)

// doorSweep is how often addresses are forgotten.
const doorSweep = int64(30 * time.Second)

// sweep watches all times of all connections until every connection has ended.
func (g *Gateway) sweep() {
	defer g.sweeper.Done()
	t := time.NewTicker(g.o.Timeouts.tick())
	defer t.Stop()
	var conns []*conn
	var swept int64
	for {
		select {
		case <-g.swept:
			return
		case <-t.C:
		}
		now := int64(time.Since(g.epoch))
		g.clock.Store(now)
		conns = g.snapshot(conns[:0])
		for _, c := range conns {
			c.check(now)
		}
		clear(conns)
		if now-swept > doorSweep {
			swept = now
			g.door.sweep(time.Now())
		}
	}
}

// check ends c if it is late, pings it if it is due, and shrinks it if it is idle.
func (c *conn) check(now int64) {
	t := &c.g.o.Timeouts
	if c.isClosing.Load() {
		return
	}
	if !c.ready.Load() && now-c.in.sock.since.Load() > int64(t.Handshake) {
		c.g.refuse(refusedHandshake)
		c.end(subproto.ClosePolicy, "handshake timeout", msg.ErrTimeout)
		return
	}
	if since := c.messageSince.Load(); since != 0 && now-since > int64(t.Message) {
		c.end(subproto.ClosePolicy, "message timeout", msg.ErrTimeout)
		return
	}
	if c.ping.Load() && !c.checkPing(now) {
		return
	}
	if c.deep.Load() && now-c.heard.Load() > int64(t.Idle) && c.parked.CompareAndSwap(isParked, isNudged) {
		c.in.sock.SetReadDeadline(time.Unix(1, 0))
	}
}

// checkPing sends a ping when an interval has passed and gives the peer up when
// nothing came for two. While the peer is not read it cannot be heard.
func (c *conn) checkPing(now int64) bool {
	interval := int64(c.g.o.Timeouts.Ping)
	if c.blocked(int64(c.g.o.Limits.HighMark / 2)) {
		c.heard.Store(now)
		return true
	}
	if now-c.heard.Load() >= 2*interval {
		c.end(subproto.ClosePolicy, "no answer to pings", msg.ErrTimeout)
		return false
	}
	if now-c.pinged.Load() < interval {
		return true
	}
	c.pinged.Store(now)
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if !c.closing && !c.out.dead {
		c.appendLocked([]byte{bitFin | opPing, 0})
		c.flushLocked()
	}
	return true
}

// pong answers a ping with its own payload (RFC 6455 section 5.5.3), in the
// reader, between messages.
func (c *conn) pong(payload []byte) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	// To one that does not read, a pong too few does no harm.
	if !c.closing && !c.out.dead && int(c.queued.Load()) < c.g.o.Limits.HardLimit {
		c.appendLocked([]byte{bitFin | opPong, byte(len(payload))})
		c.appendLocked(payload)
	}
}
