package json

import (
	"strings"
	"testing"

	"parley/msg"
	"parley/subproto"
)

// fakeCaller answers calls as the procedure's name says.
type fakeCaller struct {
	calls    chan subproto.Call
	canceled chan string
}

func args(s string) msg.Payload {
	return msg.Payload{Form: msg.FormArgs, Codec: msg.CodecJSON, Data: []byte(s)}
}

func (f *fakeCaller) Call(c subproto.Call, done func(subproto.CallResult)) func() {
	f.calls <- c
	switch name, rest, _ := strings.Cut(c.Procedure, ":"); name {
	case "echo":
		go done(subproto.CallResult{Payload: c.Args})
	case "result":
		done(subproto.CallResult{Payload: args(rest)})
	case "error":
		done(subproto.CallResult{ErrorURI: rest, Payload: args(`[["because"]]`)})
	case "none":
		done(subproto.CallResult{Err: msg.ErrNoProcedure})
	}
	return func() { f.canceled <- c.Procedure }
}

func TestRPC(t *testing.T) {
	f := &fakeCaller{calls: make(chan subproto.Call, 100), canceled: make(chan string, 100)}
	s := &fakeSession{}
	c := open(t, New(Options{Attach: s.attach, Caller: f, Calls: 2}), subproto.Info{})
	c.talk(hello + `
		> {"id":2,"rpc":{"method":"echo","data":{"a": 1}}}
		< {"id":2,"rpc":{"data":{"a":1}}}
		> {"id":3,"rpc":{"method":"echo","data":{"args":[1,2],"kwargs":{"k":3}}}}
		< {"id":3,"rpc":{"data":{"args":[1,2],"kwargs":{"k":3}}}}
		> {"id":4,"rpc":{"method":"echo","data":{"args":[1]}}}
		< {"id":4,"rpc":{"data":{"args":[1]}}}
		> {"id":5,"rpc":{"method":"result:[[[1]]]"}}
		< {"id":5,"rpc":{"data":[1]}}
		> {"id":6,"rpc":{"method":"error:com.example.bad"}}
		< {"id":6,"error":{"code":400,"message":"com.example.bad: because"}}
		> {"id":7,"rpc":{"method":"error:wamp.error.no_such_procedure"}}
		< {"id":7,"error":{"code":104,"message":"method not found"}}
		> {"id":7,"rpc":{"method":"error:wamp.error.not_authorized"}}
		< {"id":7,"error":{"code":103,"message":"permission denied"}}
		> {"id":7,"rpc":{"method":"error:wamp.error.canceled"}}
		< {"id":7,"error":{"code":1006,"message":"timeout","temporary":true}}
		> {"id":7,"rpc":{"method":"result:[[\"\\u0000AQI=\"]]"}}
		< {"id":7,"rpc":{"data":"AQI=","encoding":"base64"}}
		> {"id":8,"rpc":{"method":"none"}}
		< {"id":8,"error":{"code":104,"message":"method not found"}}
		> {"id":9,"rpc":{"method":"hang"}}
		> {"id":10,"rpc":{"method":"hang"}}
		> {"id":11,"rpc":{"method":"hang"}}
		< {"id":11,"error":{"code":111,"message":"too many requests","temporary":true}}
	`)
	want := []string{`[[{"a":1}]]`, `[[1,2],{"k":3}]`, `[[{"args":[1]}]]`, `[[]]`}
	for _, w := range want {
		got := <-f.calls
		if string(got.Args.Data) != w || got.Args.Form != msg.FormArgs || got.Session != 7 || got.Namespace != "default" || got.Timeout == 0 {
			t.Errorf("called with %s %+v, want %s", got.Args.Data, got, w)
		}
	}
	c.c.Drop(nil)
	for range 2 {
		if p := <-f.canceled; p != "hang" {
			t.Fatal("canceled", p)
		}
	}
	if len(f.canceled) > 0 {
		t.Fatal("canceled", <-f.canceled)
	}
}

func TestArguments(t *testing.T) {
	for data, want := range map[string]string{
		`[1, 2]`:                            `[[[1,2]]]`,
		`null`:                              `[[null]]`,
		`{"kwargs":{},"args":[]}`:           `[[],{}]`,
		`{"args":[],"kwargs":{},"more":1}`:  `[[{"args":[],"kwargs":{},"more":1}]]`,
		`{"args":{},"kwargs":{}}`:           `[[{"args":{},"kwargs":{}}]]`,
		`{"args":[],"args":[],"kwargs":{}}`: `[[{"args":[],"args":[],"kwargs":{}}]]`,
		`{"kwargs":{"a":" b"}}`:             `[[{"kwargs":{"a":" b"}}]]`,
		`"text"`:                            `[["text"]]`,
	} {
		if got := string(arguments([]byte(data)).Data); got != want {
			t.Errorf("%s becomes %s, want %s", data, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	if got := cut("aé", 2); got != "a" {
		t.Fatalf("%q", got)
	}
}
