package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// Parked are clients that have connected and say nothing.
type Parked struct{ conns []*conn }

// Park connects n clients, a few at a time. connected is called after each, from
// several goroutines.
func Park(ctx context.Context, addr string, n int, connected func()) (*Parked, error) {
	const atOnce = 8
	p := &Parked{conns: make([]*conn, n)}
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var dialers sync.WaitGroup
	for range atOnce {
		dialers.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				c, err := dial(ctx, addr, local(i), fmt.Sprintf("idle-%d", i), 512)
				if err != nil {
					err = fmt.Errorf("client %d of %d: %w", i+1, n, err)
					failed.CompareAndSwap(nil, &err)
					return
				}
				p.conns[i] = c
				connected()
			}
		})
	}
	dialers.Wait()
	if err := failed.Load(); err != nil {
		p.Close()
		return nil, *err
	}
	return p, nil
}

// Close ends all connections.
func (p *Parked) Close() {
	for _, c := range p.conns {
		if c != nil {
			c.abort()
		}
	}
}
