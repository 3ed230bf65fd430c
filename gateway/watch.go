package gateway

import (
	"encoding/binary"
	"time"

	"parley/msg"
	"parley/subproto"
)

// violation is a reason to fail a connection: what the peer is told and what the
// handler hears.
type violation struct {
	code   int
	reason string
	cause  error
}

func protocolError(reason string) *violation {
	return &violation{subproto.CloseProtocol, reason, msg.ErrProtocol}
}

// watcher follows the frame headers of what the peer sends and stops the first
// frame that breaks RFC 6455 or a limit, before the library sees it: the library
// lets unmasked frames, floods of control frames and endless empty fragments
// pass, and learns a length only by reading. Owned by the reader.
type watcher struct {
	deflate bool // permessage-deflate was negotiated
	limits  *Limits

	hdr  [14]byte
	have int   // bytes of hdr
	left int64 // payload bytes left of the current frame

	inMessage bool  // a data message has begun and its final frame has not come
	last      bool  // the frame whose payload is passing ends its message
	data      bool  // that frame is a data frame
	size      int64 // payload bytes declared so far in this message
	empty     int   // empty fragments in this message

	tokens float64 // control frames the peer may still send
	filled time.Time
}

// busy tells whether a message or a frame header has begun and not ended.
func (w *watcher) busy() bool { return w.inMessage || w.have > 0 || w.left > 0 }

// feed looks at p, which is about to be handed to the library, and returns how
// many bytes of it are good. When that is fewer than all, v says why.
func (w *watcher) feed(p []byte, limit int64) (good int, v *violation) {
	for good < len(p) {
		if w.left > 0 {
			n := min(w.left, int64(len(p)-good))
			good += int(n)
			if w.left -= n; w.left == 0 {
				w.payloadEnd()
			}
			continue
		}
		start := good
		for good < len(p) && !w.headerDone() {
			w.hdr[w.have] = p[good]
			w.have++
			good++
			// The first two bytes already tell most faults: a peer that sends
			// no more must not wait for its answer.
			if w.have == 2 {
				if v := w.checkStart(); v != nil {
					return start, v
				}
			}
		}
		if !w.headerDone() {
			return good, nil
		}
		if v := w.header(limit); v != nil {
			return start, v
		}
	}
	return good, nil
}

func (w *watcher) headerDone() bool {
	return w.have >= 2 && w.have == 6+lengthBytes(w.hdr[1])
}

func lengthBytes(b byte) int {
	switch b &^ bitMask {
	case 126:
		return 2
	case 127:
		return 8
	}
	return 0
}

// checkStart judges the two bytes every header begins with (section 5.2).
func (w *watcher) checkStart() *violation {
	op, fin := w.hdr[0]&0x0f, w.hdr[0]&bitFin != 0
	if rsv := w.hdr[0] & 0x70; rsv != 0 {
		first := op == opText || op == opBinary
		if rsv != bitRSV1 || !w.deflate || !first {
			return protocolError("reserved bits set")
		}
	}
	switch op {
	case opContinuation:
		if !w.inMessage {
			return protocolError("continuation without a message") // section 5.4
		}
	case opText, opBinary:
		if w.inMessage {
			return protocolError("new message inside a fragmented one") // section 5.4
		}
	case opClose, opPing, opPong:
		if !fin {
			return protocolError("fragmented control frame") // section 5.5
		}
		if w.hdr[1]&^bitMask > maxControl {
			return protocolError("control frame too long") // section 5.5
		}
	default:
		return protocolError("reserved opcode")
	}
	if w.hdr[1]&bitMask == 0 {
		return protocolError("frame not masked") // section 5.1
	}
	return nil
}

// header judges a complete header and begins its payload.
func (w *watcher) header(limit int64) *violation {
	var n uint64
	switch b := w.hdr[1] &^ bitMask; b {
	case 126:
		n = uint64(binary.BigEndian.Uint16(w.hdr[2:]))
	case 127:
		if n = binary.BigEndian.Uint64(w.hdr[2:]); n > 1<<63-1 {
			return protocolError("length has its highest bit set") // section 5.2
		}
	default:
		n = uint64(b)
	}
	w.have = 0
	op, fin := w.hdr[0]&0x0f, w.hdr[0]&bitFin != 0
	w.data = op < opClose
	w.last = fin
	switch {
	case w.data:
		if !w.inMessage {
			w.inMessage, w.size, w.empty = true, 0, 0
		}
		if n > uint64(limit) || w.size+int64(n) > limit {
			return &violation{subproto.CloseTooBig, "message too big", msg.ErrTooLarge}
		}
		w.size += int64(n)
		if n == 0 && !fin {
			if w.empty++; w.empty > w.limits.EmptyFragments {
				return &violation{subproto.ClosePolicy, "too many empty fragments", msg.ErrProtocol}
			}
		}
	case op != opClose:
		if !w.spend() {
			return &violation{subproto.ClosePolicy, "too many control frames", msg.ErrProtocol}
		}
	}
	if w.left = int64(n); n == 0 {
		w.payloadEnd()
	}
	return nil
}

func (w *watcher) payloadEnd() {
	if w.data && w.last {
		w.inMessage = false
	}
}

// spend takes one control frame from the budget: a token bucket of ControlBurst,
// filled with ControlRate a second.
func (w *watcher) spend() bool {
	now := time.Now()
	if w.filled.IsZero() {
		w.tokens = float64(w.limits.ControlBurst)
	} else {
		w.tokens = min(float64(w.limits.ControlBurst), w.tokens+now.Sub(w.filled).Seconds()*w.limits.ControlRate)
	}
	w.filled = now
	if w.tokens < 1 {
		return false
	}
	w.tokens--
	return true
}
