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

// Append answers q from z, for those who ask rarely: see Answer.
func (z *Zone) Append(dst []byte, q *wire.Query, limit int, find Finder) ([]byte, Result) {
	var a Answer
	return a.Append(z, dst, q, limit, find), a.Result
}

// Answer makes one answer after the other; between them it holds the Result of
// the last. It belongs to one goroutine.
type Answer struct {
	Result
	walk
}

// Append answers q from z. dst is what wire.Query.Start made; limit is how
// long the reply may become without its OPT record. Chains go on in the zones
// that find knows; a nil find keeps to z.
func (a *Answer) Append(z *Zone, dst []byte, q *wire.Query, limit int, find Finder) []byte {
	a.Result = Result{AA: true, Zone: z, Counts: wire.Counts{Question: 1}}
	p, n := words(q.Wire())
	var hash uint64
	if a.Hint != nil {
		hash = a.Hint.hash
	} else {
		hash = z.index.hash(p, n)
	}
	o := z.hashedTo(hash, p, n)
	if o != nil && o.over == 0 {
		// The short way: what is asked for is there and needs nothing else. The
		// long way gives the same octets (see TestShortWay).
		s := o.find(q.Type)
		if s != nil && s.nlink|s.nrel == 0 && (s.sig == 0 || !q.DO) && len(dst)+int(s.size) <= limit {
			a.Counts.Answer = s.count
			return append(dst, o.records(s)...)
		}
		if q.DO && s != nil {
			if msg, ok := a.signed(dst, o, s, limit); ok {
				return msg
			}
		}
	}
	a.walk.begin(&a.Result, z, dst, q, limit, find)
	for more := a.step(o); more; more = a.step(a.zone.lookup(a.name)) {
	}
	a.putProofs()
	a.Result.Zone = a.zone
	if a.TC {
		return a.cut()
	}
	return a.msg
}

// signed is the short way with RRSIGs.
func (a *Answer) signed(dst []byte, o *owner, s *set, limit int) ([]byte, bool) {
	if s.nlink|s.nrel != 0 || s.sig == 0 {
		return dst, false
	}
	sig := o.set(s.sig - 1)
	if len(dst)+int(s.size)+int(sig.size) > limit {
		return dst, false
	}
	a.Counts.Answer = s.count + sig.count
	return append(append(dst, o.records(s)...), o.records(sig)...), true
}

// cut leaves nothing but the question.
func (a *Answer) cut() []byte {
	if a.collided {
		a.Result = Result{Kind: Collision, Rcode: wire.ServFail, Zone: a.zone}
	}
	a.Counts = wire.Counts{Question: 1}
	return a.msg[:a.q.End]
}

// walk is the state of one answer: RFC 1034, Section 4.3.2 with the steps
// taken by lookup instead of label by label.
type walk struct {
	res      *Result
	zone     *Zone
	find     Finder
	q        *wire.Query
	msg      []byte
	limit    int
	name     []byte              // the name at hand, in lower case, zeros after it
	at       int                 // where in msg it stands
	origin   int                 // where in msg the zone's name stands
	Hint     *Hint               // of the zone that is asked first, about QNAME; nil: none
	collided bool                // a proof cannot be given
	owners   [maxHops + 1]uint16 // where the owner of each CNAME stands
	dnames   [maxHops + 2]uint16 // and the DNAME that made it; 0 for none
	proofs   proofs              // for DO: what is to go into the authority section
	star     [2 + 255]byte       // room for the wildcard below a name
}

// begin sets all but owners, of which no more is read than was written.
func (w *walk) begin(res *Result, z *Zone, msg []byte, q *wire.Query, limit int, find Finder) {
	w.res, w.zone, w.find, w.q, w.msg, w.limit, w.collided = res, z, find, q, msg, limit, false
	w.name, w.at = q.Wire(), wire.HeaderLen
	w.origin = wire.HeaderLen + len(w.name) - len(z.origin)
	w.dnames[0] = 0
}

// step answers for the name at hand, whose owner o is, if it is there. It
// reports true where a chain goes on.
func (w *walk) step(o *owner) bool {
	there := o != nil
	if !there {
		o = w.encloser()
	}
	if over := w.over(o, there); over != nil {
		if over.flags&isCut == 0 {
			return w.dname(over)
		}
		// RFC 4035, Section 3.1.4.1: DS stands on the parent's side of the cut.
		if over != o || !there || w.q.Type != dns.TypeDS {
			w.referral(over)
			return false
		}
	}
	if there {
		return w.node(o, nil)
	}
	// RFC 4592, Section 3.3.1: the source of synthesis is the asterisk right
	// below the closest encloser, and no other.
	if o.wild != 0 {
		return w.wildcard(o, w.zone.linked(o.wild-1))
	}
	w.nxdomain(o)
	return false
}

// over returns the cut or DNAME that rules over the name at hand, whose owner
// or closest encloser o is.
func (w *walk) over(o *owner, there bool) *owner {
	switch {
	case o.over != 0:
		return w.zone.linked(o.over - 1)
	case !there && o.flags&isDNAME != 0:
		return o
	}
	return nil
}

// encloser returns the closest encloser of the name at hand, which is not
// there itself. If an owner exists so do all above it, so it can be found by
// halving.
func (w *walk) encloser() *owner {
	z := w.zone
	var offsets [128]uint8
	count, end := 0, len(w.name)-len(z.origin)
	for i := 0; i < end; i += 1 + int(w.name[i]) {
		offsets[count&127] = uint8(i)
		count++
	}
	// The name of lo labels less does not exist, that of hi less does; most
	// often it is the parent that does.
	found, lo, hi := z.apex, 0, count
	for probe := 1; hi-lo > 1; probe = (lo + hi) / 2 {
		if o := z.lookup(w.name[offsets[probe&127]:]); o != nil {
			found, hi = o, probe
		} else {
			lo = probe
		}
	}
	return found
}

// node answers from owner o, which is the name's own, or the wildcard below the
// closest encloser, which else is nil.
func (w *walk) node(o, encloser *owner) bool {
	t := w.q.Type
	if t == dns.TypeANY {
		w.any(o, encloser)
		return false
	}
	if s := o.find(t); s != nil {
		w.positive(o, s)
		return false
	}
	if o.flags&isAlias != 0 {
		return w.cname(o, o.find(dns.TypeCNAME))
	}
	w.nodata(o, encloser)
	return false
}

func (w *walk) positive(o *owner, s *set) {
	base := len(w.msg)
	if !w.put(o, s, w.at, &w.res.Counts.Answer) {
		return
	}
	w.putProofs()
	w.additional(o, s, base)
}

// any gives one RRset of the node (RFC 8482, Section 4.1), not all.
func (w *walk) any(o, encloser *owner) {
	if o.nset == 0 {
		w.nodata(o, encloser)
		return
	}
	// What signing adds stands last.
	w.put(o, o.set(0), w.at, &w.res.Counts.Answer)
}

// referral gives the NS set of a cut and the glue it needs.
func (w *walk) referral(cut *owner) {
	w.res.Kind = Referral
	if w.res.Hops == 0 {
		w.res.AA = false
	}
	s := cut.find(dns.TypeNS)
	at := w.suffix(len(w.name) - int(cut.nameLen))
	base := len(w.msg)
	if !w.copy(cut, s, at, &w.res.Counts.Authority) {
		w.truncate()
		return
	}
	if w.q.DO {
		w.secureReferral(cut, at)
		w.putProofs()
	}
	w.additional(cut, s, base)
}

// secureReferral adds the DS set, or the proof that there is none (RFC 4035,
// Section 3.1.4). A DS that nothing signs is of an unsigned zone, and tells
// nobody anything.
func (w *walk) secureReferral(cut *owner, at int) {
	if ds := cut.find(dns.TypeDS); ds != nil {
		if ds.sig != 0 {
			w.put(cut, ds, at, &w.res.Counts.Authority)
		}
		return
	}
	w.denyDS(cut, at)
}

// additional adds the addresses of the names in the set whose block stands at
// base. What does not fit is left out, but for the glue of a referral: RFC
// 9471, Section 3.1.
func (w *walk) additional(o *owner, s *set, base int) {
	if s.nlink == 0 || w.res.TC {
		return
	}
	for _, l := range o.links(s) {
		to, at := w.zone.linked(l.slot), w.pointed(base+int(l.at))
		for _, t := range [...]uint16{dns.TypeA, dns.TypeAAAA} {
			a := to.find(t)
			if a == nil {
				continue
			}
			if !w.copy(to, a, at, &w.res.Counts.Additional) {
				if l.must != 0 {
					w.truncate()
					return
				}
				continue
			}
			if w.q.DO && a.sig != 0 {
				// RFC 4035, Section 3.1.1: without TC where there is no room.
				w.copy(to, to.set(a.sig-1), at, &w.res.Counts.Additional)
			}
		}
	}
}

// nodata says that the name is there but not the type.
func (w *walk) nodata(o, encloser *owner) {
	w.res.Kind = NoData
	w.soa()
	if w.q.DO {
		w.denyType(o, encloser)
	}
}

// nxdomain says that the name is not there; o is its closest encloser.
func (w *walk) nxdomain(o *owner) {
	// RFC 6604, Section 3: the code of a chain is that of its last name.
	w.res.Kind, w.res.Rcode = NXDomain, wire.NXDomain
	w.soa()
	if w.q.DO {
		w.denyName(o)
	}
}

func (w *walk) soa() {
	apex := w.zone.apex
	w.put(apex, apex.set(w.zone.denial-1), w.origin, &w.res.Counts.Authority)
}

// put copies the set, and its RRSIGs for those who ask for them. A reply that
// would be too long is cut off: here, and in copy alone, is that decided.
func (w *walk) put(o *owner, s *set, at int, count *uint16) bool {
	if w.res.TC {
		return false
	}
	if !w.copy(o, s, at, count) {
		w.truncate()
		return false
	}
	if w.q.DO && s.sig != 0 && !w.copy(o, o.set(s.sig-1), at, count) {
		w.truncate()
		return false
	}
	return true
}

func (w *walk) truncate() { w.res.TC = true }

// copy appends the records of s, which belongs to o, where they fit; at is
// where in the message their owner stands.
func (w *walk) copy(o *owner, s *set, at int, count *uint16) bool {
	base := len(w.msg)
	if base+int(s.size) > w.limit || at > maxPointer {
		return false
	}
	w.msg = append(w.msg, o.records(s)...)
	block := w.msg[base:]
	for _, r := range o.relocs(s) {
		to := w.origin
		if r&ownerReloc != 0 {
			to, r = at, r&^ownerReloc
		}
		binary.BigEndian.PutUint16(block[r:], 0xC000|uint16(to))
	}
	if at != wire.HeaderLen {
		setOwner(block, at)
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
