package msg

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// seen is what the three protocols see of one payload.
type seen struct {
	mqtt     string
	json     string
	encoding string
	wampJSON string // args, then kwargs if any
	msgpack  string // hex
	cbor     string // hex
}

func look(p Payload) seen {
	v, enc := p.JSONView()
	s := seen{mqtt: string(p.BytesView()), json: string(v), encoding: enc}
	for c, to := range map[Codec]*string{CodecJSON: &s.wampJSON, CodecMsgpack: &s.msgpack, CodecCBOR: &s.cbor} {
		args, kwargs := p.ArgsView(c)
		if c == CodecJSON {
			*to = string(args) + string(kwargs)
		} else {
			*to = hex.EncodeToString(args) + hex.EncodeToString(kwargs)
		}
	}
	return s
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func args(c Codec, data string) Payload {
	b := []byte(data)
	if c != CodecJSON {
		b = unhex(data)
	}
	return Payload{Form: FormArgs, Codec: c, Data: b}
}

// TestViewsTable is the table of docs/adr/0004-payload-views.md, row by row.
func TestViewsTable(t *testing.T) {
	for name, c := range map[string]struct {
		in   Payload
		want seen
	}{
		"bytes: JSON object": {Bytes([]byte("{\"a\": [1,\n2.5, true]}\n")), seen{
			"{\"a\": [1,\n2.5, true]}\n", `{"a":[1,2.5,true]}`, "", `[{"a":[1,2.5,true]}]`,
			"9181a16193" + "01" + "cb4004000000000000" + "c3", "81a1616183" + "01" + "fb4004000000000000" + "f5"}},
		"bytes: JSON number":        {Bytes([]byte("42")), seen{"42", "42", "", "[42]", "912a", "81182a"}},
		"bytes: JSON null":          {Bytes([]byte(" null ")), seen{" null ", "null", "", "[null]", "91c0", "81f6"}},
		"bytes: JSON string":        {Bytes([]byte(`"a\n\u00fc"`)), seen{`"a\n\u00fc"`, `"a\n\u00fc"`, "", `["a\n\u00fc"]`, "91a4610ac3bc", "8164610ac3bc"}},
		"bytes: text":               {Bytes([]byte("hällo\n")), seen{"hällo\n", `"hällo\n"`, "text", `["hällo\n"]`, "91a768c3a46c6c6f0a", "816768c3a46c6c6f0a"}},
		"bytes: nearly JSON":        {Bytes([]byte("{a}")), seen{"{a}", `"{a}"`, "text", `["{a}"]`, "91a37b617d", "81637b617d"}},
		"bytes: empty":              {Bytes(nil), seen{"", `""`, "text", `[""]`, "91a0", "8160"}},
		"bytes: binary":             {Bytes([]byte{0xff, 0}), seen{"\xff\x00", `"/wA="`, "base64", `["\u0000/wA="]`, "91c402ff00", "8142ff00"}},
		"bytes: text with NUL head": {Bytes([]byte{0, 'A'}), seen{"\x00A", `"AEE="`, "base64", `["\u0000AEE="]`, "91c4020041", "81420041"}},

		"args: one value":          {args(CodecJSON, `[[ {"a" : 1} ]]`), seen{`{"a":1}`, `{"a":1}`, "", `[ {"a" : 1} ]`, "9181a16101", "81a1616101"}},
		"args: one string":         {args(CodecCBOR, "81 81 6161"), seen{`"a"`, `"a"`, "", `["a"]`, "91a161", "816161"}},
		"args: one binary, CBOR":   {args(CodecCBOR, "81 81 42ff00"), seen{"\xff\x00", `"/wA="`, "base64", `["\u0000/wA="]`, "91c402ff00", "8142ff00"}},
		"args: one binary, JSON":   {args(CodecJSON, `[["\u0000/wA="]]`), seen{"\xff\x00", `"/wA="`, "base64", `["\u0000/wA="]`, "91c402ff00", "8142ff00"}},
		"args: NUL but not binary": {args(CodecJSON, `[["\u0000?"]]`), seen{`"\u0000?"`, `"\u0000?"`, "", `["\u0000?"]`, "91a2003f", "8162003f"}},
		"args: empty kwargs":       {args(CodecJSON, `[[7],{}]`), seen{"7", "7", "", "[7]", "9107", "8107"}},
		"args: null kwargs":        {args(CodecMsgpack, "92 9107 c0"), seen{"7", "7", "", "[7]", "9107", "8107"}},
		"args: two values":         {args(CodecMsgpack, "91 920102"), seen{`{"args":[1,2],"kwargs":{}}`, `{"args":[1,2],"kwargs":{}}`, "", "[1,2]", "920102", "820102"}},
		"args: none":               {args(CodecJSON, `[[]]`), seen{`{"args":[],"kwargs":{}}`, `{"args":[],"kwargs":{}}`, "", "[]", "90", "80"}},
		"args: nothing at all":     {args(CodecJSON, `[]`), seen{`{"args":[],"kwargs":{}}`, `{"args":[],"kwargs":{}}`, "", "[]", "90", "80"}},
		"args: only kwargs": {args(CodecCBOR, "82 80 a1 6162 c3"+"4101"), seen{`{"args":[],"kwargs":{"b":-2}}`, `{"args":[],"kwargs":{"b":-2}}`, "",
			`[]{"b":-2}`, "90" + "81a162fe", "80" + "a16162c34101"}},
		"args: nested binary":      {args(CodecMsgpack, "91 91 91 c40101"), seen{`["\u0000AQ=="]`, `["\u0000AQ=="]`, "", `[["\u0000AQ=="]]`, "9191c40101", "81814101"}},
		"args: chunks, no lengths": {args(CodecCBOR, "9f 9f 7f 6161 6162 ff ff ff"), seen{`"ab"`, `"ab"`, "", `["ab"]`, "91a26162", "81626162"}},
		"args: str not UTF-8":      {args(CodecMsgpack, "91 92 01 a1ff"), seen{`{"args":[1,"\u0000/w=="],"kwargs":{}}`, `{"args":[1,"\u0000/w=="],"kwargs":{}}`, "", `[1,"\u0000/w=="]`, "9201c401ff", "820141ff"}},
	} {
		if got := look(c.in); got != c.want {
			t.Errorf("%s:\n got %+q\nwant %+q", name, got, c.want)
		}
	}
}

// TestUnshowable: what a view cannot hold exactly goes as text or base64.
func TestUnshowable(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	text, b64 := "text", "base64"
	for name, c := range map[string]struct {
		in       Payload
		encoding string
	}{
		"depth 64":                    {Bytes([]byte(deep(64))), ""},
		"depth 65":                    {Bytes([]byte(deep(65))), text},
		"endless depth":               {Bytes([]byte(strings.Repeat("[", 1<<20))), text},
		"one argument of depth 64":    {args(CodecJSON, "[["+deep(64)+"]]"), ""},
		"one argument of depth 65":    {args(CodecJSON, "[["+deep(65)+"]]"), text},
		"two arguments of depth 62":   {args(CodecJSON, "[[1,"+deep(62)+"]]"), ""},
		"two arguments of depth 63":   {args(CodecJSON, "[[1,"+deep(63)+"]]"), text},
		"lone high surrogate":         {Bytes([]byte(`"\ud800"`)), text},
		"lone low surrogate":          {Bytes([]byte(`"\udc00x"`)), text},
		"two high surrogates":         {Bytes([]byte(`"\ud800\ud800"`)), text},
		"surrogate pair":              {Bytes([]byte(`"\uD83D\uDE00"`)), ""},
		"lone surrogate, args":        {args(CodecJSON, `[["\ud800"]]`), text},
		"number beyond float64":       {Bytes([]byte(`[1e999]`)), text},
		"largest float64":             {Bytes([]byte(`-1.7976931348623157e308`)), ""},
		"309 digits, fits":            {Bytes([]byte("1" + strings.Repeat("0", 308))), ""},
		"309 digits, too large":       {Bytes([]byte("9" + strings.Repeat("0", 308))), text},
		"310 digits":                  {Bytes([]byte("1" + strings.Repeat("0", 309))), text},
		"text that is not UTF-8":      {Bytes([]byte("\"\xff\"")), b64},
		"byte order mark":             {Bytes([]byte("\ufeff{}")), text},
		"NaN, CBOR":                   {args(CodecCBOR, "81 81 f97e00"), b64},
		"infinity, CBOR half":         {args(CodecCBOR, "81 81 f97c00"), b64},
		"infinity, msgpack":           {args(CodecMsgpack, "91 91 cbfff0000000000000"), b64},
		"number as key, CBOR":         {args(CodecCBOR, "81 81 a10102"), b64},
		"number as key, msgpack":      {args(CodecMsgpack, "91 91 810102"), b64},
		"key that is not UTF-8":       {args(CodecMsgpack, "91 91 81a1ff02"), b64},
		"array as kwargs":             {args(CodecJSON, "[[],[]]"), text},
		"object as args":              {args(CodecJSON, "[{}]"), text},
		"three parts":                 {args(CodecJSON, "[[],{},1]"), text},
		"no array":                    {args(CodecJSON, "1"), text},
		"no bytes":                    {args(CodecJSON, ""), text},
		"truncated CBOR":              {args(CodecCBOR, "81 81"), b64},
		"trailing CBOR":               {args(CodecCBOR, "81 80 00"), b64},
		"huge announced array":        {args(CodecCBOR, "81 9b7fffffffffffffff"), b64},
		"huge announced string":       {args(CodecMsgpack, "91 91 dbffffffff"), b64},
		"length 2^64-1":               {args(CodecCBOR, "81 81 5bffffffffffffffff"), b64},
		"many tags":                   {args(CodecCBOR, "81 81"+strings.Repeat("c0", 9)+"01"), b64},
		"tag 2 on text":               {args(CodecCBOR, "81 81 c2 6161"), b64},
		"integer beyond float64":      {args(CodecCBOR, "81 81 c2 5880"+strings.Repeat("ff", 128)), b64},
		"integer of 129 bytes":        {args(CodecCBOR, "81 81 c2 5881 01"+strings.Repeat("00", 128)), b64},
		"unassigned simple value":     {args(CodecCBOR, "81 81 e0"), b64},
		"break out of place":          {args(CodecCBOR, "81 81 ff"), b64},
		"break instead of map value":  {args(CodecCBOR, "81 81 bf 6161 ff"), b64},
		"reserved additional info":    {args(CodecCBOR, "81 81 1c"), b64},
		"chunk of another kind":       {args(CodecCBOR, "81 81 7f 4161 ff"), b64},
		"code c1":                     {args(CodecMsgpack, "91 91 c1"), b64},
		"JSON kept by its own codec?": {args(CodecJSON, "[[\xff]]"), b64},
	} {
		v, enc := c.in.JSONView()
		if enc != c.encoding || !json.Valid(v) || bytes.ContainsAny(v, "\n\r") {
			t.Errorf("%s: %.80s (%s)", name, v, enc)
		}
		if enc == "" {
			continue
		}
		var s string
		if err := json.Unmarshal(v, &s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if enc == text && s != string(c.in.Data) {
			t.Errorf("%s: the text is not what was sent: %.80q", name, s)
		}
		if got := c.in.BytesView(); !bytes.Equal(got, c.in.Data) {
			t.Errorf("%s: MQTT sees %.80q", name, got)
		}
		for _, codec := range []Codec{CodecJSON, CodecMsgpack, CodecCBOR} {
			a, k := c.in.ArgsView(codec)
			if _, err := splitArgs(&Payload{Codec: codec, Data: ArgsPayload(codec, a, k).Data}); err != nil {
				t.Errorf("%s: args in codec %d: %x: %v", name, codec, a, err)
			}
		}
	}
}

func TestContentTypeDecides(t *testing.T) {
	for _, c := range []struct {
		contentType string
		text        bool
		data        string
		json        string
		encoding    string
	}{
		{"", false, "42", "42", ""},
		{"", true, "42", `"42"`, "text"},
		{"", true, `{"a":1}`, `"{\"a\":1}"`, "text"},
		{"application/json", true, "42", "42", ""},
		{"Application/JSON; charset=utf-8", false, " 42", "42", ""},
		{"application/vnd.x+json", false, "42", "42", ""},
		{"application/json", false, "{", `"{"`, "text"},
		{"application/json", false, "\xff", `"/w=="`, "base64"},
		{"json", false, "[]", "[]", ""},
		{"text/plain", false, "42", `"42"`, "text"},
		{"text/plain", false, "\xff", `"/w=="`, "base64"},
		{"text/plain; charset=\"UTF-8\"", false, "42", `"42"`, "text"},
		{"text/plain;charset=utf-16", false, "4\x002\x00", `"NAAyAA=="`, "base64"},
		{"text/plain;format=flowed", false, "a", `"a"`, "text"},
		{"application/octet-stream", false, "42", `"NDI="`, "base64"},
		{"application/octet-stream", true, "42", `"42"`, "text"},
		{"application/octet-stream", false, "", `""`, "text"},
		{"image/png", false, "42", `"NDI="`, "base64"},
		{"image/svg+xml", false, "<a/>", `"<a/>"`, "text"},
		{"application/cbor", false, "\x01", `"AQ=="`, "base64"},
		{"application/x-msgpack", false, "\x01", `"AQ=="`, "base64"},
		{"application/senml+cbor", false, "\x01", `"AQ=="`, "base64"},
		{"application/x-ndjson", false, "1\n2", `"1\n2"`, "text"},
		{"sensor reading", false, "42", `"42"`, "text"},
	} {
		p := Payload{ContentType: c.contentType, Text: c.text, Data: []byte(c.data)}
		if v, enc := p.JSONView(); string(v) != c.json || enc != c.encoding {
			t.Errorf("%q text=%v %q: %s (%s), want %s (%s)", c.contentType, c.text, c.data, v, enc, c.json, c.encoding)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ json, msgpack, cbor, back string }{
		{"0", "00", "00", "0"},
		{"-0", "cb8000000000000000", "fb8000000000000000", "-0.0"},
		{"-1", "ff", "20", "-1"},
		{"-32", "e0", "381f", "-32"},
		{"-33", "d0df", "3820", "-33"},
		{"-128", "d080", "387f", "-128"},
		{"-129", "d1ff7f", "3880", "-129"},
		{"-32769", "d2ffff7fff", "398000", "-32769"},
		{"-2147483649", "d3ffffffff7fffffff", "3a80000000", "-2147483649"},
		{"127", "7f", "187f", "127"},
		{"128", "cc80", "1880", "128"},
		{"256", "cd0100", "190100", "256"},
		{"65536", "ce00010000", "1a00010000", "65536"},
		{"4294967296", "cf0000000100000000", "1b0000000100000000", "4294967296"},
		{"9007199254740993", "cf0020000000000001", "1b0020000000000001", "9007199254740993"},
		{"18446744073709551615", "cfffffffffffffffff", "1bffffffffffffffff", "18446744073709551615"},
		{"-9223372036854775808", "d38000000000000000", "3b7fffffffffffffff", "-9223372036854775808"},
		{"18446744073709551616", hexOfString("18446744073709551616"), "c249010000000000000000", "18446744073709551616"},
		{"-9223372036854775809", hexOfString("-9223372036854775809"), "3b8000000000000000", "-9223372036854775809"},
		{"-18446744073709551616", hexOfString("-18446744073709551616"), "3bffffffffffffffff", "-18446744073709551616"},
		{"-18446744073709551617", hexOfString("-18446744073709551617"), "c349010000000000000000", "-18446744073709551617"},
		{"1.5", "cb3ff8000000000000", "fb3ff8000000000000", "1.5"},
		{"1.0", "cb3ff0000000000000", "fb3ff0000000000000", "1.0"},
		{"1e2", "cb4059000000000000", "fb4059000000000000", "100.0"},
		{"1e21", "cb444b1ae4d6e2ef50", "fb444b1ae4d6e2ef50", "1e+21"},
		{"1e-7", "cb3e7ad7f29abcaf48", "fb3e7ad7f29abcaf48", "1e-07"},
		{"1e-999", "cb0000000000000000", "fb0000000000000000", "0.0"},
	} {
		s := look(Bytes([]byte(c.json)))
		if s.json != c.json || s.encoding != "" {
			t.Errorf("%s: in JSON %s", c.json, s.json)
		}
		if s.msgpack != "91"+c.msgpack || s.cbor != "81"+c.cbor {
			t.Errorf("%s: msgpack %s, cbor %s", c.json, s.msgpack, s.cbor)
		}
		if v, _ := args(CodecCBOR, "81"+s.cbor).JSONView(); string(v) != c.back {
			t.Errorf("%s: back from CBOR %s", c.json, v)
		}
	}
}

func hexOfString(s string) string {
	return hex.EncodeToString(append([]byte{0xa0 | byte(len(s))}, s...))
}

func TestOddValues(t *testing.T) {
	for _, c := range []struct {
		codec     Codec
		hex, json string
	}{
		{CodecCBOR, "f7", "null"},
		{CodecCBOR, "f90001", "5.960464477539063e-08"},
		{CodecCBOR, "f93c00", "1.0"},
		{CodecCBOR, "f9c400", "-4.0"},
		{CodecCBOR, "fa3dcccccd", "0.10000000149011612"},
		{CodecCBOR, "c0 6161", `"a"`},
		{CodecCBOR, "d9d9f7 01", "1"},
		{CodecCBOR, "c2 40", "0"},
		{CodecCBOR, "c3 4100", "-1"},
		{CodecCBOR, "c2 4a 00000000000000000001", "1"},
		{CodecCBOR, "c2 5f 4101 4800000000000000 00 ff", "18446744073709551616"},
		{CodecCBOR, "bf 6161 01 ff", `{"a":1}`},
		{CodecCBOR, "a2 6161 01 6161 02", `{"a":1,"a":2}`},
		{CodecMsgpack, "d6ff 00000000", `"1970-01-01T00:00:00Z"`},
		{CodecMsgpack, "d7ff 0000000400000001", `"1970-01-01T00:00:01.000000001Z"`},
		{CodecMsgpack, "c70cff 00000000 ffffffffffffffff", `"1969-12-31T23:59:59Z"`},
		{CodecMsgpack, "d9 02 c3bc", `"ü"`},
		{CodecMsgpack, "da 0001 61", `"a"`},
		{CodecMsgpack, "dc 0001 07", "[7]"},
		{CodecMsgpack, "df 00000001 a161 ca3f800000", `{"a":1.0}`},
		{CodecMsgpack, "d3 0000000000000001", "1"},
		{CodecMsgpack, "d1 ff00", "-256"},
	} {
		head := map[Codec]string{CodecCBOR: "8181", CodecMsgpack: "9191"}[c.codec]
		if v, enc := args(c.codec, head+c.hex).JSONView(); string(v) != c.json || enc != "" {
			t.Errorf("%s: %s (%s)", c.hex, v, enc)
		}
	}
	for _, ext := range []string{"d4 05 61", "c7 03 05 616161", "d6 05 00000000", "c70cff ffffffff 0000000000000000", "c70cff 00000000 7fffffffffffffff"} {
		if _, enc := args(CodecMsgpack, "9191"+ext).JSONView(); enc != "base64" {
			t.Errorf("extension %s: %q", ext, enc)
		}
	}
}

// TestSameCodecAsSent: arguments reach their own codec as they came, tags and all.
func TestSameCodecAsSent(t *testing.T) {
	for _, c := range []struct {
		codec Codec
		hex   string
	}{
		{CodecCBOR, "81 c1 1a514b67b0"}, {CodecCBOR, "9f 01 ff"}, {CodecCBOR, "81 f97e00"}, {CodecMsgpack, "91 d6ff00000000"}, {CodecMsgpack, "91 cbfff0000000000000"},
	} {
		want := unhex(c.hex)
		got, kwargs := ArgsPayload(c.codec, want, nil).ArgsView(c.codec)
		if !bytes.Equal(got, want) || kwargs != nil {
			t.Errorf("%s: %x, %x", c.hex, got, kwargs)
		}
	}
}

// TestSameCodecRepaired: what some decoders fail on is taken out.
func TestSameCodecRepaired(t *testing.T) {
	for _, c := range []struct {
		codec    Codec
		in, want string
	}{
		{CodecCBOR, "81 c0 6161", "81 6161"},                             // a date that is none
		{CodecCBOR, "81 c0 c0 01", "81 01"},                              // tags upon tags
		{CodecCBOR, "81 c1 fb7ff0000000000000", "81 fb7ff0000000000000"}, // the end of time
		{CodecCBOR, "81 d825 41ff", "81 41ff"},                           // a UUID of one byte
		{CodecCBOR, "81 61ff", "81 41ff"},                                // text that is not UTF-8
		{CodecMsgpack, "91 d4ff61", "91 c40161"},
		{CodecMsgpack, "91 a1ff", "91 c401ff"},
	} {
		got, _ := ArgsPayload(c.codec, unhex(c.in), nil).ArgsView(c.codec)
		if !bytes.Equal(got, unhex(c.want)) {
			t.Errorf("%s: %x, want %s", c.in, got, c.want)
		}
	}
}

func TestMessageViewsAreCached(t *testing.T) {
	for _, p := range []Payload{Bytes([]byte(`{ "a": 1 }`)), Bytes([]byte("text")), Bytes([]byte{0xff}), args(CodecCBOR, "82 820102 a1616103"), args(CodecJSON, "[["), args(CodecMsgpack, "91 91 c40101")} {
		m := &Message{Payload: p}
		for range 2 {
			v, enc := m.JSONView()
			if wv, we := p.JSONView(); !bytes.Equal(v, wv) || enc != we {
				t.Errorf("%q: %q %q", p.Data, v, enc)
			}
			if !bytes.Equal(m.BytesView(), p.BytesView()) {
				t.Errorf("%q: %q", p.Data, m.BytesView())
			}
			for _, c := range []Codec{CodecJSON, CodecMsgpack, CodecCBOR} {
				a, k := m.ArgsView(c)
				if wa, wk := p.ArgsView(c); !bytes.Equal(a, wa) || !bytes.Equal(k, wk) {
					t.Errorf("%q: %x %x", p.Data, a, k)
				}
			}
		}
		if n := testing.AllocsPerRun(50, func() { m.JSONView(); m.BytesView(); m.ArgsView(CodecCBOR); m.UTF8() }); n != 0 {
			t.Errorf("%q: %v allocations", p.Data, n)
		}
	}
}

func TestUTF8(t *testing.T) {
	for _, c := range []struct {
		p    Payload
		want bool
	}{
		{Bytes([]byte("ü")), true}, {Bytes([]byte{0xff}), false}, {Payload{Text: true, Data: []byte("a")}, true},
		{args(CodecCBOR, "81 81 41ff"), false}, {args(CodecCBOR, "81 81 01"), true}, {Bytes(nil), true},
	} {
		if got := (&Message{Payload: c.p}).UTF8(); got != c.want {
			t.Errorf("%q: %v", c.p.Data, got)
		}
	}
}

func TestHalfFloats(t *testing.T) { // RFC 8949 appendix A
	for h, want := range map[uint16]float64{0: 0, 0x3c00: 1, 0x3e00: 1.5, 0x7bff: 65504, 0x0001: 5.960464477539063e-8, 0x0400: 0.00006103515625, 0xc400: -4, 0x7c00: math.Inf(1), 0xfc00: math.Inf(-1)} {
		if got := halfFloat(h); got != want {
			t.Errorf("%#x: %v", h, got)
		}
	}
	if !math.IsNaN(halfFloat(0x7e00)) {
		t.Error("NaN")
	}
}
