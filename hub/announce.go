package hub

import "parley/msg"

// Announce sends the broker's own word (below $SYS) to whoever is subscribed in
// a namespace. It is never stored and needs no permission; receiving it does.
func (h *Hub) Announce(namespace, topic, text string) {
	ns := h.spaces[namespace]
	if ns == nil {
		return
	}
	m := &msg.Message{Topic: topic, Payload: msg.Payload{Text: true, Data: []byte(text)}, Via: msg.ViaSelf}
	ns.emit(m, nil, m.Size(), false)
}
