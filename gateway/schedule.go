package gateway

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Bits of conn.state. pending bits are requests for the handler's owner.
const (
	bitWake   uint32 = 1 << iota // Handler.Wake
	bitRoom                      // Handler.Room
	bitEnd                       // Handler.Closed
	bitHeld                      // somebody is in the handler and will look at the pending bits before leaving
	bitQueued                    // in the scheduler's queue

	pending = bitWake | bitRoom | bitEnd
)

// maxTurns is how often one stay in the handler looks at the pending bits.
const maxTurns = 4

// signal asks for a call of the handler. Any goroutine; requests coalesce. If
// somebody is in the handler he runs it when he leaves, else a worker does.
func (c *conn) signal(bit uint32) {
	old := c.state.Or(bit)
	if old&bit != 0 || old&bitHeld != 0 {
		return
	}
	c.enqueue()
}

// enter makes the caller the handler's owner.
func (c *conn) enter() {
	c.call.Lock()
	c.state.Or(bitHeld)
}

// leave runs what was asked for meanwhile and gives the handler up. A handler
// that keeps waking itself goes to the end of the workers' queue after a few
// turns, so that it starves neither its own reader nor others.
func (c *conn) leave() {
	for turn := 0; ; turn++ {
		s := c.state.Load()
		p := s & pending
		if p != 0 && turn < maxTurns {
			c.state.And(^p)
			c.run(p)
			continue
		}
		if c.state.CompareAndSwap(s, s&^bitHeld) {
			c.call.Unlock()
			if p != 0 {
				c.enqueue()
			}
			return
		}
	}
}

func (c *conn) enqueue() {
	if c.state.Or(bitQueued)&bitQueued == 0 {
		c.g.sched.push(c)
	}
}

// serve is a worker's turn on c.
func (c *conn) serve() {
	c.state.And(^bitQueued)
	if !c.call.TryLock() {
		if c.state.Load()&bitHeld != 0 {
			return // the owner will see the pending bits
		}
		c.call.Lock() // he is just coming or going
	}
	c.state.Or(bitHeld)
	c.leave()
	c.flush()
}

// scheduler runs connections on a few goroutines: a commit that wakes 500
// sessions must not start 500 goroutines. Workers start when needed and then
// stay, parked, until stop.
type scheduler struct {
	mu         sync.Mutex
	cond       sync.Cond
	head, tail *conn // linked by conn.next
	max        int
	workers    int
	idle       int // parked and not yet signalled
	stopped    bool
	wg         sync.WaitGroup

	helpers atomic.Int64 // readers at work who will look at the queue when done
	waiting atomic.Int64 // length of the queue
}

// helped is how many connections a reader serves after its own batch: a message
// from one connection to another or two needs no other goroutine, which costs
// more to wake than the message to handle.
const helped = 2

// help says that the caller will call relieve soon, without blocking before.
func (s *scheduler) help() { s.helpers.Add(1) }

// relieve serves some of the queue and leaves the rest to the workers.
func (s *scheduler) relieve() {
	s.helpers.Add(-1)
	if s.waiting.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for range helped {
		c := s.popLocked()
		if c == nil {
			return
		}
		s.mu.Unlock()
		c.serve()
		s.mu.Lock()
	}
	for n := s.waiting.Load(); n > 0 && s.startLocked(); n-- {
	}
}

func (s *scheduler) popLocked() *conn {
	c := s.head
	if c == nil {
		return nil
	}
	if s.head = c.next; s.head == nil {
		s.tail = nil
	}
	c.next = nil
	s.waiting.Add(-1)
	return c
}

// startLocked puts one more worker to work; false if all are.
func (s *scheduler) startLocked() bool {
	switch {
	case s.idle > 0:
		s.idle--
		s.cond.Signal()
	case s.workers < s.max && !s.stopped:
		s.workers++
		s.wg.Go(s.work)
	default:
		return false
	}
	return true
}

func (s *scheduler) init() {
	s.cond.L = &s.mu
	s.max = 2 * runtime.GOMAXPROCS(0)
}

func (s *scheduler) push(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tail == nil {
		s.head = c
	} else {
		s.tail.next = c
	}
	s.tail = c
	s.waiting.Add(1)
	if s.helpers.Load() == 0 {
		s.startLocked()
	}
}

func (s *scheduler) work() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for s.head == nil {
			if s.stopped {
				return
			}
			s.idle++
			s.cond.Wait()
		}
		c := s.popLocked()
		s.mu.Unlock()
		c.serve()
		s.mu.Lock()
	}
}

// stop ends the workers once the queue is empty and waits for them.
func (s *scheduler) stop() {
	s.mu.Lock()
	s.stopped = true
	s.idle = 0
	s.cond.Broadcast()
	s.mu.Unlock()
	s.wg.Wait()
}
