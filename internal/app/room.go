package app

import (
	"os"
	"runtime"
	"sync"
)

// room gives work that takes long, the loading of zones and the hashing of
// passwords, a place among those that Go code runs in, beside the readers',
// until the last that asked has left it: the kernel, which knows of priorities,
// then shares the cores. All the time it would only cost: places beyond the
// cores are woken for nothing.
type room struct {
	mu     sync.Mutex
	guests int
}

func (r *room) enter() (leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.guests++; r.guests == 1 {
		apart(func() { runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1) })
	}
	return r.leave
}

func (r *room) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.guests--; r.guests > 0 {
		return
	}
	if os.Getenv("GOMAXPROCS") != "" { // one less, not what was: two appliances of one process may overlap
		apart(func() { runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0)-1, 1)) })
		return
	}
	// Not a number: the runtime goes on following the cores it is given.
	apart(runtime.SetDefaultGOMAXPROCS)
}

// apart does what stops all goroutines on a thread of the usual priority: while
// they stand still, the caller's, which stands back, might wait for a core.
func apart(do func()) {
	done := make(chan struct{})
	go func() {
		do()
		close(done)
	}()
	<-done
}
