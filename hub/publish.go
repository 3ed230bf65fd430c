package hub

import (
	"fmt"

	"parley/auth"
	"parley/msg"
	"parley/persist"
)

// Publish: see subproto.Session.
func (c *hold) Publish(m *msg.Message, done func(msg.Offset, error)) { c.publish(m, nil, done) }

// publish is Publish; ctl, if not nil, is committed with the message.
func (c *hold) publish(m *msg.Message, ctl *persist.Control, done func(msg.Offset, error)) {
	stored := false
	err := c.alive()
	if err == nil {
		m.Origin.Session, m.Origin.User, m.Origin.Role = c.s.id, c.who.id.User, c.who.role
		err = c.s.hub.checkPublish(c.s.ns, c.who.id, m)
	}
	if err == nil {
		stored, err = c.s.hub.storing(m)
	}
	queued := c.submitted.Load() > 0 // then order demands to go behind it
	switch {
	case err != nil && (done == nil || !queued):
		if done != nil {
			done(0, err)
		}
	case err != nil || stored || queued:
		o := op{c: c, ns: c.s.ns, m: m, stored: stored, size: m.Size(), err: err, done: done}
		if stored {
			o.control, o.key = ctl, newKeyed(m)
		}
		c.s.hub.park(c, o.size)
		c.submitted.Add(1)
		c.s.hub.com.submit(o)
	default:
		size := m.Size()
		c.s.hub.park(c, size)
		c.s.ns.emit(m, c, size, true)
		if done != nil {
			done(0, nil)
		}
	}
}

// sizeSlack is what msg.Message.Size may add to topic, payload and properties.
const sizeSlack = 1024

// checkPublish decides whether id may publish m in ns. It is the one way in for
// messages of peers, wills included.
func (h *Hub) checkPublish(ns *namespace, id *auth.Identity, m *msg.Message) error {
	if err := msg.ValidTopic(m.Topic); err != nil {
		return err
	}
	if err := msg.Publishable(m.Topic); err != nil {
		return err
	}
	if err := checkKey(m.Key); err != nil {
		return err
	}
	if n := m.Size(); n > h.lim.MessageBytes+sizeSlack {
		return fmt.Errorf("%w: %d bytes, %d are allowed", msg.ErrTooLarge, n, h.lim.MessageBytes)
	}
	if err := h.policy.Topic(id, ns.name, auth.Publish, m.Topic); err != nil {
		h.drops.deniedPublish.Inc()
		return err
	}
	if m.Retain && len(m.BytesView()) > 0 {
		return ns.roomForRetained(m.Topic)
	}
	return nil
}

// roomForRetained checks the quota of retained topics.
func (ns *namespace) roomForRetained(topic string) error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.retained.count >= ns.hub.lim.Retained && ns.retained.get(topic) == 0 {
		return fmt.Errorf("%w: %d topics have a retained value", msg.ErrQuota, ns.retained.count)
	}
	return nil
}

// storing decides whether m goes into the log. On a topic ruled StoreNone
// nothing can be retained: the message is sent on as it is.
func (h *Hub) storing(m *msg.Message) (bool, error) {
	rule := StoreAcknowledged
	for i := range h.rules {
		if h.rules[i].Filter.Matches(m.Topic) {
			rule = h.rules[i].Store
			break
		}
	}
	switch {
	case rule == StoreAll:
		return true, nil
	case rule == StoreNone && (m.QoS > 0 || m.Key != ""):
		return false, msg.ErrNotStored
	case rule == StoreNone:
		return false, nil
	}
	return m.QoS > 0 || m.Retain || m.Key != "", nil
}
