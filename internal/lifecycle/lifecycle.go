// Package lifecycle starts parts in order, stops them in reverse, and owns
// goroutines by name, so that whoever starts one can also stop it and wait.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
)

// Part is something that runs. Start returns once the part works; Stop refuses
// new work, lets running work finish until ctx ends, then cuts it off. Stop
// returns only when every goroutine of the part has ended or ctx has.
type Part interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
}

// Stack is a list of running parts. It is not safe for concurrent use.
type Stack struct {
	names []string
	parts []Part
}

// Start starts p and remembers it for Stop. On an error p is not remembered;
// the caller stops the stack.
func (s *Stack) Start(ctx context.Context, name string, p Part) error {
	if err := p.Start(ctx); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	s.names, s.parts = append(s.names, name), append(s.parts, p)
	return nil
}

// Stop stops the parts in reverse order and joins their errors.
func (s *Stack) Stop(ctx context.Context) error {
	var errs []error
	for i := len(s.parts) - 1; i >= 0; i-- {
		if err := s.parts[i].Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", s.names[i], err))
		}
	}
	s.names, s.parts = nil, nil
	return errors.Join(errs...)
}

// Workers is a set of goroutines that end together. The zero value is ready.
type Workers struct {
	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex     // guards running and closed
	running map[string]int // name -> how many
	closed  bool
}

func (w *Workers) init() {
	// Background: workers outlive the call that started them; Stop ends them.
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.running = make(map[string]int)
}

// Go runs f in a goroutine of that name until f returns. f must return soon
// after its context ends. It reports false, and runs nothing, after Stop.
func (w *Workers) Go(name string, f func(ctx context.Context)) bool {
	w.once.Do(w.init)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.running[name]++
	w.wg.Go(func() {
		defer w.done(name)
		f(w.ctx)
	})
	return true
}

func (w *Workers) done(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running[name]--; w.running[name] == 0 {
		delete(w.running, name)
	}
}

// Context ends when Cancel or Stop is called.
func (w *Workers) Context() context.Context {
	w.once.Do(w.init)
	return w.ctx
}

// Stop ends the workers' context and waits for all of them. If ctx ends first
// the error names those still running.
func (w *Workers) Stop(ctx context.Context) error {
	w.once.Do(w.init)
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	return w.Wait(ctx)
}

// Wait waits for the running workers without ending their context.
func (w *Workers) Wait(ctx context.Context) error {
	ended := make(chan struct{})
	go func() { w.wg.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("still running: %s: %w", w.names(), ctx.Err())
	}
}

func (w *Workers) names() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for n, count := range w.running {
		names = append(names, fmt.Sprintf("%s (%d)", n, count))
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}
