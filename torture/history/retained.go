package history

// retained: a retained value that a subscriber gets is not older than the last
// one that was acknowledged before it asked, and one that asked for them has them
// all once everything is quiet. Each retained topic has one publisher.
func (c *checker) retained() {
	values := map[string][]*message{} // by topic
	var topics []string
	for _, m := range c.order {
		if m.retain {
			if values[m.topic] == nil {
				topics = append(topics, m.topic)
			}
			values[m.topic] = append(values[m.topic], m)
		}
	}
	for _, name := range c.names {
		k := c.clients[name]
		for _, i := range k.retained {
			c.retainedValue(k, i, values[c.events[i].Topic])
		}
		for _, in := range c.intervals(k) {
			quiet := firstAfter(c.quiesced, in.from)
			if !in.wants || quiet < 0 || quiet > in.to {
				continue
			}
			for _, topic := range topics {
				c.retainedPresent(k, in, topic, values[topic], quiet)
			}
		}
	}
}

// newest returns the last value that was acknowledged before event i, nil if
// there is none.
func newest(values []*message, i int) *message {
	var best *message
	for _, m := range values {
		if m.acked >= 0 && m.acked < i && (best == nil || m.id.Seq > best.id.Seq) {
			best = m
		}
	}
	return best
}

func (c *checker) retainedValue(k *client, i int, values []*message) {
	e := &c.events[i]
	// The first request of this connection counts, else the last of an earlier one,
	// whose values may be on their way still.
	asked := -1
	for _, n := range k.changes {
		if n > i || asked >= 0 && c.events[asked].Conn == e.Conn {
			break
		}
		if c.events[n].Kind == Subscribe && c.matches(c.events[n].Filter, e.Topic) {
			asked = n
		}
	}
	if asked < 0 {
		return
	}
	if want := newest(values, asked); want != nil && e.Message.Publisher == want.id.Publisher && e.Message.Seq < want.id.Seq {
		c.fault(i, RuleRetained, []int{want.acked, asked, i}, "%s got the retained value %s of %s, older than %s", k.name, e.Message, e.Topic, want.id)
	}
}

func (c *checker) retainedPresent(k *client, in interval, topic string, values []*message, quiet int) {
	want := newest(values, in.subscribe)
	if want == nil || !c.matches(in.filter, topic) {
		return
	}
	for _, i := range k.retained {
		if i > in.subscribe && i < quiet && c.events[i].Topic == topic {
			return
		}
	}
	c.fault(quiet, RuleRetained, []int{want.acked, in.from, quiet}, "%s (%s) got no retained value of %s", k.name, in.filter, topic)
}
