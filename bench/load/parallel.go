package load

import (
	"sync"
	"sync/atomic"
)

// parallel calls do with 0 to n-1, some at once: a broker that answers in ticks
// (mosquitto's websockets, ten a second when it is idle) would take minutes to
// connect hundreds one after the other. It returns the first error; a worker that
// has seen it begins no further call.
func parallel(n int, do func(i int) error) error {
	const atOnce = 32
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var workers sync.WaitGroup
	for range min(atOnce, n) {
		workers.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	workers.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
