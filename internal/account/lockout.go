package account

import (
	"net/netip"
	"sync"
	"time"

	"postern/internal/metrics"
)

// lockout counts failed logins by who failed from where. Four counts run at
// once: the login from one host, any login from one host, any from one network,
// and the login from anywhere. A network from which the login has worked before
// is outside all of them: nobody can lock a user out of a network that is known
// to be the user's. What is left against guesses from there is the engine's: so
// many failures in a connection, so many refused commands of an address and of a
// network a minute; they are counted, and the day's are told of (diary).
type lockout struct {
	bound int
	lost  *metrics.Counter // entries that the bound threw out

	mu     sync.Mutex // guards what follows
	limit  int
	window time.Duration
	fails  map[lockKey]*tally
	known  map[string]map[netip.Prefix]time.Time // by login, at most maxNetworks of each
	places int                                   // in known
}

type lockKey struct {
	login string       // "": any
	from  netip.Prefix // zero: anywhere
}

type tally struct {
	n     int
	since time.Time
}

// How many times the limit the wider counts allow.
const (
	hostFactor     = 2
	networkFactor  = 3
	anywhereFactor = 10
)

// knownFor is how long a network counts as the user's own after a login.
const knownFor = 30 * 24 * time.Hour

func newLockout(limit int, window time.Duration, bound int, lost *metrics.Counter) *lockout {
	return &lockout{
		limit: limit, window: window, bound: bound, lost: lost,
		fails: map[lockKey]*tally{}, known: map[string]map[netip.Prefix]time.Time{},
	}
}

// follow takes another limit.
func (l *lockout) follow(limit int, window time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit, l.window = limit, window
}

// host is what one user commands: an address, or a /64 of IPv6.
func host(a netip.Addr) netip.Prefix { return prefix(a, 32, 64) }

// network is what one site commands.
func network(a netip.Addr) netip.Prefix { return prefix(a, 24, 56) }

func prefix(a netip.Addr, four, six int) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := six
	if a.Is4() {
		bits = four
	}
	p, _ := a.Prefix(bits) // fails only for the zero Addr, whose zero Prefix will do
	return p
}

// locked reports whether a login from there is not even tried.
func (l *lockout) locked(login string, from netip.Addr, now time.Time) bool {
	over, known := l.standing(login, from, now)
	return over && !known
}

// standing reports whether there have been too many failures, and whether the login
// is known there, so that this locks nobody.
func (l *lockout) standing(login string, from netip.Addr, now time.Time) (over, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, known := l.known[login][network(from)]
	known = known && now.Sub(at) < knownFor
	over = l.countLocked(lockKey{login, host(from)}, now) >= l.limit ||
		l.countLocked(lockKey{from: host(from)}, now) >= hostFactor*l.limit ||
		l.countLocked(lockKey{from: network(from)}, now) >= networkFactor*l.limit ||
		l.countLocked(lockKey{login: login}, now) >= anywhereFactor*l.limit
	return over, known
}

func (l *lockout) countLocked(k lockKey, now time.Time) int {
	t, ok := l.fails[k]
	if !ok {
		return 0
	}
	if now.Sub(t.since) >= l.window {
		delete(l.fails, k)
		return 0
	}
	return t.n
}

// failed counts, and reports whether this failure was the one that reached a
// limit of the login itself.
func (l *lockout) failed(login string, from netip.Addr, now time.Time) (reached bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range []lockKey{{login, host(from)}, {from: host(from)}, {from: network(from)}, {login: login}} {
		if l.countLocked(k, now) == 0 {
			l.makeRoomLocked()
			l.fails[k] = &tally{since: now}
		}
		l.fails[k].n++
		if login != "" && k.login == login {
			limit := l.limit
			if k.from == (netip.Prefix{}) {
				limit *= anywhereFactor
			}
			reached = reached || l.fails[k].n == limit
		}
	}
	return reached
}

// worked forgives the login's own failures from there, and reports whether the
// network is to be written down as known: it is new, or a day has passed. The
// failures of the network stay: an attacker's own account must not wash the
// others clean.
func (l *lockout) worked(login string, from netip.Addr, now time.Time) (note bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.fails, lockKey{login, host(from)})
	at, ok := l.known[login][network(from)]
	if ok && now.Sub(at) < 24*time.Hour {
		return false
	}
	l.knowLocked(login, network(from), now)
	return true
}

// know takes a network that was written down.
func (l *lockout) know(login string, network netip.Prefix, seen time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.knowLocked(login, network, seen)
}

// knowLocked makes room among the login's own networks first: whoever moves about
// must not make those of others unknown.
func (l *lockout) knowLocked(login string, network netip.Prefix, at time.Time) {
	mine := l.known[login]
	if _, ok := mine[network]; !ok {
		switch {
		case len(mine) >= maxNetworks:
			l.unknowLocked(login, oldest(mine))
		case l.places >= l.bound:
			l.lost.Inc()
			for other, all := range l.known { // any one; ranging picks it at random
				l.unknowLocked(other, oldest(all))
				break
			}
		}
		l.places++
	}
	if mine = l.known[login]; mine == nil {
		mine = map[netip.Prefix]time.Time{}
		l.known[login] = mine
	}
	mine[network] = at
}

func (l *lockout) unknowLocked(login string, network netip.Prefix) {
	delete(l.known[login], network)
	l.places--
	if len(l.known[login]) == 0 {
		delete(l.known, login)
	}
}

// oldest is the network that was seen longest ago.
func oldest(all map[netip.Prefix]time.Time) (p netip.Prefix) {
	var first time.Time
	for n, at := range all {
		if first.IsZero() || at.Before(first) {
			p, first = n, at
		}
	}
	return p
}

// forget takes away what was known of a login that is gone.
func (l *lockout) forget(login string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.places -= len(l.known[login])
	delete(l.known, login)
}

// unlock forgets the failures of a login, from wherever.
func (l *lockout) unlock(login string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.fails {
		if k.login == login {
			delete(l.fails, k)
		}
	}
}

// makeRoomLocked throws out any one count when there are as many as may be;
// ranging picks it at random.
func (l *lockout) makeRoomLocked() {
	if len(l.fails) < l.bound {
		return
	}
	for k := range l.fails {
		delete(l.fails, k)
		l.lost.Inc()
		return
	}
}
