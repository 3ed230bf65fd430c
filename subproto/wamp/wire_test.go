package wamp

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"parley/msg"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestSplitRefusesWhatIsMalformed(t *testing.T) {
	deep := func(open, end string, n int) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	for _, c := range []struct {
		w     wire
		frame string
	}{
		{jsonWire{}, ``}, {jsonWire{}, ` `}, {jsonWire{}, `1`}, {jsonWire{}, `{}`}, {jsonWire{}, `"x"`}, {jsonWire{}, `null`},
		{jsonWire{}, `[`}, {jsonWire{}, `[1`}, {jsonWire{}, `[1,`}, {jsonWire{}, `[1,]`}, {jsonWire{}, `[,1]`}, {jsonWire{}, `[1]]`},
		{jsonWire{}, `[1] x`}, {jsonWire{}, `[01]`}, {jsonWire{}, `[1.]`}, {jsonWire{}, `[.5]`}, {jsonWire{}, `[-]`}, {jsonWire{}, `[1e]`},
		{jsonWire{}, `[+1]`}, {jsonWire{}, `[NaN]`}, {jsonWire{}, `[tru]`}, {jsonWire{}, `["`}, {jsonWire{}, `["\x"]`}, {jsonWire{}, `["\u12"]`},
		{jsonWire{}, `["\u12g4"]`}, {jsonWire{}, "[\"\n\"]"}, {jsonWire{}, "[\"\xff\"]"}, {jsonWire{}, `[{1:2}]`}, {jsonWire{}, `[{"a"}]`},
		{jsonWire{}, `[{"a":}]`}, {jsonWire{}, `[{"a":1,}]`}, {jsonWire{}, `["\`}, {jsonWire{}, `["\u1`},
		{jsonWire{}, deep("[", "]", maxDepth+1)},
		{packWire{}, ""}, {packWire{}, "\x01"}, {packWire{}, "\x91"}, {packWire{}, "\x91\xc1"}, {packWire{}, "\x90\x90"},
		{packWire{}, "\x91\xa2x"}, {packWire{}, "\x91\xa1\xff"}, {packWire{}, "\x91\xdf\xff\xff\xff\xff"}, {packWire{}, "\xdd\xff\xff\xff\xff"},
		{packWire{}, "\x91\xc6\xff\xff\xff\xff"}, {packWire{}, "\x91\xd9"}, {packWire{}, "\x91\xcb\x00"}, {packWire{}, "\x91\xc7\x02\x01\x00"},
		{packWire{}, strings.Repeat("\x91", maxDepth+1) + "\x00"},
		{cborWire{}, ""}, {cborWire{}, "\x01"}, {cborWire{}, "\x81"}, {cborWire{}, "\x80\x80"}, {cborWire{}, "\x81\x62x"},
		{cborWire{}, "\x81\x61\xff"}, {cborWire{}, "\x9f\x01"}, {cborWire{}, "\x81\xff"}, {cborWire{}, "\x81\x1c"}, {cborWire{}, "\x81\x1f"},
		{cborWire{}, "\x81\x5f\x61x\xff"}, {cborWire{}, "\x81\x5f\x5f\xff\xff"}, {cborWire{}, "\x81\xf8\x10"}, {cborWire{}, "\x9b\xff\xff\xff\xff\xff\xff\xff\xff"},
		{cborWire{}, "\x81\x7b\xff\xff\xff\xff\xff\xff\xff\xff"}, {cborWire{}, "\x81\xbf\x01\xff"}, {cborWire{}, "\x81\xdf\x00"},
		{cborWire{}, strings.Repeat("\x81", maxDepth+1) + "\x00"}, {cborWire{}, "\x81" + strings.Repeat("\xc1", maxDepth+1) + "\x00"},
	} {
		if el, err := split(c.w, []byte(c.frame), nil); !errors.Is(err, errMalformed) {
			t.Errorf("%T %q: %q, %v", c.w, c.frame, el, err)
		}
	}
}

func TestSplitCutsElements(t *testing.T) {
	for _, c := range []struct {
		w     wire
		frame []byte
		want  []string
	}{
		{jsonWire{}, []byte(" [ 1 , -0.5e+3,\"a\\\"]\\u00e9\" , { \"k\" : [ ] } ,null,true ] \n"),
			[]string{"1", "-0.5e+3", `"a\"]\u00e9"`, `{ "k" : [ ] }`, "null", "true"}},
		{jsonWire{}, []byte(`[]`), nil},
		{packWire{}, unhex("96 01 a178 81a16b90 c0 c3 c4020001"), []string{"\x01", "\xa1x", "\x81\xa1k\x90", "\xc0", "\xc3", "\xc4\x02\x00\x01"}},
		{packWire{}, unhex("dc0002 ff d4ff00"), []string{"\xff", "\xd4\xff\x00"}},
		{cborWire{}, unhex("9f 01 7f61786179ff bf616b80ff f6 f5 c1 1a00000001 ff"),
			[]string{"\x01", "\x7f\x61x\x61y\xff", "\xbf\x61k\x80\xff", "\xf6", "\xf5", "\xc1\x1a\x00\x00\x00\x01"}},
	} {
		el, err := split(c.w, c.frame, nil)
		var got []string
		for _, e := range el {
			got = append(got, string(e))
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, %v", c.frame, got, err)
		}
	}
}

// Identifiers come as any number type that an encoder may choose.
func TestIdentifiers(t *testing.T) {
	const none = ^uint64(0)
	for _, c := range []struct {
		w    wire
		v    string
		want uint64
	}{
		{jsonWire{}, "0", 0}, {jsonWire{}, "9007199254740992", maxID}, {jsonWire{}, "9007199254740993", none},
		{jsonWire{}, "1e3", 1000}, {jsonWire{}, "5.0", 5}, {jsonWire{}, "5.5", none}, {jsonWire{}, "-1", none},
		{jsonWire{}, `"1"`, none}, {jsonWire{}, "1e400", none}, {jsonWire{}, "null", none}, {jsonWire{}, "18446744073709551616", none},
		{packWire{}, "\x7f", 127}, {packWire{}, "\xcc\xff", 255}, {packWire{}, "\xcf\x00\x20\x00\x00\x00\x00\x00\x00", maxID},
		{packWire{}, "\xcf\x00\x20\x00\x00\x00\x00\x00\x01", none}, {packWire{}, "\xd3\x00\x00\x00\x00\x00\x00\x00\x07", 7},
		{packWire{}, "\xd0\xff", none}, {packWire{}, "\xff", none}, {packWire{}, "\xcb\x40\x14\x00\x00\x00\x00\x00\x00", 5},
		{packWire{}, "\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", none}, {packWire{}, "\xca\x40\xa0\x00\x00", 5}, {packWire{}, "\xa11", none},
		{cborWire{}, "\x17", 23}, {cborWire{}, "\x1b\x00\x20\x00\x00\x00\x00\x00\x00", maxID}, {cborWire{}, "\x20", none},
		{cborWire{}, "\xfb\x40\x14\x00\x00\x00\x00\x00\x00", 5}, {cborWire{}, "\xfa\x7f\x80\x00\x00", none}, {cborWire{}, "\xf6", none},
	} {
		got, ok := c.w.id([]byte(c.v))
		if !ok {
			got = none
		}
		if got != c.want {
			t.Errorf("%T %q: %d, want %d", c.w, c.v, got, c.want)
		}
	}
}

func TestStringsAndBinary(t *testing.T) {
	for _, c := range []struct {
		w         wire
		v         string
		str, bin  string
		isS, isBi bool
	}{
		{jsonWire{}, `"a\né"`, "a\né", "", true, false},
		{jsonWire{}, `"\u0000AAEC"`, "\x00AAEC", "\x00\x01\x02", true, true},
		{jsonWire{}, `"\u0000***"`, "\x00***", "", true, false},
		{jsonWire{}, `""`, "", "", true, false},
		{jsonWire{}, `5`, "", "", false, false},
		{packWire{}, "\xa2hi", "hi", "", true, false},
		{packWire{}, "\xd9\x02hi", "hi", "", true, false},
		{packWire{}, "\xc4\x02\x00\x01", "", "\x00\x01", false, true},
		{cborWire{}, "\x62hi", "hi", "", true, false},
		{cborWire{}, "\x7f\x61h\x61i\xff", "hi", "", true, false},
		{cborWire{}, "\x5f\x41\x00\x41\x01\xff", "", "\x00\x01", false, true},
	} {
		s, isS := c.w.str([]byte(c.v))
		b, isB := c.w.bytes([]byte(c.v))
		if s != c.str || isS != c.isS || isB != c.isBi || isB && string(b) != c.bin {
			t.Errorf("%T %q: %q %v, %q %v", c.w, c.v, s, isS, b, isB)
		}
	}
}

// What the encoder writes, the scanners and a foreign decoder read back.
func TestEncoderAgreesWithOtherDecoders(t *testing.T) {
	long := strings.Repeat("x", 70000)
	for _, protocol := range protocols {
		w, _ := wireOf(protocol)
		e := encoder{codec: w.codec()}
		e.list(8)
		for _, n := range []int{0, 31, 32, 255, 256, 65536} {
			e.text(long[:n])
		}
		e.dict(9)
		for _, n := range []uint64{0, 127, 128, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 53} {
			e.key("k" + string(rune('a'+n%23)))
			e.uint(n)
		}
		e.endDict()
		e.list(17)
		for i := range 10 {
			e.int(int64(-i * i * i * 1000))
		}
		e.bool(true)
		e.bool(false)
		e.null()
		e.float(0.5)
		e.text("\"\\\x01\n\xff ")
		e.bytes([]byte(long[:300]))
		e.bytes([]byte{1})
		e.endList()
		e.endList()

		el, err := split(w, e.b, nil)
		if err != nil || len(el) != 8 {
			t.Fatalf("%s: %d elements, %v", protocol, len(el), err)
		}
		var v []any
		if err := serializer(protocol).DeserializeDataItem(e.b, &v); err != nil {
			t.Fatalf("%s: %v", protocol, err)
		}
		if v[5] != long[:65536] || len(v[6].(map[string]any)) != 9 || len(v[7].([]any)) != 17 {
			t.Errorf("%s: lengths differ: %v", protocol, v[6:])
		}
		if got := v[7].([]any)[14]; got != "\"\\\x01\n\ufffd " {
			t.Errorf("%s: text became %q", protocol, got)
		}
	}
}

// FuzzJSONSplit compares the scanner with encoding/json.
func FuzzJSONSplit(f *testing.F) {
	for _, s := range []string{`[1,{"a":[null,true]}," \u0000"]`, `[]`, `[-1.5e3]`, `[[[[]]]]`, `["\ud800"]`, " [ 1 ] "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		el, err := split(jsonWire{}, b, nil)
		if err == nil && !json.Valid(b) {
			t.Fatalf("%q is no JSON", b)
		}
		var want []json.RawMessage
		if json.Unmarshal(b, &want) == nil && want != nil && !errors.Is(err, errTooDeep) && utf8Valid(b) {
			if err != nil || len(el) != min(len(want), maxElements) {
				t.Fatalf("%q: %d elements of %d, %v", b, len(el), len(want), err)
			}
			for i := range el {
				if !bytes.Equal(el[i], want[i]) {
					t.Fatalf("element %d is %q, want %q", i, el[i], want[i])
				}
			}
		}
		readAll(t, jsonWire{}, el)
	})
}

func utf8Valid(b []byte) bool { return jsonWire{}.check(b) == nil }

func FuzzMsgpackSplit(f *testing.F) {
	f.Add(unhex("96 01 a178 81a16b90 c0 c3 c4020001"))
	f.Add(unhex("dc0002 ff d4ff00"))
	f.Fuzz(func(t *testing.T, b []byte) { fuzzBinary(t, packWire{}, b) })
}

func FuzzCBORSplit(f *testing.F) {
	f.Add(unhex("9f 01 7f61786179ff bf616b80ff f6 f5 c1 1a00000001 ff"))
	f.Add(unhex("83 1830 01 a0"))
	f.Fuzz(func(t *testing.T, b []byte) { fuzzBinary(t, cborWire{}, b) })
}

// fuzzBinary checks that what was accepted is accepted whole only: without its
// last byte it is not.
func fuzzBinary(t *testing.T, w wire, b []byte) {
	el, err := split(w, b, nil)
	if err != nil {
		return
	}
	if _, err := split(w, b[:len(b)-1], nil); err == nil {
		t.Fatalf("%x is accepted with and without its last byte", b)
	}
	readAll(t, w, el)
}

// readAll reads every element in every way.
func readAll(t *testing.T, w wire, el [][]byte) {
	for _, v := range el {
		s := w.shape(v)
		_, isText := w.str(v)
		if isText != (s == shapeText) {
			t.Fatalf("%q: shape %d, text %v", v, s, isText)
		}
		if _, isBool := w.boolean(v); isBool != (s == shapeBool) {
			t.Fatalf("%q: shape %d", v, s)
		}
		if _, isID := w.id(v); isID && s != shapeNumber {
			t.Fatalf("%q: shape %d", v, s)
		}
		w.bytes(v)
		ids(w, v)
		texts(w, v)
		readProperties(w, v)
		readRoles(w, v)
	}
	m := request{w: w, el: el}
	p := m.payload(0)
	if m.err == nil && len(el) > 0 {
		if _, err := split(w, p.Data, nil); err != nil && !errors.Is(err, errTooDeep) {
			t.Fatalf("payload %q: %v", p.Data, err)
		}
		for c := msg.CodecJSON; c <= msg.CodecCBOR; c++ {
			p.ArgsView(c)
		}
	}
}
