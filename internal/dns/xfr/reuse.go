package xfr

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// A connection within TLS costs more to make than most answers, and a primary of
// many zones is asked many things: so it is kept for a moment after an answer
// that was whole, and used again (RFC 9103, Section 6.3.1). Never for two requests
// at a time, so that nothing of one answer comes into another. Whether the other
// end has closed it shows when it is used: then another one is made, for that is
// nobody's fault (RFC 7766, Section 6.2.4).

const (
	keepFor  = 5 * time.Second // less than servers leave one open
	keepEach = 2               // connections to one address
	keepMost = 64              // connections in all
)

// idle is the connections that nobody uses just now.
type idle struct {
	mu     sync.Mutex // guards what follows
	lists  map[way][]*stream
	count  int
	closed bool
}

// way is where a connection leads: a primary of another configuration proves
// itself anew.
type way struct {
	primary *Primary
	addr    netip.AddrPort
}

// take returns a connection that is open, as far as is known; nil: there is none.
func (i *idle) take(ctx context.Context, l way) *stream {
	i.mu.Lock()
	defer i.mu.Unlock()
	for list := i.lists[l]; len(list) > 0; list = i.lists[l] {
		s := list[len(list)-1]
		i.dropLocked(l, s)
		if s.timer.Stop() {
			s.again, s.heard = true, false
			s.follow(ctx)
			return s
		}
		s.shut() // its time is over
	}
	return nil
}

// put keeps a connection, or closes it. It has given all that was asked for.
func (i *idle) put(l way, s *stream) {
	ours := s.stop() // else its job ends in this moment
	i.mu.Lock()
	defer i.mu.Unlock()
	if !ours || i.closed || s.read.Buffered() > 0 || len(i.lists[l]) >= keepEach || i.count >= keepMost || s.conn.SetDeadline(time.Time{}) != nil {
		s.shut()
		return
	}
	if i.lists == nil {
		i.lists = map[way][]*stream{}
	}
	i.lists[l] = append(i.lists[l], s)
	i.count++
	s.timer = time.AfterFunc(keepFor, func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.dropLocked(l, s) {
			s.shut()
		}
	})
}

// dropLocked takes a connection out of the list, if it is there.
func (i *idle) dropLocked(l way, s *stream) bool {
	for at, other := range i.lists[l] {
		if other != s {
			continue
		}
		i.count--
		if i.lists[l] = append(i.lists[l][:at:at], i.lists[l][at+1:]...); len(i.lists[l]) == 0 {
			delete(i.lists, l)
		}
		return true
	}
	return false
}

// close closes all, for good.
func (i *idle) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	for _, list := range i.lists {
		for _, s := range list {
			s.timer.Stop()
			s.shut()
		}
	}
	i.lists, i.count = nil, 0
}

// talk makes one request on a connection, and keeps that where it may be used
// again. One that was kept and brings nothing is given up for another.
func (c *client) talk(ctx context.Context, t target, do func(*stream) error) error {
	l := way{t.Primary, t.addr}
	for {
		var s *stream
		if t.TLS != nil {
			s = c.idle.take(ctx, l)
		}
		if s == nil {
			var err error
			if s, err = c.connect(ctx, t); err != nil {
				return err
			}
		}
		err := do(s)
		switch {
		case err == nil && t.TLS != nil:
			if s.again {
				c.reused()
			}
			c.idle.put(l, s)
			return nil
		case err != nil && s.again && !s.heard && ctx.Err() == nil:
			s.close()
			continue
		}
		s.close()
		return err
	}
}
