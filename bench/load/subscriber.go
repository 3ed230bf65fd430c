package load

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"time"
)

// subscriber takes what one filter matches and checks every message.
type subscriber struct {
	// Fixed after construction.
	c          *conn
	g          *Group
	onProgress func()

	// Owned by the reader until it ends.
	streams []*Stream // by publisher; nil: not to be heard here
	delays  Histogram
	ack     [4]byte
	pending uint64
	bad     uint64 // messages that nobody sent, or not like this
	dups    uint64 // messages with the DUP flag: redelivered without a reconnect

	// Shared.
	received atomic.Uint64
}

func (s *subscriber) read() error {
	for {
		err := s.c.receive(s.take)
		s.received.Add(s.pending)
		s.pending = 0
		if err != nil {
			return err
		}
		s.onProgress()
	}
}

func (s *subscriber) take(first byte, body []byte) error {
	if first>>4 != typePublish {
		return fmt.Errorf("type %d for a subscriber: %w", first>>4, ErrPacket)
	}
	m, err := parsePublish(first, body)
	if err != nil {
		return err
	}
	if m.qos > 0 {
		s.ack = [4]byte{typePuback << 4, 2, byte(m.id >> 8), byte(m.id)}
		s.c.out = appendFrame(s.c.out, opBinary, s.ack[:])
	}
	if m.dup {
		s.dups++
	}
	s.pending++
	number, p, ok := s.check(m)
	if !ok {
		s.bad++
		return nil
	}
	if s.streams[p.index].Take(number.number) {
		if number.sent >= s.g.since.Load() {
			s.delays.Add(time.Duration(s.g.clock() - number.sent))
		}
		p.done(number.number)
	}
	return nil
}

// check compares a message with what its publisher sent.
func (s *subscriber) check(m publish) (stamp, *publisher, bool) {
	st, err := getStamp(m.payload)
	if err != nil || st.run != s.g.run || int(st.publisher) >= len(s.streams) || s.streams[st.publisher] == nil {
		return st, nil, false
	}
	p := s.g.publishers[st.publisher]
	template := p.template[p.payload:]
	ok := st.number < p.sent.Load() && m.qos == p.qos &&
		string(m.topic) == s.g.plan.Topic(int(st.publisher)) &&
		len(m.payload) == len(template) && bytes.Equal(m.payload[stampSize:], template[stampSize:])
	return st, p, ok
}
