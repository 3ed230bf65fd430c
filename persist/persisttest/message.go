package persisttest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"

	"parley/msg"
)

// Full is a message in which every field that a store keeps has a value that is
// not its zero value, set by reflection: a field added to msg.Message is in it
// at once, and a codec that does not know the field fails the round trip.
// Different n give different values.
func Full(n int) *msg.Message {
	m := &msg.Message{}
	count := n
	fill(reflect.ValueOf(m).Elem(), &count)
	// These have a range of their own, which the walk cannot know.
	m.QoS = msg.QoS(1 + n%2)
	m.Payload.Form = msg.FormArgs
	m.Payload.Codec = msg.Codec(1 + n%2)
	// These are written by the store, or belong to transient messages only.
	m.Offset, m.Time, m.After, m.Serial = 0, 0, 0, 0
	return m
}

func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n%200 + 1))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n + 1))
	case reflect.String:
		v.SetString(fmt.Sprintf("s%d", *n))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n)
			}
		}
	default:
		panic("persisttest: a message field of kind " + v.Kind().String() + " that the suite does not know how to fill")
	}
}

// Diff tells how two messages differ in what a store keeps; "" if they do not.
// Empty payloads and empty property lists are equal to nil ones; an empty list
// of a restriction, or an empty correlation, is not (it means something else).
func Diff(got, want *msg.Message) string {
	var out []string
	diff(&out, "Message", reflect.ValueOf(got).Elem(), reflect.ValueOf(want).Elem())
	return strings.Join(out, "; ")
}

func diff(out *[]string, path string, a, b reflect.Value) {
	if a.Kind() != reflect.Struct || path == "Message.Restrict" {
		if x, y := a.Interface(), b.Interface(); !reflect.DeepEqual(x, y) {
			*out = append(*out, fmt.Sprintf("%s: got %v, want %v", path, x, y))
		}
		return
	}
	for i := range a.NumField() {
		f := a.Type().Field(i)
		at := path + "." + f.Name
		switch {
		case !f.IsExported(), at == "Message.After", at == "Message.Serial":
		case (at == "Message.Payload.Data" || at == "Message.User") && a.Field(i).Len() == 0 && b.Field(i).Len() == 0:
		case f.Type.Kind() == reflect.Pointer && !a.Field(i).IsNil() && !b.Field(i).IsNil():
			diff(out, at, a.Field(i).Elem(), b.Field(i).Elem())
		default:
			diff(out, at, a.Field(i), b.Field(i))
		}
	}
}

// Random is a message of random fields, with every edge that the codec treats
// apart: absent and empty, extreme numbers, long and odd strings.
func Random(r *rand.Rand) *msg.Message {
	str := func() string {
		return []string{"", "a", "t/1", "\x00\xff", strings.Repeat("x", r.IntN(400)), "ä/…"}[r.IntN(6)]
	}
	num := func() int64 {
		return []int64{0, 1, -1, math.MaxInt64, math.MinInt64, int64(r.Uint64())}[r.IntN(6)]
	}
	m := &msg.Message{
		Topic: str(), QoS: msg.QoS(r.IntN(3)), Retain: r.IntN(2) == 0, NoEcho: r.IntN(2) == 0,
		Via:     []string{"", msg.ViaMQTT, msg.ViaWAMP, msg.ViaJSON, msg.ViaHTTP, msg.ViaSelf, "other"}[r.IntN(7)],
		Expires: num(), ResponseTopic: str(), Key: str(),
		Origin:  msg.Origin{Session: uint64(num()), User: str(), Role: str(), Disclose: r.IntN(2) == 0},
		Payload: msg.Payload{Form: msg.Form(r.IntN(2)), Codec: msg.Codec(r.IntN(3)), Text: r.IntN(2) == 0, ContentType: str(), Data: []byte(str())},
	}
	if r.IntN(2) == 0 {
		m.Correlation = []byte(str())
	}
	for range r.IntN(4) {
		m.User = append(m.User, msg.Property{Name: str(), Value: str()})
	}
	if r.IntN(3) == 0 {
		strs := func() []string {
			return [][]string{nil, {}, {str()}, {str(), str()}}[r.IntN(4)]
		}
		ids := func() []uint64 { return [][]uint64{nil, {}, {uint64(num()), 1}}[r.IntN(3)] }
		m.Restrict = &msg.Restriction{
			Sessions: ids(), ExcludeSessions: ids(), Users: strs(), ExcludeUsers: strs(), Roles: strs(), ExcludeRoles: strs(),
		}
	}
	return m
}
