// Package handshake bounds how many TLS handshakes are reckoned at once.
//
// To answer a client's hello takes some tenths of a millisecond of a core, and the
// runtime looks for what has come from the network only when it has nothing else
// to run: behind a queue of handshakes on every core, readers of questions wait
// for milliseconds. Here a handshake waits for its turn once the hello is there,
// and gives it up with the first octet of its own reply: so nobody holds a turn
// who is slow, or says nothing.
package handshake

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"

	"postern/internal/metrics"
)

// Turns are how many handshakes may reckon at once.
type Turns struct {
	Counters Counters
	taken    chan struct{}
}

// Counters are what Turns count.
type Counters struct {
	Waited metrics.Counter // handshakes that had to wait
	Given  metrics.Counter // given up while they waited
}

// NewTurns returns that many, at least one.
func NewTurns(n int) *Turns { return &Turns{taken: make(chan struct{}, max(n, 1))} }

// Conn is a connection whose handshake takes a turn.
type Conn struct {
	net.Conn
	turns *Turns
	held  atomic.Bool
}

// Wrap returns raw for tls.Server, whose configuration calls Take. On nil Turns
// everybody goes at once.
func (t *Turns) Wrap(raw net.Conn) *Conn { return &Conn{Conn: raw, turns: t} }

// Take waits for a turn. It is for GetConfigForClient, which crypto/tls asks once
// the hello has come, and for GetCertificate: between the two a client may have
// been asked for another hello (RFC 8446, Section 4.1.4), and its turn have ended.
func Take(h *tls.ClientHelloInfo) error {
	if c, ok := h.Conn.(*Conn); ok && c.turns != nil && !c.held.Load() {
		return c.take(h.Context())
	}
	return nil
}

func (c *Conn) take(ctx context.Context) error {
	t := c.turns
	select {
	case t.taken <- struct{}{}:
		c.held.Store(true)
		return nil
	default:
	}
	t.Counters.Waited.Inc()
	select {
	case t.taken <- struct{}{}:
		c.held.Store(true)
		return nil
	case <-ctx.Done():
		t.Counters.Given.Inc()
		return fmt.Errorf("wait for other handshakes: %w", ctx.Err())
	}
}

// Write gives the turn up: what was to be reckoned is.
func (c *Conn) Write(b []byte) (int, error) {
	c.Done()
	return c.Conn.Write(b) // the error is the connection's own
}

// Done gives the turn up, if it is held. It is called after the handshake too: one
// that failed may have written nothing.
func (c *Conn) Done() {
	if c.held.Load() && c.held.CompareAndSwap(true, false) {
		<-c.turns.taken
	}
}
