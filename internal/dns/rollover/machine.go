package rollover

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// MaxKeys bounds the keys of a zone: while there are so many, none is made.
const MaxKeys = 12

// machine is one call of Advance.
type machine struct {
	p     Policy
	s     State
	seen  Seen
	now   time.Time
	stamp time.Time // what is decided now is dated by this
	plan  Plan
	// frozen: no step is taken.
	frozen bool
	eager  bool // the zone is not signed before the parent was asked
	waits  []wait
}

// wait is a step that is not taken yet.
type wait struct {
	what string
	at   time.Time // zero: not known
}

// Advance takes what steps are safe now, and says what comes of them. The State
// it returns is to be kept in memory and asked with again; its Fields are to be
// durable before the zone is signed by the Plan.
func Advance(p Policy, s State, seen Seen, now time.Time) (State, Plan) {
	m := &machine{p: p.defaults(), s: s.clone(), seen: seen, now: now}
	m.clock()
	m.date()
	m.parent()
	m.hear()
	m.marks()
	m.settleAll()
	m.takeServed()
	if !m.frozen {
		m.age()
		m.spare()
		m.makeKeys()
		if len(m.plan.Make) == 0 {
			m.steps()
		}
	}
	m.finish()
	return m.s, m.plan
}

func (p Policy) defaults() Policy {
	p.ParentLag = cmp.Or(p.ParentLag, time.Hour)
	p.DSTTL = cmp.Or(p.DSTTL, 24*time.Hour)
	p.Margin = cmp.Or(p.Margin, 5*time.Minute)
	return p
}

// roles are those of which the zone has one key each.
func (p Policy) roles() []Role {
	if p.Split {
		return []Role{KSK, ZSK}
	}
	return []Role{CSK}
}

func (p Policy) fits(k *Key) bool { return k.Alg == p.Algorithm && slices.Contains(p.roles(), k.Role) }

func (s State) clone() State {
	s.Keys = slices.Clone(s.Keys)
	for i := range s.Keys {
		for _, t := range s.Keys[i].turns() {
			t.served = maps.Clone(t.served)
		}
	}
	for _, mark := range []*Mark{&s.KeyTTL, &s.DataTTL, &s.DSTTL} {
		mark.Less.served = maps.Clone(mark.Less.served)
	}
	s.heard = maps.Clone(s.heard)
	return s
}

func (k *Key) turns() []*Turn { return []*Turn{&k.Set, &k.Keys, &k.Data, &k.Want} }

// String is how a key is told of.
func (k *Key) String() string { return fmt.Sprintf("%d (%s)", k.Tag, k.Role) }

// idle reports whether the key does nothing.
func (k *Key) idle() bool { return !k.Set.On && !k.Keys.On && !k.Data.On && !k.Want.On }

// settled reports whether no cache has what was before the turn.
func (m *machine) settled(t *Turn) bool {
	return t.Since.IsZero() || !t.Until.IsZero() && !m.now.Before(t.Until)
}

// leaving reports whether the key shall go out of use.
func (m *machine) leaving(k *Key) bool { return k.Retire != Stays || m.s.Insecure }

// keys returns those of the zone's keys that pass, first those that are longest
// in use.
func (m *machine) keys(pass func(*Key) bool) []*Key {
	var all []*Key
	for i := range m.s.Keys {
		if k := &m.s.Keys[i]; pass(k) {
			all = append(all, k)
		}
	}
	slices.SortStableFunc(all, func(a, b *Key) int {
		return cmp.Or(first(a.Data.On, b.Data.On), first(m.served(a), m.served(b)), first(a.Set.On, b.Set.On),
			a.Made.Compare(b.Made), cmp.Compare(a.Tag, b.Tag))
	})
	return all
}

// served reports whether every cache has the key.
func (m *machine) served(k *Key) bool { return k.Set.On && m.settled(&k.Set) }

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// staying are the keys of a role that are meant to be in use.
func (m *machine) staying(role Role) []*Key {
	return m.keys(func(k *Key) bool { return k.Role == role && !m.leaving(k) })
}

// start is when the key was first used for what it is made for.
func (k *Key) start() time.Time {
	t := k.Set.Since
	if k.Role.signs() {
		t = k.Data.Since
	}
	if t.IsZero() {
		return k.Made
	}
	return t
}

func (m *machine) lifetime(k *Key) time.Duration {
	if k.Role == ZSK {
		return m.p.ZSKLifetime
	}
	return m.p.KSKLifetime
}

// inUse reports whether the key does what it is made for; one that stands by
// does not grow old.
func (k *Key) inUse() bool { return k.Set.On && (k.Data.On || !k.Role.signs()) }

// age lets keys retire whose time has come, one of a role after the other.
func (m *machine) age() {
	for _, role := range m.p.roles() {
		if m.s.Insecure || len(m.keys(func(k *Key) bool { return k.Role == role && m.leaving(k) && !k.idle() })) > 0 {
			continue
		}
		stay := m.staying(role)
		if len(stay) == 0 || !stay[0].inUse() || m.lifetime(stay[0]) == 0 {
			continue
		}
		k, due := stay[0], stay[0].start().Add(m.lifetime(stay[0]))
		if m.now.Before(due) {
			m.later(fmt.Sprintf("key %s is replaced", k), due)
			continue
		}
		k.Retire = Retires
		m.plan.Steps = append(m.plan.Steps, fmt.Sprintf("key %s has come to its age", k))
	}
}

// spare marks the keys that stand by, and lets them go where the policy has no
// such keys any more. Others that stand by, such as those of another server that
// were taken over, stay until somebody rolls them.
func (m *machine) spare() {
	for i := range m.s.Keys {
		k := &m.s.Keys[i]
		by := k.Retire == Stays && m.s.standsBy(k)
		if k.Spare && by && !m.p.Standby && !m.s.Insecure {
			k.Retire = Retires
			m.plan.Steps = append(m.plan.Steps, fmt.Sprintf("key %s stands by no longer", k))
		}
		k.Spare = by && (m.p.Standby || k.Spare) && k.Retire == Stays
	}
}

// makeKeys asks for keys that the zone should have.
func (m *machine) makeKeys() {
	if m.s.Insecure || m.differ() {
		return
	}
	for _, role := range m.p.roles() {
		want := 1
		if m.p.Standby {
			want++
		}
		for have := len(m.staying(role)); have < want; have++ {
			if len(m.s.Keys)+len(m.plan.Make) >= MaxKeys {
				m.alarm(ReasonStuck, "the zone has %d keys, which is the most: none is made", len(m.s.Keys))
				return
			}
			m.plan.Make = append(m.plan.Make, Make{role, m.p.Algorithm})
		}
	}
}

// differ reports whether keys that stay are not those of the policy. Only a
// roll leads from one to the other.
func (m *machine) differ() bool {
	odd := m.keys(func(k *Key) bool { return !m.leaving(k) && !m.p.fits(k) })
	if len(odd) > 0 {
		m.alarm(ReasonPolicy, "key %s of algorithm %d is not of the policy (hint: dnssec roll, or write the policy as the keys are)", odd[0], odd[0].Alg)
	}
	return len(odd) > 0
}

func (m *machine) alarm(reason, format string, args ...any) {
	a := Alarm{reason, fmt.Sprintf(format, args...)}
	if !slices.Contains(m.plan.Alarms, a) {
		m.plan.Alarms = append(m.plan.Alarms, a)
	}
}

// later notes what happens at a time, or after something that has no time.
func (m *machine) later(what string, at time.Time) { m.waits = append(m.waits, wait{what, at}) }
