package hub

import (
	"fmt"
	"math"
	"slices"

	"parley/msg"
	"parley/persist"
)

// A history is read in turns of at most historyTurn reads of the store, each of
// at most historyChunk messages (and persist.ScanMessages passed over), so that a reader is free for others soon,
// however long the log is. What it holds is bounded by historyBytes, or one
// message; a session has at most historyReads of them at a time.
const (
	historyTurn  = 2
	historyChunk = 256
	historyBytes = 1 << 20
	historyReads = 8

	historyDefault = 100 // messages
	historyMost    = 1000
)

// history is one History call under way.
type history struct {
	// fixed after construction
	c    *hold
	q    msg.HistoryQuery
	done func(msg.HistoryResult, error)

	// owned by the reader whose turn it is
	begun  bool
	lo, hi msg.Offset // still to be read; lo > hi: nothing
	window msg.Offset // reverse: how many offsets are read at once
	bytes  int
	result msg.HistoryResult
}

// History: see subproto.Session.
func (c *hold) History(q msg.HistoryQuery, done func(msg.HistoryResult, error)) {
	if err := c.mayRead(&q); err != nil {
		done(msg.HistoryResult{}, err)
		return
	}
	ns := c.s.ns
	h := &history{c: c, q: q, done: done, window: historyChunk, lo: max(q.From, 1), hi: ns.position()}
	h.result.Epoch, h.result.Head = ns.epoch, h.hi
	if q.To != 0 {
		h.hi = min(h.hi, q.To)
	}
	c.s.hub.reader.submit(h)
}

// mayRead checks a query and sets its defaults.
func (c *hold) mayRead(q *msg.HistoryQuery) error {
	if err := c.alive(); err != nil {
		return err
	}
	if q.Filter.Group != "" {
		return fmt.Errorf("%w: history of a shared group", msg.ErrFilterInvalid)
	}
	if err := c.s.maySubscribe(&msg.Subscription{Filter: q.Filter}); err != nil {
		return err
	}
	if q.Limit <= 0 {
		q.Limit = historyDefault
	}
	q.Limit = min(q.Limit, historyMost)
	if c.histories.Add(1) > historyReads {
		c.histories.Add(-1)
		return fmt.Errorf("%w: %d histories are read already", msg.ErrQuota, historyReads)
	}
	return nil
}

// readMore implements job.
func (h *history) readMore() {
	over, err := false, error(nil)
	if !h.begun {
		err = h.begin()
	}
	for n := 0; n < historyTurn && err == nil && !over; n++ {
		if err = h.c.alive(); err == nil {
			over, err = h.read()
		}
	}
	switch {
	case err != nil:
		h.fail(err)
	case over:
		h.finish(nil)
	default:
		h.c.s.hub.reader.submit(h)
	}
}

// abandon implements abandoner.
func (h *history) abandon() { h.finish(msg.ErrDraining) }

func (h *history) fail(err error) {
	if h.c.alive() == nil {
		h.c.s.hub.log.Error("the log cannot be read for a history", "namespace", h.c.s.ns.name, "error", err)
		err = msg.ErrUnavailable
	} else {
		err = h.c.alive()
	}
	h.finish(err)
}

func (h *history) finish(err error) {
	if err != nil {
		h.result = msg.HistoryResult{}
	}
	h.c.histories.Add(-1)
	h.done(h.result, err)
	h.c.peer.Wake()
}

// begin narrows the range to what the log holds and to the times asked for.
func (h *history) begin() error {
	h.begun = true
	ns := h.c.s.ns
	ms, _, err := ns.hub.store.Read(ns.name, 0, h.result.Head, persist.Limits{Messages: 1})
	if err != nil {
		return err
	}
	if len(ms) == 0 { // nothing is left
		h.hi = 0
		return nil
	}
	h.result.First = ms[0].Offset
	h.lo = max(h.lo, ms[0].Offset)
	if h.q.After != 0 && h.lo <= h.hi {
		if h.lo, err = ns.firstAt(h.q.After, h.lo, h.hi); err != nil {
			return err
		}
	}
	if h.q.Before != 0 && h.q.Before != math.MaxInt64 && h.lo <= h.hi {
		end, err := ns.firstAt(h.q.Before+1, h.lo, h.hi)
		if err != nil {
			return err
		}
		h.hi = end - 1
	}
	return nil
}

// read reads once and reports whether everything has been found.
func (h *history) read() (over bool, err error) {
	if h.lo > h.hi {
		return true, nil
	}
	if h.q.Reverse {
		return h.readBack()
	}
	ms, next, err := h.chunk(h.lo, h.hi)
	if err != nil {
		return false, err
	}
	h.lo = next
	return !h.take(ms), nil
}

func (h *history) chunk(from, to msg.Offset) ([]*msg.Message, msg.Offset, error) {
	s := h.c.s
	return s.hub.store.Read(s.ns.name, from, to, persist.Limits{Messages: historyChunk, Filters: []msg.Filter{h.q.Filter}})
}

// readBack reads the last offsets of the range, newest first. If one read does
// not get through them (large messages, or many to pass over), it looks at fewer;
// if there is nothing in them, at more.
func (h *history) readBack() (over bool, err error) {
	from := h.lo
	if h.hi-h.lo >= h.window {
		from = h.hi - h.window + 1
	}
	ms, next, err := h.chunk(from, h.hi)
	switch {
	case err != nil:
		return false, err
	case next <= h.hi && h.window > 1:
		h.window = max(1, (h.hi-from+1)/2)
		return false, nil
	case len(ms) == 0:
		h.window = min(2*h.window, 1<<40)
	default:
		h.window = historyChunk
	}
	slices.Reverse(ms)
	h.hi = from - 1
	return !h.take(ms), nil
}

// take keeps what may be shown; false if there is more than asked for.
func (h *history) take(ms []*msg.Message) bool {
	at := now()
	for _, m := range ms {
		if !h.q.Filter.Matches(m.Topic) || m.Expired(at) || !h.c.s.mayReplayed(m) {
			continue
		}
		h.bytes += m.Size()
		if len(h.result.Messages) >= h.q.Limit || len(h.result.Messages) > 0 && h.bytes > historyBytes {
			h.result.More = true
			return false
		}
		h.result.Messages = append(h.result.Messages, m)
	}
	return true
}
