package wamp

import (
	"errors"
	"strings"

	"parley/msg"
)

// publishOptions are those of PUBLISH that mean something to us; others are
// ignored, as the specification wants.
type publishOptions struct {
	acknowledge, disclose, retain bool
	excludeMe                     bool
	restrict                      *msg.Restriction
	unsupported                   bool // ppt_*: the arguments are not what they seem
	key                           *string

	user          []msg.Property
	responseTopic string
	correlation   []byte
}

// maxKey is the longest idempotency key in bytes.
const maxKey = 256

var errKey = errors.New("an idempotency key has 1 to 256 bytes")

// onPublish: [PUBLISH, Request|id, Options|dict, Topic|uri, Arguments|list,
// ArgumentsKw|dict]. Without acknowledge no error is reported (basic profile
// section 7.2.2).
func (h *handler) onPublish(m request) error {
	id, uri := m.id(1), m.str(3)
	o := publishOptions{excludeMe: true}
	m.dict(2, func(key string, v []byte) error { return o.read(h.w, key, v) })
	p := m.payload(4)
	if m.err != nil {
		return m.err
	}
	count(h.e.received)
	if o.key != nil && (*o.key == "" || len(*o.key) > maxKey) {
		if o.acknowledge {
			h.refuse(typePublish, id, uriInvalidArgument, errKey.Error())
		}
		return nil
	}
	out, err := o.message(uri, p)
	if err != nil {
		if o.acknowledge {
			h.refuseErr(typePublish, id, err)
		}
		return nil
	}
	if !o.acknowledge {
		h.session.Publish(out, nil)
		return nil
	}
	h.session.Publish(out, func(at msg.Offset, err error) { // hub wakes us
		h.box.Put(outcome{do: func() { h.published(id, out, at, err) }})
	})
	return nil
}

// published acknowledges m, which is at offset at, 0 if it was not stored.
func (h *handler) published(request uint64, m *msg.Message, at msg.Offset, err error) {
	switch {
	case err != nil:
		h.refuseErr(typePublish, request, err)
	case at != 0:
		h.reply(typePublished, request, h.pubIDs.ofOffset(at))
	default: // After and Serial are set by now
		h.reply(typePublished, request, h.pubIDs.of(m))
	}
}

func (o *publishOptions) read(w wire, key string, v []byte) (err error) {
	switch key {
	case "acknowledge":
		return flag(w, v, &o.acknowledge)
	case "exclude_me":
		return flag(w, v, &o.excludeMe)
	case "disclose_me":
		return flag(w, v, &o.disclose)
	case "retain":
		return flag(w, v, &o.retain)
	case "exclude", "eligible", "exclude_authid", "eligible_authid", "exclude_authrole", "eligible_authrole":
		return o.readRestriction(w, key, v)
	case keyUser:
		o.user, err = readProperties(w, v)
	case keyResponseTopic:
		var uri string
		if err = word(w, v, &uri); err == nil {
			o.responseTopic, err = msg.TopicOfURI(uri)
		}
	case keyCorrelation:
		var ok bool
		if o.correlation, ok = w.bytes(v); !ok {
			var s string
			err = word(w, v, &s)
			o.correlation = []byte(s)
		}
	case keyKey:
		o.key = new(string)
		err = word(w, v, o.key)
	default:
		if strings.HasPrefix(key, "ppt_") {
			o.unsupported = true
			var s string
			err = word(w, v, &s)
		}
	}
	return err
}

// readRestriction reads black- and whitelists (advanced profile, subscriber
// black- and whitelisting).
func (o *publishOptions) readRestriction(w wire, key string, v []byte) error {
	if w.shape(v) == shapeNull {
		return nil
	}
	if o.restrict == nil {
		o.restrict = &msg.Restriction{}
	}
	r, err := o.restrict, error(nil)
	switch key {
	case "exclude":
		r.ExcludeSessions, err = ids(w, v)
	case "eligible":
		r.Sessions, err = ids(w, v)
	case "exclude_authid":
		r.ExcludeUsers, err = texts(w, v)
	case "eligible_authid":
		r.Users, err = texts(w, v)
	case "exclude_authrole":
		r.ExcludeRoles, err = texts(w, v)
	case "eligible_authrole":
		r.Roles, err = texts(w, v)
	}
	return err
}

// readProperties reads a list of [name, value] pairs.
func readProperties(w wire, v []byte) (out []msg.Property, err error) {
	if w.shape(v) != shapeList {
		return nil, errType
	}
	_, err = w.list(v, maxDepth, func(pair []byte) error {
		p, err := texts(w, pair)
		if err == nil && len(p) != 2 {
			err = errType
		}
		if err == nil {
			out = append(out, msg.Property{Name: p[0], Value: p[1]})
		}
		return err
	})
	return out, err
}

// message builds what is published.
func (o *publishOptions) message(uri string, p msg.Payload) (*msg.Message, error) {
	topic, err := msg.TopicOfURI(uri)
	if err == nil {
		err = msg.Publishable(topic)
	}
	if err == nil && (o.unsupported || o.key != nil && !o.acknowledge) { // a key promises what is only told by PUBLISHED
		err = msg.ErrNotSupported
	}
	if err != nil {
		return nil, err
	}
	m := &msg.Message{
		Topic:         topic,
		Payload:       p,
		Retain:        o.retain,
		Via:           msg.ViaWAMP,
		ResponseTopic: o.responseTopic,
		Correlation:   o.correlation,
		User:          o.user,
		NoEcho:        o.excludeMe,
		Restrict:      o.restrict,
	}
	if o.key != nil {
		m.Key = *o.key
	}
	m.Origin.Disclose = o.disclose
	if o.acknowledge {
		m.QoS = 1
	}
	return m, nil
}
