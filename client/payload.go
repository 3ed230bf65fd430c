package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"parley/msg"
)

// value turns payload bytes into what WAMP carries as the one argument: JSON as
// its value, other text as a string, anything else as bytes.
func value(payload []byte) any {
	text, encoding := msg.Bytes(payload).JSONView()
	if encoding == "base64" {
		return payload
	}
	if encoding == "text" {
		return string(payload)
	}
	v, err := decodeJSON(text)
	if err != nil {
		return string(payload)
	}
	return v
}

// ParseValue decodes one JSON value and nothing after it; see decodeJSON.
func ParseValue(data []byte) (any, error) {
	if !json.Valid(data) {
		return nil, errors.New("not JSON")
	}
	return decodeJSON(data)
}

// decodeJSON decodes one value with integers kept exact where they fit into 64
// bits; larger numbers become float64.
func decodeJSON(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return numbers(v)
}

func numbers(v any) (any, error) {
	var err error
	switch t := v.(type) {
	case json.Number:
		if n, err := t.Int64(); err == nil {
			return n, nil
		}
		return t.Float64()
	case []any:
		for i := range t {
			if t[i], err = numbers(t[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range t {
			if t[k], err = numbers(t[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// binaryMark begins a JSON string that stands for bytes in WAMP (basic profile,
// "Binary conversion of JSON strings").
const binaryMark = "\x00"

// toJSONBinary and fromJSONBinary convert bytes for WAMP over JSON, which the
// library leaves to its user; v is changed in place where it can be.
func toJSONBinary(v any) any {
	switch t := v.(type) {
	case []byte:
		return binaryMark + base64.StdEncoding.EncodeToString(t)
	case []any:
		for i := range t {
			t[i] = toJSONBinary(t[i])
		}
	case map[string]any:
		for k := range t {
			t[k] = toJSONBinary(t[k])
		}
	}
	return v
}

func fromJSONBinary(v any) any {
	switch t := v.(type) {
	case string:
		if rest, ok := strings.CutPrefix(t, binaryMark); ok {
			if b, err := base64.StdEncoding.DecodeString(rest); err == nil {
				return b
			}
		}
	case []any:
		for i := range t {
			t[i] = fromJSONBinary(t[i])
		}
	case map[string]any:
		for k := range t {
			t[k] = fromJSONBinary(t[k])
		}
	}
	return v
}

// Bytes is the payload that stands for a: a single text or binary value as it
// is, another single value as JSON, anything else as {"args", "kwargs"}.
func (a Args) Bytes() []byte {
	if len(a.List) == 1 && len(a.Named) == 0 {
		switch t := a.List[0].(type) {
		case string:
			return []byte(t)
		case []byte:
			return t
		}
		return encodeJSON(a.List[0])
	}
	list, named := a.List, a.Named
	if list == nil {
		list = []any{}
	}
	if named == nil {
		named = map[string]any{}
	}
	return encodeJSON(map[string]any{"args": list, "kwargs": named})
}

// JSON encodes a for scripts: the single value, or {"args", "kwargs"}.
func (a Args) JSON() json.RawMessage {
	if len(a.List) == 1 && len(a.Named) == 0 {
		return encodeJSON(a.List[0])
	}
	return a.Bytes()
}

// text is what an error's arguments say to people, "" if nothing.
func (a Args) text() string {
	if len(a.List) == 0 && len(a.Named) == 0 {
		return ""
	}
	b := a.Bytes()
	if len(b) > 1000 || !utf8.Valid(b) {
		return fmt.Sprintf("(%d bytes)", len(b))
	}
	return string(b)
}

// encodeJSON never fails: what JSON cannot say is described.
func encodeJSON(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(stringKeys(v)); err != nil {
		b.Reset()
		_ = enc.Encode(fmt.Sprint(v))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// stringKeys makes maps of other keys, which MessagePack and CBOR allow, such
// that JSON can say.
func stringKeys(v any) any {
	switch t := v.(type) {
	case map[any]any:
		m := make(map[string]any, len(t))
		for k, e := range t {
			m[fmt.Sprint(k)] = stringKeys(e)
		}
		return m
	case map[string]any:
		for k := range t {
			t[k] = stringKeys(t[k])
		}
	case []any:
		for i := range t {
			t[i] = stringKeys(t[i])
		}
	}
	return v
}
