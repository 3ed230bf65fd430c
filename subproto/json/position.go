package json

import (
	"strconv"
	"strings"

	"parley/msg"
)

// A client that loses its connection before the retained values of a new
// subscription have come holds the position where the subscription began, as one
// does that has had them. The epoch it was given tells the two from others: it
// says where the subscription began, and a client that recovers from just there
// is sent retained values anew, before what it has missed.

// beginning is the epoch in the reply to a new subscription.
func (h *conn) beginning(start msg.Offset) string {
	return h.epoch + "." + strconv.FormatUint(uint64(start), 36)
}

// position tells whether a client's position is one of this log, and whether it
// is where its subscription began.
func (h *conn) position(epoch string, o msg.Offset) (ours, begin bool) {
	if epoch == h.epoch {
		return true, false
	}
	i := strings.LastIndexByte(epoch, '.')
	if i < 0 || epoch[:i] != h.epoch {
		return false, false
	}
	start, err := strconv.ParseUint(epoch[i+1:], 36, 64)
	return err == nil, err == nil && msg.Offset(start) == o
}
