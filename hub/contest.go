package hub

import (
	"fmt"
	"time"

	"parley/msg"
)

// Two clients with one name that connect again whenever they are put out would
// take the session from each other for ever. One that changes hands more than
// Limits.Takeovers times in contestTime stays with its holder: newcomers are
// refused for contestRest. If the holder leaves, the session is free at once.
const (
	contestTime = 10 * time.Second
	contestRest = 30 * time.Second

	defaultTakeovers = 5
)

// contest is how often a name changed hands lately. It passes on to the session
// that takes the name's place, and ends with the last one. Guarded by
// namespace.mu.
type contest struct {
	changes []time.Time // of the last contestTime, at most Limits.Takeovers
	until   time.Time   // newcomers are refused
}

// keeps tells whether s stays with its holder, and why.
func (s *Session) keeps(err *error) bool {
	*err = s.mayTake()
	return *err != nil
}

// mayTake notes that s is about to change hands, or refuses it. ns.mu is held.
func (s *Session) mayTake() error {
	limit := s.hub.lim.Takeovers
	s.mu.Lock()
	held := s.hold != nil
	s.mu.Unlock()
	if !held || limit < 0 {
		return nil
	}
	if s.contest == nil {
		s.contest = &contest{}
	}
	c, at := s.contest, time.Now()
	if at.Before(c.until) {
		return c.refusal(at)
	}
	old := 0
	for old < len(c.changes) && at.Sub(c.changes[old]) >= contestTime {
		old++
	}
	c.changes = c.changes[:copy(c.changes, c.changes[old:])]
	if len(c.changes) >= limit {
		c.changes, c.until = nil, at.Add(contestRest)
		s.hub.log.Warn("a session is fought over; newcomers are refused", "namespace", s.ns.name, "client", s.name, "for", contestRest)
		return c.refusal(at)
	}
	c.changes = append(c.changes, at)
	return nil
}

func (c *contest) refusal(at time.Time) error {
	return fmt.Errorf("%w: for another %v", msg.ErrSessionBusy, c.until.Sub(at).Round(time.Second))
}
