package wamp

// begin starts a message of n elements; send sends it.
func (h *handler) begin(t uint64, n int) *encoder {
	e := &h.work().out
	e.b = e.b[:0]
	e.list(n)
	e.uint(t)
	return e
}

func (h *handler) send() {
	e := &h.scratch.out
	e.endList()
	h.conn.Send(h.w.frame(), e.b)
}

// reply sends [type, ids...].
func (h *handler) reply(t uint64, ids ...uint64) {
	e := h.begin(t, 1+len(ids))
	for _, id := range ids {
		e.uint(id)
	}
	h.send()
}

// refuse answers a request by ERROR: [8, REQUEST.Type, REQUEST.Request,
// Details, Error, Arguments].
func (h *handler) refuse(t, id uint64, uri, text string) {
	n := 5
	if text != "" {
		n++
	}
	e := h.begin(typeError, n)
	e.uint(t)
	e.uint(id)
	e.dict(0)
	e.endDict()
	e.text(uri)
	if text != "" {
		e.list(1)
		e.text(text)
		e.endList()
	}
	h.send()
}

func (h *handler) refuseErr(t, id uint64, err error) {
	f := faultOf(err)
	if f.uri == uriInternal {
		h.conn.Info().Log.Warn("request failed", "type", t, "error", err)
	}
	h.refuse(t, id, f.uri, f.text)
}

// farewell sends ABORT or GOODBYE: [type, Details, Reason].
func (h *handler) farewell(t uint64, uri, text string) {
	e := h.begin(t, 3)
	if text == "" {
		e.dict(0)
	} else {
		e.dict(1)
		e.key("message")
		e.text(text)
	}
	e.endDict()
	e.text(uri)
	h.send()
}
