package hub

import "parley/msg"

// History: see subproto.Session.
func (c *hold) History(_ msg.HistoryQuery, done func(msg.HistoryResult, error)) {
	done(msg.HistoryResult{}, msg.ErrNotSupported)
}
