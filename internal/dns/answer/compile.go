package answer

import (
	"bytes"
	"math/rand/v2"
	"slices"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/zone"
)

// compiler builds a Zone in two rounds: first every owner gets its slot and
// its place in the tree, then each is packed, links to others and all. A run
// that comes out as it was in the old zone is not written again.
type compiler struct {
	*Zone
	old    *Zone
	nodes  []compiled
	proofs []compiled // NSEC3 records, in the order of their hashes
	held   *zone.Node // the node before, if nothing but a name below it makes it a name
	number []uint32   // by slot: number + 1 of the node that has it
	above  []int      // the chain of nodes from the apex to the node at hand
	packer packer
}

// compiled is what the first round finds out about a node.
type compiled struct {
	src        *zone.Node
	slot       uint32
	over, wild uint32 // slots + 1
	flags      uint8
	rule       uint8 // flags of the owner that over names
}

func compile(src *zone.Zone, old *Zone) *Zone {
	c := &compiler{Zone: &Zone{origin: src.Origin(), scheme: schemeOf(src)}}
	c.packer.origin, c.packer.hosts, c.packer.scheme = c.origin, c, c.scheme
	count := c.names(src)
	c.nodes = make([]compiled, 0, count)
	if old != nil && old.origin == c.origin && old.sparing() && 16*count >= len(old.slots) {
		c.old, c.seed, c.mask = old, old.seed, old.mask
		c.slots, c.segs, c.taken = slices.Clone(old.slots), slices.Clone(old.segs), old.taken
	} else {
		// At most half full, so that a miss ends soon.
		slots := uint64(4)
		for slots < 2*uint64(count) {
			slots *= 2
		}
		c.seed, c.mask, c.slots = rand.Uint64(), slots-1, make([]uint64, slots)
	}
	c.number = make([]uint32, len(c.slots))
	for n := range src.Nodes() {
		if c.take(n); 2*c.taken > len(c.slots) {
			return compile(src, nil) // too many names have come and gone
		}
	}
	c.sweep()
	c.setOrder()
	c.packAll(src)
	c.apex, c.denial = c.linked(c.nodes[0].slot), c.packer.denial
	c.aside = src.Names() - len(c.nodes)
	return c.Zone
}

// sparing reports whether the next state of the zone may share what z has:
// not once a third of it is waste.
func (z *Zone) sparing() bool {
	total := 0
	for _, seg := range z.segs {
		total += len(seg)
	}
	return len(z.segs) < maxSegs/2 && total-z.live <= z.live/2+segLen/64
}

// names returns how many names there are: take tells them from NSEC3 records.
func (c *compiler) names(src *zone.Zone) int {
	count := src.Names()
	if !c.hashed() {
		return count // or a few more than there are
	}
	var held *zone.Node
	for n := range src.Nodes() {
		if held != nil && n.Name.IsBelow(held.Name) {
			count++
		}
		if held = nil; asideOf(n) {
			held = n
			count--
		}
	}
	return count
}

// take enters the node as a name, as the place of NSEC3 records, or as both.
// Canonical order tells of names below it right after it.
func (c *compiler) take(src *zone.Node) {
	if c.held != nil && src.Name.IsBelow(c.held.Name) {
		c.enter(c.held)
	}
	c.held = nil
	if src.Set(dns.TypeNSEC3) != nil {
		if _, ok := hashOf(src.Name, c.origin); ok && c.scheme.proof(src) {
			c.proofs = append(c.proofs, compiled{src: src, flags: isProof})
		}
		if asideOf(src) {
			c.held = src
			return
		}
	}
	c.enter(src)
}

// enter gives the node its slot, and finds its place in the tree. Canonical
// order is depth first: the parent is the last node above.
func (c *compiler) enter(src *zone.Node) {
	number := len(c.nodes)
	nd := compiled{src: src, slot: c.claim(src.Name, number)}
	for len(c.above) > 0 && !src.Name.IsBelow(c.nodes[c.above[len(c.above)-1]].src.Name) {
		c.above = c.above[:len(c.above)-1]
	}
	nd.flags = flagsOf(src, number == 0)
	if len(c.above) > 0 {
		nd.inherit(&c.nodes[c.above[len(c.above)-1]])
	}
	c.nodes = append(c.nodes, nd)
	c.above = append(c.above, number)
}

// flagsOf tells what an owner is from its sets.
func flagsOf(src *zone.Node, apex bool) (flags uint8) {
	for i := range src.Sets {
		switch src.Sets[i].Type {
		case dns.TypeNS:
			if !apex {
				flags |= isCut
			}
		case dns.TypeCNAME:
			flags |= isAlias
		case dns.TypeDNAME:
			flags |= isDNAME
		case dns.TypeA, dns.TypeAAAA:
			flags |= isHost
		case dns.TypeNSEC:
			flags |= hasNSEC
		}
	}
	return flags
}

// inherit sets what the node's parent decides: who rules over it, and, for a
// wildcard, whose it is.
func (nd *compiled) inherit(parent *compiled) {
	switch {
	case parent.over != 0:
		nd.over, nd.rule = parent.over, parent.rule
	// RFC 6672, Section 2.4: what stands below a DNAME is not seen.
	case parent.flags&isDNAME != 0:
		nd.over, nd.rule = parent.slot+1, parent.flags
	case nd.flags&isCut != 0:
		nd.over, nd.rule = nd.slot+1, nd.flags
	}
	if nd.src.Name.IsWildcard() {
		parent.wild = nd.slot + 1
	}
}

// reached reports whether a question can end at the node: not where another
// rules over it.
func (nd *compiled) reached() bool { return nd.over == 0 || nd.over == nd.slot+1 }

// claim returns the slot of the name, taking a free one where it has none. A
// slot without a position yet is told by its number.
func (c *compiler) claim(n name.Name, number int) uint32 {
	words, size := c.packer.key(n)
	h := c.hash(words, size)
	for i := h & c.mask; ; i = (i + 1) & c.mask {
		switch slot := c.slots[i]; {
		case slot == 0:
			c.slots[i] = h>>32<<32 | gone
			c.taken++
		case slot>>32 != h>>32 || c.number[i] != 0 || uint32(slot) == gone || !same(c.old.at(uint32(slot)), words, size):
			continue
		}
		c.number[i] = uint32(number + 1)
		return uint32(i)
	}
}

// host is for packer.
func (c *compiler) host(n name.Name) (slot uint32, rule uint8, ok bool) {
	h := c.hash(c.packer.key(n))
	for i := h & c.mask; c.slots[i] != 0; i = (i + 1) & c.mask {
		if number := c.number[i]; number != 0 && c.slots[i]>>32 == h>>32 && c.nodes[number-1].src.Name == n {
			nd := &c.nodes[number-1]
			return nd.slot, nd.rule, nd.flags&isHost != 0
		}
	}
	return 0, 0, false
}

// sweep takes out what the old zone had and this one has not.
func (c *compiler) sweep() {
	for i, slot := range c.slots {
		if slot != 0 && c.number[i] == 0 {
			c.slots[i] = slot | gone
		}
	}
}

func (c *compiler) setOrder() {
	if c.old != nil && len(c.old.order) == len(c.nodes) {
		same := true
		for i := range c.nodes {
			same = same && c.nodes[i].slot == c.old.order[i]
		}
		if same {
			c.order = c.old.order
			return
		}
	}
	c.order = make([]uint32, len(c.nodes))
	for i := range c.nodes {
		c.order[i] = c.nodes[i].slot
	}
}

// packAll packs every node, and keeps the runs that are new.
func (c *compiler) packAll(src *zone.Zone) {
	w := writer{arena: &c.arena}
	switch c.deny {
	case byName:
		c.ring = ring{make([]uint64, 0, len(c.nodes)), make([]uint32, 0, len(c.nodes))}
	case byHash, byCost:
		c.ring = ring{make([]uint64, 0, len(c.proofs)), make([]uint32, 0, len(c.proofs))}
	}
	if c.old == nil {
		w.expect = 72*src.Records() + segLen/16 // about: what is left over is given back
	}
	for i := range c.nodes {
		nd := &c.nodes[i]
		run := c.packer.pack(nd, src)
		slot := &c.slots[nd.slot]
		c.live += len(run)
		if pos := uint32(*slot); pos == gone || !bytes.Equal(run, c.old.at(pos).run()) {
			*slot = *slot>>32<<32 | uint64(w.put(run))
		}
		if c.deny == byName && nd.flags&hasNSEC != 0 && nd.reached() {
			c.link(headOf(nd.src.Name, c.origin), uint32(*slot))
		}
	}
	c.packProofs(src, &w)
	w.end()
}

// packProofs packs the NSEC3 records.
func (c *compiler) packProofs(src *zone.Zone, w *writer) {
	for i := range c.proofs {
		nd := &c.proofs[i]
		h, _ := hashOf(nd.src.Name, c.origin)
		run := c.packer.pack(nd, src)
		c.live += len(run)
		if c.old != nil && c.old.hashed() {
			if at, found := c.old.findHash(&h); found && bytes.Equal(run, c.old.at(c.old.ring.pos[at]).run()) {
				c.link(h.head(), c.old.ring.pos[at])
				continue
			}
		}
		c.link(h.head(), w.put(run))
	}
}

// link puts a record at the end of the ring.
func (c *compiler) link(head uint64, pos uint32) {
	c.heads, c.ring.pos = append(c.heads, head), append(c.ring.pos, pos)
}

// writer appends runs to an arena, in segments of its own.
type writer struct {
	*arena
	seg    []byte // the one at hand
	expect int    // octets yet to come, about
}

// put copies the run into the arena and returns its position.
func (w *writer) put(run []byte) uint32 {
	if size := padded(len(run)); w.seg == nil || len(w.seg)+size > cap(w.seg) {
		// Each is larger than the one before, so that a zone does not run out of
		// segments where more comes than was expected.
		grown := 4 * cap(w.seg)
		w.end()
		first := unit // the position zero stays free
		if len(w.segs) > 0 {
			first = 0
		}
		w.seg = make([]byte, first, max(size+first, min(w.expect, segLen), min(grown, segLen), 1024))
	}
	pos := len(w.segs)<<segBits | len(w.seg)/unit
	w.seg = append(w.seg, run...)
	for len(w.seg)%unit != 0 {
		w.seg = append(w.seg, 0)
	}
	w.expect -= len(run)
	return uint32(pos)
}

// end closes the segment at hand. What it does not need it gives back.
func (w *writer) end() {
	if w.seg == nil {
		return
	}
	if cap(w.seg)-len(w.seg) > len(w.seg)/8 {
		w.seg = slices.Clone(w.seg)
	}
	w.segs = append(w.segs, w.seg)
	w.seg = nil
}
