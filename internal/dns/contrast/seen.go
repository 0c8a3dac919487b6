package contrast

import (
	"errors"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// Seen is what another server was found to have of a zone. Its records are as
// zone.Normalise makes them.
type Seen struct {
	SOA     *dns.SOA
	Records []dns.RR
	Open    []Open // questions without a usable answer
	Asked   int    // questions; 0: it is all from a transfer
	Refused error  // why there was no transfer; nil: there was

	known map[key]bool // sets that were asked for and answered; nil: all
}

// Open is a set of which nothing is known.
type Open struct {
	Name name.Name
	Type uint16
	Why  error
}

// ErrLame is an answer of a server that does not answer for the zone.
var ErrLame = errors.New("it answers without authority")

// Question is what to ask about one name.
type Question struct {
	Name  name.Name
	Types []uint16
}

// Answer is what a server says to a question about one type.
type Answer struct {
	Rcode             int
	Authority         bool // it says so
	Answer, Ns, Extra []dns.RR
	Err               error // there was none
}

// What a zone elsewhere is likely to have that we have not: at every name of
// ours, and at some names that nobody likes to forget.
var (
	everywhere = []uint16{dns.TypeA, dns.TypeMX, dns.TypeTXT, dns.TypeAAAA, dns.TypeCAA}
	atApex     = []uint16{dns.TypeNS, dns.TypeSRV, dns.TypeHTTPS, dns.TypeDNSKEY, dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeNSEC3PARAM}
	likely     = []string{"*", "www", "mail", "_dmarc", "autoconfig", "autodiscover", "_mta-sts", "mta-sts", "_smtp._tls"}
)

// Likely are the names below the zone's own that are asked for in any case.
func Likely() []string { return slices.Clone(likely) }

// Questions are those that tell what another server has of the zone. all counts
// single types. What stands below a delegation is not asked for, but addresses.
func Questions(z *zone.Zone) (asks []Question, all int) {
	known := map[name.Name]bool{}
	for n := range z.Nodes() {
		q := Question{Name: n.Name}
		for i := range n.Sets {
			if t := n.Sets[i].Type; !makes(t, n.Name == z.Origin()) && t != dns.TypeSOA {
				q.Types = append(q.Types, t)
			}
		}
		cut := z.Cut(n.Name)
		switch {
		case n.Name == z.Origin():
			q.add(atApex...)
			q.add(everywhere...)
		case cut != nil && cut.Name == n.Name:
			q.only(dns.TypeNS, dns.TypeDS, dns.TypeA, dns.TypeAAAA)
			q.add(dns.TypeDS)
		case cut != nil: // glue
			q.only(dns.TypeA, dns.TypeAAAA)
		case len(q.Types) > 0: // an empty non-terminal has nothing, and what NSEC3 made is no name
			q.add(everywhere...)
		}
		if known[n.Name] = true; len(q.Types) > 0 {
			asks, all = append(asks, q), all+len(q.Types)
		}
	}
	for _, text := range likely {
		n, err := name.Parse(text + "." + z.Origin().String())
		if err != nil || known[n] || z.Cut(n) != nil {
			continue // the zone's name leaves no room
		}
		asks, all = append(asks, Question{n, everywhere}), all+len(everywhere)
	}
	return asks, all
}

func (q *Question) add(types ...uint16) {
	for _, t := range types {
		if !slices.Contains(q.Types, t) {
			q.Types = append(q.Types, t)
		}
	}
}

func (q *Question) only(types ...uint16) {
	q.Types = slices.DeleteFunc(q.Types, func(t uint16) bool { return !slices.Contains(types, t) })
}

// Gather is a Seen in the making, of answers.
type Gather struct {
	Seen
	origin name.Name
	have   map[string]bool
}

// NewGather begins with the SOA, which was asked for first.
func NewGather(origin name.Name, soa *dns.SOA, refused error) *Gather {
	g := &Gather{Seen: Seen{SOA: soa, Refused: refused, Asked: 1, known: map[key]bool{}}, origin: origin, have: map[string]bool{}}
	g.known[key{origin, dns.TypeSOA}] = true
	g.add(soa)
	return g
}

// Take takes the answer to a question.
func (g *Gather) Take(n name.Name, t uint16, a Answer) {
	g.Asked++
	found, why := g.records(n, t, a), a.Err
	if why == nil && len(found) == 0 && !a.Authority {
		why = ErrLame
	}
	if why != nil {
		g.Open = append(g.Open, Open{n, t, why})
		return
	}
	g.known[key{n, t}] = true
	for _, rr := range found {
		g.add(rr)
	}
}

// records are those of the zone that an answer shows at the name that was asked
// for, and what stands in its way. What a DNAME makes is no record (RFC 6672,
// Section 3.1).
func (g *Gather) records(n name.Name, t uint16, a Answer) []dns.RR {
	of := func(all []dns.RR, fits func(owner name.Name, kind uint16) bool) []dns.RR {
		var found []dns.RR
		for _, rr := range all {
			owner, err := name.Parse(rr.Header().Name)
			if err == nil && owner.IsBelow(g.origin) && fits(owner, rr.Header().Rrtype) {
				found = append(found, rr)
			}
		}
		return found
	}
	dnames := of(a.Answer, func(owner name.Name, kind uint16) bool {
		return kind == dns.TypeDNAME && owner != n && n.IsBelow(owner)
	})
	if len(dnames) > 0 {
		return dnames
	}
	found := of(a.Answer, func(owner name.Name, kind uint16) bool {
		return owner == n && (kind == t || kind == dns.TypeCNAME)
	})
	if len(found) > 0 {
		return found
	}
	// A referral (RFC 1034, Section 4.3.2, step 3b).
	found = of(a.Ns, func(owner name.Name, kind uint16) bool {
		return kind == dns.TypeNS && owner != g.origin && n.IsBelow(owner)
	})
	if len(found) == 0 {
		return nil
	}
	return append(found, of(a.Extra, func(owner name.Name, kind uint16) bool { return owner == n && kind == t })...)
}

// add adds a record, once.
func (g *Gather) add(rr dns.RR) {
	wire, err := zone.AppendRecord(nil, rr)
	if err != nil || g.have[string(wire)] {
		return // it is normal: there is no error
	}
	g.have[string(wire)] = true
	g.Records = append(g.Records, rr)
}
