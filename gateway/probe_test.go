package gateway

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/subproto"
)

// probe is an engine whose handlers record their calls, check that nothing
// overlaps and do what the test says. By default they echo.
type probe struct {
	names []string
	open  func(h *probeHandler) error
	frame func(h *probeHandler, kind subproto.Kind, data []byte)
	wake  func(h *probeHandler)
	room  func(h *probeHandler)
	conns chan *probeHandler
}

func newProbe(names ...string) *probe {
	return &probe{names: names, conns: make(chan *probeHandler, 1000)}
}

func (p *probe) Protocols() []string { return p.names }

func (p *probe) Open(c subproto.Conn) (subproto.Handler, error) {
	h := &probeHandler{Conn: c, p: p, closed: make(chan error, 10)}
	if p.open != nil {
		if err := p.open(h); err != nil {
			return nil, err
		}
	} else {
		c.Ready()
	}
	p.conns <- h
	return h, nil
}

// next is the handler of the next opened connection.
func (p *probe) next(t testing.TB) *probeHandler {
	t.Helper()
	select {
	case h := <-p.conns:
		return h
	case <-time.After(10 * time.Second):
		t.Fatal("no connection was opened")
		return nil
	}
}

type probeHandler struct {
	subproto.Conn
	p      *probe
	busy   sync.Mutex
	closed chan error
	ended  bool
	faults atomic.Int32 // overlapping calls, or calls after Closed
	frames atomic.Int32
	wakes  atomic.Int32
	rooms  atomic.Int32
}

func (h *probeHandler) in() func() {
	if !h.busy.TryLock() || h.ended {
		h.faults.Add(1)
		return func() {}
	}
	return h.busy.Unlock
}

func (h *probeHandler) Frame(kind subproto.Kind, data []byte) {
	defer h.in()()
	h.frames.Add(1)
	if h.p.frame != nil {
		h.p.frame(h, kind, data)
		return
	}
	h.Send(kind, data)
}

func (h *probeHandler) Wake() {
	defer h.in()()
	h.wakes.Add(1)
	if h.p.wake != nil {
		h.p.wake(h)
	}
}

func (h *probeHandler) Room() {
	defer h.in()()
	h.rooms.Add(1)
	if h.p.room != nil {
		h.p.room(h)
	}
}

func (h *probeHandler) Closed(err error) {
	defer h.in()()
	h.ended = true
	h.closed <- err
}

// end waits for Closed and returns its error.
func (h *probeHandler) end(t testing.TB) error {
	t.Helper()
	select {
	case err := <-h.closed:
		if n := h.faults.Load(); n != 0 {
			t.Errorf("%d handler calls overlapped or came after Closed", n)
		}
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("the handler was not closed")
		return nil
	}
}
