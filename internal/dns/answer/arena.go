package answer

import (
	"math/bits"
	"unsafe"
)

// owner is the head of what is known about one owner name. In the arena these
// follow it, each at a multiple of four octets:
//
//	its name, filled up with zeros to a multiple of eight octets
//	its sets, first those that answer questions, then those that only go along
//	their packed records
//	their relocs and links
//	where NSEC3 denies: the hash of "*" below it, but for a cut, and its own
//
// Other owners are named by their slot in the index + 1, with 0 for none: a
// slot stays the same while the owner's run of octets moves.
type owner struct {
	over    uint32 // the highest cut at or above it, or DNAME above it, which rules here
	wild    uint32 // its child "*"
	size    uint32 // octets of the whole run
	nset    uint16 // sets that answer questions
	nameLen uint8
	flags   uint8
}

// What an owner is beside a name.
const (
	isCut   = 1 << iota // has NS and is not the apex
	isAlias             // has a CNAME
	isDNAME
	isHost // has addresses
	hasNSEC
	isProof // no name, but an NSEC3 record: see proofKey
)

// set is one packed RRset: records one after the other, each with the owner
// C00C, the place of QNAME in every message. Its numbers count octets from the
// beginning of the owner's run.
type set struct {
	at    uint32 // where the records stand
	size  uint32 // and their octets
	extra uint32 // where its relocs stand, and after them its links
	typ   uint16
	count uint16
	nrel  uint16
	nlink uint16
	sig   uint16 // number + 1 among the owner's sets of the one that holds its RRSIGs
	_     uint16
}

// link leads from a name in RDATA to the owner whose addresses go along.
type link struct {
	slot uint32
	at   uint16 // where in the set's records the name stands
	must uint16 // 1: glue without which a referral is useless (RFC 9471, Section 3.1)
}

// A reloc is the offset, in a set's records, of a compression pointer to be
// set. ownerReloc marks those to the RRset's owner; the others lead to the
// zone's name.
const ownerReloc = 1 << 31

const (
	ownerLen = int(unsafe.Sizeof(owner{}))
	setLen   = int(unsafe.Sizeof(set{}))
	relocLen = 4
	linkLen  = int(unsafe.Sizeof(link{}))
)

// padded is n up to a multiple of eight.
func padded(n int) int { return (n + 7) &^ 7 }

// What follows reads the runs of octets that compile wrote. Here alone are
// octets taken for structures. All of a run lies in one segment, and its
// numbers are within the run: compile sees to both. A pointer past the end of
// the run is never made: it could be the end of the segment.

// name returns the owner's name.
func (o *owner) name() []byte {
	n := int(o.nameLen)
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(o), ownerLen)), padded(n))[:n]
}

// set returns the set of that number.
func (o *owner) set(number uint16) *set {
	at := ownerLen + padded(int(o.nameLen)) + int(number)*setLen
	return (*set)(unsafe.Add(unsafe.Pointer(o), at))
}

// find returns the set of type t that answers questions, or nil.
func (o *owner) find(t uint16) *set {
	at := ownerLen + padded(int(o.nameLen))
	for range o.nset {
		if s := (*set)(unsafe.Add(unsafe.Pointer(o), at)); s.typ == t {
			return s
		}
		at += setLen
	}
	return nil
}

// records returns the packed records of a set.
func (o *owner) records(s *set) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(o), s.at)), s.size)
}

// hash returns the NSEC3 hash of the owner's name: see reached.
func (o *owner) hash() *hash {
	return (*hash)(unsafe.Add(unsafe.Pointer(o), int(o.size)-hashLen))
}

// wildHash returns that of "*" below the owner's name, which is no cut.
func (o *owner) wildHash() *hash {
	return (*hash)(unsafe.Add(unsafe.Pointer(o), int(o.size)-2*hashLen))
}

func (o *owner) relocs(s *set) []uint32 {
	if s.nrel == 0 {
		return nil
	}
	return unsafe.Slice((*uint32)(unsafe.Add(unsafe.Pointer(o), s.extra)), s.nrel)
}

func (o *owner) links(s *set) []link {
	if s.nlink == 0 {
		return nil
	}
	at := int(s.extra) + relocLen*int(s.nrel)
	return unsafe.Slice((*link)(unsafe.Add(unsafe.Pointer(o), at)), s.nlink)
}

// write puts the head and the sets in front of a run.
func write(run []byte, o owner, sets []set) {
	at := ownerLen + padded(int(o.nameLen))
	for i := range sets {
		*(*set)(unsafe.Pointer(&run[at+i*setLen])) = sets[i]
	}
	*(*owner)(unsafe.Pointer(&run[0])) = o
}

// run returns the whole run of octets.
func (o *owner) run() []byte { return unsafe.Slice((*byte)(unsafe.Pointer(o)), o.size) }

// Positions in the arena count eight octets each, so that 32 bits reach 32
// GiB: the upper ten name the segment.
const (
	unit    = 8
	segBits = 22
	segLen  = unit << segBits
	maxSegs = 1 << (32 - segBits)
)

// arena is where runs lie. Segments are written once and shared; a longer copy
// may stand in the place of a short one in the next state. They are
// longer than sixteen octets, so the allocator begins each at a multiple of
// eight.
type arena struct {
	segs [][]byte
	live int // octets of runs in use
}

// at returns the owner at that position.
func (a *arena) at(pos uint32) *owner {
	seg := a.segs[pos>>segBits]
	return (*owner)(unsafe.Pointer(&seg[int(pos&(1<<segBits-1))*unit]))
}

// index finds positions by name: open addressing, at most half full. A slot
// holds the upper half of the name's hash and the position; zero is free.
type index struct {
	slots []uint64
	mask  uint64
	seed  uint64
	taken int // slots that are not free
}

// gone is the position of an owner that is no more. Its slot stays taken, for
// the names that were put after it, until Amend gives it to another.
const gone = 1<<32 - 1

// lookup returns the owner of that name, or nil. The eight octets after the
// name must be there, within its capacity, and zero.
func (z *Zone) lookup(key []byte) *owner {
	p, n := words(key)
	return z.hashedTo(z.index.hash(p, n), p, n)
}

// words returns the name as whole words, zeros after it: see lookup.
func words(key []byte) (p unsafe.Pointer, size int) {
	n := padded(len(key))
	return unsafe.Pointer(unsafe.SliceData(key[:n])), n
}

// hashedTo is lookup of a name whose hash is known.
func (z *Zone) hashedTo(h uint64, p unsafe.Pointer, n int) *owner {
	x := &z.index
	for i := h & x.mask; ; i = (i + 1) & x.mask {
		slot := x.slots[i]
		if slot == 0 {
			return nil
		}
		if (slot^h)>>32 == 0 && uint32(slot) != gone {
			if o := z.at(uint32(slot)); same(o, p, n) {
				return o
			}
		}
	}
}

// slotOf returns the slot of the name that key made words; ok is false where
// there is no such name.
func (z *Zone) slotOf(words unsafe.Pointer, size int) (slot uint32, ok bool) {
	h := z.hash(words, size)
	for i := h & z.mask; z.slots[i] != 0; i = (i + 1) & z.mask {
		if slot := z.slots[i]; (slot^h)>>32 == 0 && uint32(slot) != gone && same(z.at(uint32(slot)), words, size) {
			return uint32(i), true
		}
	}
	return 0, false
}

// word is the eight octets at p + i, which may be no multiple of eight: the
// processors we build for read such words as well.
func word(p unsafe.Pointer, i int) uint64 { return *(*uint64)(unsafe.Add(p, i)) }

// hash is of a name filled up with zeros to n octets, whole words. The names
// in a zone are the admin's own, so nobody outside can make them collide.
func (x *index) hash(p unsafe.Pointer, n int) uint64 {
	h := x.seed
	for i := 0; i < n; i += 8 {
		hi, lo := bits.Mul64(h^word(p, i), 0x9E3779B97F4A7C15)
		h = hi ^ lo
	}
	return h
}

// same reports whether the owner's name is the one of n octets at p: names end
// in a zero octet and say where, so the zeros after them change nothing.
func same(o *owner, p unsafe.Pointer, n int) bool {
	if padded(int(o.nameLen)) != n {
		return false
	}
	q := unsafe.Add(unsafe.Pointer(o), ownerLen)
	for i := 0; i < n; i += 8 {
		if word(p, i) != word(q, i) {
			return false
		}
	}
	return true
}
