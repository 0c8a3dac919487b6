package answer

import (
	"bytes"
	"slices"
	"sort"

	"postern/internal/dns/name"
)

// pending is the position of an owner whose run is not packed yet.
const pending = gone - 1

// smallSeg is how long a segment may be to be copied, with what is new at its
// end, instead of beginning another: so that a thousand edits do not make a
// thousand segments.
const smallSeg = 1 << 16

// settle gives each node its slot and its place in the tree. It reports false
// where the index would become too full.
func (a *amendment) settle() bool {
	a.index = a.old.index
	a.slots = slices.Clone(a.old.slots)
	for _, nd := range a.nodes {
		switch {
		case nd.src == nil:
			a.slots[nd.slot] |= gone
		case nd.was == nil:
			if nd.slot = a.claim(nd.name); 2*a.taken > len(a.slots) {
				return false
			}
		}
		if nd.name != a.origin {
			a.place(nd)
		}
	}
	return true
}

// claim returns a slot for a name that has none: a free one, or one whose
// owner is gone, to which nothing leads any more.
func (a *amendment) claim(n name.Name) uint32 {
	h := a.hash(a.packer.key(n))
	i := h & a.mask
	for a.slots[i] != 0 && uint32(a.slots[i]) != gone {
		i = (i + 1) & a.mask
	}
	if a.slots[i] == 0 {
		a.taken++
	}
	a.slots[i] = h>>32<<32 | pending
	return uint32(i)
}

// place finds the place in the tree of a node below the apex. Its parent, if
// it is among the nodes, has its own already.
func (a *amendment) place(nd *amended) {
	parent := a.at[nd.name.Parent()]
	switch {
	case nd.src != nil && parent != nil:
		nd.inherit(&parent.compiled)
	case nd.src != nil:
		same := a.recall(nd.name.Parent())
		nd.inherit(&same)
	case parent != nil && nd.name.IsWildcard():
		parent.wild = 0
	}
}

// recall returns what is known about an owner that is not among the nodes.
func (a *amendment) recall(n name.Name) (nd compiled) {
	slot, ok := a.old.slotOf(a.packer.key(n))
	if !ok {
		return nd
	}
	o := a.old.linked(slot)
	nd = compiled{slot: slot, over: o.over, wild: o.wild, flags: o.flags}
	if o.over != 0 {
		nd.rule = a.old.linked(o.over - 1).flags
	}
	return nd
}

// host is for packer.
func (a *amendment) host(n name.Name) (slot uint32, rule uint8, ok bool) {
	if nd := a.at[n]; nd != nil {
		return nd.slot, nd.rule, nd.flags&isHost != 0
	}
	nd := a.recall(n)
	return nd.slot, nd.rule, nd.flags&isHost != 0
}

// splice makes the order of the names. It reports false where they are not
// those of the zone, so that there was more to amend than was said.
func (a *amendment) splice() bool {
	a.order = a.old.order
	if slices.ContainsFunc(a.nodes, func(nd *amended) bool { return !nd.stays() }) {
		order, at := make([]uint32, 0, a.src.Names()-a.aside), 0
		for _, nd := range a.nodes {
			if nd.stays() {
				continue
			}
			i := a.old.rank(nd.name)
			order, at = append(order, a.old.order[at:i]...), i
			if nd.src == nil {
				at++
			} else {
				order = append(order, nd.slot)
			}
		}
		a.order = append(order, a.old.order[at:]...)
	}
	return len(a.order) == a.src.Names()-a.aside
}

// rank returns how many names stand before n in canonical order.
func (z *Zone) rank(n name.Name) int {
	return sort.Search(len(z.order), func(i int) bool { return lent(z.linked(z.order[i]).name()).Compare(n) >= 0 })
}

// packAll packs the nodes and puts what is new into one segment: at the end of
// a copy of the last, if that is small. It reports false where there is too
// much for one, or where the chain is not what it is said to be.
func (a *amendment) packAll() bool {
	add := addition{amendment: a, segs: a.old.segs}
	if last := add.segs[len(add.segs)-1]; len(last) < smallSeg {
		add.segs, add.tail = add.segs[:len(add.segs)-1], last
	}
	a.live = a.old.live
	for _, nd := range a.nodes {
		pos := uint32(gone)
		if nd.src != nil {
			a.slots[nd.slot] = a.slots[nd.slot]>>32<<32 | uint64(add.put(nd, uint32(a.slots[nd.slot])))
			pos = uint32(a.slots[nd.slot])
		} else {
			a.live -= int(nd.was.size)
		}
		if a.deny == byName && !a.turnName(nd, pos) {
			return false
		}
	}
	for _, nd := range a.proofs {
		if t := &nd.turn; t.has {
			t.pos = gone
			if t.had {
				t.pos = a.old.ring.pos[t.at]
			}
			t.pos = add.put(nd, t.pos)
		} else {
			a.live -= int(nd.was.size)
		}
		a.turns = append(a.turns, nd.turn)
	}
	if len(add.tail)+len(add.fresh) > segLen {
		return false
	}
	a.ring = a.old.turned(a.turns)
	a.segs = a.old.segs
	if len(add.fresh) > 0 {
		a.segs = append(slices.Clip(add.segs), slices.Concat(add.tail, add.fresh))
	}
	a.apex = a.linked(a.order[0])
	if a.at[a.origin] != nil {
		a.denial = a.packer.denial
	}
	return true
}

// turnName notes what becomes of the NSEC record of a node, which is at pos.
func (a *amendment) turnName(nd *amended, pos uint32) bool {
	t := turn{
		had: nd.was != nil && nd.was.flags&hasNSEC != 0 && (nd.was.over == 0 || nd.was.over == nd.slot+1),
		has: nd.src != nil && nd.flags&hasNSEC != 0 && nd.reached(), pos: pos,
	}
	if !t.had && !t.has {
		return true
	}
	t.head = headOf(nd.name, a.origin)
	found := false
	t.at, found = a.old.findName([]byte(nd.name))
	a.turns = append(a.turns, t)
	return found == t.had
}

// addition is the runs that are new.
type addition struct {
	*amendment
	segs  [][]byte // those that stay, less one whose octets are the tail
	tail  []byte
	fresh []byte
}

// put packs the node, which was at pos, and returns where it is now.
func (a *addition) put(nd *amended, pos uint32) uint32 {
	run := a.packer.pack(&nd.compiled, a.src)
	a.live += len(run)
	if nd.was != nil {
		a.live -= int(nd.was.size)
		if bytes.Equal(run, nd.was.run()) {
			return pos
		}
	}
	at := len(a.tail) + len(a.fresh)
	if at > segLen {
		return pos // too much, which packAll sees
	}
	a.fresh = append(a.fresh, run...)
	a.fresh = append(a.fresh, make([]byte, padded(len(run))-len(run))...)
	return uint32(len(a.segs)<<segBits | at/unit)
}
