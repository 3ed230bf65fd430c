package msg

import (
	"errors"
	"testing"
)

func TestParseSubscription(t *testing.T) {
	for s, want := range map[string]struct {
		filter Filter
		from   Replay
	}{
		"a/#":                             {Filter{Pattern: "a/#"}, Replay{}},
		"$share/g/a":                      {Filter{Pattern: "a", Group: "g"}, Replay{}},
		"$gap/#":                          {Filter{Pattern: "$gap/#"}, Replay{}},
		"$replays/1/a":                    {Filter{Pattern: "$replays/1/a"}, Replay{}},
		"$replay/earliest/a/+":            {Filter{Pattern: "a/+"}, Replay{Kind: ReplayEarliest}},
		"$replay/0/#":                     {Filter{Pattern: "#"}, Replay{Kind: ReplayOffset, Offset: 1}},
		"$replay/17/#":                    {Filter{Pattern: "#"}, Replay{Kind: ReplayOffset, Offset: 17}},
		"$replay/1/$SYS/#":                {Filter{Pattern: "$SYS/#"}, Replay{Kind: ReplayOffset, Offset: 1}},
		"$replay/1//":                     {Filter{Pattern: "/"}, Replay{Kind: ReplayOffset, Offset: 1}},
		"$replay/@1970-01-01T00:00:01Z/a": {Filter{Pattern: "a"}, Replay{Kind: ReplayTime, Time: 1000}},
		"$replay/@1970-01-01T00:00:01.0000001Z/a": {Filter{Pattern: "a"}, Replay{Kind: ReplayTime, Time: 1001}},
		"$replay/18446744073709551615/a":          {Filter{Pattern: "a"}, Replay{Kind: ReplayOffset, Offset: 1<<64 - 1}},
	} {
		if f, from, err := ParseSubscription(s); err != nil || f != want.filter || from != want.from {
			t.Errorf("%s: %+v %+v %v", s, f, from, err)
		}
	}
	for _, s := range []string{
		"", "$replay", "$replay/", "$replay/earliest", "$replay/earliest/", "$replay/latest/a", "$replay//a", "$replay/-1/a",
		"$replay/+/a", "$replay/1.5/a", "$replay/0x1/a", "$replay/1_0/a", "$replay/18446744073709551616/a", "$replay/Earliest/a",
		"$replay/@/a", "$replay/@2026-03-01/a", "$replay/@2026-03-01T12:00:00/a", "$replay/@2026-03-01T12:00:00+00:00/a",
		"$replay/@2026-03-01T12:00:00-00:00/a", "$replay/@2026-02-30T12:00:00Z/a", "$replay/1/a#", "$replay/1/$share/g/a",
		"$share/g", "$replay/1/$replay/1/a", "$replay/1/$gap/#", "$replay/1/$rpc/p", "$replay/1/$callee/p",
	} {
		if f, from, err := ParseSubscription(s); !errors.Is(err, ErrFilterInvalid) || f != (Filter{}) || from != (Replay{}) {
			t.Errorf("%s: %+v %+v %v, want ErrFilterInvalid", s, f, from, err)
		}
	}
}
