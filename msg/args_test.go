package msg

import (
	"strings"
	"testing"
)

func TestArgsPayload(t *testing.T) {
	for _, c := range []struct {
		codec        Codec
		args, kwargs string
		want         string
	}{
		{CodecJSON, "[1]", `{"a":2}`, `[[1],{"a":2}]`},
		{CodecJSON, "[1]", "", `[[1]]`},
		{CodecJSON, "", `{"a":2}`, `[[],{"a":2}]`},
		{CodecJSON, "", "", `[[]]`},
		{CodecMsgpack, "\x91\x01", "\x81\xa1a\x02", "\x92\x91\x01\x81\xa1a\x02"},
		{CodecMsgpack, "", "", "\x91\x90"},
		{CodecCBOR, "\x81\x01", "\xa1aa\x02", "\x82\x81\x01\xa1aa\x02"},
		{CodecCBOR, "", "", "\x81\x80"},
	} {
		p := ArgsPayload(c.codec, []byte(c.args), []byte(c.kwargs))
		if p.Form != FormArgs || p.Codec != c.codec || string(p.Data) != c.want {
			t.Errorf("%q %q: %+v", c.args, c.kwargs, p)
		}
	}
}

// What is malformed is found wherever it stands in the arguments.
func TestMalformedArgs(t *testing.T) {
	outer := map[Codec][2]string{CodecJSON: {"[", "]"}, CodecMsgpack: {"\x91", ""}, CodecCBOR: {"\x81", ""}}
	for _, c := range []struct {
		codec Codec
		data  string
	}{
		{CodecJSON, "{}"}, {CodecJSON, "[1,]"}, {CodecJSON, "[1 2]"}, {CodecJSON, "[1]x"}, {CodecJSON, "[,1]"},
		{CodecJSON, `[{"a"}]`}, {CodecJSON, `[{"a":1,}]`}, {CodecJSON, `[{1:2}]`}, {CodecJSON, "[01]"}, {CodecJSON, "[1.]"}, {CodecJSON, "[.5]"},
		{CodecJSON, "[+1]"}, {CodecJSON, "[1e]"}, {CodecJSON, "[-]"}, {CodecJSON, "[tru]"}, {CodecJSON, "[\"\n\"]"}, {CodecJSON, `["\x"]`}, {CodecJSON, `["\u12"]`}, {CodecJSON, `["a]`}, {CodecJSON, `["\`},
		{CodecJSON, "[\v1]"}, {CodecJSON, "[NaN]"}, {CodecJSON, strings.Repeat("[", 2000) + strings.Repeat("]", 2000)},
		{CodecMsgpack, "\x92\x01"}, {CodecMsgpack, "\x91\x01\x02"}, {CodecMsgpack, "\x80"}, {CodecMsgpack, strings.Repeat("\x91", 5000) + "\x01"},
		{CodecCBOR, "\x9f\x01"}, {CodecCBOR, "\x81\xff"}, {CodecCBOR, "\x81\xa1\x80\x01"}, {CodecCBOR, strings.Repeat("\xc0", 5000)},
	} {
		around := outer[c.codec]
		p := Payload{Form: FormArgs, Codec: c.codec, Data: []byte(around[0] + c.data + around[1])}
		if parts, err := splitArgs(&p); err == nil {
			t.Errorf("%.40q: %+v", p.Data, parts)
		}
	}
}
