package validate

import (
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// Set is one RRset of a message with the signatures over it.
type Set struct {
	Owner name.Name
	Type  uint16
	TTL   uint32 // the lowest of its records (RFC 2181, Section 5.2)
	RRs   []dns.RR
	Sigs  []*dns.RRSIG
}

// Collect sorts the records of a section into sets. What is not of class IN,
// or malformed, is left out; a set that lacked a record of that kind will not
// validate. A record that is there twice counts once (RFC 2181, Section 5).
// Signatures without a set are dropped.
func Collect(section []dns.RR) []Set {
	type key struct {
		owner name.Name
		rtype uint16
	}
	var sets []Set
	index := map[key]int{}
	seen := map[string]bool{}
	at := func(owner name.Name, rtype uint16) *Set {
		i, ok := index[key{owner, rtype}]
		if !ok {
			i = len(sets)
			index[key{owner, rtype}] = i
			sets = append(sets, Set{Owner: owner, Type: rtype, TTL: 1<<31 - 1})
		}
		return &sets[i]
	}
	for _, rr := range section {
		if rr == nil {
			continue
		}
		clean, owner, err := zone.Normalise(rr)
		if err != nil {
			continue
		}
		ttl := clean.Header().Ttl
		clean.Header().Ttl = 0
		text := clean.String()
		if seen[text] {
			continue
		}
		seen[text], clean.Header().Ttl = true, ttl
		if sig, ok := clean.(*dns.RRSIG); ok {
			s := at(owner, sig.TypeCovered)
			s.Sigs = append(s.Sigs, sig)
			continue
		}
		s := at(owner, clean.Header().Rrtype)
		s.RRs = append(s.RRs, clean)
		s.TTL = min(s.TTL, ttl)
	}
	return slices.DeleteFunc(sets, func(s Set) bool { return len(s.RRs) == 0 })
}

func find(sets []Set, owner name.Name, rtype uint16) (Set, bool) {
	for _, s := range sets {
		if s.Owner == owner && s.Type == rtype {
			return s, true
		}
	}
	return Set{}, false
}
