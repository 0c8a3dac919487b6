package answer

import (
	"encoding/binary"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
	"postern/internal/dns/wire"
)

// Result says what Append did. The caller turns it into a header.
type Result struct {
	Kind   Kind
	Rcode  int
	AA     bool
	TC     bool // nothing but the question is left of the reply
	Wild   bool // a wildcard took part
	DNAME  bool // a DNAME took part
	Hops   int  // steps of a CNAME or DNAME chain
	Next   int  // for Left: where in the reply the name to go on with stands
	Zone   *Zone
	Counts wire.Counts
}

// maxHops bounds a chain. Longer ones exist by mistake only.
const maxHops = 16

// maxPointer is the highest offset a compression pointer reaches (RFC 1035,
// Section 4.1.4).
const maxPointer = 0x3FFF

// Append answers q from z. dst is what wire.Query.Start made; limit is how
// long the reply may become without its OPT record. Chains go on in the zones
// that find knows; a nil find keeps to z.
func (z *Zone) Append(dst []byte, q *wire.Query, limit int, find Finder) ([]byte, Result) {
	w := walk{
		zone: z, find: find, q: q, msg: dst, limit: limit,
		name: q.Wire(), at: wire.HeaderLen, origin: wire.HeaderLen + len(q.Wire()) - len(z.origin),
	}
	w.res.AA, w.res.Counts.Question = true, 1
	for w.step() {
	}
	w.putProofs()
	w.res.Zone = w.zone
	if w.res.TC {
		w.msg = w.msg[:q.End]
		w.res.Counts = wire.Counts{Question: 1}
	}
	return w.msg, w.res
}

// walk is the state of one answer: RFC 1034, Section 4.3.2 with the steps
// taken by lookup instead of label by label.
type walk struct {
	zone   *Zone
	find   Finder
	q      *wire.Query
	msg    []byte
	limit  int
	name   []byte // the name at hand, in lower case
	at     int    // where in msg it stands
	origin int    // where in msg the zone's name stands
	res    Result
	proofs *proofs             // for DO: NSEC records for the authority section
	owners [maxHops + 1]uint16 // where the owner of each CNAME stands
	dnames [maxHops + 1]uint16 // and the DNAME that made it; 0 for none
}

// step answers for the name at hand. It reports true where a chain goes on.
func (w *walk) step() bool {
	z := w.zone
	n, depth := w.encloser()
	nd := &z.nodes[n]
	over := nd.over
	if over == 0 && depth > 0 && nd.flags&isDNAME != 0 {
		over = uint32(n + 1)
	}
	if over != 0 {
		o := int(over) - 1
		if z.nodes[o].flags&isCut == 0 {
			return w.dname(o)
		}
		// RFC 4035, Section 3.1.4.1: DS stands on the parent's side of the cut.
		if o != n || depth > 0 || w.q.Type != dns.TypeDS {
			w.referral(o)
			return false
		}
	}
	if depth == 0 {
		return w.node(n, false)
	}
	// RFC 4592, Section 3.3.1: the source of synthesis is the asterisk right
	// below the closest encloser, and no other.
	if nd.wild != 0 {
		return w.wildcard(n, int(nd.wild)-1)
	}
	w.nxdomain(n)
	return false
}

// encloser returns the node of the name at hand, or its closest encloser, and
// how many octets of the name stand below it. If a node exists so do all
// above it, so the depth can be found by halving.
func (w *walk) encloser() (n, depth int) {
	z := w.zone
	if n = z.lookup(w.name); n >= 0 {
		return n, 0
	}
	var offsets [128]uint8
	count, end := 0, len(w.name)-len(z.origin)
	for i := 0; i < end; i += 1 + int(w.name[i]) {
		offsets[count] = uint8(i)
		count++
	}
	offsets[count] = uint8(end)
	// The name of lo labels less does not exist, that of hi less does; most
	// often it is the parent that does.
	found, lo, hi := 0, 0, count
	for probe := 1; hi-lo > 1; probe = (lo + hi) / 2 {
		if m := z.lookup(w.name[offsets[probe]:]); m >= 0 {
			found, hi = m, probe
		} else {
			lo = probe
		}
	}
	return found, int(offsets[hi])
}

// node answers from node n, which is the name's own or a wildcard.
func (w *walk) node(n int, wild bool) bool {
	z := w.zone
	t := w.q.Type
	if t == dns.TypeANY {
		w.any(n)
		return false
	}
	if s := z.find(n, t); s != nil {
		w.positive(s)
		return false
	}
	if z.nodes[n].flags&isAlias != 0 {
		return w.cname(z.find(n, dns.TypeCNAME))
	}
	w.nodata(n, wild)
	return false
}

func (w *walk) positive(s *set) {
	base := len(w.msg)
	if !w.put(s, w.at, &w.res.Counts.Answer) {
		return
	}
	w.putProofs()
	w.additional(s, base)
}

// any gives one RRset of the node (RFC 8482, Section 4.1), not all.
func (w *walk) any(n int) {
	nd := &w.zone.nodes[n]
	if nd.nset == 0 {
		w.nodata(n, false)
		return
	}
	w.put(&w.zone.sets[nd.set], w.at, &w.res.Counts.Answer)
}

// referral gives the NS set of a cut and the glue it needs.
func (w *walk) referral(cut int) {
	z := w.zone
	w.res.Kind = Referral
	if w.res.Hops == 0 {
		w.res.AA = false
	}
	s := z.find(cut, dns.TypeNS)
	owner := w.suffix(len(w.name) - int(z.nodes[cut].nameLen))
	base := len(w.msg)
	if !w.copy(s, owner, &w.res.Counts.Authority) {
		w.truncate()
		return
	}
	if w.q.DO {
		w.secureReferral(cut, owner)
		w.putProofs()
	}
	w.additional(s, base)
}

// secureReferral adds the DS set, or the proof that there is none (RFC 4035,
// Section 3.1.4).
func (w *walk) secureReferral(cut, owner int) {
	if ds := w.zone.find(cut, dns.TypeDS); ds != nil {
		w.put(ds, owner, &w.res.Counts.Authority)
		return
	}
	if nsec := w.zone.find(cut, dns.TypeNSEC); nsec != nil {
		w.put(nsec, owner, &w.res.Counts.Authority)
	}
}

// additional adds the addresses of the names in the set whose block stands at
// base. What does not fit is left out, but for the glue of a referral: RFC
// 9471, Section 3.1.
func (w *walk) additional(s *set, base int) {
	if s.nlink == 0 || w.res.TC {
		return
	}
	z := w.zone
	for _, l := range z.links[s.link : s.link+uint32(s.nlink)] {
		owner := w.pointed(base + int(l.at))
		for _, t := range [...]uint16{dns.TypeA, dns.TypeAAAA} {
			a := z.find(int(l.node), t)
			if a == nil {
				continue
			}
			if !w.copy(a, owner, &w.res.Counts.Additional) {
				if l.must {
					w.truncate()
					return
				}
				continue
			}
			if w.q.DO && a.sig != 0 {
				// RFC 4035, Section 3.1.1: without TC where there is no room.
				w.copy(&z.sets[a.sig-1], owner, &w.res.Counts.Additional)
			}
		}
	}
}

// nodata says that the name is there but not the type.
func (w *walk) nodata(n int, wild bool) {
	w.res.Kind = NoData
	w.soa()
	if w.q.DO && w.zone.nsec {
		w.denyType(n, wild)
	}
}

// nxdomain says that the name is not there; n is its closest encloser.
func (w *walk) nxdomain(n int) {
	// RFC 6604, Section 3: the code of a chain is that of its last name.
	w.res.Kind, w.res.Rcode = NXDomain, wire.NXDomain
	w.soa()
	if w.q.DO && w.zone.nsec {
		w.denyName(n)
	}
}

func (w *walk) soa() { w.put(&w.zone.denial, w.origin, &w.res.Counts.Authority) }

// put copies the set, and its RRSIGs for those who ask for them. A reply that
// would be too long is cut off: here, and in copy alone, is that decided.
func (w *walk) put(s *set, owner int, count *uint16) bool {
	if w.res.TC {
		return false
	}
	if !w.copy(s, owner, count) {
		w.truncate()
		return false
	}
	if w.q.DO && s.sig != 0 && !w.copy(&w.zone.sets[s.sig-1], owner, count) {
		w.truncate()
		return false
	}
	return true
}

func (w *walk) truncate() { w.res.TC = true }

// copy appends the block of s with the given owner, where it fits.
func (w *walk) copy(s *set, owner int, count *uint16) bool {
	base := len(w.msg)
	if base+int(s.size) > w.limit || owner > maxPointer {
		return false
	}
	w.msg = append(w.msg, w.zone.block(s)...)
	block := w.msg[base:]
	if s.nrel != 0 {
		for _, r := range w.zone.relocs[s.reloc : s.reloc+uint32(s.nrel)] {
			to := w.origin
			if r&ownerReloc != 0 {
				to, r = owner, r&^ownerReloc
			}
			binary.BigEndian.PutUint16(block[r:], 0xC000|uint16(to))
		}
	}
	if owner != wire.HeaderLen {
		setOwner(block, owner)
	}
	*count += s.count
	return true
}

// setOwner gives all records of a block another owner.
func setOwner(block []byte, owner int) {
	for len(block) >= 12 {
		binary.BigEndian.PutUint16(block, 0xC000|uint16(owner))
		block = block[12+int(binary.BigEndian.Uint16(block[10:])):]
	}
}

// pointed returns where the name at off begins to be spelled out: off, or
// where the pointer that it is leads to.
func (w *walk) pointed(off int) int {
	for w.msg[off]&0xC0 == 0xC0 {
		off = int(binary.BigEndian.Uint16(w.msg[off:])) & maxPointer
	}
	return off
}

// suffix returns where in the message the name at hand stands without its
// first skip octets.
func (w *walk) suffix(skip int) int {
	off := w.at
	for skip > 0 {
		off = w.pointed(off)
		size := 1 + int(w.msg[off])
		off, skip = off+size, skip-size
	}
	return w.pointed(off)
}

// below reports whether the name at hand is zone or below it.
func (w *walk) below(zone name.Name) bool { return lent(w.name).IsBelow(zone) }
