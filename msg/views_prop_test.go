package msg

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/ugorji/go/codec"
)

// Codecs written by others, as WAMP clients have them: what they make of our
// output is what counts. Set up like those of nexus, but for MapValueReset: without
// it this decoder fails on a map that has a key twice with values of two types.
// Views pass such maps on; to look for them would cost a set of keys per map.
func others(c Codec) codec.Handle {
	switch c {
	case CodecMsgpack:
		h := &codec.MsgpackHandle{WriteExt: true}
		h.MapValueReset, h.Canonical = true, true
		h.MapType = reflect.TypeOf(map[string]any(nil))
		return h
	case CodecCBOR:
		h := &codec.CborHandle{}
		h.MapValueReset, h.Canonical = true, true
		h.MapType = reflect.TypeOf(map[string]any(nil))
		return h
	}
	h := &codec.JsonHandle{}
	h.MapValueReset, h.Canonical = true, true
	h.MapType = reflect.TypeOf(map[string]any(nil))
	return h
}

func othersDecode(c Codec, b []byte) (any, error) {
	var v any
	err := codec.NewDecoderBytes(b, others(c)).Decode(&v)
	return v, err
}

// randomValue is a value every codec can hold exactly, in Go's terms.
func randomValue(r *rand.Rand, depth int) any {
	n := 9
	if depth == 0 {
		n = 7
	}
	switch r.IntN(n) {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		return int64(r.Uint64() >> r.IntN(64))
	case 3:
		return -int64(r.Uint64()>>1) >> r.IntN(63)
	case 4:
		return float64(r.IntN(2000)-1000)/8 + 1.0/16 // exact, and never an integer
	case 5:
		return randomText(r)
	case 6:
		return []byte(randomText(r))
	case 7:
		list := make([]any, r.IntN(20))
		for i := range list {
			list[i] = randomValue(r, depth-1)
		}
		return list
	}
	m := map[string]any{}
	for range r.IntN(20) {
		m[randomText(r)] = randomValue(r, depth-1)
	}
	return m
}

func randomText(r *rand.Rand) string {
	pieces := []string{"a", "ü", "\n", "\"", "\\", "/", "\u2028", "\U0001F600", "<", "0123456789012345678901234567890", "\x7f", "\x1f"}
	var b strings.Builder
	for range r.IntN(5) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// same compares with the freedom that decoders take with types.
func same(a, b any) bool {
	switch x := a.(type) {
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !same(x[i], y[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k := range x {
			if v, ok := y[k]; !ok || !same(x[k], v) {
				return false
			}
		}
		return true
	case []byte:
		if s, ok := b.(string); ok { // JSON
			return s == "\x00"+base64.StdEncoding.EncodeToString(x)
		}
		y, ok := b.([]byte)
		return ok && bytes.Equal(x, y)
	case int64:
		y, ok := integer(b)
		return ok && y.Cmp(big.NewInt(x)) == 0
	}
	return reflect.DeepEqual(a, b)
}

func integer(v any) (*big.Int, bool) {
	switch y := v.(type) {
	case int64:
		return big.NewInt(y), true
	case uint64:
		return new(big.Int).SetUint64(y), true
	case float64:
		i, acc := big.NewFloat(y).Int(nil)
		return i, acc == big.Exact
	}
	return nil, false
}

// TestTranscodeRoundTrips: what another's encoder wrote arrives, by way of each
// of our views, as the same value in another's decoder; and back again as the
// same bytes.
func TestTranscodeRoundTrips(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 600 {
		list := []any{randomValue(r, 4), randomValue(r, 2)}
		for _, from := range []Codec{CodecMsgpack, CodecCBOR} {
			var wire []byte
			codec.NewEncoderBytes(&wire, others(from)).MustEncode(list)
			p := ArgsPayload(from, wire, nil)
			for _, to := range []Codec{CodecJSON, CodecMsgpack, CodecCBOR} {
				got, kwargs := p.ArgsView(to)
				v, err := othersDecode(to, got)
				if err != nil || kwargs != nil || !same(list, v) {
					t.Fatalf("%#v\nfrom %d to %d: %v\n%x\n%#v", list, from, to, err, got, v)
				}
				back, _ := ArgsPayload(to, got, nil).ArgsView(from)
				again, _ := ArgsPayload(from, back, nil).ArgsView(to)
				if w, err := othersDecode(from, back); err != nil || !same(list, w) || !bytes.Equal(again, got) {
					t.Fatalf("%#v\nfrom %d to %d and back: %v\n%#v", list, from, to, err, w)
				}
			}
			checkViews(t, p)
		}
	}
}

// checkViews holds for any payload whatever: every view is there and readable.
func checkViews(t *testing.T, p Payload) {
	t.Helper()
	keep := bytes.Clone(p.Data)
	v, enc := p.JSONView()
	if !json.Valid(v) || bytes.ContainsAny(v, "\n\r") {
		t.Fatalf("%q: JSON view %q", p.Data, v)
	}
	var decoded any
	if err := json.Unmarshal(v, &decoded); err != nil {
		t.Fatalf("%q: JSON view %q: %v", p.Data, v, err)
	}
	if p.Form == FormBytes {
		if s, ok := decoded.(string); enc == encodingText && s != string(p.Data) || enc != "" && !ok {
			t.Fatalf("%q: as text %q", p.Data, s)
		} else if b, err := base64.StdEncoding.DecodeString(s); enc == encodingBase64 && (err != nil || !bytes.Equal(b, p.Data)) {
			t.Fatalf("%q: as base64 %q", p.Data, s)
		}
	}
	if b := p.BytesView(); enc == "" && !json.Valid(b) {
		t.Fatalf("%q: JSON in the JSON view, but MQTT sees %q", p.Data, b)
	}
	for _, c := range []Codec{CodecJSON, CodecMsgpack, CodecCBOR} {
		args, kwargs := p.ArgsView(c)
		if len(args) == 0 {
			t.Fatalf("%q: no args in codec %d", p.Data, c)
		}
		if c == CodecJSON && (!json.Valid(args) || kwargs != nil && !json.Valid(kwargs)) {
			t.Fatalf("%q: args %q, kwargs %q", p.Data, args, kwargs)
		}
		// What was built from these is passed on as it is: it has nothing that we
		// would not let through ourselves.
		q := ArgsPayload(c, args, kwargs)
		a, err := splitArgs(&q)
		if err != nil || a.altered {
			t.Fatalf("%q: args %q, kwargs %q in codec %d: %v", p.Data, args, kwargs, c, err)
		}
		if _, err := othersDecode(c, q.Data); err != nil && !strings.Contains(err.Error(), "strconv.ParseInt: parsing \"-") {
			// The exception: this decoder does not take a JSON integer between -2^64 and
			// -2^63. It is valid, and others keep its digits.
			t.Fatalf("%q: another's decoder on %q in codec %d: %v", p.Data, q.Data, c, err)
		}
	}
	if !bytes.Equal(keep, p.Data) {
		t.Fatalf("%q was changed to %q", keep, p.Data)
	}
}

// TestViewsOfDamagedPayloads cuts and flips what is valid.
func TestViewsOfDamagedPayloads(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		c := []Codec{CodecMsgpack, CodecCBOR, CodecJSON}[r.IntN(3)]
		var wire []byte
		codec.NewEncoderBytes(&wire, others(c)).MustEncode([]any{[]any{randomValue(r, 3)}, map[string]any{"k": randomValue(r, 2)}})
		checkViews(t, Payload{Form: FormArgs, Codec: c, Data: wire[:r.IntN(len(wire)+1)]})
		for range 5 {
			wire[r.IntN(len(wire))] = byte(r.Uint32())
			checkViews(t, Payload{Form: FormArgs, Codec: c, Data: wire})
			checkViews(t, Payload{Data: wire})
		}
	}
}

// TestJSONAgreesWithTheStandardLibrary: what is JSON is decided as encoding/json
// does, but for depth, lone surrogates, huge numbers and UTF-8.
func TestJSONAgreesWithTheStandardLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	pieces := []string{"{", "}", "[", "]", ",", ":", `"`, `"a"`, `"\u00e9"`, `\`, "1", "0", "-", ".", "e", "+", "true", "null", " ", "\n", "x"}
	valid := 0
	for range 60000 {
		var b []byte
		for range 1 + r.IntN(7) {
			b = append(b, pieces[r.IntN(len(pieces))]...)
		}
		v, ok := compactJSON(b)
		if ok != json.Valid(b) {
			t.Fatalf("%q: %v", b, ok)
		}
		if !ok {
			continue
		}
		valid++
		var want bytes.Buffer
		if err := json.Compact(&want, b); err != nil || want.String() != string(v) {
			t.Fatalf("%q: %q, want %q", b, v, want.String())
		}
	}
	if valid < 500 {
		t.Errorf("only %d were valid", valid)
	}
}

// TestFloatsStayFloats: shortest digits, and the type survives JSON.
func TestFloatsStayFloats(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 20000 {
		f := math.Float64frombits(r.Uint64())
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		e := encoder{codec: CodecJSON}
		if err := e.float(f); err != nil {
			t.Fatal(f, err)
		}
		s := scanner{codec: CodecJSON, b: e.b}
		var tok token
		if err := s.next(&tok); err != nil || tok.kind != tokFloat || tok.f != f {
			t.Fatalf("%v: %s: %+v, %v", f, e.b, tok, err)
		}
	}
}

// TestAllocations: the hot paths.
func TestAllocations(t *testing.T) {
	compactValue := Bytes([]byte(`{"a":[1,2,3],"b":"text"}`))
	spaced := Bytes([]byte(`{"a": [1, 2, 3], "b": "text"}`))
	argument := args(CodecJSON, `[[{"a":1}]]`)
	for name, c := range map[string]struct {
		max float64
		f   func()
	}{
		"compact JSON":             {0, func() { compactValue.JSONView() }},
		"JSON with spaces":         {1, func() { spaced.JSONView() }},
		"JSON to WAMP JSON":        {1, func() { compactValue.ArgsView(CodecJSON) }},
		"JSON to CBOR":             {1, func() { compactValue.ArgsView(CodecCBOR) }},
		"WAMP JSON to JSON":        {0, func() { argument.JSONView() }},
		"WAMP JSON to MQTT":        {0, func() { argument.BytesView() }},
		"WAMP JSON to WAMP JSON":   {0, func() { argument.ArgsView(CodecJSON) }},
		"WAMP JSON to MessagePack": {1, func() { argument.ArgsView(CodecMsgpack) }},
	} {
		if n := testing.AllocsPerRun(100, c.f); n > c.max {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func FuzzViewsOfBytes(f *testing.F) {
	for _, s := range []string{`{"a": [1, 2.5e3, "\u0000AA==", "\ud83d\ude00"]}`, "text", "\xff", "", "1e400", `"\ud800"`, "[[[[", "-0", "\x00x"} {
		f.Add("", false, []byte(s))
		f.Add("application/json", true, []byte(s))
	}
	f.Fuzz(func(t *testing.T, contentType string, text bool, data []byte) {
		checkViews(t, Payload{ContentType: contentType, Text: text, Data: data})
	})
}

func fuzzArgs(f *testing.F, c Codec, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkViews(t, Payload{Form: FormArgs, Codec: c, Data: data})
	})
}

func FuzzArgsJSON(f *testing.F) {
	fuzzArgs(f, CodecJSON, `[[1,"\u0000AA=="],{"a":{"b":[null]}}]`, `[[ "\ud83d\ude00" ]]`, `[]`, `[null,null]`)
}

func FuzzArgsMsgpack(f *testing.F) {
	fuzzArgs(f, CodecMsgpack, "\x92\x91\x01\x81\xa1a\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", "\x91\x92\xd6\xff\x00\x00\x00\x00\xc4\x01\xff", "\x91\xdc\x00\x01\xd9\x01\xff")
}

func FuzzArgsCBOR(f *testing.F) {
	fuzzArgs(f, CodecCBOR, "\x82\x81\xc2\x49\x01\x00\x00\x00\x00\x00\x00\x00\x00\xa1aa\xf9\x3c\x00", "\x9f\x9f\x7faa\xff\xff\xff", "\x81\x81\xc1\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00")
}

func BenchmarkViews(b *testing.B) {
	value := []byte(`{"device":"sensor-7","at":1735689600123,"temperature":21.5,"tags":["a","b"],"ok":true}`)
	for name, f := range map[string]func(){
		"JSONtoJSON": func() { Bytes(value).JSONView() },
		"JSONtoCBOR": func() { Bytes(value).ArgsView(CodecCBOR) },
		"text":       func() { Bytes(value[1:]).JSONView() },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(value)))
			for b.Loop() {
				f()
			}
		})
	}
}
