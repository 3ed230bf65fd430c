package wamp

import (
	"sync"

	"github.com/gammazero/nexus/v3/wamp"
)

// peer is one session's link to the nexus router. Nexus runs one goroutine per
// session that receives from rd; it sends with a non-blocking attempt on what
// Send returns and drops what finds no place, replies included.
//
// So that nothing is dropped and an idle session costs neither a goroutine nor
// a large channel, Send, which nexus calls right before each attempt, makes
// room and starts a goroutine that lives until everything announced has come.
type peer struct {
	// Fixed after construction.
	rd      chan wamp.Message
	wr      chan wamp.Message  // never closed: the router may still send to it
	deliver func(wamp.Message) // takes what nexus sends: in order, one at a time; must not block
	ended   func()             // nexus has ended the session; called once
	gone    chan struct{}      // closed with it: nobody receives from rd any more

	closing sync.Once
	leaving sync.Once

	mu       sync.Mutex
	drained  sync.Cond // wr has become shorter; on mu
	expected int       // attempts announced by Send and not yet received
	draining bool      // the goroutine runs
	owed     int       // replies that nexus owes this session
	full     bool      // attempts are to fail
}

// outgoing is wr's capacity; slack is how many senders may be between Send and
// their attempt at the same time (dealer, session, meta session, realm).
const (
	outgoing = 16
	slack    = 8
)

func newPeer(deliver func(wamp.Message), ended func()) *peer {
	p := &peer{
		rd:      make(chan wamp.Message, 1), // the HELLO waits in it for nexus to start
		wr:      make(chan wamp.Message, outgoing),
		deliver: deliver,
		ended:   ended,
		gone:    make(chan struct{}),
	}
	p.drained.L = &p.mu
	return p
}

// submit hands a message to nexus. It waits until the session's goroutine is
// free, which depends on neither disk nor network. False: the session has ended.
// Not after leave.
func (p *peer) submit(m wamp.Message) bool {
	select {
	case p.rd <- m:
		return true
	case <-p.gone:
		return false
	}
}

// leave ends the session from the client's side.
func (p *peer) leave() { p.leaving.Do(func() { close(p.rd) }) }

// owe notes that nexus owes the session n more replies (or fewer).
func (p *peer) owe(n int) {
	p.mu.Lock()
	p.owed += n
	if p.owed > 0 {
		p.full = false // a reply must find its place
	}
	p.mu.Unlock()
}

// overflow says that too much waits for the client. A session that is only
// invoked is refused further invocations until relieve; true: this one is owed
// replies and has to go.
func (p *peer) overflow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full = p.owed == 0
	return !p.full
}

func (p *peer) relieve() {
	p.mu.Lock()
	p.full = false
	p.mu.Unlock()
}

// Recv implements wamp.Peer, like the methods below.
func (p *peer) Recv() <-chan wamp.Message { return p.rd }

// IsLocal is true so that nexus copies what it hands to several sessions; the
// realms require authentication and authorization of local peers too.
func (p *peer) IsLocal() bool { return true }

func (p *peer) Send() chan<- wamp.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full {
		return nil // a send on it is never ready
	}
	for len(p.wr) > outgoing-slack {
		p.drained.Wait()
	}
	p.expected++
	if !p.draining {
		p.draining = true
		go p.drain()
	}
	return p.wr
}

func (p *peer) drain() {
	for {
		p.deliver(<-p.wr)
		p.mu.Lock()
		p.expected--
		done := p.expected == 0
		if done {
			p.draining = false
		}
		p.drained.Broadcast()
		p.mu.Unlock()
		if done {
			return
		}
	}
}

// Close is called by nexus, possibly several times and by several goroutines.
func (p *peer) Close() {
	p.closing.Do(func() {
		p.mu.Lock()
		for p.expected > 0 { // what nexus said last comes first
			p.drained.Wait()
		}
		p.mu.Unlock()
		close(p.gone)
		p.ended()
	})
}
