package outbound

import (
	"net/netip"
	"sync"
	"time"
)

const (
	firstWait = 400 * time.Millisecond // of a server never heard of
	leastWait = 100 * time.Millisecond
	mostWait  = 60 * time.Second // penalty of a server that stays silent
	band      = 400 * time.Millisecond
	forget    = 15 * time.Minute
	familyOff = 10 * time.Second // after the network said it has no route for the family
)

// server is what is remembered of one address.
type server struct {
	srtt, rttvar time.Duration
	rto          time.Duration // wait and rank; doubled by silence (RFC 6298, Section 5.5)
	heard        bool
	noEDNS       bool
	foldsCase    bool // shown over TCP, where it can not be forged
	until        time.Time
}

// knowledge is what one exchange needs to know of a server.
type knowledge struct {
	wait              time.Duration
	noEDNS, foldsCase bool
}

type servers struct {
	bound    int
	longest  time.Duration
	counters *Counters

	mu    sync.Mutex // guards all below
	m     map[netip.Addr]*server
	heard [2]bool      // per family (0: IPv4, 1: IPv6): some server replied once
	down  [2]time.Time // per family, when to try it again
}

func (s *servers) init(bound int, longest time.Duration, counters *Counters) {
	s.bound, s.longest, s.counters = bound, longest, counters
	s.m = make(map[netip.Addr]*server)
}

func (s *servers) get(addr netip.Addr, now time.Time) knowledge {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := knowledge{wait: min(firstWait, s.longest)}
	if v, ok := s.m[addr]; ok && v.until.After(now) {
		k = knowledge{min(v.rto, s.longest), v.noEDNS, v.foldsCase}
	}
	return k
}

// rank is the wait a server is expected to need.
func (s *servers) rank(addr netip.Addr, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.m[addr]; ok && v.until.After(now) {
		return v.rto
	}
	return firstWait
}

func (s *servers) replied(addr netip.Addr, rtt time.Duration, foldsCase bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.entryLocked(addr, now)
	s.heard[family(addr.Is4())] = true
	if !v.heard {
		v.heard, v.srtt, v.rttvar = true, rtt, rtt/2 // RFC 6298, Section 2.2
	} else {
		v.rttvar = (3*v.rttvar + (v.srtt - rtt).Abs()) / 4 // Section 2.3
		v.srtt = (7*v.srtt + rtt) / 8
	}
	v.rto = min(max(v.srtt+4*v.rttvar, leastWait), mostWait)
	v.foldsCase = v.foldsCase || foldsCase
}

func (s *servers) silent(addr netip.Addr, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.entryLocked(addr, now)
	v.rto = min(2*v.rto, mostWait)
}

func (s *servers) unreachable(addr netip.Addr, noRoute bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entryLocked(addr, now).rto = mostWait
	// A host without IPv6 should not try every IPv6 address of the world; but
	// where the family works, one address without a route says nothing of it.
	if f := family(addr.Is4()); noRoute && !s.heard[f] {
		s.down[f] = now.Add(familyOff)
	}
}

func (s *servers) noEDNS(addr netip.Addr, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entryLocked(addr, now).noEDNS = true
}

func (s *servers) familyDown(is4 bool, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Before(s.down[family(is4)])
}

func family(is4 bool) int {
	if is4 {
		return 0
	}
	return 1
}

// entryLocked returns the entry to change. What is learned is forgotten after
// a while, so that a server that was down gets another chance.
func (s *servers) entryLocked(addr netip.Addr, now time.Time) *server {
	if v, ok := s.m[addr]; ok && v.until.After(now) {
		return v
	}
	if _, ok := s.m[addr]; !ok && len(s.m) >= s.bound {
		for victim := range s.m { // any: the order of a map is random enough
			delete(s.m, victim)
			s.counters.Forgotten.Inc()
			break
		}
	}
	v := &server{rto: min(firstWait, s.longest), until: now.Add(forget)}
	s.m[addr] = v
	return v
}

// Pick chooses one of the servers: at random among those that are about as
// fast as the fastest, so that an attacker can not know which one is asked
// (RFC 5452, Section 9.2).
func (c *Client) Pick(addrs []netip.Addr) netip.Addr {
	if len(addrs) == 0 {
		return netip.Addr{}
	}
	now := c.cfg.Now()
	best := time.Duration(-1)
	ranks := make([]time.Duration, len(addrs))
	for i, a := range addrs {
		ranks[i] = c.servers.rank(a.Unmap(), now)
		if best < 0 || ranks[i] < best {
			best = ranks[i]
		}
	}
	var near []netip.Addr
	for i, a := range addrs {
		if ranks[i] < best+band {
			near = append(near, a)
		}
	}
	n, err := c.random()
	if err != nil {
		return near[0]
	}
	return near[n%uint64(len(near))]
}
