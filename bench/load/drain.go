package load

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// OpenSessions makes n sessions that outlive their connections (Clean Session
// 0), each with a subscription at QoS 1 to filter, and leaves them offline.
func OpenSessions(ctx context.Context, addr, name, filter string, n int) error {
	return parallel(n, func(i int) error {
		c, err := dialRaw(ctx, addr, fmt.Sprintf("%s-%d", name, i), false, 512)
		if err != nil {
			return err
		}
		defer c.hangUp()
		return c.subscribe(filter, 1)
	})
}

// Drain is a subscriber with a session that takes what it is sent, acknowledges
// it and checks it.
type Drain struct {
	Session  bool      // it was still there
	Began    time.Time // CONNACK
	Last     time.Time // the last message
	c        *raw
	streams  []Stream
	sent     []uint64
	foreign  uint64
	received atomic.Uint64
}

// OpenDrain comes back to session i of name. sent is how many messages each
// publisher has had acknowledged, all of which match; nil: not known yet.
func OpenDrain(ctx context.Context, addr, name string, i int, sent []uint64) (*Drain, error) {
	c, err := dialRaw(ctx, addr, fmt.Sprintf("%s-%d", name, i), false, 64<<10)
	if err != nil {
		return nil, err
	}
	return &Drain{Session: c.present, Began: time.Now(), c: c, sent: sent, streams: make([]Stream, len(sent))}, nil
}

// Run takes messages until all have come, or nothing for quiet, or ctx ends.
func (d *Drain) Run(ctx context.Context, quiet time.Duration) error {
	stop := context.AfterFunc(ctx, func() { _ = d.c.nc.SetReadDeadline(time.Now()) })
	defer stop()
	var want uint64
	for _, n := range d.sent {
		want += n
	}
	d.Last = d.Began
	for d.received.Load() < want && ctx.Err() == nil {
		if err := d.c.nc.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			return err
		}
		if err := d.c.receive(d.take); err != nil {
			if isTimeout(err) {
				return ctx.Err()
			}
			return err
		}
		d.Last = time.Now()
	}
	// What comes behind the last is one too many.
	if err := d.c.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		return err
	}
	for {
		if err := d.c.receive(d.take); err != nil {
			if isTimeout(err) {
				return ctx.Err()
			}
			return err
		}
	}
}

func (d *Drain) take(first byte, body []byte) error {
	if first>>4 != typePublish {
		return fmt.Errorf("type %d instead of PUBLISH: %w", first>>4, ErrPacket)
	}
	p, err := parsePublish(first, body)
	if err != nil {
		return err
	}
	if p.qos > 0 {
		d.c.out = appendRawAck(d.c.out, p.id)
	}
	s, err := getStamp(p.payload)
	if err != nil || int(s.publisher) >= len(d.sent) || s.number >= d.sent[s.publisher] {
		d.foreign++
		return nil
	}
	if d.streams[s.publisher].Take(s.number) {
		d.received.Add(1)
	}
	return nil
}

// Report says what is missing and what is wrong.
func (d *Drain) Report() (r Report) {
	r.Foreign = d.foreign
	for i := range d.streams {
		r.Expected += d.sent[i]
		r.Lost += d.streams[i].Lost(d.sent[i])
		r.Duplicates += d.streams[i].Duplicates
		r.Reordered += d.streams[i].Reordered
	}
	return r
}

// Close hangs up.
func (d *Drain) Close() { d.c.hangUp() }

// Listeners are subscribers that stay connected and acknowledge what they are sent.
type Listeners struct {
	drains []*Drain
	done   chan error
	stop   context.CancelFunc
}

// Listen connects n of them, each with a session of its own and a subscription
// at QoS 1 to filter. They count and acknowledge until Close.
func Listen(ctx context.Context, addr, name, filter string, n int) (*Listeners, error) {
	ctx, stop := context.WithCancel(ctx)
	l := &Listeners{drains: make([]*Drain, n), done: make(chan error, n), stop: stop}
	err := parallel(n, func(i int) error {
		d, err := OpenDrain(ctx, addr, name, i, nil)
		if err != nil {
			return err
		}
		l.drains[i] = d
		return d.c.subscribe(filter, 1)
	})
	if err != nil {
		stop()
		for _, d := range l.drains {
			if d != nil {
				d.Close()
			}
		}
		return nil, err
	}
	for _, d := range l.drains {
		go func() { l.done <- d.listen(ctx) }()
	}
	return l, nil
}

func (d *Drain) listen(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = d.c.nc.SetReadDeadline(time.Now()) })
	defer stop()
	for {
		err := d.c.receive(func(first byte, body []byte) error {
			if first>>4 != typePublish {
				return fmt.Errorf("type %d instead of PUBLISH: %w", first>>4, ErrPacket)
			}
			p, err := parsePublish(first, body)
			if err != nil {
				return err
			}
			s, err := getStamp(p.payload)
			if err != nil {
				return err
			}
			for int(s.publisher) >= len(d.streams) {
				d.streams = append(d.streams, Stream{})
			}
			if d.streams[s.publisher].Take(s.number) {
				d.received.Add(1)
			}
			d.c.out = appendRawAck(d.c.out, p.id)
			return nil
		})
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// Received is how many different messages all of them have taken.
func (l *Listeners) Received() (n uint64) {
	for _, d := range l.drains {
		n += d.received.Load()
	}
	return n
}

// Await waits until they have received n messages in all.
func (l *Listeners) Await(ctx context.Context, n uint64) error {
	for l.Received() < n {
		select {
		case err := <-l.done:
			l.done <- err
			return errors.Join(err, ErrPacket)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// Close ends the connections and reports, given what each publisher has sent.
func (l *Listeners) Close(sent []uint64) (r Report, err error) {
	l.stop()
	for range l.drains {
		err = errors.Join(err, <-l.done)
	}
	for _, d := range l.drains {
		d.Close()
		for len(d.streams) < len(sent) {
			d.streams = append(d.streams, Stream{})
		}
		d.sent = sent
		r.Add(d.Report())
	}
	return r, err
}

// Ready waits until a broker takes a client over TCP, or ctx ends.
func Ready(ctx context.Context, addr string) error {
	c, err := dialRaw(ctx, addr, "ready", true, 512)
	if err == nil {
		c.hangUp()
	}
	return err
}
