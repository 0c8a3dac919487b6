// Package contrast tells what one of our zones has beside the same zone as
// another server gives it: for whoever moves a zone, or doubts a secondary.
//
// What the other has comes by a transfer, or as answers to questions: Questions
// are those worth asking, and Seen gathers what the answers show. Of is the
// difference of both, record by record. The serial, and what signing makes, are
// told apart: they differ between any two signers, and say nothing of what
// people wrote.
//
// It is pure: no socket, no clock, no goroutine. RFC 1034, Section 4.2; RFC
// 2181, Section 5 (sets and their TTL); RFC 4034, Section 6.1 (order).
package contrast

import (
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/signer"
	"postern/internal/dns/zone"
)

// Contrast is what differs. Records are in canonical order.
type Contrast struct {
	Here  []dns.RR // that only we have
	There []dns.RR // that only the other has
	TTLs  []TTL    // sets of the same records, or some, with another TTL
	Same  int      // records that both have

	// Unseen counts our records of which nothing is known there: what questions
	// do not reach below a delegation, and what was not answered.
	Unseen int

	HereMade, ThereMade Made // what is told apart; empty where it was compared
}

// TTL is a set that has another TTL here than there.
type TTL struct {
	Owner       string
	Type        uint16
	Here, There uint32
}

// Made is what signing made of a zone.
type Made struct {
	Records int           // all of it, as far as it was seen
	Keys    []*dns.DNSKEY // that the zone shows
}

// Equal reports whether both hold the same, but for what is told apart.
func (c *Contrast) Equal() bool { return len(c.Here)+len(c.There)+len(c.TTLs) == 0 }

// comparison is a Contrast in the making.
type comparison struct {
	Contrast
	zone   *zone.Zone
	signed bool // what signing made is compared too
	seen   *Seen
}

// key names a set.
type key struct {
	owner name.Name
	kind  uint16
}

// owned is a record of the other server with its owner as a name.
type owned struct {
	owner name.Name
	rr    dns.RR
}

// Of compares a zone with what was seen of it elsewhere. What signing makes is
// compared only where it is asked for.
func Of(z *zone.Zone, seen *Seen, signed bool) (*Contrast, error) {
	theirs, err := sorted(seen.Records)
	if err != nil {
		return nil, err
	}
	c := &comparison{zone: z, signed: signed, seen: seen}
	for n := range z.Nodes() {
		for len(theirs) > 0 && theirs[0].owner.Compare(n.Name) < 0 {
			theirs = c.foreign(theirs)
		}
		end := 0
		for end < len(theirs) && theirs[end].owner == n.Name {
			end++
		}
		if err := c.node(n, theirs[:end]); err != nil {
			return nil, err
		}
		theirs = theirs[end:]
	}
	for len(theirs) > 0 {
		theirs = c.foreign(theirs)
	}
	return &c.Contrast, nil
}

// sorted brings records into canonical order, as far as their owners and types
// go.
func sorted(rrs []dns.RR) ([]owned, error) {
	all := make([]owned, len(rrs))
	for i, rr := range rrs {
		n, err := name.Parse(rr.Header().Name)
		if err != nil {
			return nil, err // they are normal: this does not happen
		}
		all[i] = owned{n, rr}
	}
	slices.SortStableFunc(all, func(a, b owned) int {
		if c := a.owner.Compare(b.owner); c != 0 {
			return c
		}
		return int(a.rr.Header().Rrtype) - int(b.rr.Header().Rrtype)
	})
	return all, nil
}

// bindNotes is the type of the records in which BIND notes at the apex how far
// its signing is; it gives them to whoever transfers the zone.
const bindNotes = 65534

// makes reports whether signing makes such records, ours or that of others.
func makes(t uint16, apex bool) bool { return signer.Makes(t, apex) || apex && t == bindNotes }

// foreign takes the first record, whose owner we do not have.
func (c *comparison) foreign(theirs []owned) []owned {
	if x := theirs[0]; !c.apart(x.owner, x.rr, &c.ThereMade) {
		c.There = append(c.There, x.rr)
	}
	return theirs[1:]
}

// apart takes note of a record that signing made, if those are not compared.
func (c *comparison) apart(owner name.Name, rr dns.RR, made *Made) bool {
	if c.signed || !makes(rr.Header().Rrtype, owner == c.zone.Origin()) {
		return false
	}
	made.Records++
	if k, ok := rr.(*dns.DNSKEY); ok {
		made.Keys = append(made.Keys, k)
	}
	return true
}

// node compares what an owner has, set by set; both are in the order of types.
func (c *comparison) node(n *zone.Node, theirs []owned) error {
	for i := range n.Sets {
		set := &n.Sets[i]
		for len(theirs) > 0 && theirs[0].rr.Header().Rrtype < set.Type {
			theirs = c.foreign(theirs)
		}
		end := 0
		for end < len(theirs) && theirs[end].rr.Header().Rrtype == set.Type {
			end++
		}
		if err := c.set(n.Name, set, theirs[:end]); err != nil {
			return err
		}
		theirs = theirs[end:]
	}
	for len(theirs) > 0 {
		theirs = c.foreign(theirs)
	}
	return nil
}

// set compares our set with their records of its owner and type.
func (c *comparison) set(owner name.Name, ours *zone.RRset, theirs []owned) error {
	if !c.signed && makes(ours.Type, owner == c.zone.Origin()) {
		for _, rr := range ours.RRs {
			c.apart(owner, rr, &c.HereMade)
		}
		for _, x := range theirs {
			c.apart(owner, x.rr, &c.ThereMade)
		}
		return nil
	}
	if c.seen.known != nil && !c.seen.known[key{owner, ours.Type}] {
		c.Unseen += len(ours.RRs)
		return nil
	}
	left := make(map[string]dns.RR, len(theirs))
	for _, x := range theirs {
		data, err := c.data(x.rr)
		if err != nil {
			return err
		}
		left[data] = x.rr
	}
	for _, rr := range ours.RRs {
		data, err := c.data(rr)
		if err != nil {
			return err
		}
		if _, ok := left[data]; ok {
			c.Same++
			delete(left, data)
			continue
		}
		c.Here = append(c.Here, rr)
	}
	for _, x := range theirs {
		data, err := c.data(x.rr)
		if _, ok := left[data]; ok && err == nil {
			c.There = append(c.There, x.rr)
			delete(left, data) // it may have come twice
		}
	}
	// RRSIGs follow what they cover (RFC 4034, Section 3).
	if len(theirs) > 0 && ours.Type != dns.TypeRRSIG && ours.TTL != theirs[0].rr.Header().Ttl {
		c.TTLs = append(c.TTLs, TTL{owner.String(), ours.Type, ours.TTL, theirs[0].rr.Header().Ttl})
	}
	return nil
}

// data is what a record is known by within its set: its RDATA, without the
// serial of a SOA.
func (c *comparison) data(rr dns.RR) (string, error) {
	if soa, ok := rr.(*dns.SOA); ok {
		same := *soa
		same.Serial = 0
		rr = &same
	}
	data, err := zone.AppendRdata(nil, rr)
	return string(data), err
}
