package json

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"parley/msg"
	"parley/subproto"
)

// epochOf is the epoch of the engine's log.
func epochOf(t *testing.T, e *Engine) string {
	t.Helper()
	c := open(t, e, subproto.Info{})
	c.talk(hello)
	c.send(`{"id":2,"history":{"channel":"a"}}`)
	var r struct{ History struct{ Epoch string } }
	if err := json.Unmarshal([]byte(c.next()), &r); err != nil || r.History.Epoch == "" {
		t.Fatal(err, "no epoch")
	}
	return r.History.Epoch
}

// TestRecovery: a client that comes back with its position is sent what it has
// missed, then what is new; the reply's offset is where that begins, never the
// head: the SDK takes it for its position before the publications have come.
func TestRecovery(t *testing.T) {
	e := New(Options{Attach: startHub(t).Attach})
	publish(t, e, "t/1", 10, 11, 12)
	publish(t, e, "other", 0)
	publish(t, e, "t/1", 13)
	epoch := epochOf(t, e)
	recover := func(offset int) string {
		return fmt.Sprintf(`{"id":2,"subscribe":{"channel":"t/#","recover":true,"epoch":%q,"offset":%d}}`, epoch, offset)
	}
	const reply = `{"id":2,"subscribe":{"epoch":*,"offset":%d,"positioned":true,"recoverable":true,"was_recovering":true,"recovered":%t}}`
	c := open(t, e, subproto.Info{})
	c.talk(hello + "> " + recover(1) + "\n< " + fmt.Sprintf(reply, 1, true) +
		"\n< " + pub("t/#", "t/1", 11, 2, replayed) + "\n< " + pub("t/#", "t/1", 12, 3, replayed) + "\n< " + pub("t/#", "t/1", 13, 5, replayed))
	publish(t, e, "t/2", 14)
	c.talk("< " + pub("t/#", "t/2", 14, 6, ""))

	// Cut between the reply and its pushes: the position that the SDK holds now is
	// as good as the one before.
	c = open(t, e, subproto.Info{})
	c.talk(hello)
	c.c.RoomFor(1)
	c.talk("> " + recover(3) + "\n< " + fmt.Sprintf(reply, 3, true))
	c.c.Drop(io.EOF)
	open(t, e, subproto.Info{}).talk(hello + "> " + recover(3) + "\n< " + fmt.Sprintf(reply, 3, true) +
		"\n< " + pub("t/#", "t/1", 13, 5, replayed) + "\n< " + pub("t/#", "t/2", 14, 6, replayed))

	// At the head already; from the very first; and a position of the future.
	open(t, e, subproto.Info{}).talk(hello + "> " + recover(6) + "\n< " + fmt.Sprintf(reply, 6, true))
	open(t, e, subproto.Info{}).talk(hello + "> " + recover(0) + "\n< " + fmt.Sprintf(reply, 0, true) + "\n< " + pub("t/#", "t/1", 10, 1, replayed))
	open(t, e, subproto.Info{}).talk(hello + "> " + recover(7) + "\n< " + fmt.Sprintf(reply, 6, false))
}

// TestUnrecoverable: another log's position, or none, is subscribed from now
// with the retained values, unless the client wants an error (flag 2) then.
func TestUnrecoverable(t *testing.T) {
	e := New(Options{Attach: startHub(t).Attach})
	publish(t, e, "t/1", 10)
	for _, position := range []string{`"offset":1,"epoch":"another"`, `"offset":1`, `"epoch":""`} {
		c := open(t, e, subproto.Info{})
		c.talk(hello + `
			> {"id":2,"subscribe":{"channel":"t/#","recover":true,` + position + `}}
			< {"id":2,"subscribe":{"epoch":*,"offset":1,"positioned":true,"recoverable":true,"was_recovering":true,"recovered":false}}
			> {"id":3,"subscribe":{"channel":"u","recover":true,"flag":3,` + position + `}}
			< {"id":3,"error":{"code":112,"message":"unrecoverable position"}}`)
	}
	for _, bad := range []string{`"offset":-1`, `"offset":"1"`, `"epoch":1`, `"recover":1`} {
		open(t, e, subproto.Info{}).talk(hello + `> {"id":2,"subscribe":{"channel":"t",` + bad + "}}\n! 3501 bad request")
	}
}

// TestRecoveryGap: if retention has cut what was missed, the client hears
// recovered false and what was lost, and is subscribed from now: nothing of the
// broken replay comes.
func TestRecoveryGap(t *testing.T) {
	for _, strict := range []bool{false, true} {
		s := &fakeSession{}
		var asked []msg.Subscription
		s.subscribe = func(subs []msg.Subscription, done func([]msg.SubscribeResult)) {
			asked = append(asked, subs...)
			res := msg.SubscribeResult{Start: 40}
			if subs[0].From.Kind != msg.ReplayNone {
				res.From, res.Gap = 21, &msg.Gap{Filter: subs[0].Filter, First: 8, Last: 20, Count: 5, Reason: "age"}
				old := subs[0]
				s.give(msg.Delivery{Message: &msg.Message{Topic: "a", Offset: 21}, Matches: []*msg.Subscription{&old}, Replayed: true})
			}
			done([]msg.SubscribeResult{res})
		}
		c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
		c.talk(hello)
		if strict {
			c.talk(`
				> {"id":2,"subscribe":{"channel":"a","recover":true,"epoch":"E","offset":7,"flag":2}}
				< {"id":2,"error":{"code":112,"message":"unrecoverable position"}}
				> {"id":3,"unsubscribe":{"channel":"a"}}
				< {"id":3,"unsubscribe":{}}`)
			continue
		}
		c.talk(`
			> {"id":2,"subscribe":{"channel":"a","recover":true,"epoch":"E","offset":7}}
			< {"id":2,"subscribe":{"epoch":*,"offset":40,"positioned":true,"recoverable":true,"was_recovering":true,"recovered":false,"data":{"gap":{"first":8,"last":20,"count":5,"reason":"age"}}}}
			> {"id":3,"ping":{}}
			< {"id":3,"ping":{}}`)
		if len(asked) != 2 || asked[0].From != (msg.Replay{Kind: msg.ReplayOffset, Offset: 8}) || asked[1].From.Kind != msg.ReplayNone ||
			asked[1].Handle == asked[0].Handle || len(s.gone) != 1 {
			t.Fatalf("%+v %v", asked, s.gone)
		}
	}
}

// TestRecoveryOvertaken: retention that overtakes a recovery already called whole
// ends the subscription, so that the SDK comes back with the position it has, and
// hears that it was not recovered.
func TestRecoveryOvertaken(t *testing.T) {
	s := &fakeSession{}
	c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
	sub := &msg.Subscription{Filter: msg.Filter{Pattern: "a"}, Handle: 1}
	s.result.Head = 90
	s.subscribe = func(_ []msg.Subscription, done func([]msg.SubscribeResult)) {
		done([]msg.SubscribeResult{{Start: 90, From: 8}})
	}
	c.talk(hello + `
		> {"id":2,"subscribe":{"channel":"a","recover":true,"epoch":"E","offset":7}}
		< {"id":2,"subscribe":{"epoch":*,"offset":7,"positioned":true,"recoverable":true,"was_recovering":true,"recovered":true}}`)
	s.give(msg.Delivery{Notice: &msg.Notice{Kind: msg.NoticeGap, Subscription: sub, First: 8, Last: 30, Count: 9, Reason: "bytes"}})
	c.c.Wake()
	c.talk(`
		< {"push":{"message":{"data":{"type":"gap","filter":"a","first":8,"last":30,"count":9,"reason":"bytes"}}}}
		< {"push":{"channel":"a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`)
}

// TestReplay: by subscribe and by procedure, into a new and an existing
// subscription, from an offset, the beginning, or a time.
func TestReplay(t *testing.T) {
	e := New(Options{Attach: startHub(t).Attach})
	publish(t, e, "t/1", 10, 11, 12)
	all := "\n< " + pub("t/#", "t/1", 10, 1, replayed) + "\n< " + pub("t/#", "t/1", 11, 2, replayed) + "\n< " + pub("t/#", "t/1", 12, 3, replayed) + "\n"
	for from, offset := range map[string]int{`"earliest"`: 0, `1`: 0, `0`: 0, `"@2000-01-01T00:00:00Z"`: 0} {
		open(t, e, subproto.Info{}).talk(hello + fmt.Sprintf(`
			> {"id":2,"subscribe":{"channel":"t/#","data":{"from":%s}}}
			< {"id":2,"subscribe":{"epoch":*,"offset":%d,"positioned":true,"recoverable":true}}`, from, offset) + all)
	}
	open(t, e, subproto.Info{}).talk(hello + `
		> {"id":2,"subscribe":{"channel":"$replay/3/t/#"}}
		< {"id":2,"subscribe":{"epoch":*,"offset":2,"positioned":true,"recoverable":true}}
		< ` + pub("$replay/3/t/#", "t/1", 12, 3, replayed) + `
		> {"id":3,"subscribe":{"channel":"$replay/later/t"}}
		< {"id":3,"error":{"code":107,"message":"bad request"}}
		> {"id":4,"unsubscribe":{"channel":"$replay/3/t/#"}}
		< {"id":4,"unsubscribe":{}}`)
	c := open(t, e, subproto.Info{})
	c.talk(hello + `
		> {"id":2,"rpc":{"method":"parley.replay","data":{"channel":"t/#","from":"earliest"}}}
		< {"push":{"channel":"t/#","subscribe":{"positioned":true,"epoch":*,"offset":0}}}
		< {"id":2,"rpc":{"data":{"epoch":*,"from":1}}}` + all + `
		> {"id":3,"rpc":{"method":"parley.replay","data":{"channel":"t/#","from":3}}}
		< {"id":3,"rpc":{"data":{"epoch":*,"from":3}}}
		< ` + pub("t/#", "t/1", 12, 3, replayed))
	publish(t, e, "t/2", 13)
	c.talk("< " + pub("t/#", "t/2", 13, 4, ""))
	for _, from := range []string{`"latest"`, `-1`, `"@2000"`, `"@2000-01-01T00:00:00+01:00"`, `{}`, `"2000-01-01T00:00:00Z"`} {
		c.talk(`
			> {"id":4,"subscribe":{"channel":"u","data":{"from":` + from + `}}}
			< {"id":4,"error":{"code":107,"message":"bad request"}}
			> {"id":5,"rpc":{"method":"parley.replay","data":{"channel":"t/#","from":` + from + `}}}
			< {"id":5,"error":{"code":107,"message":"bad request"}}`)
	}
	c.talk(`
		> {"id":6,"rpc":{"method":"parley.replay","data":{"channel":"no/sub","from":1}}}
		< {"id":6,"error":{"code":103,"message":"permission denied"}}
		> {"id":6,"rpc":{"method":"parley.replay","data":{"channel":"no/sub","from":1}}}
		< {"id":6,"error":{"code":103,"message":"permission denied"}}
		> {"id":7,"rpc":{"method":"parley.replay","data":{"channel":"u","group":"g","from":1}}}
		< {"id":7,"error":{"code":108,"message":"not available"}}`)
}

// TestHistory: as the protocol has it: without limit only the position, since a
// position exclusive of it, also backwards.
func TestHistory(t *testing.T) {
	e := New(Options{Attach: startHub(t).Attach})
	publish(t, e, "t/1", 10, 11)
	publish(t, e, "u", 12)
	publish(t, e, "t/1", 13)
	epoch := epochOf(t, e)
	c := open(t, e, subproto.Info{})
	c.talk(hello)
	since := func(offset int) string { return fmt.Sprintf(`,"since":{"offset":%d,"epoch":%q}`, offset, epoch) }
	for query, want := range map[string]string{
		``:                                     "",
		`,"limit":0`:                           "",
		`,"limit":2`:                           "10 11",
		`,"limit":-1`:                          "10 11 13",
		`,"limit":5000`:                        "10 11 13",
		`,"limit":2,"reverse":true`:            "13 11",
		`,"limit":9` + since(0):                "10 11 13",
		`,"limit":9` + since(2):                "13",
		`,"limit":1` + since(1):                "11",
		`,"limit":9` + since(4):                "",
		`,"limit":9,"reverse":true` + since(4): "11 10",
		`,"limit":9,"reverse":true` + since(1): "",
		`,"limit":9,"reverse":true` + since(0): "",
		`,"limit":0` + since(2):                "",
	} {
		c.send(`{"id":2,"history":{"channel":"t/#"` + query + `}}`)
		var r struct {
			History struct {
				Publications []struct {
					Data   int
					Offset int
					Tags   map[string]string
				}
				Epoch  string
				Offset int
			}
		}
		text := c.next()
		if err := json.Unmarshal([]byte(text), &r); err != nil || r.History.Epoch != epoch || r.History.Offset != 4 {
			t.Fatal(text, err)
		}
		var got []string
		for _, p := range r.History.Publications {
			if p.Tags["topic"] != "t/1" || p.Offset == 0 {
				t.Error(text)
			}
			got = append(got, fmt.Sprint(p.Data))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %q, want %q", query, s, want)
		}
	}
	c.talk(`
		> {"id":3,"history":{"channel":"t/#","limit":1,"since":{"offset":1,"epoch":"another"}}}
		< {"id":3,"error":{"code":112,"message":"unrecoverable position"}}
		> {"id":3,"history":{"channel":"no/sub","limit":1}}
		< {"id":3,"error":{"code":103,"message":"permission denied"}}
		> {"id":3,"history":{"channel":"a/#/b"}}
		< {"id":3,"error":{"code":107,"message":"bad request"}}
		> {"id":3,"history":{"channel":"$share/g/a"}}
		< {"id":3,"error":{"code":107,"message":"bad request"}}
		> {"id":3,"history":{"channel":"a","limit":"1"}}
		! 3501 bad request`)
}

// TestHistorySize: a reply is cut short before it grows too large.
func TestHistorySize(t *testing.T) {
	big := strings.Repeat("x", maxHistoryBytes/3)
	s := &fakeSession{history: func(q msg.HistoryQuery, done func(msg.HistoryResult, error)) {
		r := msg.HistoryResult{Head: 9}
		for i := range q.Limit {
			r.Messages = append(r.Messages, &msg.Message{Topic: "a", Offset: msg.Offset(i + 1), Payload: msg.Bytes([]byte(big))})
		}
		done(r, nil)
	}}
	c := open(t, New(Options{Attach: s.attach}), subproto.Info{})
	c.talk(hello)
	c.send(`{"id":2,"history":{"channel":"a","limit":9}}`)
	text := c.next()
	if n := strings.Count(text, `"topic"`); n != 2 || len(text) > maxHistoryBytes {
		t.Fatal(n, len(text))
	}
}

// TestRecoveryOfRetained: a client that was cut off before it had the retained
// values of its new subscription has them when it recovers, before what it has
// missed; one that got further does not have them again.
func TestRecoveryOfRetained(t *testing.T) {
	e := New(Options{Attach: startHub(t).Attach})
	c := open(t, e, subproto.Info{})
	c.talk(hello + `
		> {"id":2,"rpc":{"method":"parley.publish","data":{"topic":"t/1","data":10,"retain":true}}}
		< {"id":2,"rpc":{"data":{"offset":1}}}`)
	c.c.RoomFor(1)
	c.send(`{"id":3,"subscribe":{"channel":"t/#"}}`)
	var r struct {
		Subscribe struct {
			Epoch  string
			Offset int
		}
	}
	if err := json.Unmarshal([]byte(c.next()), &r); err != nil || r.Subscribe.Offset != 1 {
		t.Fatal(err, r)
	}
	c.c.Drop(io.EOF)
	publish(t, e, "t/1", 11)
	recover := func(offset int) string {
		return fmt.Sprintf(`
			> {"id":2,"subscribe":{"channel":"t/#","recover":true,"epoch":%q,"offset":%d}}
			< {"id":2,"subscribe":{"epoch":*,"offset":%d,"positioned":true,"recoverable":true,"was_recovering":true,"recovered":true}}
			`, r.Subscribe.Epoch, offset, offset)
	}
	const value = `< {"push":{"channel":"t/#","pub":{"data":10,"time":*,"tags":{"topic":"t/1","via":"json","retained":"true","offset":"1"},"info":{"user":"","client":*}}}}` + "\n"
	for range 2 { // cut again, before anything has come
		c = open(t, e, subproto.Info{})
		c.talk(hello)
		c.send(strings.TrimSpace(strings.Split(recover(1), "\n")[1])[1:])
		r.Subscribe.Epoch = ""
		if err := json.Unmarshal([]byte(c.next()), &r); err != nil || r.Subscribe.Epoch == "" {
			t.Fatal(err, r)
		}
		c.c.Drop(io.EOF)
	}
	open(t, e, subproto.Info{}).talk(hello + recover(1) + value + "< " + pub("t/#", "t/1", 11, 2, replayed))
	publish(t, e, "t/1", 12)
	open(t, e, subproto.Info{}).talk(hello + recover(2) + "< " + pub("t/#", "t/1", 12, 3, replayed))
}
