package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"parley/torture/history"
)

// peer is one session over its connections. Its goroutine (run of an actor) and
// the reader of its connection share it.
type peer struct {
	w        *world
	name     string
	protocol string
	durable  bool
	inFlight uint16     // most unacknowledged deliveries; 0 = the broker's default
	rng      *rand.Rand // owned by the actor

	change chan struct{} // something happened; room for one signal

	mu       sync.Mutex
	conns    int
	conn     *connection // nil: not connected
	seq      uint64
	nextN    uint16
	unacked  []*outgoing
	waiting  map[uint16]*waiting
	want     []wanted
	received map[uint16]bool // packet ids at QoS 2 whose PUBREL is to come
	held     []*delivery     // not yet acknowledged
	lazy     int             // so many deliveries are held before they are acknowledged
	slow     time.Duration   // pause between reads
	ends     map[endKey]uint64
	failing  time.Time // since when no connection succeeds; zero: the last one did
	takeover time.Time // the last one; owned by the actor
}

// connection is one of a peer's. Its fields are guarded by the peer's mu.
type connection struct {
	l       link
	number  int
	life    int64        // of the broker
	dead    bool         // what it still says is not listened to
	leaving bool         // goodbye was said
	heard   atomic.Int64 // when it last said something, Unix nanoseconds
	done    chan struct{}
}

// wanted is a filter that the peer is to hold.
type wanted struct {
	filter    string
	qos       byte
	confirmed bool // by the broker, in this session
	retained  bool // the retained values are looked at
}

// waiting is a SUBSCRIBE or UNSUBSCRIBE without an answer yet.
type waiting struct {
	filter string
	done   chan struct{}
}

type endKey struct{ filter, topic string }

func newPeer(w *world, name, protocol string, durable bool) *peer {
	return &peer{
		w: w, name: name, protocol: protocol, durable: durable,
		rng:    w.random(name),
		change: make(chan struct{}, 1), waiting: map[uint16]*waiting{}, received: map[uint16]bool{}, ends: map[endKey]uint64{},
	}
}

func (p *peer) signal() {
	select {
	case p.change <- struct{}{}:
	default:
	}
}

// record adds an event of this peer. Callers hold mu, so that events have the
// order in which things happened.
func (p *peer) record(c *connection, e history.Event) {
	e.Client, e.Protocol = p.name, family(p.protocol)
	if c != nil {
		e.Conn = c.number
	}
	p.w.rec.Add(e)
}

var errNotConnected = errors.New("not connected")

// connect opens the next connection; one that is still open is taken over. clean
// asks for a new session.
func (p *peer) connect(ctx context.Context, clean bool, will *history.Will) error {
	p.mu.Lock()
	p.conns++
	life := p.w.lives.Load()
	number, old := p.conns, p.conn
	if old != nil {
		old.dead = true
		p.conn = nil
	}
	p.mu.Unlock()
	if will != nil {
		will.Message = history.ID{Publisher: p.name + "!will", Seq: uint64(number)}
	}
	l, present, err := open(ctx, p.protocol, handshake{
		url: p.w.url(), session: p.name, clean: clean, durable: p.durable, inFlight: p.inFlight, will: will,
	})
	if err != nil {
		if old != nil {
			old.l.cut()
		}
		return err
	}
	p.mu.Lock()
	c := &connection{l: l, number: number, life: life, done: make(chan struct{})}
	p.record(c, history.Event{Kind: history.Connect, Durable: p.durable, Clean: clean, Present: present, Will: will})
	p.failing = time.Time{}
	p.resumed(present)
	p.conn = c
	err = p.resend(c, present)
	p.mu.Unlock()
	p.w.readers.Go(func() { p.read(c) })
	if err != nil {
		p.drop(c)
		return err
	}
	if old != nil {
		p.replaced(c, old)
	}
	return p.subscribeAll(ctx, c)
}

// replaced waits for the broker to close the connection that was taken over.
func (p *peer) replaced(c, old *connection) {
	select {
	case <-old.done:
	case <-c.done:
	case <-time.After(answerTime):
		p.mu.Lock()
		p.record(old, history.Event{Kind: history.Complaint, Note: "the connection was taken over and is still open"})
		p.mu.Unlock()
	}
	old.l.cut()
}

// resumed forgets what belongs to a connection or to a session that is gone.
func (p *peer) resumed(present bool) {
	p.held = nil
	clear(p.waiting)
	if present {
		if p.protocol == "wamp" { // filters live on, but each connection names them again
			p.unconfirm()
		}
		return
	}
	clear(p.received)
	p.unconfirm()
}

func (p *peer) unconfirm() {
	for i := range p.want {
		p.want[i].confirmed = false
	}
}

// resend sends again what has no answer, in the old order. What only the session
// or a key protects against a duplicate becomes another message without them.
func (p *peer) resend(c *connection, present bool) error {
	mqtt := family(p.protocol) == "mqtt"
	if !present {
		p.unacked = slices.DeleteFunc(p.unacked, func(m *outgoing) bool { return m.received })
	}
	for _, m := range p.unacked {
		if m.received {
			if err := c.l.release(m.n); err != nil {
				return err
			}
			continue
		}
		if m.key == "" && (m.qos < 2 || !present) {
			m.id.Attempt++
		}
		p.recordPublish(c, m, mqtt && present)
		if err := c.l.publish(m.n, m, present); err != nil {
			return err
		}
	}
	return nil
}

func (p *peer) recordPublish(c *connection, m *outgoing, again bool) {
	p.record(c, history.Event{Kind: history.Publish, Message: m.id, Topic: m.topic, QoS: m.qos, Key: m.key, Retain: m.retain, Marked: again})
}

// publish sends a new message and returns its sequence.
func (p *peer) publish(topic string, qos byte, key string, retain bool) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.conn
	if c == nil {
		return 0, errNotConnected
	}
	p.seq++
	m := &outgoing{id: history.ID{Publisher: p.name, Seq: p.seq}, topic: topic, qos: qos, key: key, retain: retain, n: p.number()}
	p.recordPublish(c, m, false)
	if qos > 0 {
		p.unacked = append(p.unacked, m)
	}
	return m.id.Seq, c.l.publish(m.n, m, false)
}

// number returns one that is not in use.
func (p *peer) number() uint16 {
	for {
		p.nextN++
		inUse := p.nextN == 0 || p.waiting[p.nextN] != nil ||
			slices.ContainsFunc(p.unacked, func(m *outgoing) bool { return m.n == p.nextN })
		if !inUse {
			return p.nextN
		}
	}
}

// subscribeAll asks for every wanted filter that is not confirmed.
func (p *peer) subscribeAll(ctx context.Context, c *connection) error {
	p.mu.Lock()
	var missing []wanted
	for _, f := range p.want {
		if !f.confirmed {
			missing = append(missing, f)
		}
	}
	p.mu.Unlock()
	for _, f := range missing {
		if err := p.request(ctx, c, history.Event{Kind: history.Subscribe, Filter: f.filter, QoS: f.qos, Retain: f.retained}); err != nil {
			return err
		}
	}
	return nil
}

// request sends a SUBSCRIBE or UNSUBSCRIBE and waits for its answer.
func (p *peer) request(ctx context.Context, c *connection, e history.Event) error {
	p.mu.Lock()
	if c.dead {
		p.mu.Unlock()
		return errNotConnected
	}
	n, q := p.number(), &waiting{filter: e.Filter, done: make(chan struct{})}
	p.waiting[n] = q
	p.record(c, e)
	var err error
	if e.Kind == history.Subscribe {
		err = c.l.subscribe(n, e.Filter, e.QoS)
	} else {
		err = c.l.unsubscribe(n, e.Filter)
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	for wait := answerTime; wait > 0; {
		select {
		case <-q.done:
			return nil
		case <-c.done:
			return errNotConnected
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
			// One that reads slowly has the answer behind much else.
			wait = answerTime - time.Since(time.Unix(0, c.heard.Load()))
		}
	}
	return p.unanswered(c, e)
}

func (p *peer) unanswered(c *connection, e history.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.record(c, history.Event{Kind: history.Complaint, Note: fmt.Sprintf("no answer to %s %s in %v", e.Kind, e.Filter, answerTime)})
	return fmt.Errorf("no answer to %s", e.Kind)
}

// unsubscribe gives filter i of want up for now.
func (p *peer) unsubscribe(ctx context.Context, i int) error {
	p.mu.Lock()
	c := p.conn
	p.want[i].confirmed = false
	filter := p.want[i].filter
	p.mu.Unlock()
	if c == nil {
		return errNotConnected
	}
	return p.request(ctx, c, history.Event{Kind: history.Unsubscribe, Filter: filter})
}

// current is the connection, nil if there is none.
func (p *peer) current() *connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conn
}

// drop cuts c.
func (p *peer) drop(c *connection) {
	p.mu.Lock()
	if !c.dead {
		c.dead = true
		if !c.leaving {
			p.record(c, history.Event{Kind: history.Disconnect, Note: "cut"})
		}
	}
	if p.conn == c {
		p.conn = nil
	}
	p.mu.Unlock()
	c.l.cut()
	<-c.done
}

// leave says goodbye and waits for the broker to close.
func (p *peer) leave(c *connection) {
	p.mu.Lock()
	if c.dead || c.leaving {
		p.mu.Unlock()
		return
	}
	c.leaving = true
	p.flush(c)
	p.record(c, history.Event{Kind: history.Disconnect, Clean: true})
	err := c.l.goodbye()
	p.mu.Unlock()
	if err == nil {
		select {
		case <-c.done:
		case <-time.After(answerTime):
		}
	}
	p.drop(c)
}
