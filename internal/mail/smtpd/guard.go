package smtpd

import (
	"net/netip"
	"sync"
	"time"
)

// guard counts what each address does. Rates are token buckets of one minute's
// worth, kept for a bounded number of addresses.
type guard struct {
	limits Limits
	exempt []netip.Prefix

	mu    sync.Mutex // guards what follows
	open  map[netip.Addr]int
	total int
	rates map[netip.Addr]*bucket
}

// bucket holds what an address may still do.
type bucket struct {
	connects, errors float64
	at               time.Time
}

func newGuard(l Limits, exempt []netip.Prefix) *guard {
	return &guard{limits: l, exempt: exempt, open: map[netip.Addr]int{}, rates: map[netip.Addr]*bucket{}}
}

// site is the address that limits go by: the whole of an IPv4 address, the /64
// of an IPv6 one, since that is what one host commands.
func site(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	p, _ := a.Prefix(64) // cannot fail for a valid IPv6 address
	return p.Addr()
}

func within(prefixes []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (g *guard) isExempt(a netip.Addr) bool { return within(g.exempt, a) }

// refusal says why a connection was not let in. The zero value lets it in.
type refusal uint8

const (
	letIn refusal = iota
	busyTotal
	busyAddr
	tooFast
)

// enter admits a connection, which must leave again, or says why not.
func (g *guard) enter(a netip.Addr, now time.Time) refusal {
	key := site(a)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.limits.Connections {
		return busyTotal
	}
	if !g.isExempt(a) {
		if g.open[key] >= g.limits.ConnectionsPerAddr {
			return busyAddr
		}
		b := g.bucketLocked(key, now)
		if b.connects < 1 || b.errors < 1 {
			return tooFast
		}
		b.connects--
	}
	g.total++
	g.open[key]++
	return letIn
}

func (g *guard) leave(a netip.Addr) {
	key := site(a)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.open[key]--; g.open[key] <= 0 {
		delete(g.open, key)
	}
}

// blame counts a refused command and reports whether the address has used up
// its errors.
func (g *guard) blame(a netip.Addr, now time.Time) bool {
	if g.isExempt(a) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.bucketLocked(site(a), now)
	if b.errors < 1 {
		return true
	}
	b.errors--
	return b.errors < 1
}

func (g *guard) bucketLocked(key netip.Addr, now time.Time) *bucket {
	b, ok := g.rates[key]
	if !ok {
		g.makeRoomLocked(now)
		b = &bucket{connects: float64(g.limits.ConnectRate), errors: float64(g.limits.ErrorRate), at: now}
		g.rates[key] = b
		return b
	}
	if past := now.Sub(b.at).Minutes(); past > 0 {
		b.connects = min(b.connects+past*float64(g.limits.ConnectRate), float64(g.limits.ConnectRate))
		b.errors = min(b.errors+past*float64(g.limits.ErrorRate), float64(g.limits.ErrorRate))
		b.at = now
	}
	return b
}

// makeRoomLocked forgets an address when the table is full: one that has been
// quiet for a minute, whose buckets are full again, or else any one.
func (g *guard) makeRoomLocked(now time.Time) {
	if len(g.rates) < g.limits.TrackedAddrs {
		return
	}
	looked := 0
	var victim netip.Addr
	for a, b := range g.rates { // in random order
		victim = a
		if now.Sub(b.at) >= time.Minute {
			break
		}
		if looked++; looked == 64 {
			break
		}
	}
	delete(g.rates, victim)
}
