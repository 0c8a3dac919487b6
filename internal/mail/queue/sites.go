package queue

import (
	"net/netip"
	"sync"
	"time"

	"postern/internal/mail/route"
)

// Bounds of what is remembered about silent hosts.
const (
	maxSites  = 10_000
	firstRest = 15 * time.Second
	longRest  = 5 * time.Minute
)

// sites remembers which addresses did not answer, so that a host that is down
// costs one time-out now and then and not one a message. It is safe for
// concurrent use.
type sites struct {
	mu   sync.Mutex // guards dead
	dead map[netip.AddrPort]site
}

type site struct {
	fails int
	until time.Time
}

// mark notes addresses that failed. It reports how many found no room.
func (s *sites) mark(addrs []netip.AddrPort, now time.Time) (refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range addrs {
		d, known := s.dead[a]
		if !known && len(s.dead) >= maxSites {
			s.expireLocked(now)
			if len(s.dead) >= maxSites {
				refused++
				continue
			}
		}
		if d.until.After(now) {
			continue // one of several attempts that failed together
		}
		d.fails++
		rest := longRest
		if d.fails < 6 {
			rest = min(firstRest<<(d.fails-1), longRest)
		}
		d.until = now.Add(rest)
		s.dead[a] = d
	}
	return refused
}

func (s *sites) expireLocked(now time.Time) {
	for a, d := range s.dead {
		if now.Sub(d.until) > longRest {
			delete(s.dead, a)
		}
	}
}

// clear notes addresses that answered.
func (s *sites) clear(addr netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.dead, addr)
}

// alive leaves out the addresses that rest. If nothing remains it says when the
// first may be tried again.
func (s *sites) alive(hops []route.Hop, now time.Time) (out []route.Hop, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range hops {
		if len(h.Addrs) == 0 {
			out = append(out, h)
			continue
		}
		var addrs []netip.AddrPort
		for _, a := range h.Addrs {
			d := s.dead[a]
			if !d.until.After(now) {
				addrs = append(addrs, a)
			} else if until.IsZero() || d.until.Before(until) {
				until = d.until
			}
		}
		if len(addrs) > 0 {
			h.Addrs = addrs
			out = append(out, h)
		}
	}
	return out, until
}
