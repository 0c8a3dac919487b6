package attest

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// link judges the NSEC record of one name: there, alone, with the right types,
// and leading to the name that follows (RFC 4035, Section 2.3). A chain of
// which every link is right is complete, in order and closed; an empty
// non-terminal, which has no NSEC record of its own, lies between two links of
// which the second stands below it (RFC 7129, Section 5.4).
func (j *judge) link(i int, w *worker, f *findings) {
	sp := &j.spots[j.owners[i]]
	owner := sp.node.Name
	set := sp.node.Set(dns.TypeNSEC)
	if set == nil {
		f.add("nsec-missing", owner, dns.TypeNSEC, "the name has no NSEC record")
		return
	}
	if len(set.RRs) > 1 {
		f.add("nsec-several", owner, dns.TypeNSEC, "the name has %d NSEC records", len(set.RRs))
	}
	if !j.denialTTL(set.TTL) {
		f.add("nsec-ttl", owner, dns.TypeNSEC, "the TTL is %d; the SOA asks for %d", set.TTL, j.ttl)
	}
	next := j.spots[j.owners[(i+1)%len(j.owners)]].node.Name
	for _, rr := range set.RRs {
		n, ok := rr.(*dns.NSEC)
		if !ok {
			f.add("nsec-missing", owner, dns.TypeNSEC, "the NSEC record cannot be read")
			continue
		}
		if to, err := name.Parse(n.NextDomain); err != nil || to != next {
			f.add("nsec-next", owner, dns.TypeNSEC, "the chain leads to %s, the name that follows is %s", n.NextDomain, next)
		}
		w.types = append(sp.types(w.types[:0]), dns.TypeRRSIG, dns.TypeNSEC)
		slices.Sort(w.types)
		if !slices.Equal(n.TypeBitMap, w.types) {
			f.add("nsec-bitmap", owner, dns.TypeNSEC, "the record tells of %s, the name has %s", typesText(n.TypeBitMap), typesText(w.types))
		}
	}
}

// types appends the types of which a chain tells, but those that come with it:
// at a delegation only those of the parent (RFC 4035, Section 2.3; RFC 5155,
// Section 7.1).
func (sp *spot) types(to []uint16) []uint16 {
	for i := range sp.node.Sets {
		switch t := sp.node.Sets[i].Type; t {
		case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3:
		default:
			if sp.place != cut || t == dns.TypeNS || t == dns.TypeDS {
				to = append(to, t)
			}
		}
	}
	return to
}

// strays judges the NSEC record of a name that must have none: it has no
// records (RFC 4035, Section 2.3: an NSEC is never alone).
func (sp *spot) strays(f *findings) {
	if sp.place == inside && sp.bare && sp.node.Set(dns.TypeNSEC) != nil {
		f.add("nsec-extra", sp.node.Name, dns.TypeNSEC, "the name has no records and is no part of the chain")
	}
}

func typesText(types []uint16) string {
	if len(types) == 0 {
		return "nothing"
	}
	var all []string
	for _, t := range types {
		all = append(all, dns.Type(t).String())
	}
	return strings.Join(all, " ")
}
