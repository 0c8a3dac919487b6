package validate

import (
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/dnssec"
	"postern/internal/dns/name"
)

// proofs are the NSEC and NSEC3 records of a message whose signatures are
// good. A zone has one of the two kinds.
type proofs struct {
	zone  name.Name
	judge *Judge
	nsec  []nsec
	nsec3 []nsec3
	salt  []byte // of nsec3, all of which have the same
	iter  uint16
	ttl   uint32
	until time.Time
}

type nsec struct {
	owner, next name.Name
	types       []uint16
}

type nsec3 struct {
	owner, next [dnssec.HashSize]byte
	optOut      bool
	types       []uint16
}

// proofs judges the NSEC and NSEC3 records of an authority section. The
// verdict is Secure where at least one is good, or says what was wrong.
func (j *Judge) proofs(k Keys, authority []Set, now time.Time) (*proofs, Verdict) {
	out := &proofs{zone: k.zone, judge: j, ttl: 1<<31 - 1}
	worst := bogus(ProofMissing, "no denial by %s", k.zone)
	looked := 0
	for _, s := range authority {
		if s.Type != dns.TypeNSEC && s.Type != dns.TypeNSEC3 {
			continue
		}
		if looked++; looked > j.limits.Proofs {
			return nil, bogus(TooMany, "more than %d denials by %s", j.limits.Proofs, k.zone)
		}
		p, v := j.signed(k, s, now)
		switch {
		case v.Security == Secure && p.expanded:
			// The NSEC of a wildcard, shown at a name that it is not of.
			v = bogus(ProofWrong, "%s of %s is expanded from a wildcard", dns.Type(s.Type), s.Owner)
		case v.Security == Secure:
			v = out.take(s)
		}
		if v.Reason == ManyIterations || v.Reason == RefusedIterations || v.Reason == WorkLimit {
			return nil, v
		}
		if v.Security != Secure {
			worst = better(worst, v)
			continue
		}
		out.ttl = min(out.ttl, p.ttl)
		if out.until.IsZero() || p.until.Before(out.until) {
			out.until = p.until
		}
	}
	if len(out.nsec)+len(out.nsec3) == 0 {
		return nil, worst
	}
	return out, secure
}

func (p *proofs) take(s Set) Verdict {
	if len(s.RRs) != 1 {
		return bogus(ProofWrong, "%s has %d %s records", s.Owner, len(s.RRs), dns.Type(s.Type))
	}
	switch rr := s.RRs[0].(type) {
	case *dns.NSEC:
		next, err := name.Parse(rr.NextDomain)
		if err != nil || !next.IsBelow(p.zone) {
			return bogus(ProofWrong, "NSEC of %s leads out of %s", s.Owner, p.zone)
		}
		p.nsec = append(p.nsec, nsec{s.Owner, next, rr.TypeBitMap})
		return secure
	case *dns.NSEC3:
		return p.takeHashed(s.Owner, rr)
	}
	return bogus(ProofWrong, "%s is no denial", s.Owner)
}

// answer is what the proofs say about a name and type.
type answer uint8

const (
	unproven answer = iota
	noName          // neither the name nor anything below it exists
	noType          // the name exists, or a wildcard for it, without the type
	unsigned        // nothing at or below it is signed (opt-out)
)

// absence is an answer with the types of the name, where it has a record of
// its own in the chain.
type absence struct {
	answer answer
	exact  bool
	types  []uint16
}

func (a absence) has(t uint16) bool { return slices.Contains(a.types, t) }

// absent says what the proofs deny of the name and type.
func (p *proofs) absent(n name.Name, rtype uint16) (absence, Verdict) {
	if len(p.nsec3) > 0 && len(p.nsec) == 0 {
		return p.absentHashed(n, rtype)
	}
	return p.absentPlain(n, rtype)
}

// lacks judges the types at a name, or at the wildcard that stands for it: the
// one asked for must not be there, nor an alias, and the record must come from
// the right side of a cut (RFC 6840, Sections 4.1 and 4.3).
func lacks(n name.Name, types []uint16, rtype uint16, zone name.Name) Verdict {
	has := func(t uint16) bool { return slices.Contains(types, t) }
	switch {
	case has(rtype):
		return bogus(ContradictoryAnswer, "the denial says that %s has %s", n, dns.Type(rtype))
	case has(dns.TypeCNAME):
		return bogus(ContradictoryAnswer, "the denial says that %s is an alias", n)
	case rtype == dns.TypeDS && has(dns.TypeSOA) && n != zone:
		return bogus(ProofWrong, "denial at %s is not of the parent's side", n)
	case rtype != dns.TypeDS && ancestorCut(types):
		return bogus(ProofWrong, "denial at %s is of the parent's side of a cut", n)
	}
	return secure
}

// ancestorCut reports a delegation: what is at and below it is not for this
// zone to deny, but for the DS (RFC 6840, Section 4.1).
func ancestorCut(types []uint16) bool {
	return slices.Contains(types, dns.TypeNS) && !slices.Contains(types, dns.TypeSOA)
}

// blind reports a record whose name must not stand above what is denied.
func blind(types []uint16) bool { return ancestorCut(types) || slices.Contains(types, dns.TypeDNAME) }

func (p *proofs) missing(n name.Name, what string) Verdict {
	return bogus(ProofMissing, "%s: the denial by %s does not show that %s", n, p.zone, what)
}

// common returns the deepest name that both are at or below.
func common(a, b name.Name) name.Name {
	for !b.IsBelow(a) {
		a = a.Parent()
	}
	return a
}

// ending returns the name of so many labels that n ends in.
func ending(n name.Name, labels int) name.Name {
	for have := n.Labels(); have > labels; have-- {
		n = n.Parent()
	}
	return n
}

func wildcardOf(n name.Name) (name.Name, error) {
	w, ok := n.Child("*")
	if !ok {
		return "", fmt.Errorf("%s: no room for a wildcard", n)
	}
	return w, nil
}
