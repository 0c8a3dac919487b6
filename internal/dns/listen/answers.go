package listen

import (
	"net/netip"
	"sync"
)

// answers gives each message of HTTPS and QUIC to a handler and waits for the
// reply. A message that is kept keeps its stream: what a client that went away
// has asked still counts among its streams.
type answers struct {
	handlers  *handlers
	transport Transport
	pending   sync.WaitGroup // messages in hand, kept ones too

	mu      sync.Mutex // guards what follows
	free    []*answerer
	stopped bool // nothing more is taken in hand
}

// answerer is a handler and its buffer, used by one goroutine at a time.
type answerer struct {
	handler Handler
	made    uint64
	out     []byte
}

const (
	firstReply = 4096 // longer ones are allocated
	// maxFree bounds the handlers kept for later.
	maxFree = 64
)

func (a *answers) take() *answerer {
	a.mu.Lock()
	var w *answerer
	if n := len(a.free); n > 0 {
		w, a.free = a.free[n-1], a.free[:n-1]
	}
	a.mu.Unlock()
	if w == nil {
		w = &answerer{out: make([]byte, 0, firstReply)}
	}
	w.handler, w.made = a.handlers.handler(w.handler, w.made)
	return w
}

func (a *answers) give(w *answerer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.free) < maxFree {
		a.free = append(a.free, w)
	}
}

// insider asks a handler whose client this is.
func (a *answers) insider(client netip.Addr) bool {
	w := a.take()
	defer a.give(w)
	knows, ok := w.handler.(Insiders)
	return ok && knows.Insider(client)
}

func (a *answers) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return false
	}
	a.pending.Add(1)
	return true
}

// wait ends the work and returns when none is in hand.
func (a *answers) wait() {
	a.mu.Lock()
	a.stopped = true
	a.mu.Unlock()
	a.pending.Wait()
}

// answer returns the reply to msg, or nothing.
func (a *answers) answer(msg []byte, client, local netip.AddrPort) []byte {
	if !a.begin() {
		return nil
	}
	defer a.pending.Done()
	kept := make(awaited, 1)
	w := a.take()
	req := Request{Msg: msg, Client: client, Local: local, Transport: a.transport, from: &kept}
	reply := append([]byte(nil), w.handler.Serve(&req, w.out[:0])...)
	a.give(w)
	if req.slot == inHand {
		reply = <-kept
	}
	if len(reply) > 0xFFFF {
		return nil
	}
	return reply
}

// inHand marks a request that was kept.
const inHand = 1

// awaited is where a late reply comes.
type awaited chan []byte

// keep implements keeper.
func (a *awaited) keep(r *Request) *Pending {
	r.slot = inHand
	p := &Pending{Request: *r}
	p.Msg = append([]byte(nil), r.Msg...)
	p.from = nil
	p.send = func(msg []byte) { *a <- append([]byte(nil), msg...) }
	return p
}
