package hub

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"parley/msg"
)

// model is what the hub must do, said simply: a log, and sessions whose filters
// each see every message that matches from where they begin, once, in order,
// until it is acknowledged.
type model struct {
	t        *testing.T
	r        *rand.Rand
	seed     uint64
	step     int
	h        *Hub
	pub      *client
	log      []*msg.Message // offset i+1
	sessions map[string]*modelSession
	received int
}

type modelSession struct {
	c       *client // nil: away
	exact   bool
	filters map[msg.Filter]*modelFilter
	flights []*modelFlight // in order of refs
	redo    []*modelFlight // to come again on this connection
	id      uint16
}

// modelFilter has seen everything that matches below pos.
type modelFilter struct {
	qos     msg.QoS
	pos, to msg.Offset // up to to: replayed
}

type modelFlight struct {
	ref      uint64
	offset   msg.Offset
	qos      msg.QoS
	id       uint16
	received int  // in the order of PUBRECs; 0: not yet
	here     bool // sent on this connection
}

func (m *model) fatal(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("seed %d, step %d: %s", m.seed, m.step, fmt.Sprintf(format, args...))
}

func (m *model) filter() msg.Filter {
	return [...]msg.Filter{
		{Pattern: "a/x"}, {Pattern: "a/+"}, {Pattern: "#"}, {Pattern: "+/x"}, {Pattern: "b/#"},
		{Kind: msg.FilterPrefix, Pattern: "a/"}, {Kind: msg.FilterPrefix, Pattern: "b"},
	}[m.r.IntN(7)]
}

// due is the next message for a filter; 0: none.
func (m *model) due(f msg.Filter, s *modelFilter) msg.Offset {
	for o := max(s.pos, 1); int(o) <= len(m.log); o++ {
		if f.Matches(m.log[o-1].Topic) {
			return o
		}
	}
	return 0
}

func (m *model) owes(s *modelSession) bool {
	if len(s.redo) > 0 {
		return true
	}
	for f, mf := range s.filters {
		if m.due(f, mf) != 0 {
			return true
		}
	}
	return false
}

func (m *model) publish() {
	x := &msg.Message{
		Topic: []string{"a", "b", "c"}[m.r.IntN(3)] + "/" + []string{"x", "y"}[m.r.IntN(2)],
		QoS:   msg.QoS(m.r.IntN(3)), Payload: msg.Bytes(make([]byte, m.r.IntN(2000))),
	}
	if o := m.pub.send(x); o == 0 {
		return // transient: may be dropped
	}
	if m.log = append(m.log, x); int(x.Offset) != len(m.log) {
		m.fatal("offset %d of message %d", x.Offset, len(m.log))
	}
}

// attach opens, resumes or takes over.
func (m *model) attach(name string) {
	s := m.sessions[name]
	p := msg.SessionParams{ClientID: name, Expiry: msg.Forever, Exact: m.r.IntN(3) > 0, CleanStart: m.r.IntN(15) == 0}
	c, r := deviceWith(m.t, m.h, p)
	if r.Present != (s != nil && !p.CleanStart) {
		m.fatal("%s: present %v", name, r.Present)
	}
	if !r.Present {
		s = &modelSession{filters: map[msg.Filter]*modelFilter{}}
		m.sessions[name] = s
	}
	s.c, s.exact, s.redo = c, p.Exact, nil
	var received []*modelFlight
	for _, f := range s.flights {
		f.here = false
		switch {
		case f.received != 0:
			received = append(received, f)
		case f.qos < 2 || p.Exact:
			s.redo = append(s.redo, f)
		}
	}
	slices.SortFunc(received, func(a, b *modelFlight) int { return cmp.Compare(a.received, b.received) })
	if !p.Exact {
		received = nil
	}
	if !slices.EqualFunc(r.Received, received, func(a msg.InFlight, b *modelFlight) bool { return a.Ref == b.ref && a.PacketID == b.id }) {
		m.fatal("%s: received %+v, want %d", name, r.Received, len(received))
	}
	for _, f := range received {
		f.here = true
	}
	if len(r.Subscriptions) != len(s.filters) {
		m.fatal("%s: %d filters, want %d", name, len(r.Subscriptions), len(s.filters))
	}
}

func (m *model) subscribe(s *modelSession) {
	sub := msg.Subscription{Filter: m.filter(), QoS: msg.QoS(1 + m.r.IntN(2))}
	if m.r.IntN(2) == 0 {
		sub.From = msg.Replay{Kind: msg.ReplayOffset, Offset: msg.Offset(m.r.IntN(len(m.log) + 5))}
	}
	res := s.c.subscribeAll([]msg.Subscription{sub})[0]
	head := msg.Offset(len(m.log))
	if res.Err != nil || res.Start != head && s.filters[sub.Filter] == nil {
		m.fatal("subscribe %+v: %+v at head %d", sub, res, head)
	}
	f := s.filters[sub.Filter]
	switch {
	case sub.From.Kind != msg.ReplayNone:
		from := min(max(sub.From.Offset, 1), head+1)
		if res.From != from {
			m.fatal("replay from %d begins at %d, want %d", sub.From.Offset, res.From, from)
		}
		f = &modelFilter{pos: from, to: head}
	case f == nil:
		f = &modelFilter{pos: head + 1}
	}
	f.qos = sub.QoS
	s.filters[sub.Filter] = f
}

func (m *model) unsubscribe(s *modelSession) {
	f := m.filter()
	errs := make(chan error, 1)
	s.c.Unsubscribe([]msg.Filter{f}, func(e []error) { errs <- e[0] })
	if err := await(m.t, errs); (err == nil) != (s.filters[f] != nil) {
		m.fatal("unsubscribe %v: %v", f, err)
	}
	delete(s.filters, f)
}

// read takes the next stored delivery, which has to come.
func (m *model) read(name string, s *modelSession) {
	d := s.c.take()
	for d.Message != nil && !d.Message.Stored() {
		d = s.c.take()
	}
	if d.Notice != nil {
		m.fatal("%s: notice %+v", name, d.Notice)
	}
	o := d.Message.Offset
	if len(s.redo) > 0 {
		f := s.redo[0]
		s.redo = s.redo[1:]
		if !d.Redelivered || o != f.offset || d.Ref != f.ref || d.QoS != f.qos || d.PacketID != f.id {
			m.fatal("%s: got offset %d %+v, want again %+v", name, o, d, f)
		}
		f.here = true
		return
	}
	granted := msg.QoS(0)
	for _, sub := range d.Matches {
		f := s.filters[sub.Filter]
		if f == nil {
			m.fatal("%s: offset %d for %v, which it does not hold", name, o, sub.Filter)
		}
		if due := m.due(sub.Filter, f); due != o {
			m.fatal("%s: offset %d for %v, want %d", name, o, sub.Filter, due)
		}
		if d.Replayed != (o <= f.to) {
			m.fatal("%s: offset %d, replayed %v, the replay ends at %d", name, o, d.Replayed, f.to)
		}
		f.pos = o + 1
		granted = max(granted, f.qos)
	}
	q := min(granted, m.log[o-1].QoS)
	if !s.exact {
		q = min(q, 1)
	}
	if d.QoS != q || d.Redelivered || d.PacketID != 0 || len(d.Message.Payload.Data) != len(m.log[o-1].Payload.Data) {
		m.fatal("%s: offset %d: %+v, want QoS %d", name, o, d, q)
	}
	f := &modelFlight{ref: d.Ref, offset: o, qos: q, here: true}
	s.flights = append(s.flights, f)
	if q == 2 {
		s.id++
		f.id = s.id
		m.wait(func(done func(error)) { s.c.Assign(f.ref, f.id, done) })
	}
}

func (m *model) wait(call func(done func(error))) {
	errs := make(chan error, 1)
	call(func(err error) { errs <- err })
	if err := await(m.t, errs); err != nil {
		m.fatal("%v", err)
	}
}

// acknowledge goes one step on with a delivery: PUBACK, PUBREC or PUBCOMP.
func (m *model) acknowledge(s *modelSession) {
	if len(s.flights) == 0 {
		return
	}
	i := m.r.IntN(len(s.flights))
	switch f := s.flights[i]; {
	case !f.here:
	case f.qos == 2 && f.received == 0:
		m.wait(func(done func(error)) { s.c.Received(f.ref, done) })
		m.received++
		f.received = m.received
	default:
		s.c.Ack(f.ref)
		s.flights = slices.Delete(s.flights, i, i+1)
	}
}

func (m *model) operate() {
	name := []string{"s1", "s2", "s3"}[m.r.IntN(3)]
	s := m.sessions[name]
	if s == nil || s.c == nil {
		if m.r.IntN(3) == 0 {
			m.attach(name)
		} else {
			m.publish()
		}
		return
	}
	switch k := m.r.IntN(100); {
	case k < 35:
		m.publish()
	case k < 60:
		for range 1 + m.r.IntN(8) {
			if m.owes(s) {
				m.read(name, s)
			}
		}
	case k < 80:
		for range 1 + m.r.IntN(8) {
			m.acknowledge(s)
		}
	case k < 87:
		m.subscribe(s)
	case k < 91:
		m.unsubscribe(s)
	case k < 95:
		m.attach(name) // a takeover
	default:
		s.c.Close(msg.CloseLost)
		s.c = nil
	}
}

// finish reads everything that is owed, and makes sure that nothing else comes.
func (m *model) finish() {
	for name, s := range m.sessions {
		if s.c == nil {
			m.attach(name)
			s = m.sessions[name]
		}
		for m.owes(s) {
			m.read(name, s)
			for i := len(s.flights) - 1; i >= 0; i-- {
				if f := s.flights[i]; f.here && f.received == 0 && m.r.IntN(2) == 0 {
					s.c.Ack(f.ref)
					s.flights = slices.Delete(s.flights, i, i+1)
				}
			}
		}
		s.c.subscribe("end/" + name)
		m.pub.store("end/"+name, "end")
		m.log = append(m.log, &msg.Message{Topic: "end/" + name, QoS: 1, Payload: msg.Bytes([]byte("end"))})
		d := s.c.take()
		for !d.Message.Stored() {
			d = s.c.take()
		}
		if string(d.Message.Payload.Data) != "end" {
			m.fatal("%s: offset %d came besides what it was owed: %+v", name, d.Message.Offset, d)
		}
		s.c.Close(msg.CloseGoodbye)
		s.c = nil
	}
}

// Random operations of three sessions: opening, resuming, taking over,
// subscribing with and without a replay, unsubscribing, publishing at every QoS,
// reading, acknowledging, closing.
func TestHubKeepsToItsModel(t *testing.T) {
	for range 6 {
		seed := rand.Uint64()
		m := &model{t: t, r: rand.New(rand.NewPCG(seed, 0)), seed: seed, sessions: map[string]*modelSession{}}
		m.h = open(t, newMem(t), func(o *Options) { o.Limits = Limits{QueueMessages: 8, TailBytes: 16 << 10} })
		m.pub = connect(t, m.h, msg.SessionParams{})
		for m.step = range 1500 {
			m.operate()
		}
		m.finish()
	}
}
