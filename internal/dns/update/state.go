package update

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// State is a zone that updates change, one after the other. It is not safe for
// concurrent use; the zone that it began with stays as it is.
type State struct {
	zone *zone.Zone
	over map[name.Name]sets // owners that changed
}

// sets is the records of one owner by type; no list is empty.
type sets map[uint16][]dns.RR

// NewState returns the state of a zone that nothing changed yet.
func NewState(z *zone.Zone) *State { return &State{zone: z, over: map[name.Name]sets{}} }

// at returns the records of an owner, which must not be changed.
func (s *State) at(n name.Name) sets {
	if have, ok := s.over[n]; ok {
		return have
	}
	node := s.zone.Node(n)
	if node == nil {
		return nil
	}
	have := make(sets, len(node.Sets))
	for i := range node.Sets {
		have[node.Sets[i].Type] = node.Sets[i].RRs
	}
	return have
}

// soa returns the SOA record.
func (s *State) soa() *dns.SOA {
	for _, rr := range s.at(s.zone.Origin())[dns.TypeSOA] {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa
		}
	}
	return s.zone.SOA()
}

// Change is an RRset that is another one after an update.
type Change struct {
	Owner    name.Name
	Type     uint16
	Old, New []dns.RR // nil: there is none; New in canonical order
}

// changes returns what differs from the state in these owners, in order.
func (s *State) changes(next map[name.Name]sets) []Change {
	var all []Change
	for n, after := range next {
		before := s.at(n)
		types := map[uint16]bool{}
		for t := range before {
			types[t] = true
		}
		for t := range after {
			types[t] = true
		}
		for t := range types {
			if !Equal(before[t], after[t]) {
				all = append(all, Change{n, t, before[t], sorted(after[t])})
			}
		}
	}
	slices.SortFunc(all, func(a, b Change) int {
		if c := a.Owner.Compare(b.Owner); c != 0 {
			return c
		}
		return int(a.Type) - int(b.Type)
	})
	return all
}

// Take makes the changes, which Apply returned, those of the state.
func (s *State) Take(changes []Change) {
	for _, c := range changes {
		have := s.at(c.Owner)
		next := make(sets, len(have)+1)
		for t, rrs := range have {
			next[t] = rrs
		}
		if delete(next, c.Type); len(c.New) > 0 {
			next[c.Type] = c.New
		}
		s.over[c.Owner] = next
	}
}

// Equal reports whether two RRsets are the same, TTL included, in whatever
// order. The records are normalised.
func Equal(a, b []dns.RR) bool {
	if len(a) != len(b) {
		return false
	}
	a, b = sorted(a), sorted(b)
	for i := range a {
		if !zone.SameRecord(a[i], b[i]) {
			return false
		}
	}
	return true
}

// sorted returns the records in canonical order (RFC 4034, Section 6.3).
func sorted(rrs []dns.RR) []dns.RR {
	if len(rrs) < 2 {
		return rrs
	}
	rrs = slices.Clone(rrs)
	slices.SortFunc(rrs, func(a, b dns.RR) int { return strings.Compare(rdata(a), rdata(b)) })
	return rrs
}

// rdata returns the RDATA of a normalised record, which was packed before.
func rdata(rr dns.RR) string {
	wire, _ := zone.AppendRdata(nil, rr)
	return string(wire)
}
