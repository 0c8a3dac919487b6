// Package zone holds an immutable snapshot of one zone: its nodes in
// canonical order, with every name normalised and every record known to fit
// the wire. It is what authority publishes, answer compiles, journal keeps
// and zonefile prints.
//
// It is pure: no disk, no clock, no goroutine. Readers share a Zone freely and
// must not change the records they get from it. RFC 1034, Section 4.2; RFC
// 1982 (serials); RFC 2181, Sections 5 and 6.1; RFC 4034, Section 6.
package zone

import (
	"iter"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// Zone is one zone's content. Build one with a Builder.
type Zone struct {
	soa   *dns.SOA
	apex  *Node
	rest  shelf // all nodes but the apex
	count int
}

// Node is one owner name. An empty non-terminal (RFC 4592, Section 2.2.2) is
// a node without sets.
type Node struct {
	Name name.Name
	Sets []RRset // by type
}

// RRset is the records of one owner and type, in canonical order of their
// RDATA and without duplicates (RFC 4034, Section 6.3). They share one TTL
// (RFC 2181, Section 5.2), except RRSIGs, which follow what they cover.
type RRset struct {
	Type uint16
	TTL  uint32
	RRs  []dns.RR
}

// Origin returns the zone's own name.
func (z *Zone) Origin() name.Name { return z.apex.Name }

// Serial returns the SOA's serial.
func (z *Zone) Serial() uint32 { return z.soa.Serial }

// SOA returns the zone's SOA record.
func (z *Zone) SOA() *dns.SOA { return z.soa }

// Records returns how many records the zone has.
func (z *Zone) Records() int { return z.count }

// Names returns how many nodes the zone has.
func (z *Zone) Names() int { return 1 + z.rest.count }

// Node returns the node of that name, or nil where the zone has none.
func (z *Zone) Node(n name.Name) *Node {
	if n == z.apex.Name {
		return z.apex
	}
	at, found := z.rest.search(n)
	if !found {
		return nil
	}
	return z.rest.at(at)
}

// Nodes returns the nodes in canonical order, the apex first.
func (z *Zone) Nodes() iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		if yield(z.apex) {
			z.rest.from(spot{})(yield)
		}
	}
}

// Set returns the node's records of type t, or nil.
func (n *Node) Set(t uint16) *RRset {
	if n == nil {
		return nil
	}
	for i := range n.Sets {
		if n.Sets[i].Type == t {
			return &n.Sets[i]
		}
	}
	return nil
}

// Cut returns the delegation point that n stands at or below, or nil. The
// apex is no cut (RFC 1034, Section 4.2.1).
func (z *Zone) Cut(n name.Name) *Node {
	var cut *Node
	for ; n != z.apex.Name && n.IsBelow(z.apex.Name); n = n.Parent() {
		if node := z.Node(n); node.Set(dns.TypeNS) != nil {
			cut = node // the highest one rules
		}
	}
	return cut
}

// WithSerial returns the zone with another serial; all but the apex is shared.
func (z *Zone) WithSerial(serial uint32) *Zone {
	if z.soa.Serial == serial {
		return z
	}
	soa := *z.soa
	soa.Serial = serial
	apex := &Node{Name: z.apex.Name, Sets: slices.Clone(z.apex.Sets)}
	for i := range apex.Sets {
		if s := &apex.Sets[i]; s.Type == dns.TypeSOA {
			s.RRs = []dns.RR{&soa}
		}
	}
	return &Zone{soa: &soa, apex: apex, rest: z.rest, count: z.count}
}
