package update

import (
	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// require judges the prerequisites, in the order of RFC 2136, Section 3.2.5:
// the first that is not met, or is none, gives the error, and RRsets that must
// be exactly so are compared last.
func (s *State) require(r *Request) *Refusal {
	type set struct {
		owner name.Name
		typ   uint16
	}
	exactly := map[set]map[string]bool{}
	var order []set // of the first record of each
	for _, p := range r.Requires {
		switch {
		case p.TTL != 0:
			return form(p)
		case !p.Owner.IsBelow(r.Zone):
			return outside(p)
		case p.Class == dns.ClassANY || p.Class == dns.ClassNONE:
			if refused := s.exists(p); refused != nil {
				return refused
			}
		case p.Class == dns.ClassINET && p.RR != nil:
			k := set{p.Owner, p.Type}
			if exactly[k] == nil {
				exactly[k], order = map[string]bool{}, append(order, k)
			}
			exactly[k][p.rdata] = true
		default: // another class, or a record of a type that no zone has
			return form(p)
		}
	}
	for _, k := range order { // Section 3.2.3: TTLs are not compared
		have := s.at(k.owner)[k.typ]
		met := len(have) == len(exactly[k])
		for _, rr := range have {
			met = met && exactly[k][rdata(rr)]
		}
		if !met {
			return &Refusal{NXRRSet, ReasonUnmet, k.owner, k.typ}
		}
	}
	return nil
}

// exists judges a prerequisite about names or RRsets that are there (class ANY)
// or are not (class NONE). A name without records, which only has names below
// it, is not in use (RFC 2136, Section 2.4.4).
func (s *State) exists(p Record) *Refusal {
	have := s.at(p.Owner)
	there := len(have[p.Type]) > 0
	if p.Type == dns.TypeANY {
		there = len(have) > 0
	}
	unmet := func(rcode int) *Refusal { return &Refusal{rcode, ReasonUnmet, p.Owner, p.Type} }
	switch wanted := p.Class == dns.ClassANY; {
	case p.Data || p.Type != dns.TypeANY && meta(p.Type):
		return form(p)
	case wanted == there:
		return nil
	case wanted && p.Type == dns.TypeANY:
		return unmet(NXDomain)
	case wanted:
		return unmet(NXRRSet)
	case p.Type == dns.TypeANY:
		return unmet(YXDomain)
	}
	return unmet(YXRRSet)
}
