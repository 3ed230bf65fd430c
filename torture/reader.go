package torture

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"parley/torture/history"
)

// read handles what comes on c until it ends.
func (p *peer) read(c *connection) {
	defer close(c.done)
	defer c.l.cut()
	defer p.signal()
	for {
		ins, err := c.l.read(context.Background())
		c.heard.Store(time.Now().UnixNano())
		p.mu.Lock()
		for i := range ins {
			if c.dead || err != nil {
				break
			}
			err = p.handle(c, &ins[i])
		}
		slow := p.slow
		if err != nil {
			p.ended(c, err)
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		p.signal()
		if slow > 0 && !p.w.quiet.Load() {
			time.Sleep(slow)
		}
	}
}

// ended notes the end of c, and complains if there was no reason for it.
func (p *peer) ended(c *connection, err error) {
	if p.conn == c {
		p.conn = nil
	}
	if c.dead {
		return
	}
	c.dead = true
	if c.leaving {
		return
	}
	p.record(c, history.Event{Kind: history.Disconnect, Note: err.Error()})
	if killed := c.life != p.w.lives.Load(); !killed || !lost(err) {
		p.record(c, history.Event{Kind: history.Complaint, Note: "the broker ended the connection: " + err.Error()})
	}
}

// lost says whether err is what the end of the other side's process looks like.
func lost(err error) bool {
	var timeout net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.As(err, &timeout)
}

// handle takes one input. The caller holds mu.
func (p *peer) handle(c *connection, in *input) error {
	switch in.kind {
	case inAcked, inReceived, inCompleted, inRefused:
		return p.answered(c, in)
	case inSubscribed, inUnsubscribed:
		p.confirmed(c, in)
	case inDelivery:
		return p.deliver(c, in.d)
	case inRelease:
		p.record(c, history.Event{Kind: history.Release, Packet: in.n})
		delete(p.received, in.n)
		return c.l.complete(in.n)
	case inPing:
		return c.l.pong()
	case inGap:
		p.record(c, history.Event{Kind: history.Gap, Filter: in.filter, Offset: in.offset, Last: in.last, Count: in.count})
	}
	return nil
}

func (p *peer) answered(c *connection, in *input) error {
	i := slices.IndexFunc(p.unacked, func(m *outgoing) bool { return m.n == in.n })
	if i < 0 {
		return nil
	}
	m := p.unacked[i]
	e := history.Event{Kind: history.Published, Message: m.id, Topic: m.topic, QoS: m.qos, Key: m.key, Retain: m.retain, Offset: in.offset}
	switch {
	case in.kind == inReceived:
		if !m.received {
			p.record(c, e)
		}
		m.received = true
		return c.l.release(m.n)
	case in.kind == inRefused && !m.received:
		e.Kind, e.Note = history.Refused, in.note
		p.record(c, e)
	case in.kind == inAcked:
		p.record(c, e)
	}
	p.unacked = slices.Delete(p.unacked, i, i+1)
	return nil
}

func (p *peer) confirmed(c *connection, in *input) {
	q := p.waiting[in.n]
	if q == nil {
		return
	}
	delete(p.waiting, in.n)
	e := history.Event{Kind: history.Subscribed, Filter: q.filter}
	if in.kind == inUnsubscribed {
		e.Kind = history.Unsubscribed
	}
	for i := range p.want {
		if p.want[i].filter == q.filter {
			p.want[i].confirmed = in.kind == inSubscribed
		}
	}
	p.record(c, e)
	close(q.done)
}

func (p *peer) deliver(c *connection, d *delivery) error {
	if d.qos == 2 {
		if p.received[d.packet] {
			p.record(c, p.event(history.Again, d))
			_, err := c.l.ack(d) // [MQTT-4.3.3-10]: it is not handed on again
			return err
		}
		p.received[d.packet] = true
	}
	p.record(c, p.event(history.Deliver, d))
	if d.id.Publisher == endName && !d.retained {
		p.ends[endKey{d.filter, d.topic}] = d.id.Seq
	}
	p.held = append(p.held, d)
	if len(p.held) > p.lazy || p.w.quiet.Load() {
		return p.flush(c)
	}
	return nil
}

func (p *peer) event(kind history.Kind, d *delivery) history.Event {
	return history.Event{Kind: kind, Filter: d.filter, Message: d.id, Topic: d.topic, QoS: d.qos,
		Offset: d.offset, Packet: d.packet, Marked: d.marked, Retained: d.retained}
}

// flush acknowledges what is held, in the order in which it came. The caller
// holds mu.
func (p *peer) flush(c *connection) error {
	for i, d := range p.held {
		if d.filter != "" && !p.holds(d.filter) {
			continue // unsubscribed: there is nothing to acknowledge any more
		}
		if d.packet == 0 && slices.ContainsFunc(p.held[i+1:], func(later *delivery) bool {
			return later.filter == d.filter && later.offset > d.offset && !later.retained
		}) {
			continue // acknowledged with the later one
		}
		sent, err := c.l.ack(d)
		if sent {
			p.record(c, p.event(history.Ack, d))
		}
		if err != nil {
			p.held = p.held[i:]
			return err
		}
	}
	p.held = p.held[:0]
	return nil
}

// holds says whether a filter is subscribed.
func (p *peer) holds(filter string) bool {
	return slices.ContainsFunc(p.want, func(f wanted) bool { return f.filter == filter && f.confirmed })
}
