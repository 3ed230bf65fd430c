package load

import (
	"encoding/binary"
	"fmt"
)

// Stream checks what one subscriber hears from one publisher, whose messages are
// numbered from 0. A stream of any QoS without a reconnect should hold every
// number once and in order [MQTT-4.6.0-6]. Not safe for concurrent use.
type Stream struct {
	next    uint64              // one above the highest number taken
	missing map[uint64]struct{} // numbers below next that were passed over

	Received   uint64 // different numbers taken
	Duplicates uint64 // numbers taken again
	Reordered  uint64 // numbers that came after a higher one
}

// Take notes a number below sent; it reports whether it is new. Numbers that
// were never sent are the caller's to refuse: a gap up to them would be endless.
func (s *Stream) Take(n uint64) bool {
	switch {
	case n == s.next:
		s.next++
	case n > s.next:
		if s.missing == nil {
			s.missing = make(map[uint64]struct{})
		}
		for ; s.next < n; s.next++ {
			s.missing[s.next] = struct{}{}
		}
		s.next++
	default:
		if _, ok := s.missing[n]; !ok {
			s.Duplicates++
			return false
		}
		delete(s.missing, n)
		s.Reordered++
	}
	s.Received++
	return true
}

// Lost is how many of the first sent numbers never came.
func (s *Stream) Lost(sent uint64) uint64 {
	return uint64(len(s.missing)) + sent - min(sent, s.next)
}

// Payloads begin with who sent them in which run, their number and when; the
// rest is a pattern of the sender's.
const stampSize = 4 + 4 + 8 + 8

type stamp struct {
	run, publisher uint32
	number         uint64
	sent           int64 // nanoseconds since the group's start
}

func (s stamp) put(b []byte) {
	binary.BigEndian.PutUint32(b, s.run)
	binary.BigEndian.PutUint32(b[4:], s.publisher)
	binary.BigEndian.PutUint64(b[8:], s.number)
	binary.BigEndian.PutUint64(b[16:], uint64(s.sent))
}

func getStamp(b []byte) (stamp, error) {
	if len(b) < stampSize {
		return stamp{}, fmt.Errorf("payload of %d bytes: %w", len(b), ErrPacket)
	}
	return stamp{
		run:       binary.BigEndian.Uint32(b),
		publisher: binary.BigEndian.Uint32(b[4:]),
		number:    binary.BigEndian.Uint64(b[8:]),
		sent:      int64(binary.BigEndian.Uint64(b[16:])),
	}, nil
}

func fill(b []byte, publisher uint32) {
	for i := range b {
		b[i] = byte(publisher)*31 + byte(i)
	}
}
