package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"parley/torture/history"
)

// connected keeps p connected; false if ctx ended.
func (p *peer) connected(ctx context.Context, will func() *history.Will) bool {
	for ctx.Err() == nil {
		if p.current() != nil {
			return true
		}
		var left *history.Will
		if will != nil {
			left = will()
		}
		err := p.connect(ctx, false, left)
		if err == nil {
			return true
		}
		p.w.failed(p, err)
		if !pause(ctx, between(p.rng, 20*time.Millisecond, 120*time.Millisecond)) {
			return false
		}
	}
	return false
}

// interrupt ends or replaces the connection now and then; odds is one in so many.
func (p *peer) interrupt(ctx context.Context, odds int) {
	if p.w.quiet.Load() || p.rng.IntN(odds) != 0 {
		return
	}
	c := p.current()
	if c == nil {
		return
	}
	away := between(p.rng, 20*time.Millisecond, 300*time.Millisecond)
	if p.rng.IntN(5) == 0 {
		away *= 5
	}
	switch p.rng.IntN(4) {
	case 0:
		p.leave(c)
	case 1:
		if p.durable && time.Since(p.takeover) > 3*time.Second { // more often is a fight, which is refused
			p.takeover = time.Now()
			if err := p.connect(ctx, false, nil); err != nil {
				p.w.failed(p, err)
			}
			return
		}
		p.drop(c)
	default:
		p.drop(c)
	}
	p.w.idle(ctx, away)
}

// runPublisher publishes with a window until ctx ends.
func (w *world) runPublisher(ctx context.Context, p *peer, topics []string) {
	window := 1 + p.rng.IntN(32)
	for p.connected(ctx, nil) {
		p.mu.Lock()
		room := len(p.unacked) < window
		p.mu.Unlock()
		if w.isQuiet(p.name) || !room {
			p.wait(ctx, 20*time.Millisecond)
		} else {
			for range 1 + p.rng.IntN(8) {
				p.publishSomething(topics)
			}
			pause(ctx, between(p.rng, 0, 2*w.opt.Pace))
		}
		p.interrupt(ctx, 100)
	}
	p.stop()
}

// wait returns at the next signal, or after d.
func (p *peer) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.change:
	case <-t.C:
	case <-ctx.Done():
	}
}

// publishSomething publishes at a random quality; errors show as the end of the
// connection.
func (p *peer) publishSomething(topics []string) {
	topic, qos, key, retain := topics[p.rng.IntN(len(topics))], byte(1), "", false
	switch n := p.rng.IntN(20); {
	case n == 0:
		topic, retain = "r/"+p.name, true
	case n < 3 && p.protocol != "json": // which has nothing transient
		qos = 0
	case n < 8 && p.protocol != "mqtt3": // which cannot carry one
		p.mu.Lock()
		key = fmt.Sprintf("%x-%s-%d", p.w.opt.Seed, p.name, p.seq+1)
		p.mu.Unlock()
	case n < 14 && family(p.protocol) == "mqtt":
		qos = 2
	}
	_, _ = p.publish(topic, qos, key, retain)
}

// stop ends what is left of p's connection.
func (p *peer) stop() {
	if c := p.current(); c != nil {
		p.drop(c)
	}
}

// filtersOf chooses what a subscriber wants.
func (w *world) filtersOf(r *rand.Rand) []wanted {
	all := []string{"t/#", "t/+/1", "t/+/2"}
	for i := range w.opt.Publishers {
		all = append(all, "t/"+publisherName(i)+"/#", fmt.Sprintf("t/%s/%d", publisherName(i), r.IntN(topicsPerPublisher)))
	}
	r.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	out := []wanted{{filter: "w/#", qos: 1}} // wills
	for _, filter := range all[:1+r.IntN(3)] {
		out = append(out, wanted{filter: filter, qos: byte(1 + r.IntN(2))})
	}
	return out
}

// runSubscriber holds a durable session until ctx ends.
func (w *world) runSubscriber(ctx context.Context, p *peer) {
	for p.connected(ctx, nil) {
		p.wait(ctx, between(p.rng, 20*time.Millisecond, 100*time.Millisecond))
		c := p.current()
		if c == nil {
			continue
		}
		if !w.isQuiet(p.name) {
			p.misbehave(ctx)
		} else if err := p.subscribeAll(ctx, c); err != nil && ctx.Err() == nil {
			p.drop(c)
			continue
		}
		p.mu.Lock()
		var err error
		if !c.dead && (w.quiet.Load() || p.rng.IntN(3) == 0) {
			err = p.flush(c)
		}
		p.mu.Unlock()
		if err != nil {
			p.drop(c)
		}
		p.interrupt(ctx, 60)
	}
	p.stop()
}

// misbehave changes how p reads and acknowledges, or what it is subscribed to.
func (p *peer) misbehave(ctx context.Context) {
	switch p.rng.IntN(40) {
	case 0:
		p.mu.Lock()
		p.slow = between(p.rng, 0, 200*time.Millisecond)
		p.mu.Unlock()
	case 1, 2:
		p.mu.Lock()
		p.slow = 0
		p.mu.Unlock()
	case 3:
		p.mu.Lock()
		p.lazy = p.rng.IntN(8)
		p.mu.Unlock()
	case 4:
		c := p.current()
		if c == nil {
			return
		}
		if p.unsubscribe(ctx, 1+p.rng.IntN(len(p.want)-1)) == nil {
			pause(ctx, between(p.rng, 0, 100*time.Millisecond))
			if p.subscribeAll(ctx, c) != nil {
				p.drop(c)
			}
		}
	}
}

// runPassing comes as somebody new, stays for a while and goes.
func (w *world) runPassing(ctx context.Context, name, protocol string) {
	r := w.random(name)
	for visit := 1; ctx.Err() == nil; visit++ {
		if w.isQuiet(name) {
			pause(ctx, 20*time.Millisecond)
			continue
		}
		p := newPeer(w, fmt.Sprintf("%s.%d", name, visit), protocol, false)
		p.want = w.filtersOf(r)
		if err := p.connect(ctx, true, nil); err != nil {
			w.failed(p, err)
			p.stop()
			pause(ctx, 100*time.Millisecond)
			continue
		}
		w.enter(&w.subscribers, p)
		w.idle(ctx, between(r, 100*time.Millisecond, 2*time.Second))
		for w.isQuiet(name) && p.current() != nil && pause(ctx, 20*time.Millisecond) {
		}
		w.exit(p)
		if c := p.current(); c != nil && r.IntN(2) == 0 {
			p.leave(c)
		}
		p.stop()
		w.idle(ctx, between(r, 0, time.Second))
	}
}

// runWill holds sessions that leave a will behind, one after the other. Some come
// back before it is due, some after, and half of those that were lost never.
func (w *world) runWill(ctx context.Context, name, protocol string) {
	for life := 1; ctx.Err() == nil; life++ {
		p := newPeer(w, fmt.Sprintf("%s.%d", name, life), protocol, true)
		for w.holdWill(ctx, name, p) {
		}
		p.stop()
	}
}

// holdWill is one connection with a will; false if p does not come back.
func (w *world) holdWill(ctx context.Context, actor string, p *peer) bool {
	if !p.connected(ctx, p.newWill) {
		return false
	}
	c := p.current()
	for left := between(p.rng, 200*time.Millisecond, 2*time.Second); left > 0 && p.current() == c; left -= 20 * time.Millisecond {
		if w.isQuiet(actor) {
			left += 20 * time.Millisecond
		}
		if !pause(ctx, 20*time.Millisecond) {
			return false
		}
	}
	if c == nil || p.current() != c { // lost
		return p.rng.IntN(2) == 0
	}
	left := p.rng.IntN(2) == 0
	if left {
		p.leave(c)
	} else {
		p.drop(c)
	}
	w.idle(ctx, between(p.rng, 20*time.Millisecond, 3*time.Second))
	return left || p.rng.IntN(2) == 0
}

func (p *peer) newWill() *history.Will {
	v := &history.Will{Topic: "w/" + p.name, QoS: 1}
	if p.protocol == "mqtt5" && p.rng.IntN(3) == 0 {
		v.Delay = time.Second
	}
	return v
}
