package hub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"parley/auth"
	"parley/msg"
	"parley/persist"
)

// controlWill is the Kind of a control record about a will: Key is the
// session's key, Value the will or nil when it is gone.
const controlWill = 1

// will is a message that waits for its session to end.
type will struct {
	ns    *namespace
	key   string
	msg   *msg.Message
	delay time.Duration
	lives time.Duration // message expiry, from when it is published; 0 = for ever
	user  *auth.Identity

	// guarded by ns.mu
	owner *hold       // nil: the connection is gone, or of the previous run
	timer *time.Timer // runs while owner is nil
}

// willTimers starts the delays of wills that the previous run left.
type willTimers struct {
	hub     *Hub
	mu      sync.Mutex
	stopped bool
}

func newWill(c *hold) *will {
	w, s := c.params.Will, c.s
	w.Message.Key = "" // it is published once whatever its client sends
	w.Message.Origin = msg.Origin{Session: s.id, User: c.who.id.User, Role: c.who.role}
	return &will{ns: s.ns, key: willKey(s), msg: w.Message, delay: w.Delay, lives: w.Lifetime, user: c.who.id, owner: c}
}

// willKey names a session across connections, or one that ends with its own.
func willKey(s *Session) string {
	if s.name != "" {
		return "c/" + s.name
	}
	return fmt.Sprintf("s/%d", s.id)
}

// SetWill: see subproto.Session.
func (c *hold) SetWill(w *msg.Will, done func(error)) {
	if err := c.alive(); err != nil {
		done(err)
		return
	}
	s := c.s
	c.params.Will = w
	if w == nil {
		s.ns.dropWill(c)
		done(nil)
		return
	}
	if err := s.hub.checkPublish(s.ns, c.who.id, w.Message); err != nil {
		done(err)
		return
	}
	s.ns.storeWill(newWill(c), c, done)
}

// storeWill makes w durable, then calls done on the committer. Whoever changes
// ns.wills submits the record of it under ns.mu: the store then ends with what
// the memory ends with.
func (ns *namespace) storeWill(w *will, c *hold, done func(error)) {
	refuse := func(err error) {
		if c.submitted.Load() > 0 { // in its turn
			c.afterAll(func() { done(err) })
			return
		}
		done(err)
	}
	value, err := encodeWill(w)
	if err != nil {
		refuse(err)
		return
	}
	ns.mu.Lock()
	if err := ns.ousted(c); err != nil { // the key is that of another connection's will now
		ns.mu.Unlock()
		refuse(err)
		return
	}
	ns.wills[w.key] = w
	c.submitted.Add(1)
	ns.hub.com.submit(op{
		c: c, ns: ns, after: c.s, control: &persist.Control{Namespace: ns.name, Kind: controlWill, Key: w.key, Value: value},
		done: func(_ msg.Offset, err error) {
			if err != nil {
				ns.mu.Lock()
				if ns.wills[w.key] == w {
					delete(ns.wills, w.key)
				}
				ns.mu.Unlock()
			}
			done(err)
		},
	})
	ns.mu.Unlock()
}

// ousted tells whether another connection has c's session or its ClientID.
// ns.mu is held.
func (ns *namespace) ousted(c *hold) error {
	if s := c.s; s != nil && s.name != "" && ns.clients[s.name] != s {
		return msg.ErrTakenOver
	}
	return c.alive()
}

// dropWill discards the connection's will after a proper goodbye.
func (ns *namespace) dropWill(c *hold) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if w := ns.wills[willKey(c.s)]; w != nil && w.owner == c {
		delete(ns.wills, w.key)
		ns.forgetWill(w.key)
	}
}

// forgetWill has the store forget a will. ns.mu is held.
func (ns *namespace) forgetWill(key string) {
	if gone := ns.willGone(key); gone != nil {
		ns.hub.com.submit(op{ns: ns, control: gone, done: func(_ msg.Offset, err error) {
			if err != nil { // the store is full: the next checkpoint tells it
				ns.mu.Lock()
				defer ns.mu.Unlock()
				if ns.wills[key] == nil {
					ns.dirty[willPrefix+key] = nil
				}
			}
		}})
	}
}

// willGone is the record that a will is over; nil if the record of a newer one
// has replaced it already. ns.mu is held.
func (ns *namespace) willGone(key string) *persist.Control {
	if ns.wills[key] != nil {
		return nil
	}
	return &persist.Control{Namespace: ns.name, Kind: controlWill, Key: key}
}

// finishWill settles the connection's will when it has ended. Close calls it
// while the connection still holds the session, so that who comes next finds the
// will settled, or settles it himself (succeedWill).
func (c *hold) finishWill(how msg.CloseHow) {
	ns := c.s.ns
	if how == msg.CloseGoodbye {
		ns.dropWill(c)
		return
	}
	ns.mu.Lock()
	w := ns.wills[willKey(c.s)]
	if w == nil || w.owner != c || how == msg.CloseDrain { // a drain leaves it to the next start
		ns.mu.Unlock()
		return
	}
	w.owner = nil
	// It is due when its delay or its session ends, whichever comes first [MQTT-3.1.3-9].
	wait := min(w.delay, c.params.Expiry)
	if wait > 0 {
		w.timer = time.AfterFunc(wait, func() { ns.fireWill(w) })
		ns.mu.Unlock()
		return
	}
	delete(ns.wills, w.key)
	ns.mu.Unlock()
	ns.publishWill(w)
}

// succeedWill settles the will that the connection before c left, or still had
// when c took its ClientID; resumed tells whether c continues the session. It
// returns the will if it is to be published. ns.mu is held.
func (ns *namespace) succeedWill(c *hold, resumed bool) *will {
	if c.params.ClientID == "" {
		return nil
	}
	w := ns.wills[willKey(c.s)]
	if w == nil {
		return nil
	}
	delete(ns.wills, w.key)
	over := w.timer != nil && !w.timer.Stop() // fireWill is on its way, and finds nothing
	switch {
	case over:
		return w
	case w.restored():
	case !resumed || w.delay <= 0: // the old session ends here, or its delay is over [MQTT-3.1.3-9]
		return w
	}
	ns.forgetWill(w.key)
	return nil
}

// restored tells whether the will comes from the previous run, whose clients
// are given time to come back.
func (w *will) restored() bool { return w.msg.Origin.Session == 0 }

// fireWill publishes w if it still waits.
func (ns *namespace) fireWill(w *will) {
	ns.mu.Lock()
	due := ns.wills[w.key] == w && w.owner == nil
	if due {
		delete(ns.wills, w.key)
	}
	ns.mu.Unlock()
	if due {
		ns.publishWill(w)
	}
}

// publishWill publishes w, which ns.wills does not hold any more, if its user
// still may.
func (ns *namespace) publishWill(w *will) {
	if !ns.hub.wills.running() { // it stays in the store for the next start
		return
	}
	if w.lives > 0 {
		w.msg.Expires = now() + w.lives.Milliseconds()
	}
	stored, err := ns.hub.storing(w.msg)
	if err == nil {
		err = ns.hub.checkPublish(ns, w.user, w.msg)
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if err != nil {
		ns.hub.log.Info("a will is not published", "namespace", ns.name, "topic", w.msg.Topic, "user", w.user.User, "error", err)
		ns.forgetWill(w.key)
		return
	}
	ns.hub.com.submit(op{
		ns: ns, m: w.msg, stored: stored, size: w.msg.Size(), control: ns.willGone(w.key),
		done: func(_ msg.Offset, err error) {
			if err != nil {
				ns.keepWill(w)
			}
		},
	})
}

// keepWill takes back a will that could not be stored, for another try. It stays
// due, whoever comes.
func (ns *namespace) keepWill(w *will) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.wills[w.key] == nil {
		w.delay = 0
		ns.wills[w.key] = w
		w.timer = time.AfterFunc(retryFull, func() { ns.fireWill(w) })
	}
}

// start begins the wait for the sessions of the previous run.
func (t *willTimers) start() {
	for _, ns := range t.hub.spaces {
		ns.mu.Lock()
		for _, w := range ns.wills {
			if w.owner == nil && w.timer == nil {
				w.timer = time.AfterFunc(max(w.delay, t.hub.grace), func() { ns.fireWill(w) })
			}
		}
		ns.mu.Unlock()
	}
}

func (t *willTimers) stop() {
	t.mu.Lock()
	t.stopped = true
	t.mu.Unlock()
	for _, ns := range t.hub.spaces {
		ns.mu.Lock()
		for _, w := range ns.wills {
			if w.timer != nil {
				w.timer.Stop()
			}
		}
		ns.mu.Unlock()
	}
}

func (t *willTimers) running() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.stopped
}

// willHead is what precedes the message's record in a will's: delay and
// lifetime in milliseconds, 8 bytes each.
const willHead = 16

func encodeWill(w *will) ([]byte, error) {
	b := binary.BigEndian.AppendUint64(nil, uint64(w.delay.Milliseconds()))
	b = binary.BigEndian.AppendUint64(b, uint64(w.lives.Milliseconds()))
	return persist.AppendRecord(b, w.msg, 0, 0)
}

func (ns *namespace) decodeWill(key string, b []byte) (*will, error) {
	if len(b) < willHead {
		return nil, errors.New("will record too short")
	}
	m, err := persist.DecodeRecord(b[willHead:], 0)
	if err != nil {
		return nil, err
	}
	user := &auth.Identity{User: m.Origin.User}
	if m.Origin.Role != "" {
		user.Roles = []string{m.Origin.Role}
	}
	m.Origin.Session = 0
	return &will{
		ns: ns, key: key, msg: m, user: user,
		delay: time.Duration(binary.BigEndian.Uint64(b)) * time.Millisecond,
		lives: time.Duration(binary.BigEndian.Uint64(b[8:])) * time.Millisecond,
	}, nil
}

const willPrefix = "w/"

func (ns *namespace) loadWill(key string, value []byte) error {
	if value == nil {
		delete(ns.wills, key)
		return nil
	}
	w, err := ns.decodeWill(key, value)
	if err != nil {
		return fmt.Errorf("will of %q: %w", key, err)
	}
	ns.wills[key] = w
	return nil
}

func (ns *namespace) loadPut(p persist.Put) error {
	if topic, ok := strings.CutPrefix(p.Key, retainedPrefix); ok {
		if len(p.Value) != 8 {
			return fmt.Errorf("checkpoint of topic %q: %d bytes", topic, len(p.Value))
		}
		if ns.retained.set(topic, msg.Offset(binary.BigEndian.Uint64(p.Value))) {
			ns.hub.met.Retained.Inc()
		}
		return nil
	}
	if key, ok := strings.CutPrefix(p.Key, willPrefix); ok {
		return ns.loadWill(key, p.Value)
	}
	if key, ok := strings.CutPrefix(p.Key, sessionPrefix); ok {
		return ns.loadSession(key, p.Value)
	}
	if key, ok := strings.CutPrefix(p.Key, groupPrefix); ok {
		return ns.loadGroup(key, p.Value)
	}
	if isKeys(p.Key) {
		return ns.keys.load(p.Key, p.Value)
	}
	return fmt.Errorf("checkpoint key %q is unknown", p.Key)
}

func (ns *namespace) loadControl(c persist.Control) error {
	ns.control = max(ns.control, c.Seq)
	if c.Kind != controlWill {
		ns.touched.add(c.Key)
		return ns.applyControl(c)
	}
	ns.dirty[willPrefix+c.Key] = c.Value
	return ns.loadWill(c.Key, c.Value)
}
