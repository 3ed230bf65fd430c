package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"
)

// Everything against a real broker is in cmd/broker; here is what needs none.

func TestTarget(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:8080": "ws://127.0.0.1:8080/", "ws://a": "ws://a/", "http://a:1/x": "ws://a:1/x", "https://a/ws?k=v": "wss://a/ws?k=v",
		"mqtt://a": "mqtt://a/", "mqtts://[::1]:8883": "mqtts://[::1]:8883/",
		"ftp://a": "", "ws://": "", "ws://u:p@a": "", "ws://a/#x": "", "ws://a b": "", "": "",
	} {
		u, err := target(in)
		if (err != nil) != (want == "") || err == nil && u.String() != want {
			t.Errorf("%q: %v, %v", in, u, err)
		}
	}
}

func TestDialRefusesWhatItCannotDo(t *testing.T) {
	for name, o := range map[string]Options{
		"protocol": {URL: "ws://127.0.0.1:1", Protocol: "stomp"}, "json without WebSocket": {URL: "mqtt://127.0.0.1:1", Protocol: "json"},
		"WAMP without WebSocket": {URL: "mqtts://127.0.0.1:1", Protocol: "wamp"},
	} {
		if _, err := Dial(t.Context(), o); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, p := range []string{"mqtt", "json", "wamp"} {
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		if _, err := Dial(ctx, Options{URL: "ws://127.0.0.1:1", Protocol: p}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s, too late: %v", p, err)
		}
		cancel()
		if _, err := Dial(t.Context(), Options{URL: "http://::", Protocol: p}); err == nil {
			t.Errorf("%s: an address that is none", p)
		}
	}
}

// What SUBSCRIBE is told for a filter.
func TestWAMPFilter(t *testing.T) {
	for _, c := range []struct{ filter, uri, match, group, from string }{
		{"a/b", "a.b", "exact", "", ""},
		{"a.b/x y", "a%2Eb.x%20y", "exact", "", ""},
		{"a/#", "a/#", "_parley_filter", "", ""},
		{"+/#", "+/#", "_parley_filter", "", ""},
		{"$share/g/a/b", "a.b", "exact", "g", ""},
		{"$replay/earliest/a/#", "a/#", "_parley_filter", "", "earliest"},
		{"$replay/42/a", "a", "exact", "", "42"},
		{"$replay/@2026-01-02T03:04:05Z/a/+", "a/+", "_parley_filter", "", "@2026-01-02T03:04:05Z"},
	} {
		uri, o, err := wampFilter(c.filter)
		group, _ := o["_parley_group"].(string)
		from, _ := o["_parley_from"].(string)
		if err != nil || uri != c.uri || o["match"] != c.match || group != c.group || from != c.from {
			t.Errorf("%s: %q %v, %v", c.filter, uri, o, err)
		}
	}
	for _, filter := range []string{"a/#/b", "", "$replay/yesterday/a"} {
		if _, _, err := wampFilter(filter); err == nil {
			t.Errorf("%q accepted", filter)
		}
	}
}

// A payload comes back from what WAMP carries, if it is not JSON with spaces.
func TestValues(t *testing.T) {
	for _, payload := range []string{"", "text", "ünï", `{"a":[1,2.5,null,true,"x"]}`, "12345678901234567", "\xff\x00", `"quoted`, "-0.5"} {
		for _, overJSON := range []bool{false, true} {
			list := []any{value([]byte(payload))}
			if overJSON {
				toJSONBinary(list)
				wire, err := json.Marshal(list)
				if err != nil {
					t.Fatal(err)
				}
				v, err := decodeJSON(wire)
				if err != nil {
					t.Fatal(err)
				}
				list = v.([]any)
				fromJSONBinary(list)
			}
			if got := (Args{List: list}).Bytes(); string(got) != payload {
				t.Errorf("%q came back as %q (over JSON: %v)", payload, got, overJSON)
			}
		}
	}
}

func TestArgs(t *testing.T) {
	for want, a := range map[string]Args{
		"text":                             {List: []any{"text"}},
		`{"args":[],"kwargs":{}}`:          {},
		`{"args":[1,2],"kwargs":{}}`:       {List: []any{1, 2}},
		`{"args":[],"kwargs":{"k":"<&>"}}`: {Named: map[string]any{"k": "<&>"}},
		`{"1":"x"}`:                        {List: []any{map[any]any{1: "x"}}},
		`[{"1":{"true":2}}]`:               {List: []any{[]any{map[any]any{1: map[any]any{true: 2}}}}},
		`"NaN"`:                            {List: []any{math.NaN()}},
	} {
		if got := a.Bytes(); string(got) != want {
			t.Errorf("%+v: %s, want %s", a, got, want)
		}
	}
	if got := (Args{List: []any{"text"}}).JSON(); string(got) != `"text"` {
		t.Errorf("JSON of a text: %s", got)
	}
}

func TestParseValue(t *testing.T) {
	for in, want := range map[string]any{"1": int64(1), "1.5": 1.5, `"x"`: "x", "null": nil, "18446744073709551616": 18446744073709551616.0, "[1]": []any{int64(1)}} {
		if got, err := ParseValue([]byte(in)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v (%T), %v", in, got, got, err)
		}
	}
	for _, in := range []string{"", "x", "1 2", "{", "NaN"} {
		if v, err := ParseValue([]byte(in)); err == nil {
			t.Errorf("%q: %v", in, v)
		}
	}
}

func TestJSONResults(t *testing.T) {
	for _, tc := range []struct {
		data, encoding string
		want           Args
	}{
		{"5", "", Args{List: []any{int64(5)}}},
		{`{"args":[1],"kwargs":{"k":2}}`, "", Args{List: []any{int64(1)}, Named: map[string]any{"k": int64(2)}}},
		{`{"args":[1],"kwargs":{},"more":1}`, "", Args{List: []any{map[string]any{"args": []any{int64(1)}, "kwargs": map[string]any{}, "more": int64(1)}}}},
		{`"/wA="`, "base64", Args{List: []any{[]byte{0xff, 0}}}},
		{`"x"`, "text", Args{List: []any{"x"}}},
	} {
		if got, err := jsonArgs([]byte(tc.data), tc.encoding); err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %+v, %v", tc.data, got, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, err := range map[string]error{
		"json 103": (&jsonError{Code: 103}).err(), "json 101": (&jsonError{Code: 101}).err(),
		"wamp":      refusal("wamp.error.not_authorized", "no"),
		"mqtt 0x87": reason("PUBACK", 0x87, ""), "mqtt 0x86": reason("CONNACK", 0x86, "text"),
	} {
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v is no refusal", name, err)
		}
	}
	for name, err := range map[string]error{
		"json 107": (&jsonError{Code: 107}).err(), "wamp": refusal("wamp.error.invalid_uri", ""), "mqtt 0x97": reason("PUBACK", 0x97, ""),
	} {
		if errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v is a refusal", name, err)
		}
	}
	var call *CallError
	if err := (&jsonError{Code: 400, Message: "com.example.failed: it did"}).err(); !errors.As(err, &call) || call.URI != "com.example.failed" || call.Error() != "com.example.failed: it did" {
		t.Errorf("%v", err)
	}
}

// Replies find who waits for them; the end of the connection ends every wait.
func TestPending(t *testing.T) {
	p := newPending[string]()
	one, c1 := p.begin()
	two, c2 := p.begin()
	if one != 1 || two != 2 {
		t.Errorf("numbers %d, %d", one, two)
	}
	p.answer(two, "second")
	p.answer(99, "nobody waits for it")
	if r, err := p.wait(t.Context(), two, c2); r != "second" || err != nil {
		t.Errorf("%q, %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.wait(ctx, one, c1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	three, c3 := p.begin()
	p.fail(ErrRefused)
	p.fail(errors.New("later"))
	if _, err := p.wait(t.Context(), three, c3); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	if len(p.waiting) != 0 {
		t.Errorf("%d left over", len(p.waiting))
	}
	<-p.Done()
}

// Whatever a server sends, the JSON client does not panic, and a message handed
// on has a payload or is empty.
func FuzzJSONLine(f *testing.F) {
	f.Add([]byte(`{"push":{"channel":"a","pub":{"data":{"x":1},"offset":7,"tags":{"topic":"a/b","via":"mqtt"}}}}`))
	f.Add([]byte(`{"push":{"channel":"a","pub":{"data":"/w==","tags":{"encoding":"base64","retained":"true","offset":"9"}}}}`))
	f.Add([]byte(`{"id":3,"error":{"code":103,"message":"permission denied"}}`))
	f.Add([]byte(`{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}`))
	f.Add([]byte(`{"push":{"channel":"a","unsubscribe":{"code":2500}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Equal(bytes.TrimSpace(data), []byte("{}")) {
			return // a ping is answered, which needs a connection
		}
		c := &jsonClient{pending: newPending[jsonReply](), handlers: map[string]func(Received){"a": func(r Received) {
			if r.Topic == "" {
				t.Errorf("a message without a topic: %+v", r)
			}
		}}}
		_ = c.line(bytes.TrimSpace(data))
	})
}
