package answer

import (
	"sort"

	"github.com/miekg/dns"
)

// proof is an NSEC record that goes into the authority section, once all
// steps of a chain stand in the answer section.
type proof struct {
	zone   *Zone
	origin int // where in the message the zone's name stands
	owner  *owner
}

// maxProofs bounds the proofs of one reply: three for the last name (RFC
// 4035, Section 3.1.3) and the rest for wildcards on the way.
const maxProofs = 8

// proofs is what a reply to a client that sets DO has yet to prove. It stands
// apart from walk, so that other replies need not clear it.
type proofs struct {
	list  [maxProofs]proof
	count int
}

// wildcard answers from the asterisk below the closest encloser.
func (w *walk) wildcard(star *owner) bool {
	w.res.Wild = true
	if w.q.DO && w.zone.nsec > 0 {
		// RFC 4035, Section 3.1.3.3: that there is no closer match.
		w.prove(w.zone.before(w.name))
	}
	return w.node(star, true)
}

// denyType proves NODATA at owner o (RFC 4035, Sections 3.1.3.1 and 3.1.3.4).
func (w *walk) denyType(o *owner, wild bool) {
	if o.find(dns.TypeNSEC) != nil {
		w.prove(o)
	} else if !wild {
		w.prove(w.zone.before(w.name)) // an empty non-terminal
	}
}

// denyName proves that neither the name nor a wildcard below its closest
// encloser o is there (RFC 4035, Section 3.1.3.2).
func (w *walk) denyName(o *owner) {
	w.prove(w.zone.before(w.name))
	star := append([]byte{1, '*'}, o.name()...)
	w.prove(w.zone.before(star))
}

// before returns the last owner with an NSEC record that stands, in canonical
// order, at or before the name, or nil.
func (z *Zone) before(of []byte) *owner {
	key := lent(of)
	n := sort.Search(len(z.order), func(i int) bool { return lent(z.linked(z.order[i]).name()).Compare(key) > 0 }) - 1
	for ; n >= 0; n-- {
		if o := z.linked(z.order[n]); o.find(dns.TypeNSEC) != nil {
			return o
		}
	}
	return nil
}

// prove remembers the NSEC record of owner o of the zone at hand.
func (w *walk) prove(o *owner) {
	if w.proofs == nil {
		w.proofs = new(proofs)
	}
	p := w.proofs
	add := proof{zone: w.zone, origin: w.origin, owner: o}
	if o == nil || p.count == maxProofs {
		return
	}
	for _, have := range p.list[:p.count] {
		if have == add {
			return
		}
	}
	p.list[p.count] = add
	p.count++
}

// putProofs appends what was remembered.
func (w *walk) putProofs() {
	if w.proofs == nil {
		return
	}
	p := w.proofs
	w.proofs = nil
	for _, p := range p.list[:p.count] {
		if !w.putNamed(p) {
			return
		}
	}
}

// putNamed appends the NSEC record of a node whose name stands nowhere in the
// message yet.
func (w *walk) putNamed(p proof) bool {
	s := p.owner.find(dns.TypeNSEC)
	if w.res.TC || s == nil || s.count != 1 {
		return false
	}
	owner := p.owner.name()
	own := len(owner)
	if len(p.zone.origin) > 1 {
		own -= len(p.zone.origin)
	}
	at := len(w.msg)
	if at+own+int(s.size) > w.limit {
		w.truncate()
		return false
	}
	w.msg = append(w.msg, owner[:own]...)
	if own < len(owner) {
		w.msg = append(w.msg, 0xC0|byte(p.origin>>8), byte(p.origin))
	}
	w.msg = append(w.msg, p.owner.records(s)[2:]...)
	w.res.Counts.Authority++
	if own == 0 {
		at = p.origin
	}
	if s.sig != 0 {
		zone, origin := w.zone, w.origin
		w.zone, w.origin = p.zone, p.origin
		if !w.copy(p.owner, p.owner.set(s.sig-1), at, &w.res.Counts.Authority) {
			w.truncate()
		}
		w.zone, w.origin = zone, origin
	}
	return !w.res.TC
}
