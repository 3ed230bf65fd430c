package persist

import "parley/msg"

// Segment is a run of one class's messages, the unit of retention. Segments of
// different classes overlap in their offsets.
type Segment struct {
	Class       uint8
	First, Last msg.Offset // its oldest and newest message
	Messages    int        // may be an upper bound
	Bytes       int64      // of encoded messages
	Newest      int64      // Time of its newest message
	Open        bool       // messages are still appended to it
}

// Missed is what a filter would have matched and Drop has removed.
type Missed struct {
	First, Last msg.Offset // 0, 0: nothing
	// Count is how many messages; 0 without Exact.
	Count uint64
	// Exact: First, Last and Count are what was removed. Otherwise it is known
	// only that everything removed lies in [First, Last], and it may be nothing.
	Exact bool
}

// Retention is the part of a Store that lets go of old messages. What is to go
// and when is hub's decision.
type Retention interface {
	// Segments lists what there is, by class, oldest first. The last one of
	// each class may be Open.
	Segments(namespace string) ([]Segment, error)
	// MayHold is false only if no message of s matches one of the filters (none:
	// everything matches), or s is gone.
	MayHold(namespace string, s Segment, filters []msg.Filter) (bool, error)
	// Drop removes s, the oldest segment of its class, but for the messages
	// named in keep (sorted, retained values), which stay readable at their
	// offsets until Forget. A segment that is already gone is not an error;
	// ErrSegment: s is not the oldest, or messages were appended to it since
	// Segments reported it. ErrFull: no room for the kept ones, nothing was
	// removed. It works in slices, so that no commit waits more than a few
	// milliseconds, and may be called beside Commit and Read.
	Drop(namespace string, s Segment, keep []msg.Offset) error
	// Missed tells what Drop has removed in [from, to] (to = 0: up to the head)
	// that one of the filters (none: all) matches; messages that it kept do not
	// count, forgotten or not. It is told from summaries of the segments, which
	// are bounded: at most SummaryBytes per namespace, the oldest give way
	// and make what lies before unknown (not Exact).
	Missed(namespace string, filters []msg.Filter, from, to msg.Offset) (Missed, error)
	// Forget lets go of messages that Drop has kept; others are left alone.
	Forget(namespace string, kept []msg.Offset) error
}

// MatchesAny tells whether one of the filters selects topic; no filters select
// everything.
func MatchesAny(filters []msg.Filter, topic string) bool {
	for i := range filters {
		if filters[i].Matches(topic) {
			return true
		}
	}
	return len(filters) == 0
}
