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

const (
	doorSweep   = int64(30 * time.Second) // how often addresses are forgotten
	settleFrom  = 1000
	settleEvery = int64(10 * time.Second)
)

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
		calmed := 0
		for _, c := range conns {
			if c.check(now) && !c.calmed {
				c.calmed = true
				calmed++
			}
		}
		clear(conns)
		g.settle(calmed, now)
		if now-swept > doorSweep {
			swept = now
			g.door.sweep(time.Now())
		}
	}
}

// settle counts connections that went idle for the first time, and calls
// Options.Settled when enough have and no more do. Owned by the sweeper.
func (g *Gateway) settle(calmed int, now int64) {
	g.calmed += calmed
	if g.o.Settled == nil || calmed > 0 || g.calmed < settleFrom || now < g.settleNext {
		return
	}
	g.calmed, g.settleNext = 0, now+settleEvery
	g.sweeper.Go(g.o.Settled)
}

// check ends c if it is late, pings it if it is due, and shrinks it (true) if it
// is idle.
func (c *conn) check(now int64) bool {
	t := &c.g.o.Timeouts
	if c.isClosing.Load() {
		return false
	}
	if !c.ready.Load() && now-c.in.sock.since.Load() > int64(t.Handshake) {
		c.g.refuse(refusedHandshake)
		c.end(subproto.ClosePolicy, "handshake timeout", msg.ErrTimeout)
		return false
	}
	if since := c.messageSince.Load(); since != 0 && now-since > int64(t.Message) {
		c.end(subproto.ClosePolicy, "message timeout", msg.ErrTimeout)
		return false
	}
	if c.ping.Load() && !c.checkPing(now) {
		return false
	}
	if c.deep.Load() && now-c.heard.Load() > int64(t.Idle) && c.parked.CompareAndSwap(isParked, isNudged) {
		c.in.sock.SetReadDeadline(time.Unix(1, 0))
		return true
	}
	return false
}

// checkPing sends a ping when an interval has passed and gives the peer up when
// nothing came for two. While the peer is not read it cannot be heard.
func (c *conn) checkPing(now int64) bool {
	interval := int64(c.g.o.Timeouts.Ping)
	if c.blocked(int64(c.g.o.Limits.HighMark / 2)) {
		c.heard.Store(now)
	} else if now-c.heard.Load() >= 2*interval {
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
