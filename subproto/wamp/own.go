package wamp

import (
	"parley/auth"
	"parley/msg"
)

// Procedures that the engine itself answers, because they are about this
// connection's subscriptions, which nexus does not know.
const (
	procAck    = "parley.ack"                   // (subscription, publication)
	procGaps   = "parley.gaps"                  // ()
	procEvents = "wamp.subscription.get_events" // advanced profile, event history
)

// onOwnCall answers a CALL of one of them; false if uri is none. The first two
// are about what the session owns and need no permission.
func (h *handler) onOwnCall(id uint64, uri string, m *request) bool {
	switch uri {
	case procAck:
		h.onAck(id, m)
	case procGaps:
		h.onGaps(id)
	case procEvents:
		topic, err := msg.TopicOfURI(uri)
		if err == nil {
			err = h.e.o.Policy.Topic(h.creds.identity, h.creds.namespace, auth.Call, topic)
		}
		if err != nil {
			h.refuseErr(typeCall, id, err)
			return true
		}
		h.onGetEvents(id, m)
	default:
		return false
	}
	return true
}

// result begins a RESULT with n elements after the details: [RESULT,
// CALL.Request|id, Details|dict, Arguments|list, ArgumentsKw|dict].
func (h *handler) result(call uint64, n int) *encoder {
	e := h.begin(typeResult, 3+n)
	e.uint(call)
	e.dict(0)
	e.endDict()
	return e
}
