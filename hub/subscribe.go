package hub

import (
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
		results[i].Err = s.maySubscribe(subs[i].Filter)
	}
	var found []sideItem
	s.ns.mu.Lock()
	start := s.ns.head
	for i := range subs {
		if results[i].Err != nil {
			continue
		}
		r, isNew, err := c.register(&subs[i], start)
		if err != nil {
			results[i].Err = err
			continue
		}
		results[i].Start = start
		if sends(&subs[i], isNew) {
			for _, t := range s.ns.retained.find(subs[i].Filter) {
				found = append(found, sideItem{offset: t.offset, regs: []*registration{r}})
			}
		}
	}
	s.ns.mu.Unlock()
	done(results)
	if len(found) > 0 {
		c.sideRead(mergeSide(found))
	}
}

// sends tells whether retained values are sent on subscribing: never to a
// shared group [MQTT 5, 4.8.2].
func sends(sub *msg.Subscription, isNew bool) bool {
	return sub.Filter.Group == "" && (sub.Retained == msg.RetainSend || sub.Retained == msg.RetainSendNew && isNew)
}

func (s *Session) maySubscribe(f msg.Filter) error {
	if err := f.Validate(); err != nil {
		return err
	}
	first, _, _ := strings.Cut(f.Pattern, "/")
	switch first {
	case "$replay", "$gap", "$rpc", "$callee", "$share":
		return fmt.Errorf("%w: subscriptions below %s", msg.ErrNotSupported, first)
	}
	if err := s.hub.policy.Filter(s.user, s.ns.name, f); err != nil {
		s.hub.drops.deniedSubscribe.Inc()
		return err
	}
	return nil
}

// register adds or replaces one filter. ns.mu is held, so the position is one for
// retained values and stream.
func (c *hold) register(sub *msg.Subscription, start msg.Offset) (*registration, bool, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.err(); err != nil {
		return nil, false, err
	}
	own := *sub
	if r := s.regs[sub.Filter]; r != nil { // replaced without losing a message [MQTT-3.8.4-3]
		r.sub.Store(&own)
		return r, false, nil
	}
	if len(s.regs) >= s.hub.lim.Subscriptions {
		return nil, false, fmt.Errorf("%w: %d are allowed", msg.ErrTooManySubs, s.hub.lim.Subscriptions)
	}
	r := &registration{s: s, filter: sub.Filter, from: s.ns.seq, start: start}
	r.sub.Store(&own)
	if s.regs == nil {
		s.regs = map[msg.Filter]*registration{}
	}
	s.regs[sub.Filter] = r
	if sub.Filter.Group != "" {
		s.shared = append(s.shared, s.hub.joinGroup(s.ns, r))
	} else {
		s.shard.index(s.ns).add(r)
	}
	s.hub.met.Subscriptions.Inc()
	return r, true, nil
}

// Unsubscribe: see subproto.Session.
func (c *hold) Unsubscribe(filters []msg.Filter, done func([]error)) {
	results := make([]error, len(filters))
	s := c.s
	for i, f := range filters {
		if s == nil {
			results[i] = msg.ErrSessionClosed
			continue
		}
		s.mu.Lock()
		err := c.err()
		r := s.regs[f]
		if err != nil {
			r = nil
		}
		if r != nil {
			delete(s.regs, f)
			r.gone.Store(true)
			if r.group != nil {
				s.leaveGroup(r)
			}
		} else if err == nil {
			err = msg.ErrNoSubscription
		}
		s.mu.Unlock()
		results[i] = err
		if r != nil {
			s.unindex(r)
		}
	}
	done(results)
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
	slices.SortStableFunc(items, func(a, b sideItem) int {
		switch {
		case a.offset < b.offset:
			return -1
		case a.offset > b.offset:
			return 1
		}
		return 0
	})
	out := items[:1]
	for _, it := range items[1:] {
		last := &out[len(out)-1]
		if last.offset == it.offset {
			last.regs = append(last.regs[:len(last.regs):len(last.regs)], it.regs...)
			continue
		}
		out = append(out, it)
	}
	return out
}
