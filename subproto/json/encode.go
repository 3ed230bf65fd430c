package json

import (
	"encoding/base64"
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
	case kindSubscribe:
		dst = appendMember(dst, "epoch", r.epoch)
		dst = append(dst, `,"offset":`...)
		dst = strconv.AppendUint(dst, uint64(r.offset), 10)
		dst = append(dst, `,"positioned":true`...)
		if r.wasRecovering {
			dst = append(dst, `,"was_recovering":true,"recovered":false`...)
		}
	case kindPublish:
		if r.offset != 0 {
			dst = append(dst, `,"offset":`...)
			dst = strconv.AppendUint(dst, uint64(r.offset), 10)
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

// publication implements codec.
func (text) publication(m *msg.Message, retained bool) []byte {
	value, encoding := m.JSONView()
	dst := make([]byte, 0, 128+len(value)+len(m.Topic))
	dst = append(dst, `{"data":`...)
	dst = append(dst, value...)
	if m.Stored() && !retained {
		dst = append(dst, `,"offset":`...)
		dst = strconv.AppendUint(dst, uint64(m.Offset), 10)
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
