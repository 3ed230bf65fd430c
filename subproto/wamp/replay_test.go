package wamp

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"parley/hub"
	"parley/persist/mem"
)

// number reads the one argument of a published number out of an EVENT, and
// whether it was replayed.
func (c *client) number(sub string) (n int, replayed bool) {
	c.t.Helper()
	var m []json.RawMessage
	got := c.next()
	if err := json.Unmarshal([]byte(got), &m); err != nil || len(m) != 5 || string(m[0]) != "36" || string(m[1]) != sub {
		c.t.Fatalf("no EVENT of %s but %s", sub, got)
	}
	var args []int
	if err := json.Unmarshal(m[4], &args); err != nil || len(args) != 1 {
		c.t.Fatalf("EVENT %s", got)
	}
	return args[0], strings.Contains(string(m[3]), `"_parley_replayed":true`)
}

// A replay holds everything from where it begins and goes over into the stream
// without a gap and without a duplicate, while a publisher goes on.
func TestReplayGoesOverIntoStream(t *testing.T) {
	b := start(t, nil)
	const before, total = 200, 600
	a := b.session("wamp.2.json")
	ids := a.publish("r.t", 0, before)
	published := make(chan struct{})
	go func() {
		defer close(published)
		for i := before; i < total; i++ {
			a.send(fmt.Sprintf(`[16,5,{"acknowledge":true},"r.t",[%d]]`, i))
			a.next()
		}
	}()
	for i, options := range []string{
		`"_parley_from":"earliest"`, `"_parley_from":"@2020-01-01T00:00:00Z"`, `"_parley_after":` + ids[99], `"_parley_from":"earliest","match":"prefix"`,
		`"_parley_from":"earliest","_parley_ack":"auto"`,
	} {
		c := b.session(protocols[i%len(protocols)])
		uri := "r.t"
		if strings.Contains(options, "prefix") {
			uri = "r."
		}
		c.send(`[32,1,{` + options + `},"` + uri + `"]`)
		sub := c.expect(`[33,1,*]`)[0]
		first := 0
		if strings.Contains(options, "_after") {
			first = 100
		}
		for want := first; want < total; want++ {
			got, replayed := c.number(sub)
			if got != want || want < before && !replayed {
				t.Fatalf("%s: got %d (replayed %v), want %d", options, got, replayed, want)
			}
		}
	}
	<-published
}

// A durable session that did not know the filter yet begins after the last
// publication the client has seen: nothing is lost when the session has expired.
func TestAfterLastSeenInNewSession(t *testing.T) {
	b := start(t, nil)
	a := b.session("wamp.2.json")
	ids := a.publish("l.t", 0, 4)
	c, _ := b.dialDurable("wamp.2.cbor", durableHello)
	c.send(`[32,1,{"_parley_after":` + ids[1] + `},"l.t"]`)
	sub := c.expect(`[33,1,*]`)[0]
	for want := 2; want < 4; want++ {
		if got, _ := c.number(sub); got != want {
			t.Fatalf("got %d, want %d", got, want)
		}
	}
	// Not acknowledged: they come again, unless the client says it has seen them.
	c.Drop(io.EOF)
	a.publish("l.t", 4, 1)
	c, _ = b.dialDurable("wamp.2.json", durableHello)
	c.send(`[32,1,{"_parley_after":` + ids[3] + `},"l.t"]`)
	c.expect(`[33,1,` + sub + `]`)
	if got, _ := c.number(sub); got != 4 {
		t.Fatalf("got %d, want 4", got)
	}
	c.Drop(io.EOF)
	c, _ = b.dialDurable("wamp.2.json", durableHello)
	c.send(`[32,1,{},"l.t"]`)
	c.expect(`[33,1,` + sub + `]`)
	if got, _ := c.number(sub); got != 4 {
		t.Fatalf("got %d, want 4 alone", got)
	}
}

type pastEvents struct {
	events []struct {
		Timestamp    string
		Subscription json.Number
		Publication  json.Number
		Details      map[string]any
		Args         []int
	}
	more bool
}

func (c *client) history(sub, bounds string) (p pastEvents) {
	c.t.Helper()
	got := c.call("wamp.subscription.get_events", `[`+sub+`],`+bounds)
	var kw struct{ More bool }
	if err := json.Unmarshal([]byte(`[`+got+`]`), &[]any{&p.events, &kw}); err != nil {
		c.t.Fatalf("%v in %s", err, got)
	}
	p.more = kw.More
	return p
}

// numbers are the arguments of past events.
func (p *pastEvents) numbers() (out []int) {
	for _, e := range p.events {
		out = append(out, e.Args...)
	}
	return out
}

// Event history over the stored log, for exact subscriptions and patterns.
func TestEventHistoryOfLog(t *testing.T) {
	b := start(t, nil)
	a := b.session("wamp.2.json")
	ids := append(a.publish("h.x", 0, 3), a.publish("h.y", 3, 3)...)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			c := b.with(t).session(protocol)
			c.send(`[32,1,{},"h.x"]`)
			exact := c.expect(`[33,1,*]`)[0]
			c.send(`[32,2,{"match":"prefix"},"h."]`)
			prefix := c.expect(`[33,2,*]`)[0]
			c.send(`[32,3,{"match":"_parley_filter"},"h/#"]`)
			filter := c.expect(`[33,3,*]`)[0]
			for _, r := range []struct {
				sub, bounds, want string
				more              bool
			}{
				{exact, `{}`, "[0 1 2]", false},
				{prefix, `{}`, "[0 1 2 3 4 5]", false},
				{filter, `{}`, "[0 1 2 3 4 5]", false},
				{prefix, `{"reverse":true,"limit":2}`, "[5 4]", true},
				{prefix, `{"limit":4}`, "[0 1 2 3]", true},
				{prefix, `{"topic":"h.y"}`, "[3 4 5]", false},
				{prefix, `{"after_publication":` + ids[1] + `,"before_publication":` + ids[4] + `}`, "[2 3]", false},
				{prefix, `{"from_publication":` + ids[1] + `,"until_publication":` + ids[4] + `,"reverse":true}`, "[4 3 2 1]", false},
				{prefix, `{"from_time":"2020-01-01T00:00:00Z","limit":1}`, "[0]", true},
				{prefix, `{"until_time":"2020-01-01T00:00:00Z"}`, "[]", false},
			} {
				p := c.history(r.sub, r.bounds)
				if got := fmt.Sprint(p.numbers()); got != r.want || p.more != r.more {
					t.Errorf("%s: %s, more %v", r.bounds, got, p.more)
				}
				for _, e := range p.events {
					if string(e.Subscription) != r.sub || string(e.Publication) != ids[e.Args[0]] || (r.sub == exact) != (e.Details["topic"] == nil) {
						t.Errorf("%s: %+v", r.bounds, e)
					}
				}
			}
		})
	}
}

// Restrictions of a publication hold in the past too (advanced profile, event
// history, security aspects).
func TestEventHistoryIsRestricted(t *testing.T) {
	b := start(t, nil)
	a := b.session("wamp.2.json")
	for i, options := range []string{`"eligible_authrole":["staff"]`, `"eligible":[1]`, `"exclude":[1]`, `"x":1`} {
		a.send(fmt.Sprintf(`[16,1,{"acknowledge":true,%s},"q.t",[%d]]`, options, i))
		a.expect(`[17,1,*]`)
	}
	c := b.session("wamp.2.json")
	c.send(`[32,1,{},"q.t"]`)
	sub := c.expect(`[33,1,*]`)[0]
	p := c.history(sub, `{}`)
	if got := fmt.Sprint(p.numbers()); got != "[3]" {
		t.Errorf("history %s", got)
	}
}

// A publish that is repeated with its key counts once and is answered with the
// first publication; the key with other content is refused.
func TestPublishKeyIsIdempotent(t *testing.T) {
	b := start(t, nil)
	for i, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			b := b.with(t)
			s, a := b.session(protocol), b.session(protocol)
			s.send(`[32,1,{},"k.t"]`)
			sub := s.expect(`[33,1,*]`)[0]
			options := fmt.Sprintf(`{"acknowledge":true,"_parley_key":"k%d"}`, i)
			a.send(`[16,1,` + options + `,"k.t",[1]]`)
			id := a.expect(`[17,1,*]`)[0]
			a.send(`[16,2,` + options + `,"k.t",[1]]`)
			a.expect(`[17,2,` + id + `]`)
			again := b.session(protocol) // the key is the user's, not the connection's
			again.send(`[16,3,` + options + `,"k.t",[1]]`)
			again.expect(`[17,3,` + id + `]`)
			a.send(`[16,4,` + options + `,"k.t",[2]]`)
			a.expect(`[8,16,4,{},"parley.error.key_reused",["idempotency key reused"]]`)
			last := a.publish("k.t", 3, 1)[0]
			s.expect(`[36,` + sub + `,` + id + `,{"_parley_offset":*,"_parley_via":"wamp"},[1]]`)
			s.expect(`[36,` + sub + `,` + last + `,{"_parley_offset":*,"_parley_via":"wamp"},[3]]`)
		})
	}
}

// What retention had to cut before a durable session had it is told, and so is
// what a replay does not find any more.
func TestRetentionTellsGaps(t *testing.T) {
	b := prepareOn(t, hub.Options{
		Store:     mem.NewWith(mem.Options{SegmentMessages: 10}),
		Retention: hub.Retention{Count: 20}, Quota: 1,
	}, nil)
	b.run()
	a := b.session("wamp.2.json")
	c, _ := b.dialDurable("wamp.2.cbor", durableHello)
	c.send(`[32,1,{"match":"prefix"},"g."]`)
	sub := c.expect(`[33,1,*]`)[0]
	c.Drop(io.EOF)
	const total = 60
	a.publish("g.t", 0, total)
	b.hub.Retain()
	c, _ = b.dialDurable("wamp.2.cbor", durableHello)
	c.send(`[32,1,{},"parley.gap"]`)
	gaps := c.expect(`[33,1,*]`)[0]
	gap := c.expect(`[36,` + gaps + `,*,{},[],{"count":*,"filter":{"match":"prefix","uri":"g."},"first":1,"last":*,"reason":"retention"}]`)
	count := 0
	if _, err := fmt.Sscan(gap[1], &count); err != nil || count == 0 || count >= total || gap[2] != gap[1] {
		t.Errorf("gap %v", gap)
	}
	c.send(`[32,2,{"match":"prefix"},"g."]`)
	c.expect(`[33,2,` + sub + `]`)
	for want := count; want < total; want++ {
		if got, _ := c.number(sub); got != want {
			t.Fatalf("got %d, want %d", got, want)
		}
	}
	c.send(`[32,3,{"_parley_from":5},"g.t"]`)
	again := c.expect(`[33,3,*]`)[0]
	c.expect(`[36,` + gaps + `,*,{},[],{"count":*,"filter":{"match":"exact","uri":"g.t"},"first":*,"last":` + gap[2] + `,"reason":"retention"}]`)
	for want := count; want < total; want++ {
		if got, replayed := c.number(again); got != want || !replayed {
			t.Fatalf("got %d (replayed %v), want %d", got, replayed, want)
		}
	}
	if got := c.call("parley.gaps", `[]`); strings.Count(got, `"first"`) != 2 {
		t.Errorf("parley.gaps: %s", got)
	}
}
