package smtpd

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

// guard counts what each client does, by its address, by the network around
// that, and by the account it has logged in to. What may be done in a time are
// token buckets, kept for a bounded number of clients.
type guard struct {
	mu       sync.Mutex // guards what follows
	limits   Limits
	exempt   []netip.Prefix
	total    int
	open     map[netip.Prefix]int
	rates    map[netip.Prefix]*bucket
	accounts map[string]*tenant
	swept    time.Time // when room was made last
	friends  map[netip.Prefix]time.Time
	knocks   map[knocker]*knocks
}

// bucket is what one address or network may still do.
type bucket struct {
	allowance
	at time.Time
}

// allowance is amounts of what is counted: in a bucket what is left, elsewhere
// what a full one holds.
type allowance struct {
	connects, errors float64 // of a minute
	unknown, octets  float64 // of an hour
}

// tenant is an account: its connections, and the octets that it may still send
// of a day's.
type tenant struct {
	open   int
	octets float64
	at     time.Time
}

func newGuard(l Limits, exempt []netip.Prefix) *guard {
	return &guard{
		limits: l, exempt: exempt, open: map[netip.Prefix]int{},
		rates: map[netip.Prefix]*bucket{}, accounts: map[string]*tenant{},
		friends: map[netip.Prefix]time.Time{}, knocks: map[knocker]*knocks{},
	}
}

// follow takes new limits and goes on with what was counted.
func (g *guard) follow(l Limits, exempt []netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits, g.exempt = l, exempt
}

// site is the address that limits go by: the whole of an IPv4 address, the /64
// of an IPv6 one, since that is what one host commands.
func site(a netip.Addr) netip.Prefix { return cut(a, 32, 64) }

// network is what one hand may hold many sites of: a /24, or a /56 of IPv6.
func network(a netip.Addr) netip.Prefix { return cut(a, 24, 56) }

func cut(a netip.Addr, four, six int) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := six
	if a.Is4() {
		bits = four
	}
	p, _ := a.Prefix(bits) // cannot fail for a valid address
	return p
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

func (g *guard) isExempt(a netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return within(g.exempt, a)
}

// refusal says why a client was not let in. The zero value lets it in.
type refusal uint8

const (
	letIn refusal = iota
	busyAddr
	busyNetwork
	busyCrowd
	tooFast
	tooFastNetwork
)

// reserve takes one of the places of all connections together, which must be
// given back by release.
func (g *guard) reserve() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.limits.Connections {
		return false
	}
	g.total++
	return true
}

func (g *guard) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
}

// enter counts a connection of an address, which must leave again, or says why
// it may not come in.
func (g *guard) enter(a netip.Addr, now time.Time) refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	here, around := site(a), network(a)
	if !within(g.exempt, a) {
		one, all := g.bucketLocked(here, now), g.bucketLocked(around, now)
		switch {
		case g.open[here] >= g.limits.ConnectionsPerAddr:
			return busyAddr
		case g.open[around] >= g.limits.ConnectionsPerNetwork:
			return busyNetwork
		case g.open[here] >= g.shareLocked(g.limits.ConnectionsPerAddr), g.open[around] >= g.shareLocked(g.limits.ConnectionsPerNetwork):
			return busyCrowd
		case g.limits.Connections-g.total < kept(g.limits.Connections) && !g.friendLocked(around, now):
			return busyCrowd
		case one.spent():
			return tooFast
		case all.spent():
			return tooFastNetwork
		}
		one.connects--
		all.connects--
	}
	g.open[here]++
	g.open[around]++
	return letIn
}

// shareLocked is what is left of a limit to one client at this hour. The place
// that is being taken counts as free.
func (g *guard) shareLocked(limit int) int {
	return share(limit, g.limits.Connections, g.limits.Connections-g.total+1)
}

// spent reports that nobody is let in until there is more again.
func (b *bucket) spent() bool {
	return b.connects < 1 || b.errors < 1 || b.unknown < 1 || b.octets < 1
}

func (g *guard) leave(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range [...]netip.Prefix{site(a), network(a)} {
		if g.open[p]--; g.open[p] <= 0 {
			delete(g.open, p)
		}
	}
}

// spend takes from what an address and its network have left, and reports
// whether that was the last of it.
func (g *guard) spend(a netip.Addr, what allowance, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if within(g.exempt, a) {
		return false
	}
	over := false
	for _, p := range [...]netip.Prefix{site(a), network(a)} {
		b := g.bucketLocked(p, now)
		b.errors = max(b.errors-what.errors, 0)
		b.unknown = max(b.unknown-what.unknown, 0)
		b.octets -= what.octets // one message may go below, and is made up for later
		over = over || what.errors > 0 && b.errors < 1 || what.unknown > 0 && b.unknown < 1 || b.octets < 1 && what.errors+what.unknown == 0
	}
	return over
}

// full is what an address, or a network, has when it has been quiet.
func (g *guard) fullLocked(p netip.Prefix) allowance {
	l := &g.limits
	if p.IsSingleIP() || p.Addr().Is6() && p.Bits() == 64 {
		return allowance{float64(l.ConnectRate), float64(l.ErrorRate), float64(l.UnknownRate), float64(l.OctetRate)}
	}
	return allowance{float64(l.NetworkConnectRate), float64(l.NetworkErrorRate), float64(l.NetworkUnknownRate), float64(l.NetworkOctetRate)}
}

func (g *guard) bucketLocked(key netip.Prefix, now time.Time) *bucket {
	full := g.fullLocked(key)
	b, ok := g.rates[key]
	if !ok {
		g.makeRoomLocked(now)
		b = &bucket{full, now}
		g.rates[key] = b
		return b
	}
	if past := now.Sub(b.at); past > 0 {
		b.connects = min(b.connects+past.Minutes()*full.connects, full.connects)
		b.errors = min(b.errors+past.Minutes()*full.errors, full.errors)
		b.unknown = min(b.unknown+past.Hours()*full.unknown, full.unknown)
		b.octets = min(b.octets+past.Hours()*full.octets, full.octets)
		b.at = now
	}
	return b
}

// makeRoomLocked forgets a client when the table is full: one that has been
// quiet for a while, or else any one.
func (g *guard) makeRoomLocked(now time.Time) {
	if len(g.rates) < g.limits.TrackedAddrs {
		return
	}
	looked := 0
	var victim netip.Prefix
	for p, b := range g.rates { // in random order
		victim = p
		if now.Sub(b.at) >= time.Minute {
			break
		}
		if looked++; looked == 64 {
			break
		}
	}
	delete(g.rates, victim)
}

// login counts a connection of an account, which must log out again. There are
// as many accounts here as are connected, and those that have sent today.
func (g *guard) login(user string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenantLocked(user, now)
	if t.open >= g.limits.ConnectionsPerAccount {
		return false
	}
	t.open++
	return true
}

func (g *guard) logout(user string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenantLocked(user, now)
	if t.open--; t.open <= 0 && t.octets >= float64(g.limits.OctetsPerAccount) {
		delete(g.accounts, strings.ToLower(user))
	}
}

// charge takes octets from what an account may send, and reports whether it
// still may.
func (g *guard) charge(user string, octets int64, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenantLocked(user, now)
	t.octets -= float64(octets)
	return t.octets >= 1
}

func (g *guard) tenantLocked(user string, now time.Time) *tenant {
	user = strings.ToLower(user)
	full := float64(g.limits.OctetsPerAccount)
	t, ok := g.accounts[user]
	if !ok {
		g.forgetTenantsLocked(now)
		t = &tenant{octets: full, at: now}
		g.accounts[user] = t
		return t
	}
	if past := now.Sub(t.at).Hours(); past > 0 {
		t.octets, t.at = min(t.octets+past/24*full, full), now
	}
	return t
}

// forgetTenantsLocked drops accounts that are not connected and have what they
// had a day ago, once there are many.
func (g *guard) forgetTenantsLocked(now time.Time) {
	if len(g.accounts) < g.limits.TrackedAddrs {
		return
	}
	for user, t := range g.accounts {
		if t.open == 0 && now.Sub(t.at) >= 24*time.Hour {
			delete(g.accounts, user)
		}
	}
}
