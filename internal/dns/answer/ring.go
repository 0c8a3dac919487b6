package answer

import (
	"encoding/binary"
	"slices"
	"sort"

	"postern/internal/dns/name"
)

// ring is the chain of NSEC or NSEC3 records, in the order of what they are
// found by: names in canonical order (RFC 4034, Section 6.1), or hashes. It is
// circular: the last record covers what stands after it and before the first.
// Of the key of each its first eight octets stand side by side, so that a
// search mostly ends without a look at any owner.
type ring struct {
	heads []uint64
	pos   []uint32 // of the owners
}

// search returns the bounds of the records with that head.
func (r *ring) search(head uint64) (lo, hi int) {
	heads := r.heads
	for size := len(heads); size > 0; {
		half := size / 2
		if heads[lo+half] < head {
			lo += size - half
		}
		size = half
	}
	for hi = lo; hi < len(heads) && heads[hi] == head; hi++ {
		if hi-lo == 8 { // many, whose names begin alike
			rest := heads[hi:]
			return lo, hi + sort.Search(len(rest), func(i int) bool { return rest[i] > head })
		}
	}
	return lo, hi
}

// findName returns where in the ring of NSEC records the name's stands, or
// would.
func (z *Zone) findName(of []byte) (at int, found bool) {
	lo, hi := z.search(nameHead(of[:len(of)-len(z.origin)]))
	for key := lent(of); lo < hi; {
		mid := (lo + hi) / 2
		switch order := lent(z.at(z.pos[mid]).name()).Compare(key); {
		case order == 0:
			return mid, true
		case order < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

// findHash returns where in the ring of NSEC3 records that of the hash stands,
// or would.
func (z *Zone) findHash(h *hash) (at int, found bool) {
	lo, hi := z.search(h.head())
	if lo == hi {
		return lo, false
	}
	key := proofKey(h)
	for ; lo < hi; lo++ {
		switch order := slices.Compare(z.at(z.pos[lo]).name(), key[:]); {
		case order == 0:
			return lo, true
		case order > 0:
			return lo, false
		}
	}
	return lo, false
}

// before returns the last owner with an NSEC record that stands, in canonical
// order, at or before the name, or nil.
func (z *Zone) before(of []byte) *owner { return z.inRing(z.beforeAt(of)) }

// beforeAt returns where in the ring it stands, or -1.
func (z *Zone) beforeAt(of []byte) int {
	at, found := z.findName(of)
	if !found {
		at--
	}
	return at
}

// inRing returns the owner of the record at that place, or nil.
func (z *Zone) inRing(at int) *owner {
	if at < 0 {
		return nil
	}
	return z.at(z.pos[at])
}

// nameHead is the first eight octets of the key by which a name, without the
// zone's, stands in canonical order: see name.AppendKey.
func nameHead(of []byte) uint64 {
	var offsets [128]uint8
	count := 0
	for i := 0; i < len(of); i += 1 + int(of[i]) {
		offsets[count&127] = uint8(i)
		count++
	}
	var head uint64
	shift := 64
	put := func(c byte) {
		if shift > 0 {
			shift -= 8
			head |= uint64(c) << shift
		}
	}
	for count--; count >= 0 && shift > 0; count-- {
		at := int(offsets[count&127])
		for _, c := range of[at+1 : at+1+int(of[at])] {
			if shift == 0 {
				break
			}
			if c < 2 {
				put(1)
				c++
			}
			put(c)
		}
		put(0)
	}
	return head
}

// turn is what becomes of one record of a ring.
type turn struct {
	head uint64
	at   int // where in the old ring it stands, or would
	had  bool
	has  bool
	pos  uint32 // from now on, where it has one
}

// turned returns the ring after these turns, which are in its order.
func (r *ring) turned(turns []turn) ring {
	next := *r
	if len(turns) == 0 {
		return next
	}
	if !slices.ContainsFunc(turns, func(t turn) bool { return t.had != t.has }) {
		next.pos = slices.Clone(r.pos)
		for _, t := range turns {
			next.pos[t.at] = t.pos
		}
		return next
	}
	next.heads = make([]uint64, 0, len(r.heads)+len(turns))
	next.pos = make([]uint32, 0, len(r.pos)+len(turns))
	at := 0
	for _, t := range turns {
		next.heads, next.pos = append(next.heads, r.heads[at:t.at]...), append(next.pos, r.pos[at:t.at]...)
		if at = t.at; t.had {
			at++
		}
		if t.has {
			next.heads, next.pos = append(next.heads, t.head), append(next.pos, t.pos)
		}
	}
	next.heads, next.pos = append(next.heads, r.heads[at:]...), append(next.pos, r.pos[at:]...)
	return next
}

// head returns the first eight octets of a hash.
func (h *hash) head() uint64 { return binary.BigEndian.Uint64(h[:]) }

// headOf is nameHead of a name of the zone.
func headOf(n, origin name.Name) uint64 {
	var room [256]byte
	return nameHead(room[:copy(room[:], n[:len(n)-len(origin)])])
}
