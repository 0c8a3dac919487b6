// Package answer compiles a zone to wire form and answers questions from it.
// Compile packs every RRset once, with the names in it compressed against the
// zone's own name, which stands at the end of any QNAME that leads here; what
// is left for the query is to find the node, copy its block and set a few
// compression pointers.
//
// It is pure: no disk, socket, clock or goroutine. It never recurses, never
// looks outside the zones it is given, and never allocates on the way of an
// answer but for what the caller's buffer cannot hold. All there is about an
// owner name lies in one run of octets without pointers, so that a large zone
// costs the collector nothing and a question two or three cache lines; a run
// that stays the same is shared by one state of a zone and the next.
//
// RFC 1034, Section 4.3.2 (the walk); RFC 2308 (negative answers); RFC 4592
// (wildcards); RFC 6604 (rcode of a chain); RFC 6672 (DNAME); RFC 8482 (ANY);
// RFC 9471 (glue). Of a signed zone, where the client sets DO, RRSIG and DS
// records and the proofs of what is not there go along: RFC 4035, Section 3.1
// (NSEC), RFC 5155, Section 7.2 (NSEC3). Nothing here signs or validates.
package answer

import (
	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// Zone is a compiled zone. It is immutable and shared freely.
type Zone struct {
	origin name.Name
	apex   *owner
	denial uint16 // number + 1 among the apex's sets of the SOA as negative answers carry it
	aside  int    // nodes of the source that are no names: those of NSEC3 records alone
	scheme
	ring
	index
	arena
	order []uint32 // slots in canonical order of their names, the apex first
}

// Kind is what an answer says.
type Kind uint8

// Kinds of answers. For a chain it is the kind of its last step.
const (
	Positive Kind = iota
	NoData
	NXDomain
	Referral
	// Left: the chain leads to a name in none of the zones found, or was too
	// long to follow; Result.Next tells where the name stands.
	Left
	// TooLong: a DNAME led to a name of more than 255 octets.
	TooLong
	// Collision: a name that is not there has the NSEC3 hash of one that is, so
	// that nothing can deny it.
	Collision
)

// String returns the kind as a word.
func (k Kind) String() string {
	return [...]string{"answer", "no data", "no such name", "referral", "leaves our zones", "name too long", "NSEC3 hash collision"}[k]
}

// Finder tells which zone answers a question, for chains that leave a zone.
type Finder interface {
	Find(qname name.Name, qtype uint16) *Zone // nil: none of ours
}

// Compile returns z in wire form.
func Compile(z *zone.Zone) *Zone { return compile(z, nil) }

// Recompile returns z in wire form. What is the same in old, an earlier state
// of the zone, is shared with it; old may be nil. Every name is packed to see
// that: where it is known what has changed, Amend is shorter.
func Recompile(z *zone.Zone, old *Zone) *Zone { return compile(z, old) }

// Origin returns the zone's name.
func (z *Zone) Origin() name.Name { return z.origin }

// OriginWire returns the zone's name as octets, which must not be changed.
func (z *Zone) OriginWire() []byte { return z.apex.name() }

// Nodes returns the number of names, empty non-terminals counted.
func (z *Zone) Nodes() int { return len(z.order) }

// Size returns how many octets of memory the zone takes, shared ones counted.
func (z *Zone) Size() int {
	n := 8*len(z.slots) + 4*len(z.order) + 12*len(z.ring.pos)
	for _, seg := range z.segs {
		n += len(seg)
	}
	return n
}

// linked returns the owner that a link, or over or wild, names.
func (z *Zone) linked(slot uint32) *owner { return z.at(uint32(z.slots[slot])) }
