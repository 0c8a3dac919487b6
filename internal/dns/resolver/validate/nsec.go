package validate

import (
	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
)

// absentPlain reads NSEC records (RFC 4035, Section 5.4; RFC 6840, Section 4).
func (p *proofs) absentPlain(n name.Name, rtype uint16) (absence, Verdict) {
	if types, ok := p.at(n); ok {
		return absence{answer: noType, exact: true, types: types}, lacks(n, types, rtype, p.zone)
	}
	c, ok := p.covering(n)
	if !ok {
		return absence{}, p.missing(n, "the name does not exist")
	}
	if c.next.IsBelow(n) { // an empty non-terminal: it exists, with nothing
		return absence{answer: noType}, secure
	}
	encloser := common(c.owner, n)
	if next := common(c.next, n); next.IsBelow(encloser) {
		encloser = next
	}
	wildcard, err := wildcardOf(encloser)
	if err != nil {
		return absence{answer: noName}, secure // no wildcard can be there
	}
	if types, ok := p.at(wildcard); ok {
		return absence{answer: noType}, lacks(wildcard, types, rtype, p.zone)
	}
	w, ok := p.covering(wildcard)
	switch {
	case !ok:
		return absence{}, p.missing(n, "there is no wildcard for it")
	case w.next.IsBelow(wildcard): // it exists as an empty non-terminal
		return absence{answer: noType}, secure
	}
	return absence{answer: noName}, secure
}

// at returns the types of the NSEC record at a name.
func (p *proofs) at(n name.Name) ([]uint16, bool) {
	for _, r := range p.nsec {
		if r.owner == n {
			return r.types, true
		}
	}
	return nil, false
}

// covering returns the NSEC record that n falls behind. One at a delegation or
// a DNAME above n says nothing about n (RFC 6840, Section 4.1).
func (p *proofs) covering(n name.Name) (nsec, bool) {
	for _, r := range p.nsec {
		if dnssec.Covers(r.owner, r.next, n) && (!n.IsBelow(r.owner) || !blind(r.types)) {
			return r, true
		}
	}
	return nsec{}, false
}

// nothingNearer proves that nothing but a wildcard below encloser can stand
// for n: the name one label below encloser, towards n, does not exist (RFC
// 4035, Section 5.3.4; RFC 5155, Section 8.8).
func (p *proofs) nothingNearer(n, encloser name.Name) Verdict {
	next := ending(n, encloser.Labels()+1)
	if len(p.nsec3) > 0 && len(p.nsec) == 0 {
		c, ok, err := p.coveringHashed(next)
		switch {
		case err != nil:
			return bogus(WorkLimit, "%s: %w", n, err)
		case ok && c.optOut:
			return Verdict{Security: Insecure, Reason: OptOut}
		case ok:
			return secure
		}
		return p.missing(n, "only a wildcard stands for it")
	}
	if c, ok := p.covering(next); ok && !c.next.IsBelow(next) {
		return secure
	}
	return p.missing(n, "only a wildcard stands for it")
}
