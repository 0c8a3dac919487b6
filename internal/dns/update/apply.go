package update

import (
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// Apply judges a request by a key and returns what it changes; none where it
// changes nothing. The state is as it was until Take.
func (s *State) Apply(r *Request, key name.Name, rules []Rule) ([]Change, *Refusal) {
	if refused := s.require(r); refused != nil {
		return nil, refused
	}
	for _, u := range r.Changes {
		if refused := prescan(r, u); refused != nil {
			return nil, refused
		}
	}
	// RFC 2136, Section 3.3 has permission before the prescan, which would let
	// nobody be told NOTZONE: a name outside the zone is in no rule.
	for _, u := range r.Changes {
		if !s.allowed(u, key, rules) {
			return nil, &Refusal{Refused, ReasonRule, u.Owner, u.Type}
		}
	}
	e := editor{state: s, origin: r.Zone, next: map[name.Name]sets{}}
	for _, u := range r.Changes {
		switch u.Class {
		case dns.ClassINET:
			e.add(u)
		case dns.ClassANY:
			e.removeSets(u)
		case dns.ClassNONE:
			e.removeRecord(u)
		}
	}
	return s.changes(e.next), nil
}

// prescan judges the form of a record of the update section (RFC 2136, Section
// 3.4.1).
func prescan(r *Request, u Record) *Refusal {
	switch {
	case !u.Owner.IsBelow(r.Zone):
		return outside(u)
	case u.Class == dns.ClassINET && u.RR != nil: // meta types have none
		return nil
	case u.Class == dns.ClassANY && u.TTL == 0 && !u.Data && (u.Type == dns.TypeANY || !meta(u.Type)):
		return nil
	case u.Class == dns.ClassNONE && u.TTL == 0 && u.RR != nil:
		return nil
	}
	return form(u)
}

// editor carries out the update section.
type editor struct {
	state  *State
	origin name.Name
	next   map[name.Name]sets // the owners that were touched
}

// at returns the records of an owner, to be changed.
func (e *editor) at(n name.Name) sets {
	have, ok := e.next[n]
	if !ok {
		have = sets{}
		for t, rrs := range e.state.at(n) {
			have[t] = rrs
		}
		e.next[n] = have
	}
	return have
}

// add is RFC 2136, Section 3.4.2.2.
func (e *editor) add(u Record) {
	have := e.at(u.Owner)
	switch _, alias := have[dns.TypeCNAME]; {
	case u.Type == dns.TypeCNAME && len(have) > 0 && (!alias || len(have) > 1):
		return // there is something else
	case u.Type != dns.TypeCNAME && alias:
		return
	}
	old := have[u.Type]
	if u.Type == dns.TypeSOA {
		soa, ok := u.RR.(*dns.SOA)
		if !ok || len(old) == 0 || zone.SerialLess(soa.Serial, e.serial(old)) {
			return
		}
	}
	switch u.Type {
	case dns.TypeSOA, dns.TypeCNAME, dns.TypeDNAME: // one alone (RFC 6672, Section 5.2): it takes the place of the other
		have[u.Type] = []dns.RR{u.RR}
		return
	}
	var next []dns.RR
	for _, rr := range old {
		if same(rr, u) {
			continue
		}
		// RFC 2181, Section 5.2: one TTL, that of what came last.
		if rr.Header().Ttl != u.TTL {
			rr = dns.Copy(rr)
			rr.Header().Ttl = u.TTL
		}
		next = append(next, rr)
	}
	have[u.Type] = append(next, u.RR)
}

func (e *editor) serial(set []dns.RR) uint32 {
	if soa, ok := set[0].(*dns.SOA); ok {
		return soa.Serial
	}
	return e.state.soa().Serial
}

// same reports whether a record to be added takes the place of one (RFC 2136,
// Section 3.4.2.2; of WKS, one for each address and protocol).
func same(rr dns.RR, u Record) bool {
	have := rdata(rr)
	const wks, addressAndProtocol = 11, 5
	if u.Type == wks && len(have) >= addressAndProtocol && len(u.rdata) >= addressAndProtocol {
		return have[:addressAndProtocol] == u.rdata[:addressAndProtocol]
	}
	return have == u.rdata
}

// removeSets is RFC 2136, Section 3.4.2.3: of the apex, SOA and NS stay.
func (e *editor) removeSets(u Record) {
	have := e.at(u.Owner)
	for t := range have {
		if stays := u.Owner == e.origin && (t == dns.TypeSOA || t == dns.TypeNS); !stays && (u.Type == t || u.Type == dns.TypeANY) {
			delete(have, t)
		}
	}
}

// removeRecord is RFC 2136, Section 3.4.2.4: the SOA stays, and the last NS of
// the apex.
func (e *editor) removeRecord(u Record) {
	have := e.at(u.Owner)
	old := have[u.Type]
	i := slices.IndexFunc(old, func(rr dns.RR) bool { return rdata(rr) == u.rdata })
	switch {
	case i < 0, u.Type == dns.TypeSOA:
		return
	case u.Type == dns.TypeNS && u.Owner == e.origin && len(old) == 1:
		return
	case len(old) == 1:
		delete(have, u.Type)
	default:
		have[u.Type] = slices.Concat(old[:i], old[i+1:])
	}
}
