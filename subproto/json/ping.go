package json

import (
	"sync/atomic"
	"time"

	"parley/msg"
)

// pinger sends application-level pings and waits for their answers. The timer
// only asks for a Wake, so it needs no goroutine of its own. One ping is
// outstanding at most. Its answer acknowledges everything pushed before it, so
// one is also sent early, when much waits for that; only the regular ones have a
// time limit: behind many pushes an answer may take a while.
type pinger struct {
	timer   *time.Timer // nil: by hand, no pings
	due     atomic.Bool // the timer has fired
	waiting bool        // between a regular ping and the limit for an answer
	heard   bool        // an answer has come since
	owed    bool        // a ping is not answered
	mark    uint64      // acks.seq when it was sent
}

func (p *pinger) start(h *conn) {
	p.timer = time.AfterFunc(h.engine.opt.PingInterval, func() {
		p.due.Store(true)
		h.c.Wake()
	})
}

func (p *pinger) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// tick does what is due.
func (p *pinger) tick(h *conn) {
	if !p.due.Swap(false) || h.state != stateConnected {
		return
	}
	opt := &h.engine.opt
	switch {
	case p.waiting && !p.heard && h.reading:
		h.close(closeNoPong, "no pong", msg.ErrTimeout)
	case p.waiting && !p.heard: // it may have come, but nothing is read now
		p.timer.Reset(opt.PongTimeout)
	case p.waiting:
		p.waiting = false
		p.timer.Reset(opt.PingInterval - opt.PongTimeout)
	default:
		p.waiting, p.heard = true, false
		p.send(h)
		p.timer.Reset(opt.PongTimeout)
	}
}

// send sends a ping, unless one is outstanding or the client sends no answers.
func (p *pinger) send(h *conn) {
	if p.timer == nil || p.owed {
		return
	}
	p.owed, p.mark = true, h.acks.seq
	h.sent(h.codec.ping(h.buffer()))
}

// answered notes that the client is there, and has handled what came before.
func (p *pinger) answered(h *conn) {
	p.heard = true
	if p.owed {
		p.owed, h.gated = false, false
		h.acks.cover(p.mark, h.session.Ack)
	}
}

// paused is told that reading stops or goes on: the limit counts anew from
// where reading goes on.
func (p *pinger) paused(h *conn, reading bool) {
	if reading && p.waiting && !p.heard {
		p.timer.Reset(h.engine.opt.PongTimeout)
	}
}
