package hub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"parley/msg"
)

// sessionState is what the store knows of a durable session: the value of its
// entry in the checkpoint table, brought up to date by the control records
// beyond the checkpoint. It says what was delivered by a position and the
// deliveries that are not acknowledged, so its size does not depend on how much
// waits for the session.
type sessionState struct {
	id       uint64
	user     string
	role     string
	expiry   time.Duration
	deadline int64  // Unix milliseconds at which it ends; 0: it had a connection
	control  uint64 // last control record that it includes; later ones it may include

	next     msg.Offset // whatever matches below it was delivered, or is in flights
	doubt    msg.Offset // up to it, what comes may have been sent before a crash
	done     []delivery // of those, or of retained values and replays, that are not to be sent again
	away     []span
	receipts uint64

	filters []filterState
	flights []flightState // in the order they were sent
	exact   []exactState  // publishes at QoS 2 that are not released
	gaps    []gap         // that it has not been told of
}

// filterState is one filter. Of its retained values those at [side, sideTo] are
// still to be sent; 0: none.
type filterState struct {
	sub          msg.Subscription
	via          string // protocol whose Handle it is
	start        msg.Offset
	side, sideTo msg.Offset
	replay       msg.Offset // next offset of a replay; 0: none
	replayTo     msg.Offset
}

// delivery tells deliveries of one message to a session apart: its own filters and
// each of its shared groups bring it, and it comes as a retained value and in a
// replay besides.
type delivery struct {
	offset msg.Offset
	flags  byte
	group  msg.Filter // zero: its own filters
}

// flightState is one delivery that is not acknowledged.
type flightState struct {
	delivery
	packetID uint16
	qos      msg.QoS
	received uint64 // rank among the PUBRECs; 0 = none yet
	rank     uint64 // orders the flights of a snapshot; not encoded
}

const (
	flightRetained = 1 << iota
	flightReplayed
)

// exactState is one packet id of a publisher.
type exactState struct {
	packetID uint16
	offset   msg.Offset
}

// floor is the oldest offset that is still wanted.
func (st *sessionState) floor() msg.Offset {
	floor := st.next
	for i := range st.flights {
		floor = min(floor, st.flights[i].offset)
	}
	for i := range st.filters {
		if r := st.filters[i].replay; r != 0 {
			floor = min(floor, r)
		}
	}
	return floor
}

var errState = errors.New("malformed session record")

// stateVersion is the first byte of every record of a session.
const stateVersion = 3

// encode returns the value for the checkpoint table.
func (st *sessionState) encode() []byte {
	e := encoder{buf: make([]byte, 0, 128)}
	e.byte(stateVersion)
	e.header(st)
	e.number(uint64(st.deadline))
	e.number(st.control)
	e.number(uint64(st.next))
	e.number(uint64(st.doubt))
	e.number(st.receipts)
	e.count(len(st.done))
	for _, x := range st.done {
		e.delivery(x)
	}
	e.count(len(st.away))
	for _, a := range st.away {
		e.number(uint64(a.from))
		e.number(uint64(a.to))
	}
	e.filters(st.filters)
	e.count(len(st.flights))
	for i := range st.flights {
		e.flight(&st.flights[i])
	}
	e.count(len(st.exact))
	for _, x := range st.exact {
		e.number(uint64(x.packetID))
		e.number(uint64(x.offset))
	}
	e.count(len(st.gaps))
	for _, g := range st.gaps {
		e.filter(g.filter)
		e.number(uint64(g.first))
		e.number(uint64(g.last))
		e.number(g.count)
		e.text(g.reason)
	}
	return e.buf
}

// decodeState is the inverse of encode.
func decodeState(b []byte) (*sessionState, error) {
	d, err := newStateDecoder(b)
	if err != nil {
		return nil, err
	}
	st := &sessionState{}
	d.header(st)
	st.deadline = int64(d.number())
	st.control = d.number()
	st.next = d.offset()
	st.doubt = d.offset()
	st.receipts = d.number()
	for range d.count(5) {
		st.done = append(st.done, d.delivery())
	}
	for range d.count(2) {
		st.away = append(st.away, span{from: d.offset(), to: d.offset()})
	}
	st.filters = d.filterList()
	for range d.count(8) {
		st.flights = append(st.flights, d.flight())
	}
	for range d.count(2) {
		st.exact = append(st.exact, exactState{uint16(d.number()), d.offset()})
	}
	for range d.count(7) {
		st.gaps = append(st.gaps, gap{d.filter(), d.offset(), d.offset(), d.number(), d.text()})
	}
	return st, d.end()
}

// encoder appends varints and strings.
type encoder struct{ buf []byte }

func (e *encoder) byte(b byte)     { e.buf = append(e.buf, b) }
func (e *encoder) number(v uint64) { e.buf = binary.AppendUvarint(e.buf, v) }
func (e *encoder) count(n int)     { e.number(uint64(n)) }

func (e *encoder) text(s string) {
	e.count(len(s))
	e.buf = append(e.buf, s...)
}

func (e *encoder) header(st *sessionState) {
	e.number(st.id)
	e.text(st.user)
	e.text(st.role)
	e.number(uint64(st.expiry))
}

func (e *encoder) filter(f msg.Filter) {
	e.byte(byte(f.Kind))
	e.text(f.Group)
	e.text(f.Pattern)
}

const (
	subNoLocal = 1 << iota
	subAsPublished
)

func (e *encoder) filters(fs []filterState) {
	e.count(len(fs))
	for i := range fs {
		f := &fs[i]
		e.filter(f.sub.Filter)
		flags := byte(0)
		if f.sub.NoLocal {
			flags |= subNoLocal
		}
		if f.sub.RetainAsPublished {
			flags |= subAsPublished
		}
		e.byte(flags)
		e.byte(byte(f.sub.QoS))
		e.byte(byte(f.sub.Retained))
		e.number(f.sub.Handle)
		e.text(f.via)
		for _, o := range [...]msg.Offset{f.start, f.side, f.sideTo, f.replay, f.replayTo} {
			e.number(uint64(o))
		}
	}
}

func (e *encoder) delivery(x delivery) {
	e.number(uint64(x.offset))
	e.byte(x.flags)
	e.filter(x.group)
}

func (e *encoder) flight(f *flightState) {
	e.delivery(f.delivery)
	e.number(uint64(f.packetID))
	e.byte(byte(f.qos))
	e.number(f.received)
}

// stateDecoder takes fields off the front; after the first fault all are zero.
type stateDecoder struct {
	rest []byte
	bad  bool
}

func newStateDecoder(b []byte) (*stateDecoder, error) {
	if len(b) == 0 {
		return nil, errState
	}
	if b[0] != stateVersion {
		return nil, fmt.Errorf("session record of version %d, this broker knows %d", b[0], stateVersion)
	}
	return &stateDecoder{rest: b[1:]}, nil
}

func (d *stateDecoder) fail() { d.bad, d.rest = true, nil }

func (d *stateDecoder) end() error {
	if d.bad || len(d.rest) > 0 {
		return errState
	}
	return nil
}

func (d *stateDecoder) byte() byte {
	if len(d.rest) == 0 {
		d.fail()
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *stateDecoder) number() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *stateDecoder) offset() msg.Offset { return msg.Offset(d.number()) }

// count reads how many elements of at least size bytes follow.
func (d *stateDecoder) count(size int) int {
	n := d.number()
	if n > uint64(len(d.rest)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *stateDecoder) text() string {
	n := d.count(1)
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *stateDecoder) header(st *sessionState) {
	st.id, st.user, st.role, st.expiry = d.number(), d.text(), d.text(), time.Duration(d.number())
}

func (d *stateDecoder) filter() msg.Filter {
	return msg.Filter{Kind: msg.FilterKind(d.byte()), Group: d.text(), Pattern: d.text()}
}

func (d *stateDecoder) filterList() []filterState {
	var fs []filterState
	for range d.count(13) {
		f := filterState{}
		f.sub.Filter = d.filter()
		flags := d.byte()
		f.sub.NoLocal, f.sub.RetainAsPublished = flags&subNoLocal != 0, flags&subAsPublished != 0
		f.sub.QoS, f.sub.Retained = msg.QoS(d.byte()), msg.RetainHandling(d.byte())
		f.sub.Handle, f.via = d.number(), d.text()
		for _, o := range [...]*msg.Offset{&f.start, &f.side, &f.sideTo, &f.replay, &f.replayTo} {
			*o = d.offset()
		}
		fs = append(fs, f)
	}
	return fs
}

func (d *stateDecoder) delivery() delivery {
	return delivery{d.offset(), d.byte(), d.filter()}
}

func (d *stateDecoder) flight() flightState {
	return flightState{delivery: d.delivery(), packetID: uint16(d.number()), qos: msg.QoS(d.byte()), received: d.number()}
}

// The changes that control records make, in the order of their commits. Each is
// idempotent: the table may already hold its effect.

// addFilters is a SUBSCRIBE.
func (st *sessionState) addFilters(fs []filterState) {
	for _, f := range fs {
		i := slices.IndexFunc(st.filters, func(x filterState) bool { return x.sub.Filter == f.sub.Filter })
		if i < 0 {
			st.filters = append(st.filters, f)
			continue
		}
		f.start = st.filters[i].start // a repeated one keeps its range
		st.filters[i] = f
	}
}

// removeFilters is an UNSUBSCRIBE.
func (st *sessionState) removeFilters(fs []msg.Filter) {
	st.filters = slices.DeleteFunc(st.filters, func(x filterState) bool { return slices.Contains(fs, x.sub.Filter) })
}

// assign is a delivery at QoS 2 about to be sent. One that had the packet id
// before is complete, else the id would not have been free. One that the table
// knows already keeps its place among the others.
func (st *sessionState) assign(f flightState) {
	same := func(x flightState) bool { return x.delivery == f.delivery }
	st.flights = slices.DeleteFunc(st.flights, func(x flightState) bool {
		over := x.packetID == f.packetID && !same(x)
		if over {
			st.complete(x.delivery)
		}
		return over
	})
	if i := slices.IndexFunc(st.flights, same); i >= 0 {
		f.received = st.flights[i].received
		st.flights[i] = f
		return
	}
	st.flights = append(st.flights, f)
}

// complete remembers a delivery that is not to be sent again: the position tells
// that only of the session's own ones from the stream.
func (st *sessionState) complete(x delivery) {
	own := x.flags == 0 && x.group == (msg.Filter{})
	if (!own || x.offset >= st.next) && !slices.Contains(st.done, x) {
		st.done = append(st.done, x)
	}
}

// receive is a PUBREC.
func (st *sessionState) receive(packetID uint16) {
	for i := range st.flights {
		if f := &st.flights[i]; f.packetID == packetID && f.qos == 2 && f.received == 0 {
			st.receipts++
			f.received = st.receipts
		}
	}
}

// publishExact is a PUBLISH at QoS 2 that was stored, release its PUBREL.
func (st *sessionState) publishExact(x exactState) {
	st.release(x.packetID)
	st.exact = append(st.exact, x)
}

func (st *sessionState) release(packetID uint16) {
	st.exact = slices.DeleteFunc(st.exact, func(x exactState) bool { return x.packetID == packetID })
}
