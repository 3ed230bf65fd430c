package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"
)

// delivery is a QoS 2 message that has come and is not released; without a
// publisher when it did not count.
type delivery struct {
	from   *publisher
	number uint64
}

// subscriber takes what one filter matches and checks every message.
type subscriber struct {
	// Fixed after construction.
	c          *conn
	g          *Group
	onProgress func()

	// Owned by the reader until it ends.
	streams []*Stream // by publisher; nil: not to be heard here
	delays  Histogram
	held    map[uint16]delivery // QoS 2: by packet id, until PUBREL
	pending uint64
	bad     uint64 // messages that nobody sent, or not like this
	dups    uint64 // redelivered without a reconnect: the DUP flag, or a packet id not yet released
	badRels uint64 // PUBRELs of nothing

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
	switch {
	case first == typePubrel<<4|2 && len(body) == 2:
		s.release(binary.BigEndian.Uint16(body))
		return nil
	case first>>4 != typePublish:
		return fmt.Errorf("first byte %#x for a subscriber: %w", first, ErrPacket)
	}
	m, err := parsePublish(first, body)
	if err != nil {
		return err
	}
	switch m.qos {
	case 1:
		s.c.out = appendAck(s.c.out, typePuback, m.id)
	case 2:
		s.c.out = appendAck(s.c.out, typePubrec, m.id)
		if _, again := s.held[m.id]; again { // to be acknowledged, not taken (section 4.3.3)
			s.dups++
			return nil
		}
	}
	if m.dup {
		s.dups++
	}
	s.pending++
	d := s.arrive(m)
	switch {
	case m.qos == 2:
		s.held[m.id] = d
	case d.from != nil:
		d.from.done(d.number)
	}
	return nil
}

// arrive checks and counts a message.
func (s *subscriber) arrive(m publish) delivery {
	number, p, ok := s.check(m)
	if !ok {
		s.bad++
		return delivery{}
	}
	if !s.streams[p.index].Take(number.number) {
		return delivery{}
	}
	if number.sent >= s.g.since.Load() {
		s.delays.Add(time.Duration(s.g.clock() - number.sent))
	}
	return delivery{p, number.number}
}

// release ends a delivery at QoS 2; PUBCOMP is due in any case.
func (s *subscriber) release(id uint16) {
	s.c.out = appendAck(s.c.out, typePubcomp, id)
	d, ok := s.held[id]
	if !ok {
		s.badRels++
		return
	}
	delete(s.held, id)
	if d.from != nil {
		d.from.done(d.number)
	}
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
