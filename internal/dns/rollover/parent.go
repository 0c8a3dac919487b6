package rollover

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// How often the parent is looked at: when nothing is expected of it, when
// something has been for more than a day, and for less; and how old a look may
// be by which an old key goes.
const (
	lookSeldom = 6 * time.Hour
	lookAtLast = time.Hour
	lookOften  = 10 * time.Minute
	lookFresh  = 5 * time.Minute
)

// parent takes what was seen at the parent into the states of the keys.
func (m *machine) parent() {
	p := &m.seen.Parent
	switch p.Security {
	case Secure, Insecure:
	case Bogus:
		if m.p.broken&noBogus == 0 {
			m.freeze(ReasonParentBogus, "what the parent says of the DS does not validate: nothing is changed")
			return
		}
	default:
		if !p.At.IsZero() {
			m.alarm(ReasonParentUnknown, "the parent's DS cannot be learned: what needs it waits")
		}
		return
	}
	if p.At.IsZero() || p.Security == Unknown {
		return
	}
	m.s.Looked = p.At
	m.dsTTL(p)
	for i := range m.s.Keys {
		k := &m.s.Keys[i]
		if seen := slices.Contains(p.Tags, k.Tag); seen != k.DS.Seen {
			k.DS = Sight{seen, whole(p.At)}
		}
	}
	if len(p.Orphans) > 0 && m.p.broken&noOrphans == 0 {
		m.freeze(ReasonOrphanDS, "the parent has DS %s, which leads to no key here: nothing is changed (hint: dnssec import --adopt, or have it removed)", strings.Join(p.Orphans, ", "))
	}
}

func (m *machine) freeze(reason, format string, args ...any) {
	m.frozen = true
	m.alarm(reason, format, args...)
	m.later("waits for the parent: "+reason, time.Time{})
}

// dsTTL follows the TTL of the DS set, as marks does those of the zone.
func (m *machine) dsTTL(p *Parent) {
	mark := &m.s.DSTTL
	ttl := min(p.TTL, maxTTL)
	switch {
	case len(p.Tags) == 0 && len(p.Orphans) == 0: // no set, no TTL
	case ttl >= mark.TTL:
		*mark = Mark{TTL: ttl}
	case mark.Less.Since.IsZero() || ttl < mark.Served:
		mark.Served = ttl
		mark.Less = Turn{On: true, Since: m.stamp, Until: whole(m.now.Add(mark.TTL + m.p.ParentLag + m.p.Margin))}
	default:
		mark.Served = ttl
	}
	if !mark.Less.Since.IsZero() && m.settled(&mark.Less) {
		*mark = Mark{TTL: mark.Served}
	}
}

// forgotten is how long after a look caches may hold a DS set that it no longer
// found: until all of the parent's servers have the new one, and then the TTL.
func (m *machine) forgotten() time.Duration {
	lag, ttl := m.p.ParentLag, cmp.Or(m.s.DSTTL.TTL, m.p.DSTTL)
	if m.p.broken&noLag != 0 {
		lag = 0
	}
	if m.p.broken&noDSTTL != 0 {
		ttl = 0
	}
	return lag + ttl + m.p.Margin
}

// proved reports whether a look proves what was first seen at a time to be so in
// all caches; if not, it tells when it may be.
func (m *machine) proved(since time.Time) (bool, time.Time) {
	at := since.Add(m.forgotten())
	// The parent may have gone back meanwhile: it is looked at once more when
	// all of its servers must agree.
	if m.s.Looked.Before(since.Add(m.p.ParentLag)) {
		m.askBy(since.Add(m.p.ParentLag))
		return false, at
	}
	return !m.now.Before(at), at
}

// hasDS reports whether every cache that has a DS set has the key's DS in it.
func (m *machine) hasDS(k *Key) bool {
	if !k.DS.Seen || !k.Want.On {
		return false
	}
	ok, _ := m.proved(k.DS.Since)
	return ok
}

// mayHaveDS reports whether any cache may have a DS of the key, now or later.
func (m *machine) mayHaveDS(k *Key) bool {
	if k.DS.Seen || k.Want.On {
		return true
	}
	if !k.Set.On || k.Want.Since.IsZero() && k.DS.Since.IsZero() {
		return false // it never had one, or could not have left the set
	}
	ok, _ := m.dsGone(k)
	return !ok
}

// dsGone reports whether the key's DS has left all caches, and the parent will
// not bring it back by what it was told earlier.
func (m *machine) dsGone(k *Key) (bool, time.Time) {
	heedless := m.p.broken&noCDSWait != 0
	if k.DS.Seen || k.Want.On || !m.settled(&k.Want) && !heedless {
		return false, time.Time{}
	}
	since := k.DS.Since
	if k.Want.Until.After(since) && !heedless {
		since = k.Want.Until
	}
	if since.IsZero() {
		return true, since
	}
	return m.proved(since)
}

// fresh reports whether the last look at the parent is young enough for what
// cannot be taken back; if not it asks for another.
func (m *machine) fresh() bool {
	age := m.now.Sub(m.s.Looked)
	if age > -tolerance && age <= lookFresh || m.p.broken&noFresh != 0 {
		return true
	}
	m.askBy(m.now)
	return false
}

func (m *machine) askBy(t time.Time) {
	if m.plan.Ask.IsZero() || t.Before(m.plan.Ask) {
		m.plan.Ask = t
	}
}

// expects says what the parent is expected to do, "" if nothing, and since when.
func (m *machine) expects() (string, time.Time) {
	for _, k := range m.keys(func(k *Key) bool { return k.Role.entry() }) {
		switch {
		case k.Want.On && !k.DS.Seen:
			return fmt.Sprintf("waits for DS %d at the parent", k.Tag), k.Want.Since
		case !k.Want.On && k.DS.Seen && m.leaving(k):
			return fmt.Sprintf("waits for DS %d to leave the parent", k.Tag), k.Want.Since
		}
	}
	return "", time.Time{}
}

// every is how often the parent is looked at now.
func (m *machine) every() time.Duration {
	what, since := m.expects()
	switch {
	case m.seen.Parent.Security == Unknown:
		return lookOften
	case what == "" && !m.frozen:
		return lookSeldom
	case m.frozen || m.now.Sub(since) > 24*time.Hour:
		return lookAtLast
	}
	return lookOften
}
