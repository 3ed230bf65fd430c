package history

// interval is the life of one subscription.
type interval struct {
	client     string
	filter     string
	qos        byte
	mqtt       bool
	wants      bool // the retained values
	subscribe  int  // when it was asked for
	from       int  // Subscribed
	to         int  // Unsubscribe, or the end of the session; len(events) = open
	generation int  // Connect that began the session
}

// intervals returns the subscriptions of k. A session that is not durable ends
// with its connection, a durable one with a clean start or when it is not there
// any more, which is a fault of its own.
func (c *checker) intervals(k *client) []interval {
	var all []interval
	open := map[string]int{} // index in all
	asked := map[string]int{}
	end := func(at int) {
		for filter, n := range open {
			all[n].to = at
			delete(open, filter)
		}
	}
	durable, generation, protocol := false, 0, ""
	for _, i := range merge(k.connects, k.ends, k.changes) {
		e := &c.events[i]
		switch e.Kind {
		case Connect:
			if !e.Present {
				end(i)
				generation = i
			}
			durable, protocol = e.Durable, e.Protocol
		case Disconnect:
			if !durable {
				end(i)
			}
		case Subscribe:
			asked[e.Filter] = i
		case Subscribed:
			at, ok := asked[e.Filter]
			if !ok {
				continue
			}
			if _, ok := open[e.Filter]; ok {
				continue // subscribed again: it goes on
			}
			open[e.Filter] = len(all)
			all = append(all, interval{client: k.name, filter: e.Filter, qos: c.events[at].QoS, mqtt: protocol == "mqtt",
				wants: c.events[at].Retain, subscribe: at, from: i, to: len(c.events), generation: generation})
		case Unsubscribe:
			if n, ok := open[e.Filter]; ok {
				all[n].to = i
				delete(open, e.Filter)
			}
		}
	}
	return all
}

// merge returns the elements of ascending lists in ascending order.
func merge(lists ...[]int) []int {
	var out []int
	for {
		best := -1
		for n, l := range lists {
			if len(l) > 0 && (best < 0 || l[0] < lists[best][0]) {
				best = n
			}
		}
		if best < 0 {
			return out
		}
		out = append(out, lists[best][0])
		lists[best] = lists[best][1:]
	}
}

// losses: whenever everything was quiet, every message that had been acknowledged
// was delivered to every subscription that had been confirmed before it was sent
// and still is. And every publish had its answer.
func (c *checker) losses() {
	if len(c.quiesced) == 0 {
		return
	}
	had := map[streamKey]map[ID]int{}
	for key, s := range c.streams {
		ids := make(map[ID]int, len(s.deliveries))
		for _, i := range s.deliveries {
			if e := &c.events[i]; !e.Retained {
				if _, ok := ids[e.Message]; !ok {
					ids[e.Message] = i
				}
			}
		}
		had[key] = ids
	}
	for _, name := range c.names {
		for _, in := range c.intervals(c.clients[name]) {
			c.lossesOf(in, had)
		}
	}
	last := c.quiesced[len(c.quiesced)-1]
	for _, m := range c.order {
		if m.qos > 0 && m.publish < last && m.answered < m.publish && !c.superseded(m) {
			c.fault(last, RuleUnanswered, []int{m.publish, last}, "%s was never answered", m.id)
		}
	}
}

// superseded: the publisher has given this attempt up for the next one.
func (c *checker) superseded(m *message) bool {
	next := m.id
	next.Attempt++
	_, ok := c.messages[next]
	return ok
}

func (c *checker) lossesOf(in interval, had map[streamKey]map[ID]int) {
	if in.qos == 0 {
		return
	}
	// The first quiet moment after a message decides; there must be one while the
	// subscription is open.
	delivered := had[streamKey{in.client, in.filter}]
	if in.mqtt {
		delivered = had[streamKey{in.client, ""}]
	}
	for _, m := range c.order {
		if m.qos == 0 || m.acked < 0 || m.sent < in.from || !c.matches(in.filter, m.topic) {
			continue
		}
		quiet := firstAfter(c.quiesced, m.acked)
		if quiet < 0 || quiet > in.to {
			continue
		}
		at, ok := delivered[m.id]
		if ok && at < quiet || c.announced(in.client, in.filter, m) {
			continue
		}
		if ok {
			c.fault(quiet, RuleLost, []int{in.from, m.sent, m.acked, quiet, at}, "%s (%s) had not received %s when everything was quiet, only later", in.client, in.filter, m.id)
			continue
		}
		c.fault(quiet, RuleLost, []int{in.from, m.sent, m.acked, quiet}, "%s (%s) never received %s", in.client, in.filter, m.id)
	}
}

// announced: a gap was told that covers m.
func (c *checker) announced(client, filter string, m *message) bool {
	for _, i := range c.clients[client].gaps {
		e := &c.events[i]
		if (e.Filter == "" || e.Filter == filter) && m.offset != 0 && e.Offset <= m.offset && m.offset <= e.Last {
			return true
		}
	}
	return false
}

// gaps: at least one message that the gap covers was not delivered before. What
// has no known offset may be such a message.
func (c *checker) gaps() {
	for _, name := range c.names {
		k := c.clients[name]
		for _, i := range k.gaps {
			e := &c.events[i]
			missing := false
			for _, m := range c.order {
				within := m.offset == 0 && m.qos > 0 || e.Offset <= m.offset && m.offset <= e.Last
				if within && m.sent < i && (e.Filter == "" || c.matches(e.Filter, m.topic)) && !c.had(name, e.Filter, m.id, i) {
					missing = true
					break
				}
			}
			if !missing {
				c.fault(i, RuleGap, []int{i}, "%s was told of a gap from %d to %d (%s), but nothing is missing", name, e.Offset, e.Last, e.Filter)
			}
		}
	}
}

// had: the client received the message before event i, on the filter's stream or
// on that of the session.
func (c *checker) had(client, filter string, id ID, before int) bool {
	for _, key := range []streamKey{{client, ""}, {client, filter}} {
		if s := c.streams[key]; s != nil {
			for _, i := range s.deliveries {
				if i < before && c.events[i].Message == id {
					return true
				}
			}
		}
	}
	return false
}

// sessions: a durable session is there again unless it was given up, and one
// that was given up is not.
func (c *checker) sessions() {
	for _, name := range c.names {
		k := c.clients[name]
		for n, i := range k.connects {
			e := &c.events[i]
			was := n > 0 && c.events[k.connects[n-1]].Durable
			switch {
			case e.Clean && e.Present:
				c.fault(i, RuleSession, []int{i}, "%s asked for a new session and got an old one", name)
			case !e.Clean && was && !e.Present:
				c.fault(i, RuleSession, []int{k.connects[n-1], i}, "%s: the session is gone", name)
			}
		}
	}
}
