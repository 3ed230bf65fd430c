package hub

import "parley/msg"

// A session may be resumed by a peer that does not speak QoS 2
// (SessionParams.Exact). It gets at QoS 1 what would come at QoS 2. What an
// earlier connection was sent under a packet id, or may have been, is not sent to
// it: only a peer that goes on with the handshake can tell whether it has it
// already [MQTT-4.3.3-1]. That waits for the next such peer, before anything that
// is new to it then, and takes up half of the window at most, so that it cannot
// keep the others from reading.

// waitsForExact tells whether a delivery is none of a peer that does not speak
// QoS 2.
func (f *flight) waitsForExact() bool { return f.qos == 2 && f.packetID != 0 }

// degrade is what a delivery's QoS is for the peer.
func (p *hold) degrade(q msg.QoS) msg.QoS {
	if !p.params.Exact {
		return min(q, 1)
	}
	return q
}

// inFlight is how much of the window is taken. s.mu is held, and s has a hold.
func (s *Session) inFlight() int {
	n := len(s.in.unacked) - s.in.postponed
	if half := s.hold.params.Window / 2; s.in.waiting > half {
		n -= s.in.waiting - half
	}
	return n
}
