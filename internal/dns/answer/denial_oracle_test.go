package answer

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// What the second opinion thinks of denial: RFC 4035, Section 3.1.3 and RFC
// 5155, Section 7.2 taken literally, over plain records.

// apart is where the oracle keeps NSEC3 records: no name is spelled so.
const apart = "NSEC3"

// signatures returns the RRSIGs at n that cover type t.
func (r records) signatures(n string, t uint16) []dns.RR {
	var out []dns.RR
	for _, rr := range r[n] {
		if sig, ok := rr.(*dns.RRSIG); ok && sig.TypeCovered == t {
			out = append(out, rr)
		}
	}
	return out
}

// sign adds the RRSIGs at n that cover type t, as owned by owner.
func (op *opinion) sign(section *[]string, r records, n string, t uint16, owner string) {
	if op.do {
		for _, rr := range r.signatures(n, t) {
			*section = append(*section, text(rr, owner))
		}
	}
}

// give adds an NSEC or NSEC3 record, once, with its RRSIGs.
func (op *opinion) give(r records, rr dns.RR) {
	if rr == nil {
		return
	}
	owner := strings.ToLower(rr.Header().Name)
	line := text(rr, owner)
	if slices.Contains(op.authority, line) {
		return
	}
	op.authority = append(op.authority, line)
	at := owner
	if rr.Header().Rrtype == dns.TypeNSEC3 {
		at = apart
	}
	for _, sig := range r.signatures(at, rr.Header().Rrtype) {
		if strings.EqualFold(sig.Header().Name, owner) {
			op.authority = append(op.authority, text(sig, owner))
		}
	}
}

// nsec returns the NSEC record at n, or the one that covers it.
func (r records) nsec(n string) dns.RR {
	for owner := range r {
		for _, rr := range r.get(owner, dns.TypeNSEC) {
			next := strings.ToLower(rr.(*dns.NSEC).NextDomain)
			after := canonical(owner, n) <= 0
			if after && canonical(n, next) < 0 || after && canonical(next, owner) <= 0 {
				return rr
			}
		}
	}
	return nil
}

// nsec3 returns the NSEC3 record that matches n, and the one that covers it.
func (r records) nsec3(origin, n string) (match, cover dns.RR) {
	p := r.get(origin, dns.TypeNSEC3PARAM)[0].(*dns.NSEC3PARAM)
	h := hashName(n, int(p.Iterations), p.Salt)
	for _, rr := range r.get(apart, dns.TypeNSEC3) {
		own, next := strings.ToLower(dns.SplitDomainName(rr.Header().Name)[0]), strings.ToLower(rr.(*dns.NSEC3).NextDomain)
		switch {
		case own == h:
			match = rr
		case own < h && h < next, next <= own && (own < h || h < next):
			cover = rr
		}
	}
	return match, cover
}

func (r records) hashes(origin string) bool { return len(r.get(origin, dns.TypeNSEC3PARAM)) > 0 }

func above(n string) string {
	i, end := dns.NextLabel(n, 0)
	if end {
		return "."
	}
	return n[i:]
}

// enclose is the closest encloser proof (RFC 5155, Section 7.2.1), of the
// closest one that has an NSEC3 record. It returns that one.
func (r records) enclose(op *opinion, origin, name string) string {
	closer := name
	for n := name; ; n = above(n) {
		if match, _ := r.nsec3(origin, n); match != nil {
			op.give(r, match)
			_, cover := r.nsec3(origin, closer)
			op.give(r, cover)
			return n
		}
		if closer = n; n == origin {
			return ""
		}
	}
}

func (r records) denyName(op *opinion, origin, name, encloser string) {
	switch {
	case !op.do:
	case r.hashes(origin):
		star := "*." + strings.TrimPrefix(r.enclose(op, origin, name), ".")
		if match, cover := r.nsec3(origin, star); match == nil {
			op.give(r, cover)
		}
	default:
		op.give(r, r.nsec(name))
		op.give(r, r.nsec("*."+strings.TrimPrefix(encloser, ".")))
	}
}

// denyCloser denies a closer match than the wildcard below the encloser.
func (r records) denyCloser(op *opinion, origin, name, encloser string) {
	switch {
	case !op.do:
	case r.hashes(origin):
		for above(name) != encloser {
			name = above(name)
		}
		_, cover := r.nsec3(origin, name)
		op.give(r, cover)
	default:
		op.give(r, r.nsec(name))
	}
}

// denyType says that the source, the name itself or a wildcard, lacks a type.
func (r records) denyType(op *opinion, origin, name, source string) {
	switch {
	case !op.do:
	case r.hashes(origin):
		match, _ := r.nsec3(origin, source)
		switch {
		case source != name:
			encloser, _ := r.nsec3(origin, above(source))
			op.give(r, encloser)
			op.give(r, match)
		case match != nil:
			op.give(r, match)
		default:
			r.enclose(op, origin, name)
		}
	default:
		op.give(r, r.nsec(source))
	}
}
