package load

import (
	"context"
	"fmt"
)

// Parked are clients that have connected and say nothing.
type Parked struct{ conns []*conn }

// Park connects n clients, some at once. connected is called after each, from
// several goroutines.
func Park(ctx context.Context, addr string, n int, connected func()) (*Parked, error) {
	p := &Parked{conns: make([]*conn, n)}
	err := parallel(n, func(i int) error {
		c, err := dial(ctx, addr, local(i), fmt.Sprintf("idle-%d", i), true, 512)
		if err != nil {
			return fmt.Errorf("client %d of %d: %w", i+1, n, err)
		}
		p.conns[i] = c
		connected()
		return nil
	})
	if err != nil {
		p.Close()
		return nil, err
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
