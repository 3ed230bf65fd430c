package e2e

import (
	"encoding/json"
	"reflect"
	"testing"
)

// TestRPC: a JSON client calls procedures that WAMP clients registered, over
// each of their serializers.
func TestRPC(t *testing.T) {
	b := startBroker(t, "")
	d := startDriver(t)
	bare, sdk := d.open("bare", "bare", b, nil), d.open("sdk", "centrifuge", b, nil)
	caller := d.open("caller", "wamp.json", b, nil)

	for _, kind := range []string{"wamp.json", "wamp.msgpack", "wamp.cbor"} {
		callee := d.open("callee of "+kind, kind, b, nil)
		callee.do("register", args{"procedure": "com.example.echo", "answer": "echo"})
		callee.do("register", args{"procedure": "com.example.sum", "answer": "sum"})
		callee.do("register", args{"procedure": "com.example.pair", "answer": "pair"})
		callee.do("register", args{"procedure": "com.example.bytes", "answer": "bytes"})
		callee.do("register", args{"procedure": "com.example.fail", "error": "com.example.error.sad"})

		calls := []struct{ procedure, data, want string }{
			{"com.example.echo", `{"one":["argument",null]}`, `{"one":["argument",null]}`},
			{"com.example.echo", `"text"`, `"text"`},
			{"com.example.sum", `{"args":[2,3],"kwargs":{}}`, `5`},
			{"com.example.sum", `{"args":[],"kwargs":{}}`, `0`},
			{"com.example.echo", `{"args":[2]}`, `{"args":[2]}`}, // not exactly the two keys: one argument
			{"com.example.echo", `{"args":[1],"kwargs":{},"more":1}`, `{"args":[1],"kwargs":{},"more":1}`},
			{"com.example.pair", `{"args":[1,2],"kwargs":{"k":"v"}}`, `{"args":[1,2],"kwargs":{"k":"v"}}`},
			{"com.example.bytes", `null`, `"AP+A"`},
		}
		for _, c := range calls {
			for _, p := range []*peer{bare, sdk} {
				result := p.do("call", args{"procedure": c.procedure, "data": json.RawMessage(c.data)})
				got := decode[struct{ Value any }](t, result).Value
				if want := decode[any](t, json.RawMessage(c.want)); !reflect.DeepEqual(got, want) {
					t.Errorf("%s calls %s of %s with %s: %v, want %v", p.kind, c.procedure, kind, c.data, got, want)
				}
			}
		}
		for _, p := range []*peer{bare, sdk} {
			// 400: a procedure answered with an error; the text begins with its URI.
			if _, err := p.try("call", args{"procedure": "com.example.fail", "data": 1}); err == nil || err.Code != 400.0 || err.Text != "com.example.error.sad: refused" {
				t.Errorf("%s calls a procedure of %s that fails: %v", p.kind, kind, err)
			}
		}
		result := caller.do("call", args{"procedure": "com.example.sum", "args": []int{20, 22}})
		if got := decode[struct{ Value any }](t, result).Value; got != 42.0 {
			t.Errorf("WAMP calls a procedure of %s: %v", kind, got)
		}
		callee.do("close", nil)
		callee.waitClosed()
	}
}

// TestRPCUnknown: nobody registered the procedure, or no more.
func TestRPCUnknown(t *testing.T) {
	b := startBroker(t, "")
	d := startDriver(t)
	bare, sdk, callee := d.open("bare", "bare", b, nil), d.open("sdk", "centrifuge+json", b, nil), d.open("callee", "wamp.json", b, nil)
	unknown := func(when string) {
		t.Helper()
		for _, p := range []*peer{bare, sdk} {
			if _, err := p.try("call", args{"procedure": "com.example.echo", "data": 1}); err == nil || err.Code != 104.0 {
				t.Errorf("%s, %s: %v, want error 104", when, p.kind, err)
			}
		}
		if _, err := callee.try("call", args{"procedure": "com.example.echo"}); err == nil || err.Code != "wamp.error.no_such_procedure" {
			t.Errorf("%s, WAMP: %v, want wamp.error.no_such_procedure", when, err)
		}
	}
	unknown("never registered")
	callee.do("register", args{"procedure": "com.example.echo", "answer": "echo"})
	bare.do("call", args{"procedure": "com.example.echo", "data": 1})
	callee.do("unregister", args{"procedure": "com.example.echo"})
	unknown("unregistered")
}
