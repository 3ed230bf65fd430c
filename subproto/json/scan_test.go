package json

import (
	"bytes"
	stdjson "encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"parley/subproto"
	"parley/subproto/subprototest"
)

// FuzzCommand holds the scanner against the standard library: what one takes
// the other takes, and they agree on its text.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{
		`{"id":1,"connect":{"token":"t","data":{"user":"u"}}}`,
		"{\"id\":2,\"subscribe\":{\"channel\":\"a\\u0020\\ud83d\\ude00\",\"flag\":3}}\n{\"id\":3}",
		`{"id":4,"publish":{"channel":"a","data":{"a" : [1.5e-3,-0,true,null,"\\\""]}}}`,
		`{"id":-1}`, `{"a":01}`, `{"\ud800":1}`, `[{}]`, `{"rpc":{"method":"m","data":{"args":[]}}}`, `{"id":1,}`, `{"x":"\u12"}`,
		strings.Repeat(`[`, 300), `"` + "\x01" + `"`, `{"subscribe":{"recover":1}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if !utf8.Valid(frame) { // the gateway does not pass it on
			return
		}
		c, rest, err := text{}.next(frame)
		if err == nil && rest != nil {
			taken := frame[:len(frame)-len(rest)]
			if len(taken) == 0 || !stdjson.Valid(taken) {
				t.Fatalf("took %q", taken)
			}
			if c.data != nil {
				checkText(t, c.data)
			}
		}
		s := scanner{b: bytes.TrimSpace(frame)}
		whole := s.value() && s.i == len(s.b)
		if valid := stdjson.Valid(s.b); whole != valid && s.depth <= maxDepth && isASCIISpace(frame) {
			t.Fatalf("scanner says %v of %q", whole, frame)
		}
		if whole {
			checkText(t, s.b)
		}
	})
}

// isASCIISpace: bytes.TrimSpace cuts more than JSON calls space.
func isASCIISpace(b []byte) bool { return len(bytes.TrimSpace(b)) == len(bytes.Trim(b, " \n\r\t")) }

func checkText(t *testing.T, v []byte) {
	var want bytes.Buffer
	if err := stdjson.Compact(&want, v); err != nil {
		t.Fatal(err)
	}
	got := compact(v)
	if !bytes.Equal(got, want.Bytes()) {
		t.Fatalf("compact: %q, want %q", got, want.Bytes())
	}
	if v[0] != '"' {
		return
	}
	var s string
	if err := stdjson.Unmarshal(v, &s); err != nil {
		t.Fatal(err)
	}
	u, ok := unquote(v)
	if ok && u != s || !ok && !strings.Contains(s, "\ufffd") {
		t.Fatalf("unquote: %q %v, want %q", u, ok, s)
	}
	if ok {
		if back, ok := unquote(appendQuoted(nil, u)); !ok || back != u {
			t.Fatalf("quoted and unquoted: %q, want %q", back, u)
		}
	}
}

func TestUnquote(t *testing.T) {
	for q, want := range map[string]string{
		`""`: "", `"a"`: "a", `"\n\t\r\b\f\/\\\""`: "\n\t\r\b\f/\\\"", `"\u00e9\ud83d\ude00x"`: "é😀x",
	} {
		if got, ok := unquote([]byte(q)); !ok || got != want {
			t.Errorf("%s: %q %v", q, got, ok)
		}
	}
	for _, q := range []string{`1`, `"\ud83d"`, `"\ude00"`, `"\ud83dx"`, `"\ud83d\u0041"`, ``} {
		if got, ok := unquote([]byte(q)); ok {
			t.Errorf("%s: %q", q, got)
		}
	}
}

func TestQuoteInvalid(t *testing.T) {
	if got := string(appendQuoted(nil, "a\xff\x00\"é")); got != `"a\ufffd\u0000\"é"` {
		t.Fatal(got)
	}
}

// FuzzConversation: whatever a client sends, what it is sent is the protocol.
func FuzzConversation(f *testing.F) {
	for _, s := range []string{
		`{"id":1,"connect":{}}` + "\n" + `{"id":2,"subscribe":{"channel":"a/#"}}` + "\x00" + `{"id":3,"publish":{"channel":"a/b","data":{}}}`,
		`{"subscribe":{"channel":"#"}}` + "\x00" + `{"rpc":{"method":"parley.publish","data":{"topic":"b","data":"aGk=","encoding":"base64","tags":{"h.a":"[\"b\"]"}}}}`,
		`{"id":1,"connect":{}}` + "\x00" + `{"id":2,"unsubscribe":{"channel":"a"}}` + "\x00" + `{}`,
	} {
		f.Add([]byte(s))
	}
	e := New(Options{Attach: startHub(f).Attach})
	f.Fuzz(func(t *testing.T, frames []byte) {
		if !utf8.Valid(frames) {
			return
		}
		c, err := subprototest.Open(e, subproto.Info{})
		if err != nil {
			t.Fatal(err)
		}
		for _, frame := range bytes.Split(frames, []byte{0}) {
			if !c.Feed(subproto.Text, frame) {
				break
			}
		}
		c.Close(1000, "")
		c.Drop(nil)
		for {
			got, ok := c.Next()
			if !ok {
				break
			}
			for _, v := range bytes.Split(got.Data, []byte{'\n'}) {
				if !stdjson.Valid(v) || v[0] != '{' {
					t.Fatalf("sent %q", v)
				}
			}
		}
	})
}
