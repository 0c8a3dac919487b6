package doh

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"
)

// What net/http does at its end does for one request a connection: one of
// HTTP/2 it only tells to go away, and a second later closes it, though
// nothing was asked on it. So it is done here, as soon as nothing is in hand.

const (
	// lookEvery is how often Stop looks which connections have nothing in hand.
	lookEvery = 2 * time.Millisecond
	// unsaid is how long a connection with nothing in hand may take to write
	// its farewell; a large reply may have been the last it wrote.
	unsaid = 100 * time.Millisecond
	// linger is for the client to read what is on its way and close first: a
	// connection that is closed over unread octets takes that away from it.
	linger = 50 * time.Millisecond
)

// standing is how a connection stands; net/http does not tell it of HTTP/2.
type standing struct {
	state  http.ConnState
	below  *Conn     // nil: there is no way to see what is written
	writes uint64    // of below, when it came to have nothing in hand
	since  time.Time // then, or when Stop was called; after left, then
	left   bool      // the client was told that nothing more comes
}

// quiet notes that from now on nothing is in hand.
func (st *standing) quiet() {
	st.since = time.Now()
	if st.below != nil {
		st.writes = st.below.writes.Load()
	}
}

// told reports whether all that was to be said has been written: replies stay
// in a buffer until their stream is over, and leave it together with, or
// before, the word to go away.
func (st *standing) told(now time.Time) bool {
	return st.below != nil && st.below.writes.Load() != st.writes || now.Sub(st.since) >= unsaid
}

// state follows the connections.
func (s *Server) state(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(s.conns, c)
		return
	}
	st := s.conns[c]
	if st == nil {
		st = &standing{}
		if t, ok := c.(*tls.Conn); ok {
			st.below, _ = t.NetConn().(*Conn)
		}
		s.conns[c] = st
	}
	if st.state = state; state == http.StateIdle && !st.left {
		st.quiet()
	}
}

// Stop takes no new connection, tells the clients to go away and waits for
// requests in flight until ctx ends, then cuts them off.
func (s *Server) Stop(ctx context.Context) error {
	s.cancel()
	<-s.done
	s.beginStop()
	ended := make(chan error, 1)
	go func() { ended <- s.http.Shutdown(ctx) }()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	defer s.farewells.Wait()
	for {
		select {
		case err := <-ended:
			if err != nil {
				err = fmt.Errorf("https requests in flight: %w", err)
				s.cutOff()
				_ = s.http.Close()
			}
			return err
		case now := <-look.C:
			s.leave(now)
		}
	}
}

// beginStop closes the connections that have not begun to speak HTTP/2:
// net/http would wait for them as if they had asked something. The others
// have their farewell before them.
func (s *Server) beginStop() {
	var silent []net.Conn
	s.mu.Lock()
	for c, st := range s.conns {
		if st.quiet(); st.state == http.StateNew {
			silent = append(silent, c)
		}
	}
	s.mu.Unlock()
	for _, c := range silent { // closing calls state
		_ = c.Close()
	}
}

// leave ends the connections that have nothing in hand and were told to go
// away: first what we say on them, and soon the rest.
func (s *Server) leave(now time.Time) {
	var leaving, over []net.Conn
	s.mu.Lock()
	for c, st := range s.conns {
		switch {
		case st.left && now.Sub(st.since) >= linger:
			over = append(over, c)
		case !st.left && st.state == http.StateIdle && st.told(now):
			st.left, st.since = true, now
			leaving = append(leaving, c)
		}
	}
	s.mu.Unlock()
	for _, c := range leaving {
		s.farewells.Go(func() { farewell(c) }) // it may wait for a client that reads nothing, until over
	}
	for _, c := range over {
		cutOff(c)
	}
}

// cutOff cuts off all connections.
func (s *Server) cutOff() {
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	for _, c := range all {
		cutOff(c)
	}
}

// cutOff closes a connection below its TLS, which waits for nobody.
func cutOff(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	_ = c.Close()
}

// farewell says that nothing more comes. It waits for a write in hand.
func farewell(c net.Conn) {
	t, ok := c.(*tls.Conn)
	if !ok {
		return
	}
	_ = t.CloseWrite() // whoever does not hear it is cut off
	if below, ok := t.NetConn().(*Conn); ok {
		if half, ok := below.Conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}
}
