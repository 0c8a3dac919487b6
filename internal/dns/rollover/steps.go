package rollover

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// flip is a turn that a step takes.
type flip struct {
	turn *Turn
	on   bool
}

// steps takes all steps that are safe, in the order in which a roll wants them.
// Each rule returns whether it took one; a step may make others possible.
func (m *machine) steps() {
	before := slices.Clip(m.waits)
	for range 2 * MaxKeys {
		m.waits = before // what rules waited for before the last step is old
		if m.unused() {
			if !m.begin() {
				break
			}
			continue
		}
		if !slices.ContainsFunc([]func() bool{m.restore, m.sign, m.enter, m.swap, m.ask, m.unsign, m.leave, m.fade},
			func(rule func() bool) bool { return rule() }) {
			break
		}
	}
	m.remove()
}

// try takes a step, if none of its turns is still on its way and the guard lets
// it pass. Else it notes what is waited for.
func (m *machine) try(what string, flips ...flip) bool {
	flips = slices.DeleteFunc(flips, func(f flip) bool { return f.turn.On == f.on })
	if len(flips) == 0 {
		return false
	}
	var until time.Time
	for _, f := range flips {
		if !m.settled(f.turn) {
			if f.turn.Until.IsZero() {
				m.later(what, time.Time{})
				return false
			}
			if f.turn.Until.After(until) {
				until = f.turn.Until
			}
		}
	}
	if !until.IsZero() {
		m.later(what, until)
		return false
	}
	if m.allows(flips) {
		m.take(flips)
		m.plan.Steps = append(m.plan.Steps, what)
		return true
	}
	m.later(what, m.blocked(flips))
	return false
}

func (m *machine) take(flips []flip) {
	for _, f := range flips {
		*f.turn = Turn{On: f.on, Since: m.stamp}
	}
}

// blocked finds what a refused step waits for, and until when.
func (m *machine) blocked(flips []flip) time.Time {
	latest := func(of category) (at time.Time) {
		for i := range m.s.Keys {
			for _, t := range of(&m.s.Keys[i]) {
				if !m.settled(t) && t.Since.Before(m.stamp) && t.Until.After(at) {
					at = t.Until
				}
			}
		}
		return at
	}
	keys, data := latest(keyTurns), latest(dataTurns)
	switch {
	case m.allows(flips, keySets):
		return keys
	case m.allows(flips, signatures):
		return data
	case m.allows(flips, keySets, signatures):
		if data.After(keys) {
			return data
		}
		return keys
	}
	return time.Time{}
}

// unused reports whether no key is in use.
func (m *machine) unused() bool { return len(m.keys(func(k *Key) bool { return !k.idle() })) == 0 }

// begin is the first signature: with no key in use all is done at once. A zone
// that has a DS already has nothing to lose if it leads to one of the keys.
func (m *machine) begin() bool {
	if m.s.Insecure {
		return false
	}
	keys := m.keys(func(k *Key) bool { return !m.leaving(k) })
	if len(keys) == 0 {
		return false
	}
	if m.unknown() {
		m.later("the zone is signed when its parent could be asked for a DS, or else", m.s.Began.Add(patience))
		return false
	}
	var flips []flip
	for _, k := range keys {
		flips = append(flips, m.entering(k)...)
	}
	if d := m.signer(m.p.Algorithm); d != nil {
		flips = append(flips, flip{&d.Data, true})
	}
	if slices.ContainsFunc(keys, func(k *Key) bool { return k.DS.Seen }) {
		m.take(flips)
		m.plan.Steps = append(m.plan.Steps, "the zone is signed, by the keys that the parent has")
		return true
	}
	return m.try("the zone is signed", flips...)
}

// patience is how long the first signature waits for an answer about the
// parent: the network may come up after us, or a server may be slow. Then the
// zone is signed: most that cannot be asked are those of a network of its own,
// and until then the zone is not served.
const patience = time.Minute

// unknown reports whether it is too early to sign a zone for the first time: a
// DS may be there that leads to other keys.
func (m *machine) unknown() bool {
	p := &m.seen.Parent
	if !p.At.IsZero() && (p.Security != Unknown || m.now.Sub(m.s.Began) >= patience) {
		return false
	}
	m.eager = true
	m.askBy(m.now)
	m.wakeBy(m.s.Began.Add(patience))
	m.plan.Hold = ReasonParentUnknown
	return true
}

// entering are the turns of a key that enters the set.
func (m *machine) entering(k *Key) []flip {
	flips := []flip{{&k.Set, true}}
	if k.Role.entry() {
		flips = append(flips, flip{&k.Keys, true})
	}
	return flips
}

// signer is the key of an algorithm that is meant to sign the data; nil for
// none.
func (m *machine) signer(alg uint8) *Key {
	keys := m.keys(func(k *Key) bool { return k.Role.signs() && !m.leaving(k) && k.Alg == alg })
	if len(keys) == 0 {
		return nil
	}
	return keys[0]
}

// restore puts a key back whose DS is at the parent though it is not in the
// set: the parent went back, or somebody was early. Validators may fail already,
// so it does not ask the guard.
func (m *machine) restore() bool {
	missing := m.keys(func(k *Key) bool { return k.DS.Seen && !k.Set.On && m.settled(&k.Set) && m.settled(&k.Data) })
	if len(missing) == 0 {
		return false
	}
	k := missing[0]
	flips := m.entering(k)
	if !m.covered(k.Alg) {
		with := k
		if z := m.keys(func(z *Key) bool { return z.Role == ZSK && z.Alg == k.Alg }); len(z) > 0 && k.Role == KSK {
			flips, with = append(flips, flip{&z[0].Set, true}), z[0]
		}
		flips = append(flips, flip{&with.Data, true})
	}
	m.take(flips)
	m.plan.Steps = append(m.plan.Steps, fmt.Sprintf("key %s enters the DNSKEY set, since the parent has its DS", k))
	return true
}

// covered reports whether the data is signed with the algorithm.
func (m *machine) covered(alg uint8) bool {
	return len(m.keys(func(k *Key) bool { return k.Alg == alg && k.Data.On })) > 0
}

// present reports whether the DNSKEY set has the algorithm.
func (m *machine) present(alg uint8) bool {
	return len(m.keys(func(k *Key) bool { return k.Alg == alg && k.Set.On })) > 0
}

// sign begins to sign with an algorithm that no signatures have yet, before its
// keys are published (RFC 6781, Section 4.1.4).
func (m *machine) sign() bool {
	for _, k := range m.keys(func(k *Key) bool { return k.Role.signs() && !m.leaving(k) }) {
		if !m.covered(k.Alg) && m.try(fmt.Sprintf("key %s signs the zone", k), flip{&k.Data, true}) {
			return true
		}
	}
	return false
}

// enter publishes keys: those of a new algorithm all at once, since by RFC 4035,
// Section 2.2, it must sign all from its first key on.
func (m *machine) enter() bool {
	for _, k := range m.keys(func(k *Key) bool { return !m.leaving(k) && !k.Set.On }) {
		group := []*Key{k}
		if !m.present(k.Alg) {
			group = m.keys(func(o *Key) bool { return !m.leaving(o) && !o.Set.On && o.Alg == k.Alg })
		}
		var flips []flip
		for _, o := range group {
			flips = append(flips, m.entering(o)...)
		}
		if m.try(said(group)+" the DNSKEY set", flips...) {
			return true
		}
	}
	return false
}

func said(keys []*Key) string {
	if len(keys) == 1 {
		return "key " + keys[0].String() + " enters"
	}
	return "keys " + list(keys) + " enter"
}

func list(keys []*Key) string {
	var all []string
	for _, k := range keys {
		all = append(all, k.String())
	}
	return strings.Join(all, " and ")
}

// swap lets a key sign the data in place of others of its algorithm, when every
// cache has it.
func (m *machine) swap() bool {
	for _, alg := range m.algorithms() {
		k := m.signer(alg)
		if k == nil || k.Data.On {
			continue
		}
		old := m.keys(func(o *Key) bool { return o != k && o.Alg == alg && o.Data.On })
		flips := []flip{{&k.Data, true}}
		for _, o := range old {
			flips = append(flips, flip{&o.Data, false})
		}
		if len(old) > 0 && m.try(fmt.Sprintf("key %s signs the zone in place of %s", k, list(old)), flips...) {
			return true
		}
	}
	return false
}

func (m *machine) algorithms() (all []uint8) {
	for i := range m.s.Keys {
		if !slices.Contains(all, m.s.Keys[i].Alg) {
			all = append(all, m.s.Keys[i].Alg)
		}
	}
	return all
}

// ask changes what the parent is asked for: the DS of all keys that stay, when
// every cache has them and all that they sign, and of no others.
func (m *machine) ask() bool {
	stay := m.keys(func(k *Key) bool { return k.Role.entry() && !m.leaving(k) })
	old := m.keys(func(k *Key) bool { return m.leaving(k) && k.Want.On })
	if len(stay) == 0 && !m.s.Insecure {
		return false
	}
	var flips []flip
	for _, k := range stay {
		flips = append(flips, flip{&k.Want, true})
	}
	for _, k := range old {
		flips = append(flips, flip{&k.Want, false})
	}
	what := "the parent is asked for DS of " + list(stay)
	if len(stay) == 0 {
		what = "the parent is asked for no DS"
	}
	return m.try(what, flips...)
}

// unsign ends all, when no cache has a DS any more.
func (m *machine) unsign() bool {
	if !m.s.Insecure {
		return false
	}
	var flips []flip
	for _, k := range m.keys(func(k *Key) bool { return !k.idle() }) {
		if ok, at := m.dsGone(k); k.Role.entry() && !ok {
			m.later("the signatures are taken away", at)
			return false
		}
		flips = append(flips, flip{&k.Set, false}, flip{&k.Keys, false}, flip{&k.Data, false})
	}
	if len(flips) == 0 || !m.fresh() {
		return false
	}
	return m.try("the signatures are taken away", flips...)
}

// leave takes keys out of the set: one by one, or, when nothing of their
// algorithm stays, all of them at once.
func (m *machine) leave() bool {
	if m.s.Insecure {
		return false
	}
	for _, k := range m.keys(func(k *Key) bool { return m.leaving(k) && k.Set.On }) {
		group := m.keys(func(o *Key) bool { return o.Alg == k.Alg && o.Set.On })
		if slices.ContainsFunc(group, func(o *Key) bool { return !m.leaving(o) }) {
			group = []*Key{k}
		}
		if m.leaveTogether(group) {
			return true
		}
	}
	return false
}

func (m *machine) leaveTogether(group []*Key) bool {
	var flips []flip
	what := "key " + group[0].String() + " leaves the DNSKEY set"
	if len(group) > 1 {
		what = "keys " + list(group) + " leave the DNSKEY set"
	}
	for _, k := range group {
		if k.Role.entry() && !m.mayGo(k, what) {
			return false
		}
		flips = append(flips, flip{&k.Set, false}, flip{&k.Keys, false})
	}
	return m.try(what, flips...)
}

// mayGo reports whether the parent can do without a key: nothing names it any
// more, and if something did, it names another.
func (m *machine) mayGo(k *Key, what string) bool {
	if m.p.broken&noDSGone != 0 {
		return true
	}
	gone, at := m.dsGone(k)
	heirs := m.keys(func(o *Key) bool { return o.Role.entry() && !m.leaving(o) && m.hasDS(o) })
	switch {
	case !gone:
		m.later(what, at)
		return false
	case !k.DS.Since.IsZero() && len(heirs) == 0:
		// It was named, so the zone is to go on being secure.
		m.later(what, time.Time{})
		return false
	}
	return (k.DS.Since.IsZero() && k.Want.Since.IsZero()) || m.fresh()
}

// fade ends signatures of an algorithm whose keys no cache has any more.
func (m *machine) fade() bool {
	for _, k := range m.keys(func(k *Key) bool { return m.leaving(k) && k.Data.On && !k.Set.On }) {
		if m.try(fmt.Sprintf("key %s signs no more", k), flip{&k.Data, false}) {
			return true
		}
	}
	return false
}

// keep is how long an old key that the parent knew is kept after it left: it is
// needed if the parent goes back.
const keep = 7 * 24 * time.Hour

// remove names the keys that nobody needs any more.
func (m *machine) remove() {
	if m.s.Insecure {
		return // they say that the zone is not to be signed
	}
	for _, k := range m.keys(func(k *Key) bool { return m.leaving(k) && k.idle() && !k.DS.Seen }) {
		var at time.Time
		open := false
		for _, t := range k.turns() {
			open = open || !m.settled(t)
			if t.Until.After(at) {
				at = t.Until
			}
		}
		if k.Role.entry() && k.Retire != Compromised && !at.IsZero() {
			at = at.Add(keep)
		}
		if open || m.now.Before(at) {
			m.later(fmt.Sprintf("key %s is deleted", k), at)
			continue
		}
		m.plan.Remove = append(m.plan.Remove, k.Tag)
	}
}
