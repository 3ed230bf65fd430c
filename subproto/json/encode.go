package json

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"

	"parley/msg"
)

// separate implements codec: SDKs split a message at newlines.
func (text) separate(dst []byte) []byte { return append(dst, '\n') }

// ping implements codec.
func (text) ping(dst []byte) []byte { return append(dst, "{}"...) }

// reply implements codec.
func (text) reply(dst []byte, r *reply) []byte {
	dst = append(dst, '{')
	if r.id != 0 {
		dst = append(dst, `"id":`...)
		dst = strconv.AppendUint(dst, uint64(r.id), 10)
		dst = append(dst, ',')
	}
	if e := r.err; e != nil {
		dst = append(dst, `"error":{"code":`...)
		dst = strconv.AppendUint(dst, uint64(e.code), 10)
		dst = append(dst, `,"message":`...)
		dst = appendQuoted(dst, e.message)
		if e.temporary {
			dst = append(dst, `,"temporary":true`...)
		}
		return append(dst, "}}"...)
	}
	dst = append(dst, '"')
	dst = append(dst, r.kind.name()...)
	dst = append(dst, `":{`...)
	start := len(dst)
	dst = r.fields(dst)
	if len(dst) > start { // every field is written with a comma before it
		dst = append(dst[:start], dst[start+1:]...)
	}
	return append(dst, "}}"...)
}

// fields appends the members of a result, each after a comma.
func (r *reply) fields(dst []byte) []byte {
	switch r.kind {
	case kindConnect:
		dst = appendMember(dst, "client", r.client)
		dst = appendMember(dst, "version", r.version)
		if r.ping > 0 {
			dst = append(dst, `,"ping":`...)
			dst = strconv.AppendInt(dst, int64(r.ping), 10)
		}
		dst = append(dst, `,"pong":`...)
		dst = strconv.AppendBool(dst, r.pong)
		dst = r.session(dst)
	case kindSubscribe:
		dst = r.position(dst)
	case kindHistory:
		dst = append(dst, `,"publications":[`...)
		for i, p := range r.publications {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, p...)
		}
		dst = append(dst, ']')
		dst = appendMember(dst, "epoch", r.epoch)
		dst = appendOffset(dst, r.offset)
	case kindPublish:
		if r.offset != 0 {
			dst = appendOffset(dst, r.offset)
		}
	case kindRPC:
		dst = append(dst, `,"data":`...)
		dst = append(dst, r.data...)
		if r.encoding != "" {
			dst = appendMember(dst, "encoding", r.encoding)
		}
	}
	return dst
}

// position appends what a subscribe reply says of the subscription's position.
func (r *reply) position(dst []byte) []byte {
	dst = appendMember(dst, "epoch", r.epoch)
	if r.positioned {
		dst = appendOffset(dst, r.offset)
		dst = append(dst, `,"positioned":true`...)
	}
	if r.recoverable {
		dst = append(dst, `,"recoverable":true`...)
	}
	if r.wasRecovering {
		dst = append(dst, `,"was_recovering":true,"recovered":`...)
		dst = strconv.AppendBool(dst, r.recovered)
	}
	if r.data != nil {
		dst = append(dst, `,"data":`...)
		dst = append(dst, r.data...)
	}
	return dst
}

// session appends what a connect reply says of a durable session.
func (r *reply) session(dst []byte) []byte {
	if r.data != nil {
		dst = append(dst, `,"data":`...)
		dst = append(dst, r.data...)
	}
	if len(r.subs) == 0 {
		return dst
	}
	dst = append(dst, `,"subs":{`...)
	for i, name := range slices.Sorted(maps.Keys(r.subs)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendQuoted(dst, name)
		dst = append(dst, ":{"...)
		start := len(dst)
		sub := reply{epoch: r.epoch, wasRecovering: true, recovered: !r.subs[name].gap}
		dst = sub.position(dst)
		dst = append(append(dst[:start], dst[start+1:]...), '}')
	}
	return append(dst, '}')
}

func appendOffset(dst []byte, o msg.Offset) []byte {
	dst = append(dst, `,"offset":`...)
	return strconv.AppendUint(dst, uint64(o), 10)
}

func appendMember(dst []byte, name, value string) []byte {
	dst = append(dst, ',')
	dst = appendQuoted(dst, name)
	dst = append(dst, ':')
	return appendQuoted(dst, value)
}

// channel implements codec.
func (text) channel(name string) []byte {
	b := append([]byte(nil), `{"push":{"channel":`...)
	return appendQuoted(b, name)
}

// push implements codec.
func (text) push(dst, channel, publication []byte) []byte {
	dst = append(dst, channel...)
	dst = append(dst, `,"pub":`...)
	dst = append(dst, publication...)
	return append(dst, "}}"...)
}

// unsubscribed implements codec.
func (text) unsubscribed(dst, channel []byte, code uint32, reason string) []byte {
	dst = append(dst, channel...)
	dst = append(dst, `,"unsubscribe":{"code":`...)
	dst = strconv.AppendUint(dst, uint64(code), 10)
	dst = appendMember(dst, "reason", reason)
	return append(dst, "}}}"...)
}

// subscribed implements codec.
func (text) subscribed(dst, channel []byte, epoch string, offset msg.Offset) []byte {
	dst = append(dst, channel...)
	dst = append(dst, `,"subscribe":{"positioned":true`...)
	dst = appendMember(dst, "epoch", epoch)
	dst = appendOffset(dst, offset)
	return append(dst, "}}}"...)
}

// message implements codec.
func (text) message(dst, data []byte) []byte {
	dst = append(dst, `{"push":{"message":{"data":`...)
	dst = append(dst, data...)
	return append(dst, "}}}"...)
}

// publication implements codec.
func (text) publication(m *msg.Message, marks mark) []byte {
	retained := marks&markRetained != 0
	value, encoding := m.JSONView()
	dst := make([]byte, 0, 128+len(value)+len(m.Topic))
	dst = append(dst, `{"data":`...)
	dst = append(dst, value...)
	if m.Stored() && !retained {
		dst = appendOffset(dst, m.Offset)
	}
	if m.Time != 0 {
		dst = append(dst, `,"time":`...)
		dst = strconv.AppendInt(dst, m.Time, 10)
	}
	dst = append(dst, `,"tags":{"topic":`...)
	dst = appendQuoted(dst, m.Topic)
	dst = appendMember(dst, "via", m.Via)
	if encoding != "" {
		dst = appendMember(dst, "encoding", encoding)
	}
	if retained {
		dst = appendMember(dst, "retained", "true")
		if m.Stored() {
			dst = appendMember(dst, "offset", strconv.FormatUint(uint64(m.Offset), 10))
		}
	}
	if marks&markReplayed != 0 {
		dst = appendMember(dst, "replayed", "true")
	}
	if marks&markRedelivered != 0 {
		dst = appendMember(dst, "redelivered", "true")
	}
	dst = appendProperties(dst, m, encoding)
	dst = append(dst, '}')
	if m.Origin.Disclose {
		dst = append(dst, `,"info":{"user":`...)
		dst = appendQuoted(dst, m.Origin.User)
		dst = appendMember(dst, "client", clientID(m.Origin.Session))
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// clientID names a session to clients of this protocol.
func clientID(session uint64) string { return strconv.FormatUint(session, 10) }

const jsonType = "application/json"

// Names of tags that carry MQTT 5 properties ([MQTT-3.3.2.3]); a user property
// has its name after tagUser.
const (
	tagContentType   = "content_type"
	tagResponseTopic = "response_topic"
	tagCorrelation   = "correlation"
	tagUser          = "h."
)

func appendProperties(dst []byte, m *msg.Message, encoding string) []byte {
	if t := m.Payload.ContentType; t != "" && (encoding != "" || t != jsonType) {
		dst = appendMember(dst, tagContentType, t)
	}
	if m.ResponseTopic != "" {
		dst = appendMember(dst, tagResponseTopic, m.ResponseTopic)
	}
	if m.Correlation != nil {
		dst = appendMember(dst, tagCorrelation, base64.StdEncoding.EncodeToString(m.Correlation))
	}
	if len(m.User) == 0 {
		return dst
	}
	values := make(map[string][]string, len(m.User))
	for _, p := range m.User {
		values[p.Name] = append(values[p.Name], p.Value)
	}
	for _, p := range m.User { // in the order of first occurrence
		if v, ok := values[p.Name]; ok {
			delete(values, p.Name)
			dst = appendMember(dst, tagUser+p.Name, tagValue(v))
		}
	}
	return dst
}

// tagValue is the value of a tag for a property with the values v: the value
// itself, or a JSON array if there are several or it looks like one.
func tagValue(v []string) string {
	if len(v) == 1 && !strings.HasPrefix(v[0], "[") {
		return v[0]
	}
	out := []byte{'['}
	for i, s := range v {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendQuoted(out, s)
	}
	return string(append(out, ']'))
}
