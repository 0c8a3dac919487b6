// Package answer compiles a zone to wire form and answers questions from it.
// Compile packs every RRset once, with the names in it compressed against the
// zone's own name, which stands at the end of any QNAME that leads here; what
// is left for the query is to find the node, copy its block and set a few
// compression pointers.
//
// It is pure: no disk, socket, clock or goroutine. It never recurses, never
// looks outside the zones it is given, and never allocates on the way of an
// answer but for what the caller's buffer cannot hold. Node names, blocks and
// links lie in a few arrays without pointers, so that a large zone costs the
// collector nothing.
//
// RFC 1034, Section 4.3.2 (the walk); RFC 2308 (negative answers); RFC 4592
// (wildcards); RFC 6604 (rcode of a chain); RFC 6672 (DNAME); RFC 8482 (ANY);
// RFC 9471 (glue). Of a presigned zone RRSIG, DS and NSEC records go along
// where the client sets DO (RFC 4035, Section 3.1); NSEC3 proofs do not.
package answer

import (
	"hash/maphash"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// Zone is a compiled zone. It is immutable and shared freely.
type Zone struct {
	origin name.Name
	seed   maphash.Seed
	mask   uint64
	table  []uint64 // open addressing: upper half of the hash, then node number + 1
	nodes  []node   // in canonical order, the apex first
	sets   []set
	relocs []uint32 // see set
	links  []link
	arena  []byte // names and blocks, each beginning at a multiple of align
	denial set    // the SOA with the TTL of negative answers; type 0: none
	nsec   bool   // there are NSEC records
}

// align is the unit of positions in the arena, so that 32 bits reach 16 GiB.
const align = 4

// node is one owner name. Other nodes are named by their number + 1, with 0
// for none.
type node struct {
	name    uint32 // position of the name in the arena
	set     uint32 // the first of its sets
	over    uint32 // the highest cut at or above it, or DNAME above it, which rules here
	wild    uint32 // its child "*"
	nset    uint16
	nameLen uint8
	flags   uint8
}

// What a node is beside a name.
const (
	isCut   = 1 << iota // has NS and is not the apex
	isAlias             // has a CNAME
	isDNAME
)

// set is one packed RRset: records one after the other, each with the owner
// C00C, the place of QNAME in every message.
type set struct {
	pos   uint32 // of the block in the arena
	size  uint32
	reloc uint32 // first of its relocs: offsets in the block of pointers to set
	link  uint32 // first of its links
	sig   uint32 // number + 1 of the set that holds its RRSIGs
	typ   uint16
	count uint16
	nrel  uint16
	nlink uint16
}

// ownerReloc marks the offset of a pointer to the RRset's owner; the others
// point to the zone's name.
const ownerReloc = 1 << 31

// link leads from a name in RDATA to the node whose addresses go along.
type link struct {
	node uint32 // number
	at   uint16 // where in the block the name stands
	must bool   // glue without which a referral is useless (RFC 9471, Section 3.1)
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
)

// String returns the kind as a word.
func (k Kind) String() string {
	return [...]string{"answer", "no data", "no such name", "referral", "leaves our zones", "name too long"}[k]
}

// Finder tells which zone answers a question, for chains that leave a zone.
type Finder interface {
	Find(qname name.Name, qtype uint16) *Zone // nil: none of ours
}

// Compile returns z in wire form.
func Compile(z *zone.Zone) *Zone { return compile(z) }

// Origin returns the zone's name.
func (z *Zone) Origin() name.Name { return z.origin }

// OriginWire returns the zone's name as octets, which must not be changed.
func (z *Zone) OriginWire() []byte { return z.nameOf(0) }

// Nodes returns the number of names, empty non-terminals counted.
func (z *Zone) Nodes() int { return len(z.nodes) }

// Size returns about how many octets of memory the zone takes.
func (z *Zone) Size() int {
	const nodeSize, setSize, linkSize = 20, 28, 8
	return len(z.arena) + 8*len(z.table) + nodeSize*len(z.nodes) + setSize*len(z.sets) + 4*len(z.relocs) + linkSize*len(z.links)
}

// lookup returns the number of the node of that name, or -1.
func (z *Zone) lookup(key []byte) int {
	h := maphash.Bytes(z.seed, key)
	for i := h & z.mask; ; i = (i + 1) & z.mask {
		slot := z.table[i]
		if slot == 0 {
			return -1
		}
		if uint32(slot>>32) != uint32(h>>32) {
			continue
		}
		n := int(uint32(slot)) - 1
		if string(z.nameOf(n)) == string(key) {
			return n
		}
	}
}

func (z *Zone) insert(key []byte, n int) {
	h := maphash.Bytes(z.seed, key)
	i := h & z.mask
	for z.table[i] != 0 {
		i = (i + 1) & z.mask
	}
	z.table[i] = h>>32<<32 | uint64(uint32(n+1))
}

// nameOf returns the name of a node.
func (z *Zone) nameOf(n int) []byte {
	nd := &z.nodes[n]
	pos := int(nd.name) * align
	return z.arena[pos : pos+int(nd.nameLen) : pos+int(nd.nameLen)]
}

// block returns the packed records of a set.
func (z *Zone) block(s *set) []byte {
	pos := int(s.pos) * align
	return z.arena[pos : pos+int(s.size)]
}

// find returns the set of type t at the node, or nil.
func (z *Zone) find(n int, t uint16) *set {
	nd := &z.nodes[n]
	sets := z.sets[nd.set : nd.set+uint32(nd.nset)]
	for i := range sets {
		if sets[i].typ == t {
			return &sets[i]
		}
	}
	return nil
}
