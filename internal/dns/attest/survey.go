package attest

import (
	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// place is where a node stands in the zone.
type place uint8

const (
	inside place = iota // its data are the zone's own
	cut                 // a delegation point: NS and glue are the child's
	below               // under a delegation or a DNAME: occluded
	hashed              // the owner of an NSEC3 record
)

// spot is a node and what the names around it make of it.
type spot struct {
	node  *zone.Node
	place place

	// bare: nothing but what the signer put there. An empty non-terminal is
	// one, and so is a name that is left over.
	bare bool

	// What a bare name stands above: need says data of the zone or a secure
	// delegation; some, at least an insecure one.
	need, some bool
}

// exists reports whether the name has records that a chain must tell of.
func (s *spot) exists() bool { return s.place == cut || s.place == inside && !s.bare }

// survey is a zone's nodes in canonical order, placed.
type survey struct {
	spots   []spot
	owners  []int32 // of the spots: those that exist
	hashes  []int32 // of the spots: the hashed ones
	nsecs   int     // NSEC sets
	largest uint32  // TTL
}

func look(z *zone.Zone) survey {
	s := survey{spots: make([]spot, 0, z.Names()), owners: make([]int32, 0, z.Names())}
	var roof name.Name // the delegation or DNAME that occludes what follows
	var above []int32  // the spots that the next one may stand below
	for node := range z.Nodes() {
		for len(above) > 0 && !node.Name.IsBelow(s.spots[above[len(above)-1]].node.Name) {
			above = above[:len(above)-1]
		}
		sp := s.place(node, len(s.spots) == 0, roof)
		i := int32(len(s.spots))
		s.spots = append(s.spots, sp)
		switch {
		case sp.place == hashed:
			s.hashes = append(s.hashes, i)
			continue
		case sp.place == below:
			continue
		case sp.exists():
			s.owners = append(s.owners, i)
			s.mark(above, sp.place == inside || node.Set(dns.TypeDS) != nil)
			if sp.place == cut || node.Set(dns.TypeDNAME) != nil {
				roof = node.Name
			}
		}
		above = append(above, i)
	}
	return s
}

// place looks at one node; roof is what occludes names, if anything.
func (s *survey) place(node *zone.Node, apex bool, roof name.Name) spot {
	sp := spot{node: node, bare: true}
	for i := range node.Sets {
		set := &node.Sets[i]
		switch set.Type {
		case dns.TypeNSEC3:
			sp.place = hashed // RFC 6672, Section 2.3: also where a DNAME stands at the apex
			sp.bare = false
		case dns.TypeNSEC:
			s.nsecs++
		case dns.TypeRRSIG:
		case dns.TypeNS:
			if !apex && sp.place == inside {
				sp.place = cut
			}
			sp.bare = false
		default:
			sp.bare = false
		}
		s.largest = max(s.largest, set.TTL)
	}
	if roof != "" && sp.place != hashed && node.Name.IsBelow(roof) {
		sp.place = below
	}
	return sp
}

// mark tells the names above one that it exists.
func (s *survey) mark(above []int32, need bool) {
	for i := len(above) - 1; i >= 0; i-- {
		sp := &s.spots[above[i]]
		if sp.need || sp.some && !need {
			return // and so do those above it know
		}
		sp.need, sp.some = need, true
	}
}
