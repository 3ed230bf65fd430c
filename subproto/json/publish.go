package json

import (
	"encoding/base64"
	"strconv"
	"strings"

	"parley/msg"
)

// publish is the command: JSON to one topic, acknowledged.
func (h *conn) publish(c *command) {
	if c.data == nil {
		h.refuse(c, errBadRequest)
		return
	}
	m := &msg.Message{Topic: c.channel, Payload: msg.Payload{ContentType: jsonType, Data: compact(c.data)}}
	h.submit(m, c.id, published)
}

// submit gives m to the session. Publishers of this protocol are named to
// receivers, and hear their own publications.
func (h *conn) submit(m *msg.Message, id uint32, apply func(*conn, *outcome)) {
	m.QoS, m.Via, m.Origin.Disclose = 1, msg.ViaJSON, true
	h.engine.received.Inc()
	h.pending++
	h.session.Publish(m, func(o msg.Offset, err error) {
		h.box.Put(outcome{apply: apply, id: id, offset: o, err: err})
	})
}

func published(h *conn, o *outcome) {
	h.answer(&reply{id: o.id, kind: kindPublish, offset: o.offset}, o.err)
}

// rpcPublished answers parley.publish.
func rpcPublished(h *conn, o *outcome) {
	data := []byte("{}")
	if o.offset != 0 {
		data = strconv.AppendUint([]byte(`{"offset":`), uint64(o.offset), 10)
		data = append(data, '}')
	}
	h.answer(&reply{id: o.id, kind: kindRPC, data: data}, o.err)
}

// rpcPublish is the procedure parley.publish.
func (h *conn) rpcPublish(c *command) {
	m, ok := parsePublish(c.data)
	if !ok {
		h.refuse(c, errBadRequest)
		return
	}
	h.submit(m, c.id, rpcPublished)
}

// parsePublish reads the argument of parley.publish. Other than in commands,
// unknown members are refused: nothing but this broker defines them.
func parsePublish(arg []byte) (*msg.Message, bool) {
	m := new(msg.Message)
	var data []byte
	var encoding string
	ok := members(arg, func(name, v []byte) (ok bool) {
		ok = true
		if isNull(v) && string(name) != "data" {
			return ok
		}
		switch string(name) {
		case "channel", "topic":
			m.Topic, ok = unquote(v)
		case "data":
			data = v
		case "encoding":
			encoding, ok = unquote(v)
		case "key":
			m.Key, ok = unquote(v)
		case "retain":
			m.Retain = v[0] == 't'
			ok = v[0] == 't' || v[0] == 'f'
		case "tags":
			ok = members(v, func(name, v []byte) bool { return tag(m, string(name), v) })
		default:
			ok = false
		}
		return ok
	})
	return m, ok && payload(m, data, encoding)
}

// payload decodes data, nil if absent, as encoding says.
func payload(m *msg.Message, data []byte, encoding string) bool {
	if data == nil {
		return encoding == ""
	}
	p, contentType := &m.Payload, jsonType
	ok := true
	switch encoding {
	case "":
		p.Data = compact(data)
	case "text":
		var s string
		s, ok = unquote(data)
		contentType, p.Text, p.Data = "text/plain", true, []byte(s)
	case "base64":
		var err error
		s, is := unquote(data)
		p.Data, err = base64.StdEncoding.DecodeString(s)
		contentType, ok = "application/octet-stream", is && err == nil
	default:
		return false
	}
	if p.ContentType == "" {
		p.ContentType = contentType
	}
	return ok
}

// tag takes one of the tags that publications show, except those that the
// broker itself sets.
func tag(m *msg.Message, name string, v []byte) bool {
	s, ok := unquote(v)
	if user, is := strings.CutPrefix(name, tagUser); is {
		return ok && addUser(m, user, s)
	}
	switch name {
	case tagContentType:
		m.Payload.ContentType = s
	case tagResponseTopic:
		m.ResponseTopic = s
		return ok && msg.ValidTopic(s) == nil
	case tagCorrelation:
		b, err := base64.StdEncoding.DecodeString(s)
		m.Correlation = b
		return ok && err == nil
	default:
		return false
	}
	return ok
}

// addUser adds a user property with the value s, or several if s is an array of
// strings as tagValue makes it.
func addUser(m *msg.Message, name, s string) bool {
	if !strings.HasPrefix(s, "[") {
		m.User = append(m.User, msg.Property{Name: name, Value: s})
		return true
	}
	return elements([]byte(s), func(v []byte) bool {
		value, ok := unquote(v)
		m.User = append(m.User, msg.Property{Name: name, Value: value})
		return ok
	})
}
