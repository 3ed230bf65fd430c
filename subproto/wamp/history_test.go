package wamp

import (
	"fmt"
	"strings"
	"testing"

	"parley/msg"
)

// Where a subscription begins (Subscription.From).
func TestSubscribeFrom(t *testing.T) {
	ids := newPubIDs("e", "default")
	after := ids.ofOffset(41)
	transient := ids.of(&msg.Message{After: 41, Serial: 3})
	for _, c := range []struct {
		options string
		want    msg.Replay
	}{
		{``, msg.Replay{}},
		{`"_parley_from":42`, msg.Replay{Kind: msg.ReplayOffset, Offset: 42}},
		{`"_parley_from":0`, msg.Replay{Kind: msg.ReplayOffset, Offset: 1}},
		{`"_parley_from":"42"`, msg.Replay{Kind: msg.ReplayOffset, Offset: 42}},
		{`"_parley_from":"earliest"`, msg.Replay{Kind: msg.ReplayEarliest}},
		{`"_parley_from":"@2026-01-02T03:04:05Z"`, msg.Replay{Kind: msg.ReplayTime, Time: 1767323045000}},
		{`"_parley_from":"@2026-01-02T03:04:05.0001Z"`, msg.Replay{Kind: msg.ReplayTime, Time: 1767323045001}},
		{fmt.Sprintf(`"_parley_after":%d`, after), msg.Replay{Kind: msg.ReplayOffset, Offset: 42}},
		{fmt.Sprintf(`"_parley_after":%d`, transient), msg.Replay{Kind: msg.ReplayOffset, Offset: 42}},
		{`"_parley_from":null,"_parley_after":null`, msg.Replay{}},
	} {
		for _, protocol := range protocols {
			s := &scripted{result: msg.AttachResult{Head: 100}}
			cl, _ := s.open(t, protocol, "")
			s.subscribe(cl, c.options, "a.b")
			if s.sub.From != c.want {
				t.Errorf("%s %s: %+v", protocol, c.options, s.sub.From)
			}
		}
	}
	s := &scripted{}
	cl, _ := s.open(t, "wamp.2.json", "")
	for options, want := range map[string]string{
		`"_parley_from":"yesterday"`:                                  errFrom.Error(),
		`"_parley_from":"@2026-01-02"`:                                errFrom.Error(),
		`"_parley_from":"@2026-01-02T03:04:05+01:00"`:                 errFrom.Error(),
		`"_parley_from":"@Z"`:                                         errFrom.Error(),
		`"_parley_ack":"never"`:                                       errAckMode.Error(),
		`"_parley_after":9007199254740992`:                            errAfter.Error(),
		fmt.Sprintf(`"_parley_from":1,"_parley_after":%d`, after):     errTwoFroms.Error(),
		fmt.Sprintf(`"_parley_after":%d,"_parley_from":"x"`, after+0): errFrom.Error(),
	} {
		cl.send(`[32,3,{` + options + `},"a.b"]`)
		cl.expect(`[8,32,3,{},"wamp.error.invalid_argument",["` + want + `"]]`)
	}
	cl.send(`[32,3,{"_parley_from":1.5},"a.b"]`)
	cl.expect(`[3,{"message":"malformed message: wrong type"},"wamp.error.protocol_violation"]`)
}

// A resumed filter goes on after the last publication that the peer has seen:
// what the stream still has before it is acknowledged and not sent.
func TestResumeAfterLastSeen(t *testing.T) {
	f := msg.Filter{Pattern: "a/b"}
	s := &scripted{result: msg.AttachResult{Present: true, Subscriptions: []msg.Subscription{{Filter: f}}}}
	c, _ := s.open(t, "wamp.2.json", durableHello)
	redelivered := func(d *msg.Delivery) { d.Redelivered = true }
	s.event(1, redelivered, f)
	s.event(2, redelivered, f)
	c.barrier()
	sub := s.subscribe(c, fmt.Sprintf(`"_parley_after":%d`, newPubIDs("e", "default").ofOffset(3)), "a.b")
	if s.sub.From.Kind != msg.ReplayNone {
		t.Errorf("replay %+v", s.sub.From)
	}
	s.event(3, nil, f)
	s.event(2, func(d *msg.Delivery) { d.Retained = true }, f)
	s.event(4, nil, f)
	c.expect(`[36,` + sub + `,*,{"_parley_offset":2,"retained":true},[""]]`)
	c.expect(`[36,` + sub + `,*,{"_parley_offset":4},[""]]`)
	if got := fmt.Sprint(s.acks(c)); got != "[1 2 3]" {
		t.Errorf("acknowledged %s", got)
	}
}

func TestReplayedIsMarked(t *testing.T) {
	s := &scripted{}
	c, _ := s.open(t, "wamp.2.msgpack", "")
	sub := s.subscribe(c, `"_parley_from":1`, "a.b")
	s.event(3, func(d *msg.Delivery) { d.Replayed = true }, s.sub.Filter)
	c.expect(`[36,` + sub + `,*,{"_parley_offset":3,"_parley_replayed":true},[""]]`)
}

// The bounds of get_events as the message plane gets them (advanced profile,
// event history: all of them are to be kept).
func TestEventHistoryQuery(t *testing.T) {
	ids := newPubIDs("e", "default")
	stored, transient := ids.ofOffset(50), ids.of(&msg.Message{After: 50, Serial: 1})
	sec := int64(1767323045000)
	prefix := msg.Filter{Kind: msg.FilterPrefix, Pattern: "a"}
	for _, r := range []struct {
		bounds string
		want   msg.HistoryQuery
		none   bool
	}{
		{`{}`, msg.HistoryQuery{Limit: 100}, false},
		{`{"limit":5,"reverse":true}`, msg.HistoryQuery{Limit: 5, Reverse: true}, false},
		{`{"limit":5000,"unknown":[1]}`, msg.HistoryQuery{Limit: 1000}, false},
		{`{"from_time":"2026-01-02T03:04:05Z","until_time":"2026-01-02T04:04:05+01:00"}`, msg.HistoryQuery{Limit: 100, After: sec, Before: sec}, false},
		{`{"after_time":"2026-01-02T03:04:05Z"}`, msg.HistoryQuery{Limit: 100, After: sec + 1}, false},
		{`{"before_time":"2026-01-02T03:04:05Z"}`, msg.HistoryQuery{Limit: 100, Before: sec - 1}, false},
		{`{"after_time":"2026-01-02T03:04:05Z","before_time":"2026-01-02T03:04:05.001Z"}`, msg.HistoryQuery{}, true},
		{`{"from_time":"2026-01-02T03:04:05.0001Z","until_time":"2026-01-02T03:04:05.0015Z"}`, msg.HistoryQuery{Limit: 100, After: sec + 1, Before: sec + 1}, false},
		{`{"before_time":"1960-01-01T00:00:00Z"}`, msg.HistoryQuery{}, true},
		{fmt.Sprintf(`{"from_publication":%d}`, stored), msg.HistoryQuery{Limit: 100, From: 50}, false},
		{fmt.Sprintf(`{"after_publication":%d}`, stored), msg.HistoryQuery{Limit: 100, From: 51}, false},
		{fmt.Sprintf(`{"before_publication":%d}`, stored), msg.HistoryQuery{Limit: 100, To: 49}, false},
		{fmt.Sprintf(`{"until_publication":%d}`, stored), msg.HistoryQuery{Limit: 100, To: 50}, false},
		{fmt.Sprintf(`{"from_publication":%d}`, transient), msg.HistoryQuery{Limit: 100, From: 51}, false},
		{fmt.Sprintf(`{"after_publication":%d}`, transient), msg.HistoryQuery{Limit: 100, From: 51}, false},
		{fmt.Sprintf(`{"before_publication":%d}`, transient), msg.HistoryQuery{Limit: 100, To: 50}, false},
		{fmt.Sprintf(`{"until_publication":%d}`, transient), msg.HistoryQuery{Limit: 100, To: 50}, false},
		{fmt.Sprintf(`{"before_publication":%d}`, ids.ofOffset(1)), msg.HistoryQuery{}, true},
		{fmt.Sprintf(`{"after_publication":%d,"until_publication":%d}`, stored, stored), msg.HistoryQuery{}, true},
		{`{"topic":"a.b"}`, msg.HistoryQuery{Filter: msg.Filter{Pattern: "a/b"}, Limit: 100}, false},
		{`{"topic":"b"}`, msg.HistoryQuery{}, true},
	} {
		s := &scripted{result: msg.AttachResult{Head: 100}}
		c, _ := s.open(t, "wamp.2.json", "")
		sub := s.subscribe(c, `"match":"prefix","_parley_group":"g"`, "a")
		c.send(`[48,9,{},"wamp.subscription.get_events",[` + sub + `],` + r.bounds + `]`)
		if r.none {
			c.expect(`[50,9,{},[],{"more":false}]`)
			continue
		}
		if r.want.Filter.Pattern == "" {
			r.want.Filter = prefix
		}
		if len(s.history) != 1 || s.history[0] != r.want {
			t.Errorf("%s: %+v", r.bounds, s.history)
		}
	}
}

func TestEventHistory(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			s := &scripted{}
			c, _ := s.open(t, protocol, "")
			sub := s.subscribe(c, `"match":"prefix"`, "a")
			c.send(`[48,9,{},"wamp.subscription.get_events",[` + sub + `]]`)
			past := func(o msg.Offset, p msg.Payload) *msg.Message {
				return &msg.Message{Topic: "a/b", Offset: o, Time: 1767323045006, Payload: p, Via: msg.ViaMQTT}
			}
			s.answer(msg.HistoryResult{More: true, Messages: []*msg.Message{
				past(1, msg.Bytes([]byte(`{"t":1}`))),
				past(2, msg.Payload{Form: msg.FormArgs, Codec: msg.CodecJSON, Data: []byte(`[[],{"k":1}]`)}),
				past(3, msg.Payload{Form: msg.FormArgs, Codec: msg.CodecJSON, Data: []byte(`[[]]`)}),
			}}, nil)
			ids := newPubIDs("e", "default")
			at := func(o msg.Offset) string {
				return fmt.Sprintf(`"details":{"_parley_offset":%d,"_parley_via":"mqtt","topic":"a.b"}`, o)
			}
			rest := func(o msg.Offset) string {
				return fmt.Sprintf(`"publication":%d,"subscription":%s,"timestamp":"2026-01-02T03:04:05.006Z"}`, ids.ofOffset(o), sub)
			}
			c.expect(`[50,9,{},[{"args":[{"t":1}],` + at(1) + `,` + rest(1) +
				`,{"args":[],` + at(2) + `,"kwargs":{"k":1},` + rest(2) + `,{` + at(3) + `,` + rest(3) + `],{"more":true}]`)

			// One answer is bounded in bytes.
			c.send(`[48,9,{},"wamp.subscription.get_events",[` + sub + `]]`)
			big := strings.Repeat("x", historyBytes*2/3)
			s.answer(msg.HistoryResult{Messages: []*msg.Message{
				past(1, msg.Bytes([]byte(big))), past(2, msg.Bytes([]byte(big))), past(3, msg.Bytes([]byte(big))),
			}}, nil)
			got := c.next()
			if n := strings.Count(got, `"timestamp"`); n != 2 || !strings.HasSuffix(got, `,{"more":true}]`) {
				t.Errorf("%d events in %d bytes", n, len(got))
			}
		})
	}
}

func TestEventHistoryRefusals(t *testing.T) {
	s := &scripted{}
	c, _ := s.open(t, "wamp.2.json", "")
	sub := s.subscribe(c, "", "a.b")
	for _, r := range []struct{ args, want string }{
		{`[]`, "wamp.error.invalid_argument"},
		{`["x"]`, "wamp.error.invalid_argument"},
		{`[77]`, "wamp.error.no_such_subscription"},
		{`[` + sub + `],{"limit":0}`, "wamp.error.invalid_argument"},
		{`[` + sub + `],{"limit":"x"}`, "wamp.error.invalid_argument"},
		{`[` + sub + `],{"reverse":1}`, "wamp.error.invalid_argument"},
		{`[` + sub + `],{"from_time":"yesterday"}`, "wamp.error.invalid_argument"},
		{`[` + sub + `],{"from_publication":0}`, "wamp.error.invalid_argument"},
		{`[` + sub + `],{"topic":"a..b"}`, "wamp.error.invalid_argument"},
		{`[` + sub + `],[]`, "wamp.error.invalid_argument"},
	} {
		c.send(`[48,9,{},"wamp.subscription.get_events",` + r.args + `]`)
		if got := c.next(); !strings.HasPrefix(got, `[8,48,9,{},"`+r.want+`"`) {
			t.Errorf("%s: %s", r.args, got)
		}
	}
	c.send(`[48,10,{},"wamp.subscription.get_events",[` + sub + `]]`)
	s.answer(msg.HistoryResult{}, msg.ErrNotAuthorized)
	c.expect(`[8,48,10,{},"wamp.error.not_authorized",["not authorized"]]`)
	// Canceled: what comes then is for nobody.
	c.send(`[48,11,{},"wamp.subscription.get_events",[` + sub + `]]`)
	c.send(`[49,11,{}]`)
	c.expect(`[8,48,11,{},"wamp.error.canceled"]`)
	s.answer(msg.HistoryResult{}, nil)
	c.send(`[48,12,{},"wamp.subscription.get_events",[` + sub + `]]`)
	c.send(`[49,12,{"mode":"kill"}]`)
	s.answer(msg.HistoryResult{}, nil)
	c.expect(`[50,12,{},[],{"more":false}]`)
	// An id that is in use.
	c.send(`[48,13,{},"wamp.subscription.get_events",[` + sub + `]]`)
	c.send(`[48,13,{},"parley.gaps"]`)
	c.expect(`[3,{"message":"request id is in use"},"wamp.error.protocol_violation"]`)
}

// Who may not call meta procedures does not get history either.
func TestEventHistoryNeedsPermission(t *testing.T) {
	b := start(t, nil)
	c := b.dial("wamp.2.json")
	c.send(`[1,"realm1",{"roles":` + allRoles + `,"authid":"nobody","authmethods":["ticket"]}]`)
	c.expect(`[4,"ticket",{}]`)
	c.send(`[5,"n",{}]`)
	if got := c.next(); !strings.HasPrefix(got, `[2,`) {
		t.Fatal(got)
	}
	c.send(`[48,1,{},"wamp.subscription.get_events",[1]]`)
	c.expect(`[8,48,1,{},"wamp.error.not_authorized",["not authorized"]]`)
}

// An idempotency key goes with what is acknowledged.
func TestPublishKey(t *testing.T) {
	s, c := scriptedSession(t)
	c.send(`[16,1,{"acknowledge":true,"_parley_key":"k1"},"a.b"]`)
	c.expect(`[17,1,*]`)
	c.send(`[16,2,{"_parley_key":"k2"},"a.b"]`) // refused, which nobody hears
	c.barrier()
	if len(s.published) != 1 || s.published[0].Key != "k1" {
		t.Errorf("published %+v", s.published)
	}
	c.send(`[16,3,{"acknowledge":true,"_parley_key":"` + strings.Repeat("k", 257) + `"},"a.b"]`)
	c.expect(`[8,16,3,{},"wamp.error.invalid_argument",["an idempotency key has 1 to 256 bytes"]]`)
}

// What was cut is told as events of parley.gap and listed by parley.gaps.
func TestGaps(t *testing.T) {
	f := msg.Filter{Kind: msg.FilterPrefix, Pattern: "a/"}
	s := &scripted{result: msg.AttachResult{Present: true, Subscriptions: []msg.Subscription{{Filter: f}}}}
	c, _ := s.open(t, "wamp.2.cbor", durableHello)
	s.deliver(msg.Delivery{Notice: &msg.Notice{Kind: msg.NoticeGap, Subscription: &msg.Subscription{Filter: f}, First: 3, Last: 9, Count: 4, Reason: "bytes"}})
	c.barrier()
	c.send(`[32,1,{},"parley.gap"]`)
	sub := c.expect(`[33,1,*]`)[0]
	gap := `{"count":4,"filter":{"match":"prefix","uri":"a."},"first":3,"last":9,"reason":"bytes"}`
	c.expect(`[36,` + sub + `,*,{},[],` + gap + `]`)
	s.deliver(msg.Delivery{Notice: &msg.Notice{Kind: msg.NoticeGap, First: 10, Last: 11, Reason: "age"}})
	c.expect(`[36,` + sub + `,*,{},[],{"count":0,"first":10,"last":11,"reason":"age"}]`)
	if got := c.call("parley.gaps", `[]`); got != `[[`+gap+`,{"count":0,"first":10,"last":11,"reason":"age"}]]` {
		t.Errorf("parley.gaps: %s", got)
	}
	// With a replay it is the answer to SUBSCRIBE that says so.
	c.send(`[32,2,{"_parley_from":1},"b"]`)
	s.change(func() {
		s.done([]msg.SubscribeResult{{Gap: &msg.Gap{First: 1, Last: 2, Count: 2, Reason: "count"}}})
	})
	c.expect(`[33,2,*]`)
	c.expect(`[36,` + sub + `,*,{},[],{"count":2,"filter":{"match":"exact","uri":"b"},"first":1,"last":2,"reason":"count"}]`)
	c.send(`[34,3,` + sub + `]`)
	c.expect(`[35,3]`)
	for i := range 2 * maxGaps {
		s.deliver(msg.Delivery{Notice: &msg.Notice{Kind: msg.NoticeGap, First: msg.Offset(i + 1), Last: msg.Offset(i + 1), Reason: "age"}})
	}
	c.barrier()
	if got := c.call("parley.gaps", `[]`); strings.Count(got, "reason") != maxGaps || !strings.HasSuffix(got, `"last":512,"reason":"age"}]]`) {
		t.Errorf("parley.gaps: %d bytes", len(got))
	}
}
