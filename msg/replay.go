package msg

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// replayPrefix begins a subscription to the past.
const replayPrefix = "$replay/"

// ParseReplay reads a position in the past: "earliest", the decimal offset of a
// message, or "@" and a time of RFC 3339 in UTC, written with Z, such as
// @2026-03-01T12:00:00Z. The error wraps ErrFilterInvalid.
func ParseReplay(s string) (Replay, error) {
	if s == "earliest" {
		return Replay{Kind: ReplayEarliest}, nil
	}
	if at, ok := strings.CutPrefix(s, "@"); ok {
		t, err := time.Parse(time.RFC3339Nano, at)
		if err != nil || !strings.HasSuffix(at, "Z") {
			return Replay{}, fmt.Errorf("%w: %q is not a time in UTC such as 2026-03-01T12:00:00Z", ErrFilterInvalid, at)
		}
		ms := t.UnixMilli()
		if t.Nanosecond()%int(time.Millisecond) != 0 {
			ms++ // messages of the begun millisecond are older
		}
		return Replay{Kind: ReplayTime, Time: ms}, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return Replay{}, fmt.Errorf("%w: %q is no offset, no @time and not earliest", ErrFilterInvalid, s)
	}
	return Replay{Kind: ReplayOffset, Offset: max(1, Offset(n))}, nil
}

// ParseSubscription reads what MQTT clients subscribe to: a filter as
// ParseFilter takes it, or $replay/<position>/<filter> for one that begins in the
// past. Operations other than $replay are filters here, but none may stand behind
// $replay. The error wraps ErrFilterInvalid.
func ParseSubscription(s string) (Filter, Replay, error) {
	if s == "$replay" {
		s = replayPrefix
	}
	rest, ok := strings.CutPrefix(s, replayPrefix)
	if !ok {
		f, err := ParseFilter(s)
		return f, Replay{}, err
	}
	position, pattern, _ := strings.Cut(rest, "/")
	from, err := ParseReplay(position)
	if err != nil {
		return Filter{}, Replay{}, err
	}
	switch firstLevel(pattern) {
	case "$replay", "$share", "$gap", "$rpc", "$callee":
		return Filter{}, Replay{}, fmt.Errorf("%w: %s behind $replay", ErrFilterInvalid, firstLevel(pattern))
	}
	f, err := ParseFilter(pattern)
	if err != nil {
		return Filter{}, Replay{}, err
	}
	return f, from, nil
}
