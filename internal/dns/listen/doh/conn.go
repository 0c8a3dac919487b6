package doh

import (
	"net"
	"sync"
	"sync/atomic"
)

// Conn goes below the TLS of a connection that is handed to a Server. It is
// over when it is closed and all that was asked on it has been answered: who
// closes and comes again must not have more work done than who stays.
type Conn struct {
	net.Conn
	over chan struct{}

	writes atomic.Uint64 // that have ended

	mu     sync.Mutex // guards what follows
	closed bool
	inHand int
}

// NewConn wraps c.
func NewConn(c net.Conn) *Conn { return &Conn{Conn: c, over: make(chan struct{})} }

// Over returns what is closed when the connection is over.
func (c *Conn) Over() <-chan struct{} { return c.over }

// Close closes the connection; what is in hand goes on.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.lookLocked()
	}
	return err // that of net.Conn, for those who use one
}

// Write writes, and counts that it did.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.writes.Add(1)
	return n, err // that of net.Conn, for those who use one
}

// begin takes a request in hand; false: nobody waits for it any more.
func (c *Conn) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.inHand++
	return true
}

func (c *Conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inHand--
	c.lookLocked()
}

func (c *Conn) lookLocked() {
	if c.closed && c.inHand == 0 {
		close(c.over)
	}
}
