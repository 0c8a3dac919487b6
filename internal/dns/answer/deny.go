package answer

import (
	"encoding/binary"

	"github.com/miekg/dns"

	"postern/internal/dns/wire"
)

// proof is an NSEC or NSEC3 record that goes into the authority section, once
// all steps of a chain stand in the answer section.
type proof struct {
	zone   *Zone
	origin int // where in the message the zone's name stands
	owner  *owner
}

// proofs is what a reply to a client that sets DO has yet to prove: one proof
// for each wildcard on the way (RFC 4035, Section 3.1.3.3), and three for the
// last name (RFC 5155, Section 7.2).
type proofs struct {
	list  [maxHops + 4]proof
	count int
}

// wildcard answers from the asterisk below the closest encloser o.
func (w *walk) wildcard(o, star *owner) bool {
	w.res.Wild = true
	if w.q.DO {
		// That there is no closer match.
		switch z := w.zone; z.deny {
		case byName: // RFC 4035, Section 3.1.3.3
			w.prove(w.before())
		case byHash: // RFC 5155, Section 7.2.6
			h := z.of(w.closer(o))
			w.denyHash(&h)
		case byCost:
			w.proveApex()
		}
	}
	return w.node(star, o)
}

// denyType proves NODATA at owner o, which for a wildcard is the asterisk below
// the closest encloser; else encloser is nil.
func (w *walk) denyType(o, encloser *owner) {
	switch z := w.zone; z.deny {
	case byName: // RFC 4035, Sections 3.1.3.1 and 3.1.3.4
		if o.flags&hasNSEC != 0 {
			w.prove(o)
		} else {
			w.prove(z.before(o.name())) // an empty non-terminal
		}
	case byHash:
		switch p := z.match(o.hash()); {
		case encloser != nil: // RFC 5155, Section 7.2.5
			w.prove(z.match(encloser.hash()))
			w.prove(p)
		case p != nil: // Sections 7.2.3 and 7.2.4
			w.prove(p)
		default:
			// Section 7.2.4, and errata 3441 for an empty non-terminal: an opt-out
			// span holds it.
			w.enclose(o)
		}
	case byCost:
		w.proveApex()
	}
}

// denyName proves that neither the name nor a wildcard below its closest
// encloser o is there.
func (w *walk) denyName(o *owner) {
	switch z := w.zone; z.deny {
	case byName: // RFC 4035, Section 3.1.3.2
		w.prove(w.before())
		w.prove(z.before(append(append(w.star[:0], 1, '*'), o.name()...)))
	case byHash: // RFC 5155, Section 7.2.2
		provable := w.enclose(o)
		// Below what opt-out leaves out, the wildcard of the next provable name
		// may well be there: it does not reach down here, but nothing proves that.
		if provable == o || provable != nil && z.match(provable.wildHash()) == nil {
			w.denyHash(provable.wildHash())
		}
	case byCost:
		w.proveApex()
	}
}

// before is that of the zone, for the name at hand.
func (w *walk) before() *owner {
	if h := w.Hint; h != nil && h.before != unknown && w.res.Hops == 0 {
		return w.zone.inRing(int(h.before))
	}
	return w.zone.before(w.name)
}

// denyDS adds to a referral the proof that the cut has no DS set.
func (w *walk) denyDS(cut *owner, at int) {
	switch z := w.zone; z.deny {
	case byName: // RFC 4035, Section 3.1.4
		if s := cut.find(dns.TypeNSEC); s != nil {
			w.put(cut, s, at, &w.res.Counts.Authority)
		}
	case byHash: // RFC 5155, Section 7.2.7
		if p := z.match(cut.hash()); p != nil {
			w.prove(p)
		} else {
			w.enclose(cut)
		}
	case byCost:
		w.proveApex()
	}
}

// match returns the NSEC3 record of the hash, or nil.
func (z *Zone) match(h *hash) *owner {
	if at, found := z.findHash(h); found {
		return z.at(z.pos[at])
	}
	return nil
}

// proveApex gives the apex's NSEC3 record: see maxIterations.
func (w *walk) proveApex() {
	w.prove(w.zone.match(w.zone.apex.hash()))
}

// enclose gives the closest encloser proof (RFC 5155, Section 7.2.1) for the
// name at hand, whose closest encloser o is, or which o is without an NSEC3
// record of its own. It returns the encloser that is proved: where opt-out
// leaves names out of the chain, one further up.
func (w *walk) enclose(o *owner) *owner {
	z := w.zone
	p := z.match(o.hash())
	if p != nil {
		w.prove(p)
		h := z.of(w.closer(o))
		w.denyHash(&h)
		return o
	}
	for o != z.apex {
		left := o
		// All names above one that is there are there.
		at := len(w.name) - int(o.nameLen)
		o = z.lookup(w.name[at+1+int(w.name[at]):])
		if p = z.match(o.hash()); p != nil {
			w.prove(p)
			w.denyHash(left.hash())
			return o
		}
	}
	return nil // the chain is not whole: nothing can be proved
}

// closer returns the next closer name (RFC 5155, Section 1.3): the part of the
// name at hand that is one label longer than its encloser o.
func (w *walk) closer(o *owner) []byte {
	end, at := len(w.name)-int(o.nameLen), 0
	for {
		next := at + 1 + int(w.name[at])
		if next >= end {
			return w.name[at:]
		}
		at = next
	}
}

// denyHash proves that a name of that hash is not in the chain.
func (w *walk) denyHash(h *hash) {
	z := w.zone
	at, found := z.findHash(h)
	switch {
	case found:
		// RFC 5155, Section 7.2.9. As for a reply that is cut off nothing more is
		// put into it.
		w.collided, w.res.TC = true, true
	case at == 0:
		w.prove(z.at(z.pos[len(z.pos)-1]))
	default:
		w.prove(z.at(z.pos[at-1]))
	}
}

// prove remembers the NSEC or NSEC3 record of owner o of the zone at hand.
func (w *walk) prove(o *owner) {
	p := &w.proofs
	if o == nil || p.count == len(p.list) {
		return
	}
	add := proof{zone: w.zone, origin: w.origin, owner: o}
	for i := range p.list[:p.count] {
		if p.list[i] == add {
			return
		}
	}
	p.list[p.count] = add
	p.count++
}

// putProofs appends what was remembered, and forgets it.
func (w *walk) putProofs() {
	p := &w.proofs
	if p.count == 0 {
		return
	}
	for i := range p.list[:p.count] {
		if !w.res.TC && !w.putProof(&p.list[i]) {
			w.truncate()
		}
		p.list[i] = proof{} // so that a zone that is no more can go
	}
	p.count = 0
}

// putProof appends the record, whose owner stands nowhere in the message yet,
// and its signatures.
func (w *walk) putProof(p *proof) bool {
	o, s, at := p.owner, p.owner.set(0), 0
	if o.flags&isProof == 0 {
		s = o.find(dns.TypeNSEC)
	}
	for {
		records := o.records(s)
		for len(records) > 0 {
			end := 12 + int(binary.BigEndian.Uint16(records[10:]))
			// What a pointer saves is not counted: the limit is an upper bound.
			if len(w.msg)+int(o.nameLen)+end > w.limit {
				return false
			}
			at = w.putOwner(p, at)
			w.msg = append(w.msg, records[2:end]...)
			w.res.Counts.Authority++
			records = records[end:]
		}
		if s.sig == 0 {
			return true
		}
		s = o.set(s.sig - 1)
	}
}

// putOwner begins a record of a proof with its owner, which stands at, or
// nowhere within reach yet. It returns where it stands now.
func (w *walk) putOwner(p *proof, at int) int {
	if at >= wire.HeaderLen && at <= maxPointer {
		w.msg = append(w.msg, 0xC0|byte(at>>8), byte(at))
		return at
	}
	name := p.owner.name()
	at = len(w.msg)
	own, rest, root := len(name), p.origin, len(p.zone.origin) == 1
	if p.owner.flags&isProof != 0 {
		w.msg = append(w.msg, name...)
		w.msg[at] = proofLen - 1
	} else {
		own, rest = w.shared(p, name)
		w.msg = append(w.msg, name[:own]...)
		root = own == len(name)-1
	}
	if root {
		w.msg = append(w.msg, 0) // shorter than a pointer to it
		return at
	}
	w.msg = append(w.msg, 0xC0|byte(rest>>8), byte(rest))
	if own == 0 {
		return rest
	}
	return at
}

// shared returns how many octets of the name of a proof's owner stand nowhere
// in the message, and where the others stand: at the end of QNAME, if it is of
// that zone.
func (w *walk) shared(p *proof, name []byte) (own, at int) {
	qname := w.q.Wire()
	if p.origin != wire.HeaderLen+len(qname)-len(p.zone.origin) {
		return len(name) - len(p.zone.origin), p.origin
	}
	for string(name[own:]) != string(qname[at:]) {
		switch left, right := len(name)-own, len(qname)-at; {
		case left > right:
			own += 1 + int(name[own])
		case left < right:
			at += 1 + int(qname[at])
		default:
			own, at = own+1+int(name[own]), at+1+int(qname[at])
		}
	}
	return own, wire.HeaderLen + at
}
