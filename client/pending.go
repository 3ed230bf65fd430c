package client

import (
	"context"
	"fmt"
	"sync"
)

// pending matches replies with requests by number, and ends all of them when
// the connection does.
type pending[T any] struct {
	done chan struct{}

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan T
	err     error // why the connection ended; set once, before done is closed
}

func newPending[T any]() *pending[T] {
	return &pending[T]{done: make(chan struct{}), waiting: map[uint64]chan T{}}
}

// begin takes the next number, from 1.
func (p *pending[T]) begin() (uint64, chan T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	c := make(chan T, 1)
	p.waiting[p.last] = c
	return p.last, c
}

// answer gives a reply to who waits for it, if anybody does.
func (p *pending[T]) answer(id uint64, reply T) {
	p.mu.Lock()
	c := p.waiting[id]
	delete(p.waiting, id)
	p.mu.Unlock()
	if c != nil {
		c <- reply
	}
}

// wait waits for the reply to id.
func (p *pending[T]) wait(ctx context.Context, id uint64, c chan T) (reply T, err error) {
	select {
	case reply = <-c:
		return reply, nil
	default:
	}
	select {
	case reply = <-c:
		return reply, nil
	case <-p.done:
		err = p.Err()
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	delete(p.waiting, id)
	p.mu.Unlock()
	return reply, err
}

// fail ends everything; the first cause counts.
func (p *pending[T]) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = fmt.Errorf("%w: %w", ErrClosed, err)
		close(p.done)
	}
}

// Done and Err are those of Client.
func (p *pending[T]) Done() <-chan struct{} { return p.done }

func (p *pending[T]) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
