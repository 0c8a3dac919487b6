package smtpd

import (
	"net/netip"
	"strings"
	"time"

	"postern/internal/mail/address"
	"postern/internal/mail/smtpline"
)

// An exempt address is outside what counts by address: many people stand behind
// it. Wrong passwords that come from there for one login still count, as many a
// minute as another address may make errors of any kind. They could not count in
// the account's lockout alone, which leaves a network in peace that the login is
// known from, and behind a webmail that is everybody's.

// knocker is who tries a login, where its address counts for nothing.
type knocker struct {
	from  netip.Prefix
	login string
}

// knocks is what it has left.
type knocks struct {
	left float64
	at   time.Time
}

// knock takes one try of a login, which opened gives back where it was the right
// password, and reports whether there was one left.
func (g *guard) knock(a netip.Addr, login string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !within(g.exempt, a) {
		return true
	}
	k := g.knocksLocked(knocker{site(a), login}, now)
	if k.left < 1 {
		return false
	}
	k.left--
	return true
}

func (g *guard) opened(a netip.Addr, login string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if within(g.exempt, a) {
		k := g.knocksLocked(knocker{site(a), login}, now)
		k.left = min(k.left+1, float64(g.limits.ErrorRate))
	}
}

func (g *guard) knocksLocked(who knocker, now time.Time) *knocks {
	full := float64(g.limits.ErrorRate)
	k, ok := g.knocks[who]
	if !ok {
		g.forgetKnocksLocked(now)
		k = &knocks{full, now}
		g.knocks[who] = k
		return k
	}
	if past := now.Sub(k.at); past > 0 {
		k.left, k.at = min(k.left+past.Minutes()*full, full), now
	}
	return k
}

// forgetKnocksLocked makes room when there are as many as may be: of one that has
// been quiet for a minute, or else any one; looked for among a few.
func (g *guard) forgetKnocksLocked(now time.Time) {
	if len(g.knocks) < g.limits.TrackedAddrs {
		return
	}
	looked := 0
	var victim knocker
	for who, k := range g.knocks { // in random order
		victim = who
		if looked++; now.Sub(k.at) >= time.Minute || looked == 64 {
			break
		}
	}
	delete(g.knocks, victim)
}

// loginKey is one login in whatever letters and quotes; "" is any that is no
// address.
func loginKey(identity string) string {
	a, err := address.Parse(identity)
	if err != nil {
		return ""
	}
	return strings.ToLower(a.String())
}

// knock asks whether a login may be tried from here.
func (c *conn) knock(identity string) *smtpline.Reply {
	if c.conf.guard.knock(c.info.Remote.Addr(), loginKey(identity), time.Now()) {
		return nil
	}
	c.srv.Counters.RefusedLogins.Inc()
	return tooManyGuesses
}

// heard gives the try back where it was no wrong password.
func (c *conn) heard(identity string, r *smtpline.Reply) *smtpline.Reply {
	if r == nil || !r.Permanent() {
		c.conf.guard.opened(c.info.Remote.Addr(), loginKey(identity), time.Now())
	}
	return r
}

var tooManyGuesses = closing(421, "4.7.0", "login-rate", "too many failed logins of this account from your address, try again later")
