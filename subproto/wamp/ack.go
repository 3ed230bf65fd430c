package wamp

import (
	"parley/msg"
)

// Values of SUBSCRIBE.Options._parley_ack. Subscriptions of a durable session
// and of a shared group are acknowledged by parley.ack unless they ask for auto;
// others are acknowledged once written unless they ask for explicit.
const (
	ackAuto     = "auto"
	ackExplicit = "explicit"
)

// flight is a delivery that is acknowledged when each of its subscriptions has
// done so.
type flight struct {
	ref  uint64
	left int
}

// finish takes one from what a flight waits for.
func (h *handler) finish(f *flight) {
	if f == nil {
		return
	}
	if f.left--; f.left == 0 {
		h.session.Ack(f.ref)
	}
}

// pending is an EVENT that was sent and waits for parley.ack.
type pending struct {
	at msg.Offset
	// beside: it did not come in the order of the log (a retained value, or what
	// was replayed), so a later offset says nothing about it.
	beside bool
	flight *flight
}

// acknowledge finishes everything that was sent on s up to the publication with
// this id and returns how many EVENTs that were; false if the id is nobody's.
func (h *handler) acknowledge(s *sub, publication uint64) (n int, ok bool) {
	at, stored, ok := h.positionOf(publication)
	if !ok {
		return 0, false
	}
	n = s.upTo(at, stored)
	for _, p := range s.pending[:n] {
		h.finish(p.flight)
	}
	clear(s.pending[:n])
	if s.pending = s.pending[n:]; len(s.pending) == 0 {
		s.pending = nil
	}
	return n, true
}

// upTo is how many pending EVENTs lie before and at a publication: in the order
// of sending, which is what the peer has seen. For one that is not among them (it
// is transient, was acknowledged before, or is still to come again after a
// resume) the log's order decides as far as it is that of sending.
func (s *sub) upTo(at msg.Offset, stored bool) int {
	if stored {
		for i := range s.pending {
			if s.pending[i].at == at {
				return i + 1
			}
		}
	}
	n := 0
	for n < len(s.pending) && s.pending[n].at <= at && !s.pending[n].beside {
		n++
	}
	return n
}

// settleAll finishes everything that was sent on s.
func (h *handler) settleAll(s *sub) {
	for _, p := range s.pending {
		h.finish(p.flight)
	}
	s.pending = nil
}

// positionOf resolves a publication id: the offset of a stored message, else the
// offset of the last stored one before it.
func (h *handler) positionOf(publication uint64) (at msg.Offset, stored, ok bool) {
	at, _, stored, ok = h.pubIDs.position(publication)
	if ok && !stored {
		at = nearest(at, h.head)
	}
	return at, stored, ok
}

// nearest is the offset with these low 36 bits that is next to head: an id of a
// transient message keeps no more of the offset it follows.
func nearest(low, head msg.Offset) msg.Offset {
	const cycle = 1 << afterBits
	at := head&^(cycle-1) | low
	switch {
	case at > head && at-head > cycle/2 && at >= cycle:
		return at - cycle
	case head > at && head-at > cycle/2:
		return at + cycle
	}
	return at
}

// onAck answers parley.ack(subscription, publication) with the number of EVENTs
// that it acknowledged.
func (h *handler) onAck(call uint64, m *request) {
	args, err := m.ids(4)
	if err != nil || len(args) != 2 {
		h.refuse(typeCall, call, uriInvalidArgument, "wanted: subscription id, publication id")
		return
	}
	s := h.subs[args[0]]
	if s == nil || !s.told {
		h.refuseErr(typeCall, call, msg.ErrNoSubscription)
		return
	}
	n, ok := h.acknowledge(s, args[1])
	if !ok {
		h.refuse(typeCall, call, uriInvalidArgument, errAfter.Error())
		return
	}
	e := h.result(call, 1)
	e.list(1)
	e.uint(uint64(n))
	e.endList()
	h.send()
}
