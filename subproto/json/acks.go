package json

import (
	"slices"

	"parley/msg"
)

// pairsPerWindow bounds what is remembered of deliveries that several
// subscriptions want: so many times the window of (delivery, channel).
const pairsPerWindow = 4

// keptBytes bounds the messages that are kept to be pushed again, see flight.m.
const keptBytes = 256 << 10

// acks remembers what was pushed with a guarantee and is not acknowledged: at
// most a window of deliveries, in the order they were pushed.
type acks struct {
	window  int
	flights []flight
	pairs   int    // channels of all flights
	bytes   int    // of the messages kept
	seq     uint64 // of the last one
}

// flight is one delivery that waits for its acknowledgement, by each of the
// channels it was pushed to.
type flight struct {
	ref, seq uint64
	offset   msg.Offset
	ch       *channel
	more     []*channel
	// m is kept while the client may still subscribe to one of the channels: its
	// SDK drops what comes between that and the reply, and so it is pushed again.
	m        *msg.Message
	retained bool
}

// size is what the message kept counts.
func (f *flight) size() int {
	if f.m == nil {
		return 0
	}
	return f.m.Size()
}

// keep keeps the message if it may have to be pushed again.
func (f *flight) keep(d *msg.Delivery) {
	if f.ch.resumed || slices.ContainsFunc(f.more, func(ch *channel) bool { return ch.resumed }) {
		f.m, f.retained = d.Message, d.Retained
	}
}

func (f *flight) add(ch *channel) {
	if f.ch == nil {
		f.ch = ch
		return
	}
	f.more = append(f.more, ch)
}

// remove takes ch away: whether it was there, and whether none is left.
func (f *flight) remove(ch *channel) (had, empty bool) {
	if f.ch == ch {
		had, f.ch = true, nil
		if n := len(f.more); n > 0 {
			f.ch, f.more = f.more[n-1], f.more[:n-1]
		}
	} else if i := slices.Index(f.more, ch); i >= 0 {
		had, f.more = true, slices.Delete(f.more, i, i+1)
	}
	return had, f.ch == nil
}

func (a *acks) add(f flight) {
	a.seq++
	f.seq = a.seq
	a.flights = append(a.flights, f)
	a.pairs += 1 + len(f.more)
	a.bytes += f.size()
}

// full tells that nothing more may be pushed before something is acknowledged.
func (a *acks) full() bool {
	return a.window > 0 && (a.pairs >= pairsPerWindow*a.window || a.bytes >= keptBytes)
}

// due tells that half of what may be unacknowledged is.
func (a *acks) due() bool {
	return a.pairs > 0 && (2*len(a.flights) >= a.window || 2*a.pairs >= pairsPerWindow*a.window || 2*a.bytes >= keptBytes)
}

// cover acknowledges everything up to seq.
func (a *acks) cover(seq uint64, ack func(ref uint64)) {
	n := 0
	for n < len(a.flights) && a.flights[n].seq <= seq {
		a.pairs -= 1 + len(a.flights[n].more)
		a.bytes -= a.flights[n].size()
		ack(a.flights[n].ref)
		n++
	}
	a.flights = slices.Delete(a.flights, 0, n)
	a.shrink()
}

// through acknowledges what ch was pushed with an offset up to last.
func (a *acks) through(ch *channel, last msg.Offset, ack func(ref uint64)) {
	kept := a.flights[:0]
	for _, f := range a.flights {
		if f.offset <= last {
			had, empty := f.remove(ch)
			if had {
				a.pairs--
			}
			if empty {
				a.bytes -= f.size()
				ack(f.ref)
				continue
			}
		}
		kept = append(kept, f)
	}
	clear(a.flights[len(kept):])
	a.flights = kept
	a.shrink()
}

// take removes the deliveries that ch has not acknowledged and whose message is
// kept, and returns them.
func (a *acks) take(ch *channel) (taken []flight) {
	a.flights = slices.DeleteFunc(a.flights, func(f flight) bool {
		if f.m == nil || f.ch != ch && !slices.Contains(f.more, ch) {
			return false
		}
		a.pairs -= 1 + len(f.more)
		a.bytes -= f.size()
		taken = append(taken, f)
		return true
	})
	a.shrink()
	return taken
}

// drop acknowledges what only ch has still to acknowledge, in its place.
func (a *acks) drop(ch *channel, ack func(ref uint64)) { a.through(ch, ^msg.Offset(0), ack) }

// shrink gives the memory back when nothing waits.
func (a *acks) shrink() {
	if len(a.flights) == 0 {
		a.flights = nil
	}
}
