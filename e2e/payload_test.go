package e2e

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// payloadCase is one row of the table of docs/adr/0004-payload-views.md: what is
// published, and what each protocol sees. Values are JSON; bytes that are no
// UTF-8 text are {"$hex": "…"}.
type payloadCase struct {
	name     string
	sent     map[string]string // by family: what the client is given to publish
	mqtt     string            // as a JSON string, or {"$hex"}
	json     string
	encoding string
	wamp     string // {"args": …} and kwargs if there are any
}

func payloadCases() []payloadCase {
	object := `{"a":[1,2.5,null,true],"ü":"€"}`
	quoted := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	return []payloadCase{
		{
			name: "a JSON object",
			sent: map[string]string{"mqtt": quoted(object), "json": object},
			mqtt: quoted(object), json: object, wamp: `{"args":[` + object + `]}`,
		},
		{
			name: "a JSON number",
			sent: map[string]string{"mqtt": `"21.5"`, "json": `21.5`},
			mqtt: `"21.5"`, json: `21.5`, wamp: `{"args":[21.5]}`,
		},
		{
			name: "JSON null",
			sent: map[string]string{"mqtt": `"null"`, "json": `null`},
			mqtt: `"null"`, json: `null`, wamp: `{"args":[null]}`,
		},
		{
			name: "a JSON string",
			sent: map[string]string{"mqtt": `"\"text\""`, "json": `"text"`},
			mqtt: `"\"text\""`, json: `"text"`, wamp: `{"args":["text"]}`,
		},
		{
			name: "JSON over several lines",
			sent: map[string]string{"mqtt": `"{\n \"a\": 1\n}"`},
			mqtt: `"{\n \"a\": 1\n}"`, json: `{"a":1}`, wamp: `{"args":[{"a":1}]}`,
		},
		{
			name: "other text",
			sent: map[string]string{"mqtt": `"no JSON: ü\nsecond line"`},
			mqtt: `"no JSON: ü\nsecond line"`, json: `"no JSON: ü\nsecond line"`, encoding: "text",
			wamp: `{"args":["no JSON: ü\nsecond line"]}`,
		},
		{
			name: "nothing",
			sent: map[string]string{"mqtt": `""`},
			mqtt: `""`, json: `""`, encoding: "text", wamp: `{"args":[""]}`,
		},
		{
			name: "bytes",
			sent: map[string]string{"mqtt": `{"$hex":"00ff80fe"}`},
			mqtt: `{"$hex":"00ff80fe"}`, json: `"AP+A/g=="`, encoding: "base64", wamp: `{"args":[{"$hex":"00ff80fe"}]}`,
		},
		{
			name: "one argument",
			sent: map[string]string{"wamp": `{"args":[{"t":21.5}]}`},
			mqtt: quoted(`{"t":21.5}`), json: `{"t":21.5}`, wamp: `{"args":[{"t":21.5}]}`,
		},
		{
			name: "one text argument",
			sent: map[string]string{"wamp": `{"args":["hello"]}`},
			mqtt: `"\"hello\""`, json: `"hello"`, wamp: `{"args":["hello"]}`,
		},
		{
			name: "one binary argument",
			sent: map[string]string{"wamp": `{"args":[{"$hex":"00ff80"}]}`},
			mqtt: `{"$hex":"00ff80"}`, json: `"AP+A"`, encoding: "base64", wamp: `{"args":[{"$hex":"00ff80"}]}`,
		},
		{
			name: "two arguments",
			sent: map[string]string{"wamp": `{"args":[1,"b"]}`},
			mqtt: quoted(`{"args":[1,"b"],"kwargs":{}}`), json: `{"args":[1,"b"],"kwargs":{}}`, wamp: `{"args":[1,"b"]}`,
		},
		{
			name: "named arguments",
			sent: map[string]string{"wamp": `{"args":[1],"kwargs":{"k":"v"}}`},
			mqtt: quoted(`{"args":[1],"kwargs":{"k":"v"}}`), json: `{"args":[1],"kwargs":{"k":"v"}}`,
			wamp: `{"args":[1],"kwargs":{"k":"v"}}`,
		},
		{
			name: "no arguments",
			sent: map[string]string{"wamp": `{"args":[]}`},
			mqtt: quoted(`{"args":[],"kwargs":{}}`), json: `{"args":[],"kwargs":{}}`, wamp: `{"args":[]}`,
		},
	}
}

// TestEveryPayload publishes each kind of payload from every client that can
// send it and compares what every client receives.
func TestEveryPayload(t *testing.T) {
	b := startBroker(t, "")
	peers := openAll(t, b)
	for _, p := range peers {
		p.subscribe("payload/#", nil)
	}
	for _, c := range payloadCases() {
		for _, from := range peers {
			sent, ok := c.sent[from.family()]
			if !ok {
				continue
			}
			from.do("publish", args{"topic": from.topic("payload/x"), "payload": json.RawMessage(sent)})
			for _, to := range peers {
				m := to.recv()
				want := map[string]string{"mqtt": c.mqtt, "json": c.json, "wamp": c.wamp}[to.family()]
				if !sameValue(t, to, m.Payload, want) {
					t.Errorf("%s, %s to %s: got %s, want %s", c.name, from.kind, to.kind, m.Payload, want)
				}
				if to.family() == "json" && m.Encoding != c.encoding {
					t.Errorf("%s, %s to %s: tags.encoding %q, want %q", c.name, from.kind, to.kind, m.Encoding, c.encoding)
				}
			}
		}
	}
}

// TestDigits: integers that JavaScript cannot hold keep their digits, and a frame
// holds one line whatever the payload.
func TestDigits(t *testing.T) {
	const number = "12345678901234567890123456789"
	b := startBroker(t, "")
	d := startDriver(t)
	device, page := d.open("device", "mqtt5", b, nil), d.open("page", "bare", b, nil)
	page.subscribe("digits", nil)
	device.subscribe("digits", nil)
	device.do("publish", args{"topic": "digits", "payload": "{\"n\":\r\n " + number + "}"})
	if m := page.recv(); !strings.Contains(m.Line, `"data":{"n":`+number+`}`) {
		t.Errorf("the frame is %s, want the number with all its digits", m.Line)
	}
	device.recv()
	page.do("frame", args{"text": `{"id":99,"publish":{"channel":"digits","data":{"n": ` + number + `}}}`})
	if m := device.recv(); string(m.Payload) != `"{\"n\":`+number+`}"` {
		t.Errorf("MQTT payload %s, want the number with all its digits", m.Payload)
	}
}

func sameValue(t *testing.T, to *peer, got json.RawMessage, want string) bool {
	t.Helper()
	if to.mqtt() {
		return string(compactJSON(t, got)) == string(compactJSON(t, json.RawMessage(want))) // the same bytes
	}
	return reflect.DeepEqual(decode[any](t, got), decode[any](t, json.RawMessage(want)))
}

func compactJSON(t *testing.T, raw json.RawMessage) []byte {
	t.Helper()
	b, err := json.Marshal(decode[any](t, raw))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
