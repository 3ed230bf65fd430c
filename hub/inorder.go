package hub

import (
	"cmp"
	"slices"

	"parley/msg"
)

// After a crash a session knows what it had sent at QoS 2, which went to disk
// before it left, but of QoS 1 only a position: from there on the log is read
// again. What was sent at QoS 2 beyond that position comes at its place in the log,
// not before it, so that everything is sent again in the order in which it was
// sent first [MQTT-4.6.0-1].

// isLater tells whether a flight is among what is read again from next on.
func (f *flight) isLater(next msg.Offset) bool {
	return f.received == 0 && f.offset >= next && f.group() == nil && !f.retained && !f.replayed
}

// postpone notes f to come with the log if it lies in what is still to be read;
// false: it comes first, like everything else that is sent again. Those noted are
// in no order until sortLater.
func (in *inbound) postpone(f *flight) bool {
	f.later = f.later && in.lag.on && f.offset >= in.lag.from
	if f.later {
		in.later = append(in.later, *f)
	}
	return f.later
}

func (in *inbound) sortLater() {
	slices.SortFunc(in.later, func(a, b flight) int { return cmp.Compare(a.offset, b.offset) })
	in.postponed = len(in.later)
}

// merge puts the flights of t that lie below next at their places among items.
func (s *Session) merge(t *task, items []item, next msg.Offset) []item {
	t.redo = slices.DeleteFunc(slices.Clone(t.later), func(f flight) bool { return f.offset >= next })
	if len(t.redo) == 0 {
		return items
	}
	items = append(items, s.readRedo(t)...)
	t.redo = nil
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.offset(), b.offset()) })
	return items
}

// reached drops what merge has put in. s.mu is held.
func (in *inbound) reached(next msg.Offset) {
	in.later = slices.DeleteFunc(in.later, func(f flight) bool { return f.offset < next })
	if len(in.later) == 0 {
		in.later = nil
	}
}

// renumber gives a flight that came with the log the rank of its turn.
func (in *inbound) renumber(f flight) flight {
	in.forget(f.ref)
	in.ref++
	f.ref, f.later = in.ref, false
	return f
}

// forget drops a flight.
func (in *inbound) forget(ref uint64) {
	if in.unacked[ref].later {
		in.postponed--
	}
	delete(in.unacked, ref)
}
