package msg

import (
	"encoding/base64"
	"unicode/utf8"
)

// A payload is stored as it came and looked at through three views (table in
// docs/adr/0004-payload-views.md). No view fails: what one cannot show exactly
// it shows as text or binary.
//
// FormArgs that cannot be shown (malformed, nested deeper than 64, keys that are
// not strings, lone surrogates, and in JSON numbers that are not finite) are
// shown in that view as the encoded array [args, kwargs] itself: as text if it
// is JSON, else as binary. What converts with a loss of type only: CBOR tags but big integers are
// dropped, MessagePack timestamps become strings and other extensions binary,
// text that is not UTF-8 becomes binary, and an integer beyond 64 bits is a
// string of digits in MessagePack.
//
// In JSON, binary within a value is the string U+0000 + base64, as WAMP writes
// it, in both directions. A text that by chance looks like this is taken for binary.

// The values of JSONView's encoding.
const (
	encodingText   = "text"
	encodingBase64 = "base64"
)

// BytesView is what MQTT sees: opaque bytes as they are; of WAMP arguments a
// single positional value as JSON, or its bytes if it is binary; of others the
// object {"args":[…],"kwargs":{…}}. It may share memory with Data and must not
// be changed.
func (p Payload) BytesView() []byte {
	if p.Form == FormBytes {
		return p.Data
	}
	b, _, ok := p.argsValue()
	if !ok {
		return p.Data
	}
	return b
}

// JSONView is what JSON clients see: a compact JSON value without a raw newline.
// With encoding "text" the value is a JSON string that holds the payload's text,
// with "base64" one that holds its bytes. It may share memory with Data and must
// not be changed.
func (p Payload) JSONView() (value []byte, encoding string) {
	if p.Form == FormBytes {
		switch c, json := p.classify(); c {
		case contentJSON:
			return json, ""
		case contentText:
			return quoteText(p.Data), encodingText
		}
		return quoteBase64(p.Data), encodingBase64
	}
	b, isBinary, ok := p.argsValue()
	switch {
	case ok && !isBinary:
		return b, ""
	case !ok && p.fallbackIsText():
		return quoteText(p.Data), encodingText
	case !ok:
		b = p.Data
	}
	return quoteBase64(b), encodingBase64
}

// ArgsView is what WAMP clients see, in their codec: args an array, kwargs a map
// or nil. Arguments sent in the same codec are passed on as they came. The
// slices may share memory with Data and must not be changed.
func (p Payload) ArgsView(c Codec) (args, kwargs []byte) {
	if p.Form == FormBytes {
		return p.bytesAsArgs(c), nil
	}
	a, err := splitArgs(&p)
	if err != nil {
		return p.fallbackArgs(c), nil
	}
	if a.n == 0 {
		a.args = nil // absent, null or empty
	}
	if args, err = a.part(a.args, p.Codec, c); err != nil {
		return p.fallbackArgs(c), nil
	}
	if kwargs, err = a.part(a.kwargs, p.Codec, c); err != nil {
		return p.fallbackArgs(c), nil
	}
	if args == nil {
		args = emptyArray(c)
	}
	return args, kwargs
}

func (a *argsParts) part(b []byte, from, to Codec) ([]byte, error) {
	if b == nil || from == to && !a.altered {
		return b, nil
	}
	return transcode(from, to, b)
}

// argsValue is the one JSON value (or the one binary) that stands for WAMP
// arguments; not ok if there is none.
func (p *Payload) argsValue() (b []byte, isBinary, ok bool) {
	a, err := splitArgs(p)
	if err != nil {
		return nil, false, false
	}
	if a.one() {
		if b, ok := binaryValue(p.Codec, a.first); ok {
			return b, true, true
		}
		b, err := a.json(p.Codec, a.first)
		return b, false, err == nil
	}
	if a.deepest >= maxDepth { // the object is one more
		return nil, false, false
	}
	args, kwargs := []byte("[]"), []byte("{}")
	if a.n > 0 {
		args, err = a.json(p.Codec, a.args)
	}
	if err == nil && a.kwargs != nil {
		kwargs, err = a.json(p.Codec, a.kwargs)
	}
	if err != nil {
		return nil, false, false
	}
	b = make([]byte, 0, len(args)+len(kwargs)+len(`{"args":,"kwargs":}`))
	b = append(append(b, `{"args":`...), args...)
	b = append(append(b, `,"kwargs":`...), kwargs...)
	return append(b, '}'), false, true
}

func (a *argsParts) json(c Codec, b []byte) ([]byte, error) {
	switch {
	case c != CodecJSON:
		return transcode(c, CodecJSON, b)
	case a.spaces:
		return compact(b), nil
	}
	return b, nil
}

// binaryValue tells whether the one valid value in b is binary.
func binaryValue(c Codec, b []byte) ([]byte, bool) {
	s := scanner{codec: c, b: b}
	var t token
	if s.next(&t) != nil {
		return nil, false
	}
	switch {
	case t.kind == tokBinary:
		return t.b, true
	case t.kind == tokString && t.escaped && len(t.b) > 5 && string(t.b[:6]) == `\u0000`:
		return binaryOfString(unescape(nil, t.b))
	}
	return nil, false
}

func (p *Payload) bytesAsArgs(c Codec) []byte {
	kind, json := p.classify()
	if kind == contentJSON && c == CodecJSON {
		b := make([]byte, 0, len(json)+2)
		return append(append(append(b, '['), json...), ']')
	}
	e := encoder{codec: c, b: make([]byte, 0, len(p.Data)+len(p.Data)/4+16)}
	mark := e.open(false)
	var err error
	switch kind {
	case contentJSON:
		s := scanner{codec: CodecJSON, b: json, limit: maxDepth}
		err = s.value(&e, 0)
	case contentText:
		e.str(p.Data)
	default:
		e.binary(p.Data)
	}
	if err != nil { // classify has read it with the same rules
		return p.fallbackArgs(c)
	}
	e.close(false, mark, 1)
	return e.b
}

// fallbackIsText: the payload as it came can be shown as text.
func (p *Payload) fallbackIsText() bool {
	return p.Codec == CodecJSON && utf8.Valid(p.Data) && (len(p.Data) == 0 || p.Data[0] != 0)
}

func (p *Payload) fallbackArgs(c Codec) []byte {
	e := encoder{codec: c, b: make([]byte, 0, len(p.Data)+16)}
	mark := e.open(false)
	if p.fallbackIsText() {
		e.str(p.Data)
	} else {
		e.binary(p.Data)
	}
	e.close(false, mark, 1)
	return e.b
}

func quoteText(b []byte) []byte { return appendJSONString(make([]byte, 0, len(b)+len(b)/8+2), b) }

func quoteBase64(b []byte) []byte {
	out := make([]byte, 0, base64.StdEncoding.EncodedLen(len(b))+2)
	out = base64.StdEncoding.AppendEncode(append(out, '"'), b)
	return append(out, '"')
}
