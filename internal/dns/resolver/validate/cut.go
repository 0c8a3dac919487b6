package validate

import (
	"fmt"
	"time"

	"github.com/miekg/dns"

	"postern/internal/dns/name"
)

// Standing is what a zone's answer to a DS question shows about the name.
type Standing uint8

// What a name can be to the zone above it. Only with a Secure verdict.
const (
	Unjudged Standing = iota
	Signed            // a cut; DS holds its set
	Unsigned          // a cut, shown to have no DS
	OptedOut          // nothing signed is at or below it, and maybe nothing at all
	Inner             // no cut: a name of the zone itself, or an empty non-terminal
	Nowhere           // it does not exist, nor does anything below it
)

// Cut is a judged answer to a DS question, asked of the parent's side.
type Cut struct {
	Verdict
	Name     name.Name
	Parent   name.Name // the zone whose keys judged it
	Standing Standing
	DS       []*dns.DS
	TTL      uint32    // of the DS set or the denial as the zone gives it
	Until    time.Time // when it has to be judged again
}

// Trust returns what the DS set vouches for. Only a Signed cut has any.
func (c Cut) Trust() Trust {
	if c.Security != Secure || c.Standing != Signed {
		return Trust{zone: c.Name, until: c.Until}
	}
	return Trust{zone: c.Name, ds: c.DS, until: c.Until}
}

// DS judges the answer to the DS question for a name below the keys' zone, by
// those keys.
func (j *Judge) DS(k Keys, at name.Name, msg *dns.Msg, now time.Time) Cut {
	c := Cut{Name: at, Parent: k.zone}
	if at == k.zone || !at.IsBelow(k.zone) {
		c.Verdict = outside(k, at)
		return c
	}
	answer := Collect(msg.Answer)
	if s, ok := find(answer, at, dns.TypeDS); ok {
		j.dsSet(&c, k, s, now)
		return c.capped(k)
	}
	if s, ok := aliasOf(answer, at, k.zone); ok {
		j.alias(&c, k, s, msg, now)
		return c.capped(k)
	}
	j.noDS(&c, k, Collect(msg.Ns), now)
	return c.capped(k)
}

func outside(k Keys, at name.Name) Verdict {
	return Verdict{Security: Unknown, Reason: NoAnchor, Err: fmt.Errorf("%s is not for the keys of %q to judge", at, k.zone)}
}

// capped ends what the keys' end ends, and takes back what is not Secure.
func (c Cut) capped(k Keys) Cut {
	if c.Security != Secure {
		return Cut{Verdict: c.Verdict, Name: c.Name, Parent: c.Parent, Until: k.until}
	}
	if k.until.Before(c.Until) {
		c.Until = k.until
	}
	return c
}

// aliasOf returns the CNAME set at the name, or the DNAME set above it: there a
// CNAME is made up, and not signed (RFC 6672, Section 5.3.1).
func aliasOf(answer []Set, at, zone name.Name) (Set, bool) {
	for n := at.Parent(); n.IsBelow(zone); n = n.Parent() {
		if s, ok := find(answer, n, dns.TypeDNAME); ok {
			return s, true
		}
		if n == name.Root {
			break
		}
	}
	return find(answer, at, dns.TypeCNAME)
}

// alias judges a name that is an alias: it is no cut, as it has nothing else
// (RFC 2181, Section 10.1; RFC 6672, Section 2.4).
func (j *Judge) alias(c *Cut, k Keys, s Set, msg *dns.Msg, now time.Time) {
	p, v := j.signed(k, s, now)
	if v.Security == Secure && p.expanded {
		if s.Type == dns.TypeDNAME { // is never expanded (RFC 6672, Section 3.3)
			v = bogus(SignatureWrong, "DNAME of %s is signed as a wildcard", s.Owner)
		} else {
			v = j.onlyWildcard(k, c.Name, p.sig, msg, now)
		}
	}
	c.Verdict, c.Standing, c.TTL, c.Until = v, Inner, p.ttl, p.until
}

func (j *Judge) dsSet(c *Cut, k Keys, s Set, now time.Time) {
	p, v := j.signed(k, s, now)
	c.Verdict = v
	if v.Security != Secure {
		return
	}
	if p.expanded { // a delegation is never made of a wildcard (RFC 4592, Section 4.2)
		c.Verdict = bogus(SignatureWrong, "DS of %s is signed as a wildcard", c.Name)
		return
	}
	for _, rr := range s.RRs {
		if ds, ok := rr.(*dns.DS); ok {
			c.DS = append(c.DS, ds)
		}
	}
	c.Standing, c.TTL, c.Until = Signed, p.ttl, p.until
}

func (j *Judge) noDS(c *Cut, k Keys, authority []Set, now time.Time) {
	p, v := j.proofs(k, authority, now)
	if v.Security != Secure {
		c.Verdict = v
		return
	}
	a, v := p.absent(c.Name, dns.TypeDS)
	c.Verdict, c.TTL, c.Until = v, p.ttl, p.until
	switch {
	case v.Security != Secure:
	case a.answer == unsigned:
		c.Standing, c.Reason = OptedOut, OptOut
	case a.answer == noName:
		c.Standing = Nowhere
	case a.exact && a.has(dns.TypeNS):
		c.Standing, c.Reason = Unsigned, NoDS
	default:
		c.Standing = Inner
	}
}

// Found is a judged set other than keys and DS, or its proven absence.
type Found struct {
	Verdict
	RRs   []dns.RR // the set; none where it is absent or Bogus
	Until time.Time
}

// Set judges the answer for a name and type in the keys' zone. Aliases are not
// followed: an answer with one is no answer. A set that a wildcard brought
// through a span of unsigned delegations is Insecure, and given (RFC 5155,
// Section 9.2: it may hide one of them).
func (j *Judge) Set(k Keys, at name.Name, rtype uint16, msg *dns.Msg, now time.Time) Found {
	if k.zone == "" || !at.IsBelow(k.zone) {
		return Found{Verdict: outside(k, at)}
	}
	s, ok := find(Collect(msg.Answer), at, rtype)
	if !ok {
		return j.noSet(k, at, rtype, msg, now)
	}
	p, v := j.signed(k, s, now)
	if v.Security != Secure {
		return Found{Verdict: v}
	}
	out := Found{Verdict: v, RRs: s.RRs, Until: p.until}
	if p.expanded {
		out.Verdict = j.onlyWildcard(k, at, p.sig, msg, now)
		if out.Security == Bogus {
			return Found{Verdict: out.Verdict}
		}
	}
	return out.capped(k)
}

func (f Found) capped(k Keys) Found {
	if k.until.Before(f.Until) {
		f.Until = k.until
	}
	return f
}

// onlyWildcard proves that the wildcard was right to be expanded.
func (j *Judge) onlyWildcard(k Keys, at name.Name, sig *dns.RRSIG, msg *dns.Msg, now time.Time) Verdict {
	p, v := j.proofs(k, Collect(msg.Ns), now)
	if v.Security != Secure {
		return v
	}
	return p.nothingNearer(at, ending(at, int(sig.Labels)))
}

func (j *Judge) noSet(k Keys, at name.Name, rtype uint16, msg *dns.Msg, now time.Time) Found {
	if len(msg.Answer) > 0 {
		return Found{Verdict: bogus(ProofMissing, "%s %s is answered with something else", at, dns.Type(rtype))}
	}
	p, v := j.proofs(k, Collect(msg.Ns), now)
	if v.Security != Secure {
		return Found{Verdict: v}
	}
	_, v = p.absent(at, rtype)
	if v.Security == Bogus {
		v.Err = fmt.Errorf("%s %s: %w", at, dns.Type(rtype), v.Err)
	}
	return Found{Verdict: v, Until: p.until}.capped(k)
}
