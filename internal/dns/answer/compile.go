package answer

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// compiler builds a Zone.
type compiler struct {
	*Zone
	above   []int // the chain of nodes from the apex to the node at hand
	targets []target
	scratch []byte
}

// target is a name in RDATA whose addresses go along, before all nodes are
// known.
type target struct {
	set  int
	at   int
	name name.Name
	cut  bool // of the NS set of a cut
	must bool
}

func compile(src *zone.Zone) *Zone {
	c := &compiler{Zone: &Zone{origin: src.Origin(), seed: maphash.MakeSeed()}, scratch: make([]byte, math.MaxUint16)}
	count := 0
	for range src.Nodes() {
		count++
	}
	// At most half full, so that a miss ends soon.
	slots := uint64(4)
	for slots < 2*uint64(count) {
		slots *= 2
	}
	c.mask, c.table = slots-1, make([]uint64, slots)
	c.nodes = make([]node, 0, count)
	c.sets = make([]set, 0, src.Records())
	c.arena = make([]byte, 0, 20*count+28*src.Records())
	for n := range src.Nodes() {
		c.node(n)
	}
	c.resolve()
	c.deny(src)
	c.sets, c.relocs, c.links, c.arena = slices.Clone(c.sets), slices.Clone(c.relocs), slices.Clone(c.links), slices.Clone(c.arena)
	return c.Zone
}

func (c *compiler) node(src *zone.Node) {
	number := len(c.nodes)
	nd := node{name: c.place([]byte(src.Name)), nameLen: uint8(len(src.Name)), set: uint32(len(c.sets))}
	// Canonical order is depth first: the parent is the last node above.
	for len(c.above) > 0 && !src.Name.IsBelow(name.Name(c.nameOf(c.above[len(c.above)-1]))) {
		c.above = c.above[:len(c.above)-1]
	}
	for i := range src.Sets {
		switch src.Sets[i].Type {
		case dns.TypeNS:
			if number > 0 {
				nd.flags |= isCut
			}
		case dns.TypeCNAME:
			nd.flags |= isAlias
		case dns.TypeDNAME:
			nd.flags |= isDNAME
		case dns.TypeNSEC:
			c.nsec = true
		}
	}
	if len(c.above) > 0 {
		c.inherit(&nd, number, src.Name)
	}
	c.nodes = append(c.nodes, nd)
	c.above = append(c.above, number)
	c.insert([]byte(src.Name), number)
	c.pack(src, number)
}

// inherit sets what the node's parent decides: who rules over it, and, for a
// wildcard, whose it is.
func (c *compiler) inherit(nd *node, number int, owner name.Name) {
	up := c.above[len(c.above)-1]
	parent := &c.nodes[up]
	switch {
	case parent.over != 0:
		nd.over = parent.over
	// RFC 6672, Section 2.4: what stands below a DNAME is not seen.
	case parent.flags&isDNAME != 0:
		nd.over = uint32(up + 1)
	case nd.flags&isCut != 0:
		nd.over = uint32(number + 1)
	}
	if owner.IsWildcard() {
		parent.wild = uint32(number + 1)
	}
}

// pack packs the sets of a node: first those that answer questions, then the
// RRSIGs of each, which only go along.
func (c *compiler) pack(src *zone.Node, number int) {
	first := len(c.sets)
	for i := range src.Sets {
		s := &src.Sets[i]
		c.sets = append(c.sets, c.packSet(src.Name, number, s.Type, s.RRs, len(c.sets)))
	}
	c.nodes[number].nset = uint16(len(c.sets) - first)
	sigs := src.Set(dns.TypeRRSIG)
	if sigs == nil {
		return
	}
	for i := range src.Sets {
		var of []dns.RR
		for _, rr := range sigs.RRs {
			if sig, ok := rr.(*dns.RRSIG); ok && sig.TypeCovered == src.Sets[i].Type {
				of = append(of, rr)
			}
		}
		if len(of) > 0 {
			c.sets = append(c.sets, c.packSet(src.Name, number, dns.TypeRRSIG, of, -1))
			c.sets[first+i].sig = uint32(len(c.sets))
		}
	}
}

func (c *compiler) packSet(owner name.Name, number int, t uint16, rrs []dns.RR, as int) set {
	cut := c.nodes[number].flags&isCut != 0 && t == dns.TypeNS
	p := packer{origin: c.origin, block: c.scratch[:0], reloc: len(c.relocs), relocs: c.relocs}
	// A name below the cut it belongs to is shortest with a pointer to the cut.
	// Not at a wildcard, where QNAME is not the owner.
	if cut && !owner.IsWildcard() {
		p.owner = owner
	}
	for _, rr := range rrs {
		at, target := p.record(rr)
		if target == "" || as < 0 {
			continue
		}
		c.add(as, at, target, cut, owner)
	}
	c.relocs, c.scratch = p.relocs, p.block[:0]
	return set{
		pos: c.place(p.block), size: uint32(len(p.block)), typ: t, count: uint16(min(len(rrs), math.MaxUint16)),
		reloc: uint32(p.reloc), nrel: uint16(min(len(p.relocs)-p.reloc, math.MaxUint16)),
	}
}

func (c *compiler) add(as, at int, to name.Name, cut bool, owner name.Name) {
	if at > math.MaxUint16 || !to.IsBelow(c.origin) {
		return
	}
	c.targets = append(c.targets, target{set: as, at: at, name: to, cut: cut, must: cut && to.IsBelow(owner)})
}

// place copies b into the arena and returns where.
func (c *compiler) place(b []byte) uint32 {
	for len(c.arena)%align != 0 {
		c.arena = append(c.arena, 0)
	}
	pos := len(c.arena) / align
	c.arena = append(c.arena, b...)
	return uint32(pos)
}

// resolve turns targets into links: each node once a set, what must be there
// first.
func (c *compiler) resolve() {
	for rest := c.targets; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].set == rest[0].set {
			n++
		}
		c.linkSet(rest[:n])
		rest = rest[n:]
	}
}

func (c *compiler) linkSet(targets []target) {
	slices.SortStableFunc(targets, func(a, b target) int { return cmp.Compare(btoi(b.must), btoi(a.must)) })
	s := &c.sets[targets[0].set]
	s.link = uint32(len(c.links))
	for _, t := range targets {
		n := c.lookup([]byte(t.name))
		if n < 0 || c.find(n, dns.TypeA) == nil && c.find(n, dns.TypeAAAA) == nil {
			continue
		}
		// Addresses below a cut are glue and belong beside the NS of a cut
		// only (RFC 1034, Section 4.2.1); below a DNAME there is nothing.
		if over := c.nodes[n].over; over != 0 && (!t.cut || c.nodes[over-1].flags&isCut == 0) {
			continue
		}
		if slices.ContainsFunc(c.links[s.link:], func(l link) bool { return l.node == uint32(n) }) {
			continue
		}
		c.links = append(c.links, link{node: uint32(n), at: uint16(t.at), must: t.must})
	}
	s.nlink = uint16(min(len(c.links)-int(s.link), math.MaxUint16))
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// deny packs the SOA, and its RRSIGs, as negative answers carry it: with the
// smaller of its own TTL and MINIMUM (RFC 2308, Section 3).
func (c *compiler) deny(src *zone.Zone) {
	apex := src.Node(src.Origin())
	ttl := min(src.SOA().Minttl, src.SOA().Hdr.Ttl)
	lowered := func(rr dns.RR) dns.RR {
		rr = dns.Copy(rr)
		rr.Header().Ttl = ttl
		return rr
	}
	c.denial = c.packSet(c.origin, 0, dns.TypeSOA, []dns.RR{lowered(src.SOA())}, -1)
	var sigs []dns.RR
	if all := apex.Set(dns.TypeRRSIG); all != nil {
		for _, rr := range all.RRs {
			if sig, ok := rr.(*dns.RRSIG); ok && sig.TypeCovered == dns.TypeSOA {
				sigs = append(sigs, lowered(rr))
			}
		}
	}
	if len(sigs) > 0 {
		c.sets = append(c.sets, c.packSet(c.origin, 0, dns.TypeRRSIG, sigs, -1))
		c.denial.sig = uint32(len(c.sets))
	}
}
