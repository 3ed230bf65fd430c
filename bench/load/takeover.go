package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// ErrTakeover is returned, wrapped, when a broker does not hand a session over as
// it must: the old connection stays open [MQTT-3.1.4-2] or the session is gone
// [MQTT-3.2.2-2].
var ErrTakeover = errors.New("bad takeover")

// Takeovers are clients with sessions to keep, each of which connects again and
// again while its last connection is still open. Its methods must not be called
// at the same time.
type Takeovers struct {
	addr  string
	conns []*conn // by client
	again []int   // how often each has connected again; spreads it over addresses
}

// OpenTakeovers connects n clients that keep their sessions (Clean Session 0),
// each with one subscription at QoS 1.
func OpenTakeovers(ctx context.Context, addr string, n int) (*Takeovers, error) {
	t := &Takeovers{addr: addr, conns: make([]*conn, n), again: make([]int, n)}
	err := parallel(n, func(i int) (err error) {
		if t.conns[i], err = t.dial(ctx, i); err != nil {
			return err
		}
		return t.conns[i].subscribe(fmt.Sprintf("bench/takeover/%d", i), 1)
	})
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Takeovers) dial(ctx context.Context, i int) (*conn, error) {
	return dial(ctx, t.addr, local(i+t.again[i]), fmt.Sprintf("takeover-%d", i), false, 512)
}

// Run lets clients take over, at most 32 at once, until d is over or 8,000 did, and
// those under way are done: the new connection has its CONNACK and the old one has ended. It
// returns how many did and how long it took.
func (t *Takeovers) Run(ctx context.Context, d time.Duration) (n uint64, took time.Duration, err error) {
	const (
		atOnce = 32
		// A broker may take more connections at once than it takes for long: Parley
		// takes 20,000, then 2,000 a second. The figure is one takeover's cost.
		enough = 8000
	)
	begin := time.Now()
	workers := min(atOnce, len(t.conns))
	var done atomic.Uint64
	var failed atomic.Pointer[error] // the first
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for i := w; failed.Load() == nil && time.Since(begin) < d && done.Load() < enough; i += workers {
				if i >= len(t.conns) {
					i = w
				}
				if err := t.takeover(ctx, i); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				done.Add(1)
			}
		})
	}
	running.Wait()
	if first := failed.Load(); first != nil {
		err = *first
	}
	return done.Load(), time.Since(begin), err
}

// takeover connects client i once more.
func (t *Takeovers) takeover(ctx context.Context, i int) error {
	t.again[i]++
	c, err := t.dial(ctx, i)
	if err != nil {
		return err
	}
	old := t.conns[i]
	t.conns[i] = c
	defer old.abort()
	if !c.present {
		return fmt.Errorf("client %d: CONNACK without a session: %w", i, ErrTakeover)
	}
	if err := old.ended(); err != nil {
		return fmt.Errorf("client %d: %w", i, err)
	}
	return nil
}

// ended waits until the server ends the connection, in whatever way. A DISCONNECT
// before that is let pass, though a server of MQTT 3.1.1 has none to send
// (section 3.14): mochi does, and it costs next to nothing.
func (c *conn) ended() error {
	if err := c.nc.SetDeadline(time.Now().Add(setupTimeout)); err != nil {
		return err
	}
	var err error
	for err == nil {
		err = c.receive(func(first byte, _ []byte) error {
			if first>>4 == typeDisconnect {
				return nil
			}
			return fmt.Errorf("type %d on a connection that is taken over: %w", first>>4, ErrPacket)
		})
	}
	switch {
	case errors.Is(err, ErrPacket), errors.Is(err, ErrFrame):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the old connection is open after %v: %w", setupTimeout, ErrTakeover)
	}
	return nil
}

// Close ends all connections.
func (t *Takeovers) Close() {
	for _, c := range t.conns {
		if c != nil {
			c.abort()
		}
	}
}
