package mqtt

import "time"

// A tick that comes later than lateBy tells that the broker did not run, or not
// this handler: what the peer sent in time may wait to be read, and is given
// lateGrace.
const (
	lateBy    = 100 * time.Millisecond
	lateGrace = time.Second
)

// startKeepAlive begins to watch the peer's silence: one and a half times its
// keep-alive ([MQTT-3.1.2-22]). There is one timer per connection; input only
// notes its time, and the timer, when it fires, is set again for the remainder.
func (h *handler) startKeepAlive(seconds uint16) {
	if seconds == 0 {
		return
	}
	h.keep = time.Duration(seconds) * 1500 * time.Millisecond
	h.seen = h.e.now()
	h.due = h.seen + h.keep
	h.timer = time.AfterFunc(h.keep, func() {
		h.ticked.Store(true)
		h.c.Wake()
	})
}

// tick comes after the timer fired. While the broker does not read the peer, its
// silence proves nothing.
func (h *handler) tick() {
	if h.timer == nil {
		return
	}
	rest, now := h.keep, h.e.now()
	if h.reading {
		rest -= now - h.seen
	}
	if rest <= 0 && now-h.due > lateBy {
		rest = lateGrace
	}
	if rest <= 0 {
		h.fail(fault{0x8d, "keep alive timeout"})
		return
	}
	h.due = now + rest
	h.timer.Reset(rest)
}
