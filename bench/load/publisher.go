package load

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// publisher sends numbered messages on one topic. Message n occupies slot
// n mod window until every subscriber has it (at QoS 2: with its PUBREL) and its
// PUBACK or, at QoS 2, PUBCOMP has come; so at most window messages are under way, and no broker need queue more.
type publisher struct {
	// Fixed after construction.
	c          *conn
	index      uint32
	qos        byte
	burst      int   // messages of one write
	need       int32 // events until a message is done
	clock      func() int64
	template   []byte
	body       int // where in template masking begins
	packetID   int // where the packet id is; 0 at QoS 0
	payload    int // where the payload begins
	acks       Histogram
	acksSince  *atomic.Int64 // acknowledgements of what was sent earlier are not timed
	wake       chan struct{} // the awaited slot is free; holds one
	onProgress func()

	// Owned by the sender.
	out []byte

	// Shared.
	slots    []atomic.Int32  // events that the slot's message still waits for
	sentAt   []atomic.Int64  // by clock; by the reader at QoS 1 and 2
	awaits   []atomic.Uint32 // the type of acknowledgement that comes next, or 0
	awaited  atomic.Int64    // the slot that the sender waits for, or -1
	sent     atomic.Uint64
	underWay atomic.Int64 // messages not done
	acked    atomic.Uint64
	nextAck  uint64 // owned by the reader: PUBACK and PUBREC come in this order [MQTT-4.6.0-2, MQTT-4.6.0-3]
	badAcks  atomic.Uint64
}

// prepare builds the template of every PUBLISH; size counts the payload's bytes.
func (p *publisher) prepare(topic string, run uint32, size, window int) {
	packet := appendText(nil, topic)
	if p.qos > 0 {
		packet = append(packet, 0, 0)
	}
	head := appendLength([]byte{0x30 | p.qos<<1}, len(packet)+size)
	p.template = beginFrame(nil, opBinary, len(head)+len(packet)+size)
	p.body = len(p.template)
	p.template = append(append(p.template, head...), packet...)
	p.payload = len(p.template)
	if p.qos > 0 {
		p.packetID = p.payload - 2
	}
	p.template = append(p.template, make([]byte, size)...)
	fill(p.template[p.payload:], p.index)
	stamp{run: run, publisher: p.index}.put(p.template[p.payload:])

	p.slots = make([]atomic.Int32, window)
	p.sentAt = make([]atomic.Int64, window)
	p.awaits = make([]atomic.Uint32, window)
	p.awaited.Store(-1)
	p.wake = make(chan struct{}, 1)
}

// flood sends bursts as fast as the window lets it until stop is closed.
func (p *publisher) flood(stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if slot := p.busy(p.burst); slot >= 0 {
			if !p.wait(slot, stop) {
				return nil
			}
			continue
		}
		if err := p.send(p.burst); err != nil {
			return err
		}
	}
}

// busy is the first slot that the next n messages need and that is not free; -1: all are.
func (p *publisher) busy(n int) int {
	next := p.sent.Load()
	for i := n - 1; i >= 0; i-- { // the last becomes free last, as a rule
		slot := int((next + uint64(i)) % uint64(len(p.slots)))
		if p.slots[slot].Load() != 0 {
			return slot
		}
	}
	return -1
}

func (p *publisher) wait(slot int, stop <-chan struct{}) bool {
	p.awaited.Store(int64(slot))
	if p.slots[slot].Load() == 0 { // it became free before done could see that it is awaited
		p.awaited.Store(-1)
		return true
	}
	select {
	case <-p.wake:
		return true
	case <-stop:
		return false
	}
}

// send writes n messages at once; their slots must be free.
func (p *publisher) send(n int) error {
	p.out = p.out[:0]
	now := p.clock()
	next := p.sent.Load()
	for i := range uint64(n) {
		slot := int((next + i) % uint64(len(p.slots)))
		p.slots[slot].Store(p.need)
		p.sentAt[slot].Store(now)
		start := len(p.out)
		p.out = append(p.out, p.template...)
		frame := p.out[start:]
		if p.qos > 0 {
			p.awaits[slot].Store(typePuback + uint32(p.qos) - 1) // at QoS 2 PUBREC
			binary.BigEndian.PutUint16(frame[p.packetID:], uint16(slot+1))
		}
		binary.BigEndian.PutUint64(frame[p.payload+8:], next+i)
		binary.BigEndian.PutUint64(frame[p.payload+16:], uint64(now))
		applyMask(frame[p.body:])
	}
	p.underWay.Add(int64(n))
	p.sent.Store(next + uint64(n))
	if _, err := p.c.nc.Write(p.out); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// done notes one event of message n: a delivery or its acknowledgement.
func (p *publisher) done(n uint64) {
	slot := int(n % uint64(len(p.slots)))
	if p.slots[slot].Add(-1) != 0 {
		return
	}
	p.underWay.Add(-1)
	if p.awaited.CompareAndSwap(int64(slot), -1) {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// read takes acknowledgements until the connection ends.
func (p *publisher) read() error {
	for {
		if err := p.c.receive(p.take); err != nil {
			return err
		}
		p.onProgress()
	}
}

func (p *publisher) take(first byte, body []byte) error {
	kind := first >> 4
	if kind != typePuback && kind != typePubrec && kind != typePubcomp || len(body) != 2 {
		return fmt.Errorf("type %d for a publisher: %w", kind, ErrPacket)
	}
	id := binary.BigEndian.Uint16(body)
	slot, next := int(id)-1, uint32(0)
	if kind == typePubrec {
		next = typePubcomp
	}
	if slot < 0 || slot >= len(p.slots) || !p.awaits[slot].CompareAndSwap(uint32(kind), next) {
		p.badAcks.Add(1)
		return nil
	}
	if kind != typePubcomp { // whose order follows from that of PUBREL
		if slot != int(p.nextAck%uint64(len(p.slots))) {
			p.badAcks.Add(1)
		}
		p.nextAck++
	}
	if kind == typePubrec {
		p.c.out = appendAck(p.c.out, typePubrel, id)
		return nil
	}
	sent := p.sentAt[slot].Load()
	if sent >= p.acksSince.Load() {
		p.acks.Add(time.Duration(p.clock() - sent))
	}
	p.acked.Add(1)
	p.done(uint64(slot)) // done needs the slot only
	return nil
}

// never is later than anything that is sent: nothing is timed.
const never = math.MaxInt64
