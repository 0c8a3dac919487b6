package answer

import (
	"unsafe"

	"postern/internal/dns/wire"
)

// Hint is what was found out about the name of a question before its turn came.
// A large zone is in no processor's cache, and no name is near the one before:
// each look into the zone is waited for. While several questions are at hand
// the looks of all are waited for together. A hint is of the one zone that gave
// it, and tells the same as looking anew.
type Hint struct {
	hash   uint64 // of the name
	slot   uint64 // what its place in the index holds
	before int32  // where in the ring of NSEC records the last at or before it stands, or unknown
	drawn  uint64 // of what was drawn near, so that the looks are not for nothing
}

// unknown marks what nobody has looked for.
const unknown = -2

// Proves reports whether the zone's answers take several looks: it is signed.
func (z *Zone) Proves() bool { return z.deny != byNothing }

// Look is the first of two looks at the name of q: at its place in the index.
func (z *Zone) Look(q *wire.Query, h *Hint) {
	p, n := words(q.Wire())
	h.hash = z.index.hash(p, n)
	h.slot, h.before = z.slots[h.hash&z.mask], unknown
}

// Draw is the second: at its owner, or at the record that proves that it has
// none.
func (z *Zone) Draw(q *wire.Query, h *Hint) {
	switch {
	case h.slot != 0 && (h.slot^h.hash)>>32 == 0 && uint32(h.slot) != gone:
		h.draw(z.at(uint32(h.slot)))
	case q.DO && z.deny == byName:
		at := z.beforeAt(q.Wire())
		if h.before = int32(at); at >= 0 {
			h.draw(z.at(z.pos[at]))
		}
	}
}

// drawAll is how many octets of an owner are drawn near: of those with more it is
// not known which are asked for.
const drawAll = 512

// line is what a processor reads at once.
const line = 64

func (h *Hint) draw(o *owner) {
	p := unsafe.Pointer(o)
	drawn := word(p, 0)
	for at := line; at+8 <= int(o.size) && at < drawAll; at += line {
		drawn ^= word(p, at)
	}
	h.drawn = drawn
}
