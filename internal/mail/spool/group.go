package spool

import "sync"

// group lets one fsync of a directory serve every commit that waits for it.
// Whoever arrives while none runs does it; whoever arrives while one runs
// waits for the next, since the running one may have begun before their rename.
// Nobody waits for company: under load it comes by itself.
type group struct {
	sync func() error // set before use

	mu      sync.Mutex // guards all below
	cond    *sync.Cond
	running bool
	started uint64 // syncs begun
	ended   uint64 // syncs ended
	err     error  // the first failure; it stays, see the package comment
}

// wait returns once a sync that began after the call has ended.
func (g *group) wait() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cond == nil {
		g.cond = sync.NewCond(&g.mu)
	}
	want := g.started + 1
	for g.ended < want && g.err == nil {
		if g.running {
			g.cond.Wait()
			continue
		}
		g.runLocked()
	}
	return g.err
}

func (g *group) runLocked() {
	g.running = true
	g.started++
	g.mu.Unlock()
	err := g.sync()
	g.mu.Lock()
	g.running = false
	g.ended = g.started
	if err != nil && g.err == nil {
		g.err = err
	}
	g.cond.Broadcast()
}
