package validate

import (
	"bytes"
	"encoding/hex"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
)

const optOut = 1 // the one flag there is (RFC 5155, Section 3.1.2.1)

// takeHashed takes an NSEC3 record whose signature is good: only then may its
// iterations be believed (RFC 9276, Section 3.2).
func (p *proofs) takeHashed(owner name.Name, rr *dns.NSEC3) Verdict {
	switch {
	case owner == p.zone || owner.Parent() != p.zone:
		return bogus(ProofWrong, "NSEC3 of %s is not just below %s", owner, p.zone)
	case rr.Hash != dns.SHA1 || rr.Flags&^optOut != 0: // RFC 5155, Sections 8.1 and 8.2
		return bogus(ProofWrong, "NSEC3 of %s has an unknown hash or flag", owner)
	case int(rr.Iterations) > p.judge.limits.Refused:
		return bogus(RefusedIterations, "NSEC3 of %s has %d iterations", p.zone, rr.Iterations)
	case int(rr.Iterations) > p.judge.limits.Iterations:
		v := bogus(ManyIterations, "NSEC3 of %s has %d iterations", p.zone, rr.Iterations)
		v.Security = Insecure
		return v
	}
	salt, err := hex.DecodeString(unDash(rr.Salt))
	if err != nil {
		return bogus(ProofWrong, "NSEC3 of %s: salt: %w", owner, err)
	}
	if len(p.nsec3) > 0 && (p.iter != rr.Iterations || !bytes.Equal(p.salt, salt)) {
		return bogus(ProofWrong, "NSEC3 of %s is of another chain than those before", owner) // RFC 5155, Section 8.2
	}
	hash, ok := dnssec.ParseHash(owner.First())
	next, ok2 := dnssec.ParseHash(rr.NextDomain)
	if !ok || !ok2 {
		return bogus(ProofWrong, "NSEC3 of %s: not a hash", owner)
	}
	p.salt, p.iter = salt, rr.Iterations
	p.nsec3 = append(p.nsec3, nsec3{hash, next, rr.Flags&optOut != 0, rr.TypeBitMap})
	return secure
}

func unDash(salt string) string {
	if salt == "-" {
		return ""
	}
	return salt
}

// hash counts against the judge's budget (CVE-2023-50868).
func (p *proofs) hash(n name.Name) ([dnssec.HashSize]byte, error) {
	if p.judge.Hashes >= p.judge.limits.Hashes {
		return [dnssec.HashSize]byte{}, errWork
	}
	p.judge.Hashes++
	return dnssec.HashWith(n, p.salt, p.iter), nil
}

func (p *proofs) atHashed(n name.Name) (nsec3, bool, error) {
	h, err := p.hash(n)
	for _, r := range p.nsec3 {
		if err == nil && r.owner == h {
			return r, true, nil
		}
	}
	return nsec3{}, false, err
}

func (p *proofs) coveringHashed(n name.Name) (nsec3, bool, error) {
	h, err := p.hash(n)
	for _, r := range p.nsec3 {
		if err == nil && dnssec.CoversHash(r.owner, r.next, h) {
			return r, true, nil
		}
	}
	return nsec3{}, false, err
}

// absentHashed reads NSEC3 records (RFC 5155, Section 8).
func (p *proofs) absentHashed(n name.Name, rtype uint16) (absence, Verdict) {
	out, v, err := p.tryHashed(n, rtype)
	if err != nil {
		return absence{}, bogus(WorkLimit, "%s: %w", n, err)
	}
	return out, v
}

func (p *proofs) tryHashed(n name.Name, rtype uint16) (absence, Verdict, error) {
	r, ok, err := p.atHashed(n)
	if err != nil {
		return absence{}, Verdict{}, err
	}
	if ok { // Sections 8.5 and 8.6
		return absence{answer: noType, exact: true, types: r.types}, lacks(n, r.types, rtype, p.zone), nil
	}
	encloser, v, err := p.encloser(n)
	if err != nil || v.Security != Secure {
		return absence{}, v, err
	}
	c, ok, err := p.coveringHashed(ending(n, encloser.Labels()+1))
	switch {
	case err != nil:
		return absence{}, Verdict{}, err
	case !ok:
		return absence{}, p.missing(n, "the name does not exist"), nil
	case c.optOut && rtype == dns.TypeDS:
		return absence{answer: unsigned}, secure, nil // Section 8.6
	}
	a, v, err := p.withoutWildcard(n, encloser, rtype)
	if err == nil && v.Security == Secure && c.optOut {
		// Whether the name exists is open: nothing signed is there (Section 9.2).
		v = Verdict{Security: Insecure, Reason: OptOut}
	}
	return a, v, err
}

// encloser returns the deepest name above n that is shown to exist, if it is
// one that can speak for what is below it (Section 8.3).
func (p *proofs) encloser(n name.Name) (name.Name, Verdict, error) {
	for at := n; at != p.zone; {
		at = at.Parent()
		r, ok, err := p.atHashed(at)
		switch {
		case err != nil:
			return "", Verdict{}, err
		case ok && blind(r.types):
			return "", bogus(ProofWrong, "%s: its closest encloser %s is a cut or a DNAME", n, at), nil
		case ok:
			return at, secure, nil
		}
	}
	return "", p.missing(n, "some name above it exists"), nil
}

// withoutWildcard finishes the proof: no wildcard below the encloser stands
// for n with the type (Sections 8.4 and 8.7).
func (p *proofs) withoutWildcard(n, encloser name.Name, rtype uint16) (absence, Verdict, error) {
	wildcard, err := wildcardOf(encloser)
	if err != nil {
		return absence{answer: noName}, secure, nil // no wildcard can be there
	}
	r, ok, err := p.atHashed(wildcard)
	if err != nil {
		return absence{}, Verdict{}, err
	}
	if ok {
		return absence{answer: noType}, lacks(wildcard, r.types, rtype, p.zone), nil
	}
	if _, ok, err = p.coveringHashed(wildcard); err != nil || !ok {
		return absence{}, p.missing(n, "there is no wildcard for it"), err
	}
	return absence{answer: noName}, secure, nil
}
