package hub

import "parley/msg"

// NextNotice: see subproto.Session.
func (c *hold) NextNotice(n *msg.Notice) bool {
	s := c.s
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(c.notices) > 0 {
		*n = c.notices[0]
		c.notices = c.notices[1:]
		return true
	}
	if c.state == holdLive && s.in.gate == 0 {
		if g := s.nextGap(); g != nil {
			*n = *g
			return true
		}
	}
	return false
}

// subscriptions lists the session's filters. s.mu is held.
func (s *Session) subscriptions() []msg.Subscription {
	list := make([]msg.Subscription, 0, len(s.regs))
	for _, r := range s.regs {
		list = append(list, *r.sub.Load().seenBy(s.hold.params.Protocol))
	}
	return list
}
