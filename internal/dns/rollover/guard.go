package rollover

import (
	"slices"
	"time"
)

// The guard: what caches may hold, and whether all of it validates together.
//
// A DNSKEY set and the signatures over it travel together, as do all other
// sets and theirs; so there are three things that a validator may have from
// different times: a DS set, a DNSKEY set, and a set of data. Of the latter two
// the versions that may be about follow from the turns that are not settled: one
// before the first of them, and one after each time at which some were decided.
// Of the DS sets any may be about that has the DS that all caches have, and
// some of those that they may have: a parent does things in its own order.

// category says which turns of a key belong to a kind of version.
type category func(*Key) []*Turn

func keyTurns(k *Key) []*Turn  { return []*Turn{&k.Set, &k.Keys} }
func dataTurns(k *Key) []*Turn { return []*Turn{&k.Data} }

// eras returns what each version that caches may have says of each turn of a
// category, in the keys' order.
func (m *machine) eras(of category, settled bool) [][]bool {
	var turns []*Turn
	for i := range m.s.Keys {
		turns = append(turns, of(&m.s.Keys[i])...)
	}
	open := func(t *Turn) bool { return !settled && !m.settled(t) }
	// What is older than something settled is settled too.
	var done time.Time
	for _, t := range turns {
		if !open(t) && t.Since.After(done) {
			done = t.Since
		}
	}
	moments := []time.Time{{}}
	for _, t := range turns {
		if open(t) && t.Since.After(done) {
			moments = append(moments, t.Since)
		}
	}
	slices.SortFunc(moments, time.Time.Compare)
	moments = slices.CompactFunc(moments, time.Time.Equal)
	var all [][]bool
	for _, at := range moments {
		version := make([]bool, len(turns))
		for i, t := range turns {
			before := open(t) && t.Since.After(done) && t.Since.After(at)
			version[i] = t.On != before
		}
		all = append(all, version)
	}
	return all
}

// kind names what a step may have to wait for.
type kind string

const (
	keySets    kind = "DNSKEY sets"
	signatures kind = "signatures"
)

// held is what caches may hold: for each version, for each key or turn in order
// what it says.
type held struct{ sets, keys, data [][]bool }

// holding returns what caches may hold, with the kinds given taken for settled.
func (m *machine) holding(settled ...kind) held {
	return held{m.delegations(), m.eras(keyTurns, slices.Contains(settled, keySets)), m.eras(dataTurns, slices.Contains(settled, signatures))}
}

// safe reports whether all that caches may hold validates.
func (m *machine) safe() bool { return m.noWorse(held{}, m.holding()) }

// allows reports whether flips may be taken: of what caches may hold afterwards
// all validates that did without them. What failed before, such as a step of
// which a crash let half be written down, must not keep anybody from mending it.
func (m *machine) allows(flips []flip, settled ...kind) bool {
	if m.p.broken&noGuard != 0 {
		return true
	}
	was := m.holding(settled...)
	before := make([]Turn, len(flips))
	for i, f := range flips {
		before[i] = *f.turn
	}
	m.take(flips)
	is := m.holding(settled...)
	for i, f := range flips {
		*f.turn = before[i]
	}
	if m.p.broken&noMending != 0 {
		was = held{}
	}
	// What the parent is asked for now has no excuse in what it had.
	was.sets = slices.DeleteFunc(was.sets, func(set []bool) bool {
		return slices.ContainsFunc(flips, func(f flip) bool {
			return f.on && slices.ContainsFunc(m.named(set), func(k *Key) bool { return f.turn == &k.Want })
		})
	})
	return m.noWorse(was, is)
}

// named are the keys of which a DS set has the DS.
func (m *machine) named(set []bool) (keys []*Key) {
	for i, in := range set {
		if in {
			keys = append(keys, &m.s.Keys[i])
		}
	}
	return keys
}

// noWorse holds each combination against the one that stood in its place: the
// newest version of each kind follows the one that was the newest.
func (m *machine) noWorse(was, is held) bool {
	earlier := func(was, is [][]bool, i int) []bool {
		if len(was) > 0 && i == len(is)-1 {
			return was[len(was)-1]
		}
		return is[i]
	}
	for _, ds := range is.sets {
		known := slices.ContainsFunc(was.sets, func(o []bool) bool { return slices.Equal(o, ds) })
		for i := range is.keys {
			for j := range is.data {
				if !m.validates(ds, is.keys[i], is.data[j]) &&
					(!known || m.validates(ds, earlier(was.keys, is.keys, i), earlier(was.data, is.data, j))) {
					return false
				}
			}
		}
	}
	return true
}

// delegations returns the DS sets that caches may have, for each key in order
// whether its DS is in it.
func (m *machine) delegations() [][]bool {
	all := [][]bool{make([]bool, len(m.s.Keys))}
	for i := range m.s.Keys {
		k := &m.s.Keys[i]
		may, must := m.mayHaveDS(k), m.hasDS(k)
		if !may {
			continue
		}
		var with [][]bool
		for _, set := range all {
			set = slices.Clone(set)
			set[i] = true
			with = append(with, set)
		}
		if must {
			all = with
		} else {
			all = append(all, with...)
		}
	}
	return all
}

// validates reports whether a chain leads from a DS set over a DNSKEY set to
// data, by each algorithm that the DS set names, and by each that the DNSKEY set
// has (RFC 4035, Section 2.2): validators that ask for all are in use, though
// RFC 6840, Section 5.11, wants them to be content with one.
func (m *machine) validates(ds, keys, data []bool) bool {
	if !slices.Contains(ds, true) {
		return true // an insecure delegation
	}
	type chain struct{ entry, signed, covered bool }
	chains := map[uint8]*chain{}
	for i := range m.s.Keys {
		inSet, signsKeys := keys[2*i], keys[2*i+1]
		if !ds[i] && !inSet {
			continue
		}
		alg := m.s.Keys[i].Alg
		c := chains[alg]
		if c == nil {
			c = &chain{entry: true}
			chains[alg] = c
		}
		c.signed = c.signed || inSet && signsKeys
		c.covered = c.covered || inSet && data[i]
	}
	for i, named := range ds {
		if named {
			chains[m.s.Keys[i].Alg].entry = false
		}
	}
	for i, named := range ds {
		if named && keys[2*i] && keys[2*i+1] {
			chains[m.s.Keys[i].Alg].entry = true
		}
	}
	whole := 0
	for _, c := range chains {
		if c.entry && c.signed && c.covered {
			whole++
		}
	}
	return whole == len(chains) || whole > 0 && m.p.broken&noStrict != 0
}
