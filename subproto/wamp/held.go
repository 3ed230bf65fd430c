package wamp

import (
	"time"

	"github.com/gammazero/nexus/v3/wamp"

	"parley/msg"
)

// A durable session comes back with its filters. Which of them this client wants
// here it says by SUBSCRIBE; until then what they match is held: it is not sent,
// for the peer has no handler for it, and not acknowledged, so it is not lost.
// When too much is held nothing is taken from the session any more until a filter
// is attached or given up.

// heldMost and heldBytes bound what one connection holds.
const (
	heldMost  = 1000
	heldBytes = 1 << 20
)

// waiting is an EVENT for a filter that is not attached.
type waiting struct {
	m      *msg.Message
	marks  marks
	flight *flight // nil: acknowledged once written
}

// hold keeps a delivery for s. A transient one is dropped rather than that it
// stops everything else.
func (h *handler) hold(s *sub, w waiting) {
	if !w.m.Stored() && (h.heldCount >= heldMost/2 || h.heldSize >= heldBytes/2) {
		count(h.e.droppedLoose)
		h.finish(w.flight)
		return
	}
	s.waiting = append(s.waiting, w)
	h.heldCount++
	h.heldSize += w.m.Size()
}

func (h *handler) unhold(w waiting) {
	h.heldCount--
	h.heldSize -= w.m.Size()
}

// holdsEnough tells that no more deliveries can be taken.
func (h *handler) holdsEnough() bool {
	return h.heldCount >= heldMost || h.heldSize >= heldBytes
}

// sendHeld sends the next EVENT that was held for a filter which is attached now.
func (h *handler) sendHeld() bool {
	for len(h.ready) > 0 {
		s := h.ready[0]
		if len(s.waiting) == 0 {
			h.ready[0] = nil
			h.ready = h.ready[1:]
			continue
		}
		w := s.waiting[0]
		s.waiting[0] = waiting{}
		if s.waiting = s.waiting[1:]; len(s.waiting) == 0 {
			s.waiting = nil
		}
		h.unhold(w)
		h.sendTo(s, w)
		return true
	}
	return false
}

// durable is what HELLO says about a session that outlives its connection, in
// Details or, for clients that let nothing else be set, in Details.authextra.
type durable struct {
	name   string // "" = none
	named  bool
	expiry uint64 // seconds
	timed  bool
}

const (
	defaultExpiry = 3600      // seconds
	foreverExpiry = 1<<32 - 1 // seconds, from here on without end, as in MQTT
	maxName       = 256       // bytes
)

func (d *durable) read(w wire, key string, v []byte) error {
	switch key {
	case keySession:
		d.named = true
		return word(w, v, &d.name)
	case keyExpiry:
		d.timed = true
		return number(w, v, &d.expiry)
	}
	return nil
}

// or fills in what d does not say.
func (d *durable) or(other *durable) {
	if !d.named {
		d.name, d.named = other.name, other.named
	}
	if !d.timed {
		d.expiry, d.timed = other.expiry, other.timed
	}
}

func (d *durable) valid() bool {
	return !d.named || d.name != "" && len(d.name) <= maxName
}

func (d *durable) lifetime() time.Duration {
	switch {
	case !d.named:
		return 0
	case !d.timed:
		return defaultExpiry * time.Second
	case d.expiry >= foreverExpiry:
		return msg.Forever
	}
	return time.Duration(d.expiry) * time.Second
}

// resume takes over the filters that the session has.
func (h *handler) resume(subs []msg.Subscription) {
	for i := range subs {
		f := subs[i].Filter
		s := &sub{id: h.subscriptionID(f), filter: f, loose: true}
		h.addSub(s)
		if h.resumed == nil {
			h.resumed = map[msg.Filter]*sub{}
		}
		h.resumed[f] = s
	}
}

// looseSubscriptions tells the peer what there is to attach: how a SUBSCRIBE
// would name each filter, and the id it will have.
func (h *handler) looseSubscriptions() wamp.List {
	list := wamp.List{}
	for f, s := range h.resumed {
		d := filterDict(f)
		d["subscription"] = s.id
		list = append(list, d)
	}
	return list
}

// filterDict names a filter in the terms of SUBSCRIBE.
func filterDict(f msg.Filter) wamp.Dict {
	uri, match := termsOf(f)
	d := wamp.Dict{"uri": uri, "match": match}
	if f.Group != "" {
		d[keyGroup] = f.Group
	}
	return d
}

// takeNotices hears what the session says while no messages can be taken.
func (h *handler) takeNotices() {
	var n msg.Notice
	for h.state == stateOpen && h.session.NextNotice(&n) {
		h.notice(&n)
	}
}
