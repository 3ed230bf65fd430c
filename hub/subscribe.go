package hub

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"parley/msg"
)

// Subscribe: see subproto.Session.
func (c *hold) Subscribe(subs []msg.Subscription, done func([]msg.SubscribeResult)) {
	results := make([]msg.SubscribeResult, len(subs))
	s := c.s
	if s == nil {
		for i := range results {
			results[i].Err = msg.ErrSessionClosed
		}
		done(results)
		return
	}
	for i := range subs {
		results[i].Err = s.maySubscribe(&subs[i])
	}
	var found []sideItem
	burst := c.newBurst()
	for i := range subs {
		if results[i].Err == nil {
			results[i].Start, results[i].Err = c.subscribeOne(&subs[i], burst, &found)
		}
	}
	var side []sideItem
	if len(found) > 0 {
		side = mergeSide(found)
	}
	finish := func() {
		c.storeFilters(subs, results, side, done)
		if len(side) > 0 {
			c.sideRead(side)
		}
	}
	if !c.resolve(subs, results, finish, done) {
		finish()
	}
}

// storeFilters makes the filters of a durable session durable, then calls done.
// If that fails the new ones are taken back.
func (c *hold) storeFilters(subs []msg.Subscription, results []msg.SubscribeResult, side []sideItem, done func([]msg.SubscribeResult)) {
	s := c.s
	s.mu.Lock()
	var regs []*registration
	for i := range subs {
		if r := s.regs[subs[i].Filter]; results[i].Err == nil && r != nil {
			regs = append(regs, r)
		}
	}
	if !s.durable || len(regs) == 0 {
		s.mu.Unlock()
		done(results)
		return
	}
	states := s.filterStates(regs, side)
	s.in.gate++
	s.touch()
	s.mu.Unlock()
	c.submitControl(s.control(controlFilters, func(e *encoder) { e.filters(states) }), false, func(err error) {
		s.mu.Lock()
		s.in.gate--
		for _, r := range regs {
			r.stored = r.stored || err == nil
		}
		s.mu.Unlock()
		if err != nil {
			c.takeBack(regs)
			for i := range results {
				results[i].Err = cmp.Or(results[i].Err, err)
			}
		}
		done(results)
		s.wake() // another connection may have it by now, and wait for the gate
	})
}

// takeBack removes new filters that could not be stored.
func (c *hold) takeBack(regs []*registration) {
	s := c.s
	for _, r := range regs {
		s.mu.Lock()
		held := s.regs[r.filter] == r && !r.stored
		if held {
			delete(s.regs, r.filter)
			if r.group != nil {
				s.leaveGroup(r)
			}
		}
		s.touch()
		s.mu.Unlock()
		if held {
			s.unindex(r)
		}
	}
}

// A SUBSCRIBE may look at every level of the retained tree several times, or at
// so many levels, whichever is more; and a session may wait for every retained
// value and so many more (the same value counts once for each of its filters).
// Filters that overlap multiply both, and what is over is refused.
const (
	burstWalks = 4
	burstSteps = 1 << 21
	burstSlack = 1 << 16
)

// burst is what one Subscribe may still spend on finding retained values.
type burst struct {
	steps int
	waits int // refs that wait to be read for the session already, and found since
}

func (c *hold) newBurst() *burst {
	ns := c.s.ns
	ns.mu.Lock()
	nodes := ns.retained.nodes
	ns.mu.Unlock()
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return &burst{steps: max(burstWalks*nodes, burstSteps), waits: c.s.in.sideRefs}
}

// subscribeOne registers one filter and finds its retained values, both at one
// position. The namespace waits for no more than this.
func (c *hold) subscribeOne(sub *msg.Subscription, b *burst, found *[]sideItem) (msg.Offset, error) {
	ns := c.s.ns
	ns.mu.Lock()
	defer ns.mu.Unlock()
	c.s.mu.Lock()
	isNew := c.s.regs[sub.Filter] == nil
	c.s.mu.Unlock()
	var values []retainedTopic
	if sends(sub, isNew) {
		s := search{filter: sub.Filter, steps: b.steps, limit: max(0, ns.retained.count+burstSlack-b.waits)}
		ok := ns.retained.find(&s)
		if b.steps = s.steps; !ok {
			return 0, fmt.Errorf("%w: more retained values to look for than one session may", msg.ErrQuota)
		}
		values = s.found
	}
	start := ns.head
	r, err := c.register(sub, start)
	if err != nil {
		return 0, err
	}
	b.waits += len(values)
	regs := []*registration{r}
	for _, v := range values {
		*found = append(*found, sideItem{offset: v.offset, regs: regs})
	}
	return start, nil
}

// sends tells whether retained values are sent on subscribing: never to a
// shared group [MQTT 5, 4.8.2], nor to who asks for the past.
func sends(sub *msg.Subscription, isNew bool) bool {
	return sub.Filter.Group == "" && sub.From.Kind == msg.ReplayNone && (sub.Retained == msg.RetainSend || sub.Retained == msg.RetainSendNew && isNew)
}

func (s *Session) maySubscribe(sub *msg.Subscription) error {
	f := sub.Filter
	if err := f.Validate(); err != nil {
		return err
	}
	if err := mayReplay(sub); err != nil {
		return err
	}
	first, _, _ := strings.Cut(f.Pattern, "/")
	switch first {
	case "$replay", "$rpc", "$callee", "$share":
		return fmt.Errorf("%w: subscriptions below %s", msg.ErrNotSupported, first)
	case "$gap": // no message comes there: its engine tells the session of its own gaps
		if f.Group != "" {
			return fmt.Errorf("%w: a shared %s", msg.ErrFilterInvalid, first)
		}
	}
	if err := s.hub.policy.Filter(s.who.Load().id, s.ns.name, f); err != nil {
		s.hub.drops.deniedSubscribe.Inc()
		return err
	}
	return nil
}

// register adds or replaces one filter. ns.mu is held, so the position is one for
// retained values and stream.
func (c *hold) register(sub *msg.Subscription, start msg.Offset) (*registration, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.err(); err != nil {
		return nil, err
	}
	own := newSubscription(sub, c.params.Protocol)
	if r := s.regs[sub.Filter]; r != nil && sub.From.Kind != msg.ReplayNone {
		s.replace(r)
	} else if r != nil { // replaced without losing a message [MQTT-3.8.4-3]
		r.sub.Store(own)
		return r, nil
	}
	if len(s.regs) >= s.hub.lim.Subscriptions {
		return nil, fmt.Errorf("%w: %d are allowed", msg.ErrTooManySubs, s.hub.lim.Subscriptions)
	}
	r := &registration{s: s, filter: sub.Filter, from: s.ns.seq, start: start, pos: notIndexed}
	r.sub.Store(own)
	if s.regs == nil {
		s.regs = map[msg.Filter]*registration{}
	}
	s.regs[sub.Filter] = r
	if sub.From.Kind != msg.ReplayNone {
		s.replayFrom(r, start)
	}
	if sub.Filter.Group != "" {
		s.shared = append(s.shared, s.hub.joinGroup(s.ns, r))
	} else {
		s.shard.index(s.ns).add(r)
	}
	s.hub.met.Subscriptions.Inc()
	return r, nil
}

// Unsubscribe: see subproto.Session.
func (c *hold) Unsubscribe(filters []msg.Filter, done func([]error)) {
	results := make([]error, len(filters))
	s := c.s
	if s == nil {
		for i := range results {
			results[i] = msg.ErrSessionClosed
		}
		done(results)
		return
	}
	var removed []msg.Filter
	for i, f := range filters {
		if results[i] = c.unsubscribeOne(f); results[i] == nil {
			removed = append(removed, f)
		}
	}
	s.mu.Lock()
	durable := s.durable
	s.touch()
	s.mu.Unlock()
	switch {
	case !durable:
		done(results)
		return
	case len(removed) == 0: // that one is gone may be on its way to disk
		c.afterAll(func() { done(results) })
		return
	}
	ctl := s.control(controlUnfilter, func(e *encoder) {
		e.count(len(removed))
		for _, f := range removed {
			e.filter(f)
		}
	})
	// It waits for a full store: the filter is gone, and cannot come back.
	c.submitControl(ctl, true, func(err error) {
		for i := range results {
			results[i] = cmp.Or(results[i], err)
		}
		done(results)
	})
}

func (c *hold) unsubscribeOne(f msg.Filter) error {
	s := c.s
	s.mu.Lock()
	err := c.err()
	r := s.regs[f]
	switch {
	case err != nil:
	case r == nil:
		err = msg.ErrNoSubscription
	default:
		delete(s.regs, f)
		r.gone.Store(true)
		if r.group != nil {
			s.leaveGroup(r)
		}
	}
	s.mu.Unlock()
	if err == nil {
		s.unindex(r)
	}
	return err
}

// unindex takes a registration out of the index, or out of its group.
func (s *Session) unindex(r *registration) {
	r.gone.Store(true)
	if r.filter.Group != "" {
		s.hub.dropMember(r)
	} else {
		s.shard.index(s.ns).remove(r)
	}
	s.hub.met.Subscriptions.Dec()
}

// mergeSide sorts by offset and merges the filters that found the same value.
func mergeSide(items []sideItem) []sideItem {
	slices.SortStableFunc(items, func(a, b sideItem) int { return cmp.Compare(a.offset, b.offset) })
	out := items[:0]
	for i := 0; i < len(items); {
		it, n := items[i], 1
		for i+n < len(items) && items[i+n].offset == it.offset {
			n++
		}
		if n > 1 {
			it.regs = make([]*registration, 0, n)
			for _, same := range items[i : i+n] {
				it.regs = append(it.regs, same.regs...)
			}
		}
		out = append(out, it)
		i += n
	}
	clear(items[len(out):])
	return out
}

// sideRefs is what items count against a session's waiting retained values.
func sideRefs(items []sideItem) (n int) {
	for i := range items {
		n += len(items[i].regs)
	}
	return n
}
