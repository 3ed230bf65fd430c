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

func TestSplitArray(t *testing.T) {
	for _, c := range []struct {
		codec Codec
		data  string
		want  []string
	}{
		{CodecJSON, ` [16, 1 ,{"a":"\ud800"},"x" ,[1e999] ] `, []string{"16", "1", `{"a":"\ud800"}`, `"x"`, "[1e999]"}},
		{CodecJSON, `[]`, nil},
		{CodecMsgpack, "\x93\x10\x81\x01\x02\xa1\xff", []string{"\x10", "\x81\x01\x02", "\xa1\xff"}},
		{CodecCBOR, "\x9f\x10\xa1\x01\x02\xff", []string{"\x10", "\xa1\x01\x02"}},
	} {
		parts, err := SplitArray(c.codec, []byte(c.data), nil)
		if err != nil || len(parts) != len(c.want) {
			t.Errorf("%q: %q, %v", c.data, parts, err)
			continue
		}
		for i := range parts {
			if string(parts[i]) != c.want[i] {
				t.Errorf("%q: part %d is %q", c.data, i, parts[i])
			}
		}
	}
	for _, c := range []struct {
		codec Codec
		data  string
	}{
		{CodecJSON, ""}, {CodecJSON, "{}"}, {CodecJSON, "[1,]"}, {CodecJSON, "[1 2]"}, {CodecJSON, "[1]x"}, {CodecJSON, "[,1]"},
		{CodecJSON, `[{"a"}]`}, {CodecJSON, `[{"a":1,}]`}, {CodecJSON, `[{1:2}]`}, {CodecJSON, "[01]"}, {CodecJSON, "[1.]"}, {CodecJSON, "[.5]"},
		{CodecJSON, "[+1]"}, {CodecJSON, "[1e]"}, {CodecJSON, "[-]"}, {CodecJSON, "[tru]"}, {CodecJSON, "[\"\n\"]"}, {CodecJSON, `["\x"]`}, {CodecJSON, `["\u12"]`}, {CodecJSON, `["a]`}, {CodecJSON, `["\`},
		{CodecJSON, "[\v1]"}, {CodecJSON, "[NaN]"}, {CodecJSON, strings.Repeat("[", 2000) + strings.Repeat("]", 2000)},
		{CodecMsgpack, "\x92\x01"}, {CodecMsgpack, "\x91\x01\x02"}, {CodecMsgpack, "\x80"}, {CodecMsgpack, strings.Repeat("\x91", 5000) + "\x01"},
		{CodecCBOR, "\x9f\x01"}, {CodecCBOR, "\x81\xff"}, {CodecCBOR, "\x81\xa1\x80\x01"}, {CodecCBOR, strings.Repeat("\xc0", 5000)},
	} {
		if parts, err := SplitArray(c.codec, []byte(c.data), nil); err == nil {
			t.Errorf("%.40q: %q", c.data, parts)
		}
	}
}
