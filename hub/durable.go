package hub

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"parley/msg"
	"parley/persist"
)

// A named session with an expiry is durable. What must be on disk before a packet
// leaves (that it exists, its filters, QoS 2 in both directions) goes through the
// committer as a control record; what may be lost in a crash without harm
// (positions, acknowledgements) waits in memory for the next checkpoint, which
// writes the whole session.

// Kinds of control records about a session; Key is its name. The Value begins
// with the session's id: a record of an earlier session of that name is void.
const (
	controlSession  = 2 // it exists: header; Value nil: it has ended
	controlFilters  = 3 // filters added or replaced
	controlUnfilter = 4 // filters removed
	controlExact    = 5 // a PUBLISH at QoS 2 was stored: its offset (put in front by the store), packet id
	controlRelease  = 6 // PUBREL: packet id
	controlAssign   = 7 // a delivery at QoS 2 is about to be sent: flightState
	controlReceived = 8 // PUBREC: packet id
	controlBack     = 9 // it has a connection again, or another expiry: expiry
)

const sessionPrefix = "s/"

// control begins a control record of s.
func (s *Session) control(kind uint8, fill func(*encoder)) *persist.Control {
	e := &encoder{buf: make([]byte, 0, 32)}
	e.byte(stateVersion)
	e.number(s.id)
	fill(e)
	return &persist.Control{Namespace: s.ns.name, Kind: kind, Key: s.name, Value: e.buf}
}

// exists is the record of a new session.
func (s *Session) exists(head msg.Offset) *persist.Control {
	w := s.who.Load()
	return s.control(controlSession, func(e *encoder) {
		e.text(w.id.User)
		e.text(w.role)
		e.number(uint64(s.expiry))
		e.number(uint64(head + 1))
	})
}

// submitControl makes ctl durable, then calls done on the committer. wait: if the
// store is full it waits instead of being refused.
func (c *hold) submitControl(ctl *persist.Control, wait bool, done func(error)) {
	c.submitted.Add(1)
	c.s.hub.com.submit(op{c: c, ns: c.s.ns, control: ctl, wait: wait, done: func(_ msg.Offset, err error) { done(err) }})
}

// afterAll calls done on the committer once everything is on disk that was
// submitted for the session before, by whatever connection.
func (c *hold) afterAll(done func()) {
	c.submitted.Add(1)
	c.s.hub.com.submit(op{c: c, ns: c.s.ns, after: c.s, done: func(msg.Offset, error) { done() }})
}

// touch has the next checkpoint write the session. s.mu is held.
func (s *Session) touch() {
	if s.durable && !s.dirty {
		s.dirty = true
		s.ns.touched.add(s.name)
	}
}

// replace takes an ended session off its name, and off the disk if it is there,
// and gives the name to the session of c, if not nil, which goes to disk if it
// is to outlive its connection. ns.mu is held, so that ends and beginnings of one
// name are submitted in their order.
func (ns *namespace) replace(old *Session, c *hold) {
	if old != nil {
		delete(ns.clients, old.name)
		old.mu.Lock()
		durable := old.durable
		old.durable = false
		old.mu.Unlock()
		if durable {
			ns.touched.add(old.name)
			ends := op{ns: ns, control: &persist.Control{Namespace: ns.name, Kind: controlSession, Key: old.name}}
			ns.ending[old.name]++
			ends.done = func(msg.Offset, error) { ns.ended(old.name) }
			if c != nil {
				c.record(ends)
			} else {
				ns.hub.com.submit(ends)
			}
		}
	}
	if c == nil {
		return
	}
	ns.clients[c.s.name] = c.s
	if c.s.expiry > 0 {
		c.s.durable, c.s.floor = true, ns.head+1
		c.record(op{ns: ns, control: c.s.exists(ns.head)})
	}
}

// recordBack notes that the session, which was without a connection, has one again,
// or has another expiry: what comes after a crash may have been sent to it. A full
// store, in which nothing can be noted, keeps nobody from what waits for him. ns.mu
// and the session's mu are held.
func (c *hold) recordBack() {
	c.submitControl(c.s.control(controlBack, func(e *encoder) { e.number(uint64(c.s.expiry)) }), false, func(err error) {
		if !errors.Is(err, msg.ErrStoreFull) {
			c.unrecorded = cmp.Or(c.unrecorded, err)
		}
	})
}

// ended notes that the end of a session is on disk, or never will be.
func (ns *namespace) ended(name string) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.ending[name]--; ns.ending[name] <= 0 {
		delete(ns.ending, name)
	}
}

// record submits a control record that Attach waits for.
func (c *hold) record(o op) {
	o.c = c
	before := o.done
	o.done = func(at msg.Offset, err error) {
		c.unrecorded = cmp.Or(c.unrecorded, err)
		if before != nil {
			before(at, err)
		}
	}
	c.submitted.Add(1)
	c.s.hub.com.submit(o)
}

// applyControl brings a session's state up to date at the start.
func (ns *namespace) applyControl(c persist.Control) error {
	if st := ns.loading[c.Key]; st != nil && c.Seq <= st.control {
		return nil // the end of a checkpoint is missing: this entry is newer than its position
	}
	if c.Kind == controlSession && c.Value == nil {
		delete(ns.loading, c.Key)
		return nil
	}
	value, offset := c.Value, msg.Offset(0)
	if c.Kind == controlExact {
		if len(value) < 8 {
			return errState
		}
		offset, value = msg.Offset(binary.BigEndian.Uint64(value)), value[8:]
	}
	d, err := newStateDecoder(value)
	if err != nil {
		return err
	}
	id := d.number()
	st := ns.loading[c.Key]
	if c.Kind == controlSession {
		fresh := &sessionState{id: id, user: d.text(), role: d.text(), expiry: time.Duration(d.number()), next: d.offset()}
		if st == nil || st.id != id { // else the table knows it better
			ns.loading[c.Key] = fresh
		}
		return d.end()
	}
	if st == nil || st.id != id {
		return nil
	}
	switch c.Kind {
	case controlFilters:
		st.addFilters(d.filterList())
	case controlUnfilter:
		var fs []msg.Filter
		for range d.count(3) {
			fs = append(fs, d.filter())
		}
		st.removeFilters(fs)
	case controlExact:
		st.publishExact(exactState{uint16(d.number()), offset})
	case controlRelease:
		st.release(uint16(d.number()))
	case controlAssign:
		st.assign(d.flight())
	case controlReceived:
		st.receive(uint16(d.number()))
	case controlBack:
		st.expiry, st.deadline = time.Duration(d.number()), 0
	default:
		return fmt.Errorf("control record %d is of unknown kind %d", c.Seq, c.Kind)
	}
	return d.end()
}

// loadSession takes a session from the checkpoint table.
func (ns *namespace) loadSession(key string, value []byte) error {
	st, err := decodeState(value)
	if err != nil {
		return fmt.Errorf("session %q: %w", key, err)
	}
	ns.loading[strings.Clone(key)] = st
	return nil
}
