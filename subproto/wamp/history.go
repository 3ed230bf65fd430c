package wamp

import (
	"time"

	"parley/msg"
)

const (
	// historyBytes bounds one answer of get_events: it ends with the event that
	// passes this.
	historyBytes = 1 << 20
	// maxHistory is the most events that one answer has, whatever limit asks for.
	maxHistory     = 1000
	defaultHistory = 100
)

// historyTime is how timestamps of the past are written (RFC 3339).
const historyTime = "2006-01-02T15:04:05.000Z"

// eventsQuery is what get_events asks for.
type eventsQuery struct {
	msg.HistoryQuery
	topic string
	none  bool // the bounds exclude everything
}

// onGetEvents answers wamp.subscription.get_events (advanced profile, event
// history) from the log: Arguments = [subscription|id], ArgumentsKw = bounds. The
// result's arguments are the events, its keywords say whether there are more.
func (h *handler) onGetEvents(request uint64, m *request) {
	args, err := m.ids(4)
	if err != nil || len(args) != 1 {
		h.refuse(typeCall, request, uriInvalidArgument, "wanted: subscription id")
		return
	}
	s := h.subs[args[0]]
	if s == nil || !s.told && !s.loose {
		h.refuseErr(typeCall, request, msg.ErrNoSubscription)
		return
	}
	q := eventsQuery{HistoryQuery: msg.HistoryQuery{Filter: s.filter, Limit: defaultHistory}}
	q.Filter.Group = ""
	if v := m.argument(5, shapeDict); v != nil {
		m.dict(5, func(key string, v []byte) error { return q.read(h, key, v) })
	}
	if m.err != nil {
		h.refuse(typeCall, request, uriInvalidArgument, m.err.Error())
		return
	}
	q.narrow()
	if q.none {
		h.history(request, s, msg.HistoryResult{})
		return
	}
	if len(h.calls) >= h.e.o.MaxCalls {
		h.refuse(typeCall, request, uriQuota, "too many open calls")
		return
	}
	c := &call{own: true}
	h.addCall(request, c)
	h.session.History(q.HistoryQuery, func(r msg.HistoryResult, err error) {
		h.post(func() {
			if h.calls[request] != c { // canceled
				return
			}
			delete(h.calls, request)
			if err != nil {
				h.refuseErr(typeCall, request, err)
				return
			}
			h.history(request, s, r)
		})
	})
}

// read takes one bound. They are all to be kept.
func (q *eventsQuery) read(h *handler, key string, v []byte) error {
	switch key {
	case "reverse":
		return flag(h.w, v, &q.Reverse)
	case "limit":
		var n uint64
		if err := number(h.w, v, &n); err != nil || n == 0 {
			return errType
		}
		q.Limit = int(min(n, maxHistory))
		return nil
	case "topic":
		var uri string
		err := word(h.w, v, &uri)
		if err == nil {
			q.topic, err = msg.TopicOfURI(uri)
		}
		return err
	case "from_time", "after_time", "before_time", "until_time":
		return q.readTime(h.w, key, v)
	case "from_publication", "after_publication", "before_publication", "until_publication":
		return q.readPublication(h, key, v)
	}
	return nil
}

// ceilMilli is the first Unix millisecond that is not before t.
func ceilMilli(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return ms
}

func (q *eventsQuery) readTime(w wire, key string, v []byte) error {
	var s string
	if err := word(w, v, &s); err != nil {
		return err
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return err
	}
	// The log has times in milliseconds.
	floor, ceil := t.UnixMilli(), ceilMilli(t)
	switch key {
	case "from_time":
		q.After = max(q.After, ceil)
	case "after_time":
		q.After = max(q.After, floor+1)
	case "before_time":
		q.before(ceil - 1)
	case "until_time":
		q.before(floor)
	}
	return nil
}

// before sets the last time; 0 would mean that there is none.
func (q *eventsQuery) before(ms int64) {
	if ms <= 0 {
		q.none = true
	} else if q.Before == 0 || ms < q.Before {
		q.Before = ms
	}
}

// readPublication resolves an id to an offset; a transient message lies behind
// the stored one that it follows.
func (q *eventsQuery) readPublication(h *handler, key string, v []byte) error {
	var id uint64
	if err := number(h.w, v, &id); err != nil {
		return err
	}
	at, stored, ok := h.positionOf(id)
	if !ok {
		return errAfter
	}
	first, last := at, at // from and until
	if !stored {
		first = at + 1
	}
	switch key {
	case "from_publication":
		q.From = max(q.From, first)
	case "after_publication":
		q.From = max(q.From, at+1)
	case "before_publication":
		if stored {
			last--
		}
		q.until(last)
	case "until_publication":
		q.until(last)
	}
	return nil
}

func (q *eventsQuery) until(o msg.Offset) {
	if o == 0 {
		q.none = true
	} else if q.To == 0 || o < q.To {
		q.To = o
	}
}

// narrow applies topic, and finds out whether the bounds leave anything.
func (q *eventsQuery) narrow() {
	if q.topic != "" {
		q.none = q.none || !q.Filter.Matches(q.topic)
		q.Filter = msg.Filter{Pattern: q.topic}
	}
	q.none = q.none || q.To != 0 && q.To < q.From || q.Before != 0 && q.Before < q.After
}

// history sends the RESULT of get_events.
func (h *handler) history(request uint64, s *sub, r msg.HistoryResult) {
	events := encoder{codec: h.w.codec()}
	n, more := 0, r.More
	for _, m := range r.Messages {
		if len(events.b) > historyBytes {
			more = true
			break
		}
		h.pastEvent(&events, s, m)
		n++
	}
	e := h.result(request, 2)
	e.list(n)
	e.raw(events.b)
	e.endList()
	e.dict(1)
	e.key("more")
	e.bool(more)
	e.endDict()
	h.send()
}

func (h *handler) pastEvent(e *encoder, s *sub, m *msg.Message) {
	args, kwargs := m.ArgsView(e.codec)
	extra := argElements(e.codec, args, kwargs)
	e.dict(4 + extra)
	e.key("timestamp")
	e.text(time.UnixMilli(m.Time).UTC().Format(historyTime))
	e.key("subscription")
	e.uint(s.id)
	e.key("publication")
	e.uint(h.pubIDs.of(m))
	e.key("details")
	pairs := encoder{codec: e.codec}
	details := commonDetails(&pairs, m)
	pattern := isPattern(s.filter)
	e.dict(details + int(bit(pattern)))
	e.raw(pairs.b)
	if pattern {
		e.key("topic")
		e.text(msg.URI(m.Topic))
	}
	e.endDict()
	if extra > 0 {
		e.key("args")
		e.raw(args)
	}
	if extra > 1 {
		e.key("kwargs")
		e.raw(kwargs)
	}
	e.endDict()
}
